"""The functions that are measured; a module of its own and at the top level, so that they travel by name."""

from __future__ import annotations

import os
import time

MARK_INSIDE = "/mark/inside"  # names that do not exist
MARK_BEGIN, MARK_END = "/mark/begin", "/mark/end"


def add(number: int) -> int:
    """Return the next number."""
    return number + 1


def same(payload: object) -> object:
    """Return what came in: the whole cost is that of carrying it."""
    return payload


def many_getppid(count: int) -> float:
    """Make one of the cheapest system calls `count` times and return the seconds that took."""
    getppid, began = os.getppid, time.perf_counter()
    for _ in range(count):
        getppid()
    return time.perf_counter() - began


def seen_by_strace(number: int) -> int:
    """Make a system call that a trace shows and nothing else makes, and return the next number."""
    os.access(MARK_INSIDE, os.F_OK)
    return number + 1


def say_and_wait(seconds: float) -> None:
    """Say that it runs, and go on for so long."""
    print("here", flush=True)
    time.sleep(seconds)
