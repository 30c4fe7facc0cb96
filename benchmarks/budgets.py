"""The budgets, as data. Ratios within one run on one machine; nothing here is tested by a timed test."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Budget(NamedTuple):
    """One promise about cost.

    Attributes:
        name: unique.
        what: one line for people.
        ours: ``contest/contestant``, whose median counts, or the name of a fact.
        peer: the same of what it is compared to; empty for an absolute bound.
        how: ``ratio`` ours / peer, ``difference`` ours - peer, ``absolute`` ours alone.
        bound: a factor, or a number of `unit`.
        unit: of ours and the peer, and of the bound unless it is a factor.
        direction: on which side of the bound ours has to be.
        beyond: aimed at beyond the budget; missing it does not count.
    """

    name: str
    what: str
    ours: str
    peer: str
    how: Literal["ratio", "difference", "absolute"]
    bound: float
    unit: Literal["us", "ms", "s", "MB", "x", ""]
    direction: Literal["at most", "at least"] = "at most"
    beyond: bool = False


def _most(name: str, what: str, ours: str, peer: str, bound: float, unit: Literal["us", "ms", "s"]) -> Budget:
    return Budget(name, what, ours, peer, "ratio", bound, unit)


WARM = (
    _most("warm", "warm call / bare ping-pong", "warm/isolate_fn", "warm/ping-pong", 2.0, "us"),
    _most("warm, pinned", "warm call / bare ping-pong, one processor",
          "warm-pinned/isolate_fn", "warm-pinned/ping-pong", 2.0, "us"),
    _most("warm, pool", "warm call / ProcessPoolExecutor", "warm/isolate_fn", "warm/ProcessPoolExecutor", 0.30, "us"),
)  # fmt: skip

FRESH = (
    Budget("idle", "fresh isolate, prewarmed, caller idle", "fresh-idle/isolate_fn", "", "absolute", 1.5, "ms"),
    _most("idle, bwrap", "fresh isolate, prewarmed, caller idle / bwrap", "fresh-idle/isolate_fn", "fresh-idle/bwrap",
          0.05, "ms"),
    Budget("back to back", "fresh isolate, nothing prewarmed", "fresh/isolate_fn, nothing prewarmed", "", "absolute",
           4.0, "ms"),
    _most("back to back, bwrap", "fresh isolate, nothing prewarmed / bwrap", "fresh/isolate_fn, nothing prewarmed",
          "fresh/bwrap", 0.15, "ms"),
)  # fmt: skip

BUDGETS: tuple[Budget, ...] = (*WARM, *FRESH)
