"""The system calls of one fresh isolate, counted by process and kind: ``python -m benchmarks.syscalls [--json FILE]``.

A script is run under ``strace -f``; it marks where its last call begins and ends, and the function inside marks when it
runs. What lies between is counted. Which process is which follows from who forked whom. Needs strace 5.9 or newer, for
pids of other pid namespaces.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from benchmarks import machine, stage, table, written
from benchmarks.measured import MARK_BEGIN, MARK_END, MARK_INSIDE

ROLES = ("caller", "spawner", "init", "worker", "others")
PARTS = ("until the function runs", "after it")
_LINE = re.compile(r"^(\d+) +[\d.]+ (?:<\.\.\. )?(\w+)(\(| resumed>)(.*)$")
_CHILD = re.compile(r"= (\d+)(?: /\* (\d+) in strace's PID NS \*/)?$")
_FORKS = {"clone", "clone3", "fork", "vfork"}

KINDS: dict[str, str] = {
    "mounts": "mount umount2 open_tree move_mount mount_setattr fsopen fsconfig fsmount fspick pivot_root openat2 mkdir "
    "mkdirat mknod mknodat symlink symlinkat chown fchown lchown chmod fchmod",
    "namespaces": "unshare setns",
    "privileges": "prctl capset capget setresuid setresgid setgroups setuid setgid setsid getsid keyctl",
    "limits": "prlimit64 setrlimit getrlimit sched_setaffinity",
    "Landlock": "landlock_create_ruleset landlock_add_rule landlock_restrict_self",
    "seccomp": "seccomp",
    "processes": "clone clone3 fork vfork wait4 waitid exit exit_group kill pidfd_open pidfd_send_signal execve",
    "messages": "socketpair socket sendmsg recvmsg sendto recvfrom poll ppoll select epoll_create1 epoll_ctl epoll_wait "
    "getsockname getsockopt setsockopt pipe2 shutdown",
    "descriptors": "close close_range fcntl dup dup2 dup3 ioctl",
    "files": "open openat read pread64 write newfstatat fstat statx stat lstat lseek getdents64 readlink readlinkat access "
    "faccessat faccessat2 statfs fstatfs chdir getcwd ftruncate memfd_create",
    "memory": "mmap munmap mremap mprotect madvise brk",
}
_KIND_OF = {name: kind for kind, names in KINDS.items() for name in names.split()}


class Event(NamedTuple):
    """One line of a trace: a system call that a process begins, or only the end of one.

    Attributes:
        pid: as strace sees it.
        name: of the system call.
        begins: it is not the end of one that began earlier.
        rest: arguments and result, as far as the line has them.
    """

    pid: int
    name: str
    begins: bool
    rest: str


Counts = Mapping[str, Mapping[str, Mapping[str, int]]]  # by part, by role, by system call


def read(lines: Iterable[str]) -> Iterator[Event]:
    """Return the events of a trace; signals and ends of processes are none."""
    for line in lines:
        found = _LINE.match(line)
        if found:
            pid, name, end, rest = found.groups()
            yield Event(int(pid), name, end == "(", rest)


def count(events: Iterable[Event]) -> dict[str, dict[str, Counter[str]]]:
    """Count the system calls between the marks.

    Raises:
        ValueError: a mark is missing; the trace is not of `scripts/one_fresh.py`.
    """
    events = list(events)
    at = {mark: _position(events, mark) for mark in (MARK_BEGIN, MARK_INSIDE, MARK_END)}
    parents = {
        int(child[2] or child[1]): event.pid
        for event in events
        if event.name in _FORKS and (child := _CHILD.search(event.rest))
    }
    early = {event.pid for event in events[: at[MARK_BEGIN]]}
    counts: dict[str, dict[str, Counter[str]]] = {part: {role: Counter() for role in ROLES} for part in PARTS}
    for number in range(at[MARK_BEGIN] + 1, at[MARK_END]):
        event = events[number]
        if event.begins and number != at[MARK_INSIDE]:
            role = _role(event.pid, events[0].pid, early, parents)
            counts[PARTS[number > at[MARK_INSIDE]]][role][event.name] += 1
    return counts


def _position(events: list[Event], mark: str) -> int:
    """Return where a mark was made the last time: a script may make the inner one in calls that do not count."""
    found = [number for number, event in enumerate(events) if f'"{mark}"' in event.rest]
    if not found:
        raise ValueError(f"the mark {mark} is not in the trace")
    return found[-1]


def _role(pid: int, caller: int, early: set[int], parents: dict[int, int]) -> str:
    """Return a process's role by its distance from a process that was there before: the spawner, or the caller."""
    distance = 0
    while pid not in early and pid in parents:
        pid, distance = parents[pid], distance + 1
    if pid == caller:
        return "others" if distance else "caller"
    return ("spawner", "init", "worker", "others")[min(distance, 3)]


def by_kind(counts: Counts) -> list[tuple[str, ...]]:
    """Return the cells of a table: kinds of system calls down, processes across, both parts, sums."""
    shown = [role for role in ROLES if any(counts[part][role] for part in PARTS)]
    rows: list[tuple[str, ...]] = []
    for part in PARTS:
        rows.append((part, *shown, "all"))
        sums: dict[str, Counter[str]] = {kind: Counter() for kind in (*KINDS, "other")}
        for role in shown:
            for name, number in counts[part][role].items():
                sums[_KIND_OF.get(name, "other")][role] += number
        sums = {kind: found for kind, found in sums.items() if found}
        sums["together"] = sum(sums.values(), Counter())
        rows.extend((kind, *(str(found[role]) for role in shown), str(found.total())) for kind, found in sums.items())
    return rows


def trace(file: str, built: str) -> None:
    """Run the script under strace.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    script = os.path.join(built, "scripts", "one_fresh", "one_fresh.py")
    command = ["strace", "-f", "-ttt", "--decode-pids=pidns", "-o", file, sys.executable, script]
    subprocess.run(command, check=True, env=stage.environment(built))


def main() -> int:
    """Trace, count, print, write JSON where asked; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.syscalls", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the counts there")
    options = parser.parse_args()
    if not shutil.which("strace"):
        print("strace is not installed", file=sys.stderr)
        return 1
    with stage.build() as built, tempfile.TemporaryDirectory() as directory:
        file = os.path.join(directory, "trace")
        trace(file, built)
        with open(file, encoding="utf-8", errors="replace") as lines:
            counts = count(read(lines))
    print(table.plain(by_kind(counts)))
    for role in ROLES:
        most = ", ".join(f"{name} {number}" for name, number in counts[PARTS[0]][role].most_common(8))
        print(f"{role}: {most}" if most else "", end="\n" if most else "")
    if options.json:
        written.save(options.json, {"about": machine.describe(), "counts": counts})
    return 0


if __name__ == "__main__":
    sys.exit(main())
