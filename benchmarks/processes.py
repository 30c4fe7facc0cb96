"""Processes that this one has started, however deep, and what they hold: memory, descriptors, mounts, directories."""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Iterable

PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>, since Linux 3.4
LAUNCHER = b"_runtime/launcher.py"
PLACES = ("/dev/shm", "/run")  # where an isolate could leave something; the suite's own TMPDIR comes to that
GROUPS = "/sys/fs/cgroup"


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, spawners among them; else they could not be found."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def children() -> dict[int, list[int]]:
    """Return the living children of every process that has some."""
    found: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                state, parent = file.read().rpartition(b")")[2].split()[:2]
        except OSError:
            continue
        if state != b"Z":
            found.setdefault(int(parent), []).append(int(name))
    return found


def descendants(pid: int, tree: dict[int, list[int]] | None = None) -> list[int]:
    """Return all living processes below one, nearest first; in a tree that was read before, or the present one."""
    tree = children() if tree is None else tree
    found = list(tree.get(pid, ()))
    for one in found:  # grows while it is walked
        found.extend(tree.get(one, ()))
    return found


def spawners() -> list[int]:
    """Return the spawners of this process; needs `adopt_orphans` before they were started."""
    tree = children()
    ours = [pid for pid in descendants(os.getpid(), tree) if LAUNCHER in _read(pid, "cmdline")]
    below = {pid for spawner in ours for pid in descendants(spawner, tree)}
    return [pid for pid in ours if pid not in below]


def isolates(spawner: int) -> list[list[int]]:
    """Return the processes of each isolate of a spawner: init, worker, and what the worker has started."""
    tree = children()
    return [[init, *descendants(init, tree)] for init in tree.get(spawner, ())]


def _read(pid: int, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def status(name: str, pid: int | str = "self") -> int:
    """Return a field of /proc/PID/status in bytes: ``VmRSS``, ``VmHWM``."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    raise LookupError(f"{pid} has no {name}: it is gone")


def private(pids: Iterable[int]) -> int:
    """Return the bytes that only one of these processes has mapped, summed over them.

    Raises:
        PermissionError: they belong to somebody else, or are not dumpable and we are not root.
    """
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            total += sum(int(line.split()[1]) * 1024 for line in file if line.startswith("Private_"))
    return total


def forget_peak() -> None:
    """Set VmHWM of this process back to what it has resident now (proc(5), clear_refs)."""
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def holdings() -> dict[str, int]:
    """Count what this process and its spawners hold, and what lies about: the same after a run as before, or it leaks."""
    found = {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "processes": len(descendants(os.getpid())),
        "mounts": len(_read(os.getpid(), "mountinfo").splitlines()),
        "directories": sum(
            len(os.listdir(place)) for place in (tempfile.gettempdir(), *PLACES) if os.path.isdir(place)
        ),
        "cgroups": sum(str(os.getpid()) in name for _, names, _ in os.walk(GROUPS) for name in names),
    }
    for spawner in spawners():
        try:
            found["descriptors of the spawner"] = len(os.listdir(f"/proc/{spawner}/fd"))
            found["mounts of the spawner"] = len(_read(spawner, "mountinfo").splitlines())
        except PermissionError:
            pass  # not dumpable; only root may look
    return found
