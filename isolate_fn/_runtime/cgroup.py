"""Memory by cgroup v2, where a group is delegated to this process: exact, counts everything, kills the tree at once.

A group is ours to make where the directory is writable and hands the memory controller down: below our own group, or
beside it (what systemd gives to user sessions and to units with ``Delegate=``). Nobody else's processes are moved.
See cgroups(7) and the kernel's Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time

VARIABLE = "ISOLATE_FN_CGROUP"
_REMOVE_SECONDS = 5.0

_numbers = itertools.count(1)


class Group:
    """One isolate's group.

    Args:
        directory: of the new group.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def _write(self, name: str, value: str) -> None:
        with open(os.path.join(self.directory, name), "w", encoding="ascii") as file:
            file.write(value)

    def _field(self, name: str, field: str) -> int:
        with contextlib.suppress(OSError, ValueError), open(os.path.join(self.directory, name), encoding="ascii") as file:
            for line in file:
                key, _, value = line.partition(" ")
                if not field or key == field:
                    return int(value if field else line)
        return 0

    def limit(self, memory: int) -> None:
        """Set the limit (bytes). Swap counts as none; when memory runs out the whole group is killed."""
        self._write("memory.max", str(memory))
        with contextlib.suppress(FileNotFoundError):  # kernels without swap accounting
            self._write("memory.swap.max", "0")
        self._write("memory.oom.group", "1")

    def door(self) -> int:
        """Return a descriptor by which a process joins; it is checked against who opened it."""
        return os.open(os.path.join(self.directory, "cgroup.procs"), os.O_WRONLY | os.O_CLOEXEC)

    def out_of_memory(self) -> bool:
        """True when the kernel killed something here for want of memory."""
        return self._field("memory.events", "oom_kill") > 0

    def peak(self) -> int:
        """Return the most memory the group ever held (bytes), 0 where the kernel does not tell (before Linux 5.19)."""
        return self._field("memory.peak", "")

    def remove(self) -> None:
        """Kill what is left and remove the group; it goes once the last process is gone."""
        with contextlib.suppress(OSError):  # cgroup.kill is Linux 5.14; the pid namespace's end kills as well
            self._write("cgroup.kill", "1")
        deadline = time.monotonic() + _REMOVE_SECONDS
        while True:
            try:
                os.rmdir(self.directory)
                return
            except FileNotFoundError:
                return
            except OSError:
                if time.monotonic() > deadline:
                    return
                time.sleep(0.002)  # the kernel has no event for the end of a group's last process


def delegated() -> str:
    """Return a directory in which groups with a memory limit can be made, empty where there is none."""
    named = os.environ.get(VARIABLE)
    if named:
        return named if _usable(named) else ""
    own = _own_group()
    if not own:
        return ""
    return next((path for path in (own, os.path.dirname(own)) if _usable(path)), "")


def _usable(directory: str) -> bool:
    try:
        with open(os.path.join(directory, "cgroup.subtree_control"), encoding="ascii") as file:
            handed_down = file.read().split()
    except OSError:
        return False
    return (
        "memory" in handed_down
        and os.access(directory, os.W_OK)
        and os.access(os.path.join(directory, "cgroup.procs"), os.W_OK)
    )


def _own_group() -> str:
    """Return the directory of our own group in the unified hierarchy."""
    root = ""
    with contextlib.suppress(OSError):
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
            for line in table:
                fields = line.split(" ")
                if fields[fields.index("-") + 1] == "cgroup2" and fields[3] == "/":
                    root = fields[4]
        with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as groups:
            for line in groups:
                if line.startswith("0::") and root:
                    return os.path.join(root, line[3:].strip().lstrip("/")).rstrip("/")
    return ""


def make(directory: str, memory: int) -> Group:
    """Make a group with a memory limit.

    Args:
        directory: as `delegated` returns it.
        memory: bytes.

    Raises:
        OSError: it cannot be made; the limit must then be kept another way, or the call refused.
    """
    path = os.path.join(directory, f"isolate_fn-{os.getpid()}-{next(_numbers)}")
    os.mkdir(path)
    group = Group(path)
    try:
        group.limit(memory)
    except BaseException:
        group.remove()
        raise
    return group
