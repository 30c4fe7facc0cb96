"""How the caller is doing: what it holds before a call, it holds after it."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from typing import Any

from isolate_fn._runtime import pool

SECONDS = 10.0
"""How long a thing that must come may take on a busy machine."""


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Wait until something is true, and return it."""
    deadline = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {SECONDS} seconds for {what}"
        time.sleep(0.002)
    return found


def _stat(pid: str) -> list[str]:
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def processes() -> dict[int, tuple[str, int, int]]:
    """Return (state, parent, session) of every process that can be seen."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = _stat(name)
            except OSError:
                continue
            found[int(name)] = (fields[0], int(fields[1]), int(fields[3]))
    return found


def alive() -> set[int]:
    """Return the processes that have not ended."""
    return {pid for pid, (state, _, _) in processes().items() if state != "Z"}


def spawners() -> set[int]:
    """Return the spawners of this process: each is in the session that its first stage began."""
    sessions = {client.first_stage for client in pool._pool().spawners.values()}
    found = processes()
    inside = {pid for pid, (state, _, session) in found.items() if session in sessions and state != "Z"}
    return {pid for pid in inside if found[pid][1] not in inside}


def isolates() -> set[int]:
    """Return every process that descends from a spawner of ours and has not ended."""
    found, family = processes(), spawners()
    first = set(family)
    while more := {pid for pid, (_, parent, _) in found.items() if parent in family} - family:
        family |= more
    return {pid for pid in family - first if found[pid][0] != "Z"}


def memory() -> int:
    """Return the resident memory of this process (bytes)."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> dict[str, str]:
    """Return what each open descriptor leads to."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the listing's own
    return found


class Health:
    """Taken before an attack, compared after it."""

    def __init__(self) -> None:
        gc.collect()  # what earlier tests left in cycles may hold descriptors
        self.memory, self.descriptors = memory(), descriptors()
        self.threads = len(os.listdir("/proc/self/task"))
        self.spawners = spawners()

    def check(self, growth: int = 64 << 20) -> None:
        """Fail when the caller holds more than before, lost its spawner, or something of the isolate lives."""
        wait_for(lambda: not isolates(), "the isolates' processes to end")
        gc.collect()
        found = descriptors()
        assert found == self.descriptors, found.items() ^ self.descriptors.items()
        assert len(os.listdir("/proc/self/task")) == self.threads
        assert memory() - self.memory < growth
        assert self.spawners <= spawners()
