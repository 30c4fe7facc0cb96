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
from collections.abc import Iterable, Iterator
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
    "messages": "socketpair socket sendmsg recvmsg sendto recvfrom poll ppoll select getsockname getsockopt setsockopt "
    "pipe2 shutdown",
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


Counts = dict[str, dict[str, Counter[str]]]  # by part, by role, by system call


def read(lines: Iterable[str]) -> Iterator[Event]:
    """Return the events of a trace; signals and ends of processes are none."""
    for line in lines:
        found = _LINE.match(line)
        if found:
            pid, name, end, rest = found.groups()
            yield Event(int(pid), name, end == "(", rest)


def count(events: Iterable[Event]) -> Counts:
    """Count the system calls between the marks.

    Raises:
        ValueError: a mark is missing; the trace is not of `scripts/one_fresh.py`.
    """
    counts: Counts = {part: {role: Counter() for role in ROLES} for part in PARTS}
    roles: dict[int, str] = {}
    part = ""
    for event in events:
        if not roles:
            roles[event.pid] = "caller"
        if f'"{MARK_BEGIN}"' in event.rest:
            part = PARTS[0]
        elif f'"{MARK_END}"' in event.rest:
            if part != PARTS[1]:
                raise ValueError("the function's own mark is not in the trace")
            return counts
        elif f'"{MARK_INSIDE}"' in event.rest and part:
            part = PARTS[1]
        elif part:
            role = roles.get(event.pid, "spawner")  # what was there before and is not the caller
            if event.begins:
                counts[part][role][event.name] += 1
            if event.name in _FORKS and (child := _CHILD.search(event.rest)):
                roles[int(child[2] or child[1])] = _below(role)
    raise ValueError("the marks are not in the trace")


def _below(role: str) -> str:
    return {"spawner": "init", "init": "worker"}.get(role, "others")


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
