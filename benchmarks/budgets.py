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
        bound: a factor, or a number of `unit`; None for what is only compared, without a promise.
        unit: of ours and the peer, and of the bound unless it is a factor.
        direction: on which side of the bound ours has to be.
        beyond: aimed at beyond the budget; missing it does not count.
    """

    name: str
    what: str
    ours: str
    peer: str
    how: Literal["ratio", "difference", "absolute"]
    bound: float | None
    unit: Literal["us", "ms", "s", "MB", "x", ""]
    direction: Literal["at most", "at least"] = "at most"
    beyond: bool = False


def _most(name: str, what: str, ours: str, peer: str, bound: float | None, unit: Literal["us", "ms", "s"]) -> Budget:
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

COLD = (
    _most("cold, by name", "cold script, function by name / bwrap", "cold-name/isolate_fn", "cold-name/bwrap, one process",
          1.0, "ms"),
    _most("cold, by value", "cold script, function by value / bwrap", "cold-value/isolate_fn",
          "cold-value/bwrap, one process", 1.0, "ms"),
    Budget("import", "import isolate_fn - bare interpreter", "import/import isolate_fn", "import/bare interpreter",
           "difference", 15.0, "ms"),
    Budget("import, modules", "modules of others, ctypes, asyncio after the import",
           "modules that import isolate_fn must not load", "", "absolute", 0, ""),
)  # fmt: skip

PAYLOAD = (
    _most("payload, pool", "100 MB numpy in and out / ProcessPoolExecutor", "payload-100MB/isolate_fn",
          "payload-100MB/ProcessPoolExecutor", 0.20, "ms"),
    _most("payload, memfd", "100 MB numpy in and out / bare memfd", "payload-100MB/isolate_fn",
          "payload-100MB/bare memfd", 1.1, "ms"),
    Budget("payload, peak", "caller's peak memory / payload", "peak memory / payload, isolate_fn", "", "absolute", 2.2, "x"),
    _most("payload, beyond", "beyond: 100 MB numpy in and out / ProcessPoolExecutor", "payload-100MB/isolate_fn",
          "payload-100MB/ProcessPoolExecutor", 0.10, "ms")._replace(beyond=True),
)  # fmt: skip

HELD = (
    Budget("idle memory", "private memory of an idle isolate", "idle isolate, private", "", "absolute", 5.0, "MB"),
    Budget("spawner memory", "private memory of the spawner", "spawner, private", "", "absolute", 20.0, "MB"),
    Budget("left over", "left over after 1,000 isolates and 10,000 warm calls", "left over after many calls", "",
           "absolute", 0, ""),
    Budget("left over, 200", "left over after 200 isolates at once", "left over after 200 at once", "", "absolute", 0, ""),
    Budget("flat", "isolates 901 to 1,000 / isolates 1 to 100", "fresh calls, last tenth / first tenth", "", "absolute",
           1.2, "x"),
    *(
        Budget(f"growth, {kind}, {who}", f"growth of the {who} over {count} {kind} calls",
               f"{kind} calls, growth of the {who}", "", "absolute", 1.0, "MB")
        for kind, count in (("fresh", "1,000"), ("warm", "10,000"))
        for who in ("caller", "spawner")
    ),
)  # fmt: skip

FILTER = (_most("filter", "getppid loop inside / outside", "filter/isolate_fn", "filter/unfiltered", 1.3, "ms"),)

BUDGETS: tuple[Budget, ...] = (*WARM, *FRESH, *COLD, *PAYLOAD, *HELD, *FILTER)

_POOLS = ("multiprocessing.Pool", "loky", "pebble")
_SANDBOXES = ("bwrap, python -S", "firejail", "nsjail", "sandlock", "sandlock, a fork", "python -I -S")
_UNPREPARED = "fresh/isolate_fn, nothing prewarmed"

# Not promised, but what people ask next.
COMPARED: tuple[Budget, ...] = (
    *(_most(f"warm, {peer}", f"warm call / {peer}", "warm/isolate_fn", f"warm/{peer}", None, "us") for peer in _POOLS),
    *(
        _most(f"fresh, {peer}", f"fresh isolate, nothing prewarmed / {peer}", _UNPREPARED, f"fresh/{peer}", None, "ms")
        for peer in _SANDBOXES
    ),
    _most("default, bwrap", "fresh isolate, back to back as by default / bwrap", "fresh/isolate_fn, default", "fresh/bwrap",
          None, "ms"),
    _most("idle, bare", "fresh isolate, prewarmed, caller idle / a bare fork that waited", "fresh-idle/isolate_fn",
          "fresh-idle/a bare fork that waited", None, "ms"),
    _most("long idle, bwrap", "fresh isolate, caller idle for long / bwrap", "fresh-idle/isolate_fn, long pause",
          "fresh-idle/bwrap", None, "ms"),
    *(
        _most(f"cold, {way}, {peer}", f"cold script, function by {way} / {words}", f"cold-{way}/isolate_fn",
              f"cold-{way}/{peer}", None, "ms")
        for way in ("name", "value")
        for peer, words in (("bwrap, caller too", "script that starts bwrap"), ("three bare interpreters",) * 2)
    ),
)  # fmt: skip
