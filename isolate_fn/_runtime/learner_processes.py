"""Whose call it is, as /proc numbers processes: the spawner sees the host's, and is told numbers of a namespace of its own."""

from __future__ import annotations

import os


def number_of(tid: int, leaders: dict[int, str], threads: dict[int, str]) -> str:
    """Return the name in /proc of the process that a thread belongs to.

    Args:
        tid: as the kernel tells it to the spawner.
        leaders: processes that are known, by their numbers; one that is met is added.
        threads: likewise threads that are no process's first.

    Raises:
        OSError: it has ended.
    """
    try:
        handle = os.pidfd_open(tid)
    except OSError:
        return _thread(tid, leaders, threads)
    try:
        name = str(_numbers(f"/proc/self/fdinfo/{handle}")[0])
    finally:
        os.close(handle)
    leaders[tid] = name
    return name


def _thread(tid: int, leaders: dict[int, str], threads: dict[int, str]) -> str:
    known = threads.get(tid)
    if known is not None and os.path.isdir(f"/proc/{known}"):
        return known
    threads.pop(tid, None)
    for leader, name in list(leaders.items()):
        try:
            tasks = os.listdir(f"/proc/{name}/task")
        except OSError:
            del leaders[leader]
            continue
        if any(_is(tid, f"/proc/{name}/task/{task}/status") for task in tasks):
            threads[tid] = name
            return name
    raise ProcessLookupError(tid)


def _is(tid: int, status: str) -> bool:
    try:
        return _numbers(status)[-2:-1] == [tid]
    except OSError:
        return False  # another one, which has ended


def _numbers(path: str) -> list[int]:
    with open(path, "rb") as file:
        for line in file.read(8192).split(b"\n"):
            if line.startswith(b"NSpid:"):
                return [int(each) for each in line.split()[1:]]
    raise ProcessLookupError(path)


def open_files(name: str) -> int:
    """Return one more than the highest descriptor of a process, which is what RLIMIT_NOFILE bounds."""
    return max(map(int, os.listdir(f"/proc/{name}/fd")), default=0) + 1


def threads_beside(name: str) -> int:
    """Count the threads of all processes in the pid namespace of one of them, but for its init."""
    namespace = os.stat(f"/proc/{name}/ns/pid").st_ino
    count = 0
    for each in os.listdir("/proc"):
        if not each.isdigit():
            continue
        try:
            if os.stat(f"/proc/{each}/ns/pid").st_ino == namespace:
                count += len(os.listdir(f"/proc/{each}/task"))
        except OSError:
            continue
    return max(0, count - 1)
