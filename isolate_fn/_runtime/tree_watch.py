"""Limits of an isolate that shares its file systems and process numbers with the host, watched by its init.

What the kernel counts per tmpfs and per user namespace elsewhere is looked for here: memory and processor time of init's
descendants, their number, and what lies in the private directory or was deleted there and is still open. A look costs some
hundred microseconds, so the next one comes when a limit could be reached at the earliest, or later while nothing runs.

How long it takes to measure the directory is up to whoever fills it. So that is done in slices, between which memory,
processor time and the sockets are looked at as ever.
"""

from __future__ import annotations

import os
import stat
import time

from isolate_fn._enforce import scratch
from isolate_fn._enforce.ending import descendants_of
from isolate_fn._runtime.maps import Maps, with_files
from isolate_fn._runtime.watch import RATE, Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from isolate_fn._plan.orders import Plan

_SOON, _LATE = 0.01, 0.05  # seconds
_SHARE = 4  # measuring the directory shall take no more than a quarter of the time
_SLICE = 0.005  # seconds of measuring at a time
_AT_ONCE = 0.25  # seconds, where somebody waits for numbers


class TreeWatch(Watch):
    """Limits of init's descendants and of the private directory, and the most that was seen of each.

    Args:
        memory: bytes, 0 for no limit.
        plan: the orders.
        disk: descriptor of the private directory.
        roles: numbers of the processes that init has started.
    """

    def __init__(self, memory: int, plan: Plan, disk: int, roles: tuple[str, ...]) -> None:
        super().__init__(memory, plan.cpu_time, has_proc=True, disk=disk)
        self.roles, self.children = roles, plan.children
        self.most_processes, self.size, self.inodes = plan.processes, plan.rootfs_size, plan.rootfs_inodes
        self.bytes = self.count = self.tasks = 0
        self.known: dict[int, int] = {}  # bytes of files by inode, those that are deleted too
        self.seen: object = None  # what had run when the last measuring began
        self.quiet = self.measured_at_rest = False
        self.measuring: Iterator[None] | None = None
        self.due = self.slice = 0.0
        self.maps = Maps()

    def processes(self) -> list[str]:
        """Return the numbers of init's descendants; a worker that may start none is the only one."""
        if not self.children:
            return list(self.roles)
        return list(map(str, descendants_of(os.getpid(), self.most_processes)))

    def look(self) -> str:
        """See what is used; return the name of a limit that is passed, or an empty string."""
        numbers = self.processes()
        if self.most_processes and len(numbers) > self.most_processes:
            self.tasks = len(numbers)
            return "processes"
        seen = tuple(filter(None, map(_activity, numbers)))
        same = seen == self.seen and self.measuring is None
        self.quiet = same and self.measured_at_rest
        if self.quiet:
            return ""
        self.tasks = sum(each[0] for each in seen)
        if self.most_processes and self.tasks > self.most_processes:
            return "processes"
        exceeded = super().look()
        if exceeded or time.monotonic() < self.due:
            return exceeded
        if self.measuring is None:
            # Once more at rest: where writes are not counted, what is done between two ticks is told by nothing.
            self.seen, self.measured_at_rest = seen, same
        return self._measure_files(_SLICE)

    def _measure_files(self, seconds: float) -> str:
        """Go on measuring for a while; return the name of a limit that is passed, or an empty string."""
        began = time.monotonic()
        self.measuring = self.measuring or self._files()
        limit = ""
        try:
            for _ in self.measuring:
                if time.monotonic() > began + seconds:
                    return ""
        except scratch.TooMany:
            limit = "rootfs_inodes"
        except scratch.Hidden:
            limit = "rootfs_size"
        finally:
            self.slice = time.monotonic() - began
            self.due = began + self.slice * _SHARE
        self.measuring = None
        if self.bytes > self.size:
            return "rootfs_size"
        return "rootfs_inodes" if self.count > self.inodes else limit

    def _files(self) -> Iterator[None]:
        """Measure all there is, once, and pause often."""
        found = scratch.Measured(self.inodes)
        held: dict[int, int] = {}
        try:
            yield from scratch.measure(self.disk, found)
        except scratch.TooMany:
            self.count = found.count
            raise
        if sum(found.sizes.values()) <= self.size:
            yield from self._open_deleted(held)
        if sum({**found.sizes, **held}.values()) <= self.size:
            yield from self._mapped_deleted(found.sizes, held)
        self.known = {**found.sizes, **held}
        self.bytes = sum(self.known.values())
        self.count = found.count + len(held)

    def _open_deleted(self, held: dict[int, int]) -> Iterator[None]:
        """Find deleted files that somebody holds open: bytes by inode."""
        device = os.fstat(self.disk).st_dev
        for pid in self.processes():
            yield
            try:
                place = with_files(pid)
                for index, number in enumerate(os.listdir(f"{place}/fd")):
                    state = _stat(f"{place}/fd/{number}")
                    if state is not None and state.st_dev == device and not state.st_nlink and stat.S_ISREG(state.st_mode):
                        held[state.st_ino] = state.st_blocks * 512
                    if index % scratch.OFTEN == 0:
                        yield
            except OSError:
                continue  # ended

    def _mapped_deleted(self, there: dict[int, int], held: dict[int, int]) -> Iterator[None]:
        """Find those that somebody has mapped, or take what was found before while somebody keeps the reader waiting.

        Raises:
            Hidden: there is more to read than there is where nobody makes it long, or nobody gets to the end of it.
        """
        latest = time.monotonic() + _AT_ONCE
        self.maps.ask(self.processes())
        while not self.maps.answered() and time.monotonic() < latest:
            yield
        if self.maps.hidden():
            raise scratch.Hidden
        for inode, size in self.maps.found.items():
            if inode not in there and inode not in held:
                held[inode] = self.known.get(inode, size)

    def delay_ms(self) -> float:
        """Return when to look next (milliseconds): not before a limit could be reached, and seldom while nothing happens."""
        left = _LATE if self.quiet else max(_SOON, self.slice * (_SHARE - 1))
        if self.measuring is None and not self.quiet:
            left = max(left, (self.size - self.bytes) / RATE)
        watched = super().delay_ms()
        return min(left * 1000, watched) if watched is not None else left * 1000

    def usage(self) -> dict[str, Any]:
        """Measure now and return plain numbers: bytes, seconds, counts."""
        self.measure(cpu=True)
        self.measuring = None  # what was found before would be too old
        self._measure_files(_AT_ONCE)
        told = {"peak_memory": self.peak, "memory": self.used, "cpu_seconds": round(self.cpu, 4)}
        left, entries = max(0, self.size - self.bytes), max(0, self.inodes - self.count)
        told |= {"disk": self.bytes, "disk_free": left, "inodes": self.count, "inodes_free": entries, "tasks": self.tasks}
        return told


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _activity(pid: str) -> tuple[int, bytes, bytes] | None:
    """Return threads of a process, and what changes when it has run: page faults, processor time, changes of context, writes.

    The changes of context are the first thread's alone, and processor time is told in hundredths of a second, in which one
    can write tens of megabytes; writes are counted of all threads (proc_pid_io(5)), where this kernel counts them.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        with open(f"/proc/{pid}/status", "rb") as file:
            switches = file.read().rpartition(b"\nvoluntary_ctxt_switches")[2]
    except OSError:
        return None
    return int(fields[17]), b" ".join((pid.encode(), fields[7], *fields[11:13])), switches + _written(pid)


def _written(pid: str) -> bytes:
    try:
        with open(f"/proc/{pid}/io", "rb") as file:
            return file.read()
    except OSError:
        return b""
