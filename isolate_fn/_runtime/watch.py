"""Memory and CPU time of a whole isolate, read by init from outside the worker's reach.

RLIMIT_AS breaks numpy and JITs, and no rlimit counts a tree of processes; so the real use is read from /proc and the
tree is killed. How soon the next look must come follows from how much is left: at ``RATE`` bytes a second, the fastest
that touching fresh pages was measured to be, a tree cannot pass its limit by more than ``RATE * MIN_DELAY``.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RATE = 4 << 30  # bytes per second
MIN_DELAY = 0.002  # seconds: so the overshoot stays under about 8 MiB
MAX_DELAY = 0.1  # seconds

_TICKS = os.sysconf("SC_CLK_TCK")
# Beside pages in memory: pages in swap, huge pages, which are in none of the Rss fields, and page tables, which a
# mapping of nothing but the zero page fills as well.
_FIELDS = (b"RssAnon:", b"RssShmem:", b"VmSwap:", b"VmPTE:", b"HugetlbPages:")
_OWN_MEMORY = b"\nRssAnon:"  # in the status of whoever has not let go of it
_TRIES = 20


class Watch:
    """Limits of one tree, and the most it was seen to use.

    Args:
        memory: bytes, 0 for no limit. Counted: anonymous and shared memory of every process; pages that processes
            share after a fork count once for each.
        cpu_time: seconds over all processes, 0 for no limit.
        has_proc: an own /proc is mounted.
        disk: descriptor of the isolate's own file system, -1 for none.
    """

    def __init__(self, memory: int, cpu_time: float, *, has_proc: bool, disk: int = -1) -> None:
        self.memory, self.cpu_time, self.has_proc, self.disk = memory, cpu_time, has_proc, disk
        self.peak = self.used = 0
        self.collected_cpu = self.cpu = 0.0
        self.seen_cpu: dict[tuple[str, bytes], float] = {}  # by pid and start time
        self.gone_cpu = 0.0

    def collected(self, usage: Any) -> None:
        """Count an ended process (a ``resource.struct_rusage``); its children that it waited for are in there."""
        self.collected_cpu += usage.ru_utime + usage.ru_stime
        self.cpu = max(self.cpu, self.collected_cpu)
        self.peak = max(self.peak, usage.ru_maxrss * 1024)

    def look(self) -> str:
        """Read the tree's use; return the name of a limit that is passed, or an empty string."""
        if not (self.memory or self.cpu_time):
            return ""
        self.measure(cpu=bool(self.cpu_time))
        if self.memory and self.used > self.memory:
            return "memory"
        if self.cpu_time and self.cpu > self.cpu_time:
            return "cpu_time"
        return ""

    def measure(self, *, cpu: bool) -> None:
        """Sum up the processes of the pid namespace but init; processor time only where it is asked for."""
        if not self.has_proc:
            return
        used, spent = 0, self.collected_cpu
        seen: dict[tuple[str, bytes], float] = {}
        for name in self.processes():
            try:
                if cpu:
                    process, own, children = _cpu_of(name)
                    seen[process] = own
                    spent += own + children
                used += _memory_of(name)
            except (FileNotFoundError, ProcessLookupError):
                continue  # ended between the listing and the look
        self.used, self.peak = used, max(self.peak, used)
        # Two sums, because neither has everything: children that nobody waits for vanish from the first, and those
        # that live shorter than a look's distance from the second.
        self.gone_cpu += sum(was for process, was in self.seen_cpu.items() if process not in seen)
        self.seen_cpu = seen
        self.cpu = max(self.cpu, spent, sum(seen.values()) + self.gone_cpu)

    def processes(self) -> list[str]:
        """Return the numbers of the processes that are watched: all of the pid namespace but init."""
        return [name for name in os.listdir("/proc") if name.isdigit() and name != "1"]

    def delay_ms(self) -> float | None:
        """Return how long nobody can pass a limit (milliseconds), None when none is watched."""
        waits = []
        if self.memory:
            waits.append((self.memory - self.used) / RATE)
        if self.cpu_time:
            waits.append((self.cpu_time - self.cpu) / (os.cpu_count() or 1))
        if not waits:
            return None
        return max(MIN_DELAY, min(MAX_DELAY, *waits)) * 1000

    def usage(self) -> dict[str, Any]:
        """Measure now and return plain numbers: bytes and seconds."""
        self.measure(cpu=True)
        told = {"peak_memory": self.peak, "memory": self.used, "cpu_seconds": round(self.cpu, 4)}
        if self.disk < 0:
            return told
        disk = os.statvfs(self.disk)
        return {
            **told,
            "disk": (disk.f_blocks - disk.f_bfree) * disk.f_frsize,
            "disk_free": disk.f_bfree * disk.f_frsize,
            "inodes": disk.f_files - disk.f_ffree,
            "inodes_free": disk.f_ffree,
        }


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 8192)
    finally:
        os.close(descriptor)


def other_threads(pid: str) -> list[str]:
    """Return the directories of a process's threads but the first: that may have ended (pthread_exit(3)), and tells no more."""
    return [f"/proc/{pid}/task/{name}" for name in os.listdir(f"/proc/{pid}/task") if name != pid]


def _status_of(pid: str) -> bytes:
    """Return the status of a process whose memory can be seen in it, of whichever of its threads."""
    status = _read(f"/proc/{pid}/status")
    for _ in range(_TRIES):  # threads may take each other's place while they are looked at
        if _OWN_MEMORY in status:
            return status
        others = other_threads(pid)
        if not others:
            break
        for directory in others:
            try:
                status = _read(f"{directory}/status")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if _OWN_MEMORY in status:
                break
    return status


def _memory_of(pid: str) -> int:
    kib = 0
    for line in _status_of(pid).split(b"\n"):
        if line.startswith(_FIELDS):
            kib += int(line.split()[1])
    return kib * 1024


def _cpu_of(pid: str) -> tuple[tuple[str, bytes], float, float]:
    """Return what tells a process from a later one of the same number, its seconds, and its waited-for children's."""
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    own, children = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
    return (pid, fields[19]), own / _TICKS, children / _TICKS
