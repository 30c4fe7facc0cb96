"""What is measured: one file for each kind of cost, each run in a process of its own."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, NamedTuple

INSIDE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "inside")


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
}


def subject() -> Any:
    """Return the module of measured functions, imported as a user's own would be: top level, by name."""
    if INSIDE not in sys.path:
        sys.path.insert(0, INSIDE)
    return importlib.import_module("measured")
