"""What is measured: one file for each kind of cost, each run in a process of its own."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple


class Suite(NamedTuple):
    """One entry of `SUITES`.

    Attributes:
        module: under this package; has ``measure(pace) -> Findings``.
        what: one line for people.
        pinned: run it, and all that it starts, on one processor.
    """

    module: str
    what: str
    pinned: bool = False


SUITES: dict[str, Suite] = {
    "warm": Suite("warm", "a call of a reused worker, against a bare exchange and process pools"),
    "warm-pinned": Suite("warm", "the same with all processes on one processor", pinned=True),
    "fresh": Suite("fresh", "a fresh isolate for every call, against other sandboxes and bare interpreters"),
    "cold": Suite("cold", "whole scripts that make one isolated call"),
    "payload": Suite("payload", "carrying data in and out, 1 kB to 1 GB"),
    "peak": Suite("peak", "the caller's peak memory while it carries data"),
    "import": Suite("importing", "what the import costs"),
    "memory": Suite("memory", "what an idle isolate and the spawner hold"),
    "filter": Suite("filters", "what the filter adds to a system call"),
    "flat": Suite("flat", "a thousand isolates and ten thousand warm calls: nothing left over, nothing grows"),
    "alive": Suite("alive", "200 isolates at once, and what they do to the next"),
    "mounts": Suite("mounts", "cost against the number of mounts"),
    "threads": Suite("threads", "calls per second from several threads and from asyncio"),
    "micro": Suite("micro", "what happens inside the caller alone"),
}


def subject() -> Any:
    """Return the module of measured functions, imported as a user's own would be: top level, by name."""
    return importlib.import_module("measured")
