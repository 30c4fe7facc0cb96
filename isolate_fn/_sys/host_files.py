"""What the files of /proc, /sys and /etc say about this machine, read below a directory that stands for the root."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple


class Mount(NamedTuple):
    """One line of /proc/self/mountinfo, see proc_pid_mountinfo(5).

    Attributes:
        root: directory of the file system that is mounted.
        point: where.
        options: of the mount: ``"ro"``, ``"noexec"``...
        kind: type of the file system.
        source: what it was made from, as the kernel tells it.
        of_all: options of the file system, whose mounts share them.
    """

    root: str
    point: str
    options: tuple[str, ...]
    kind: str
    source: str
    of_all: tuple[str, ...]


class HostFiles:
    """The machine as its files describe it; what is missing or may not be read is an empty text.

    Args:
        root: directory that stands for ``/``; another one only in tests.
        environ: environment variables of the process.
        machine: its architecture, as ``os.uname().machine`` has it.
    """

    def __init__(self, root: str = "/", environ: Mapping[str, str] | None = None, machine: str = "") -> None:
        self.root = root
        self.machine = machine or os.uname().machine
        self.environ = os.environ if environ is None else environ

    def real(self, path: str) -> str:
        """Return where a path of the machine lies."""
        return os.path.join(self.root, path.lstrip("/"))

    def exists(self, path: str) -> bool:
        """Tell whether there is something."""
        return os.path.exists(self.real(path))

    def read(self, path: str) -> str:
        """Return a file's text without the white space around it."""
        try:
            with open(self.real(path), encoding="utf-8", errors="replace") as file:
                return file.read().strip().strip("\0")
        except OSError:
            return ""

    def sysctl(self, name: str) -> str:
        """Return the value of a sysctl, such as ``"user.max_user_namespaces"``."""
        return self.read("/proc/sys/" + name.replace(".", "/"))

    def status(self, field: str) -> str:
        """Return a field of /proc/self/status, such as ``"NoNewPrivs"``."""
        for line in self.read("/proc/self/status").splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return value.strip()
        return ""

    def mounts(self) -> Iterator[Mount]:
        """Yield what is mounted, in the order of mounting."""
        for line in self.read("/proc/self/mountinfo").splitlines():
            fields = line.split(" ")
            if "-" in fields[6:]:
                end = fields.index("-", 6)
                kind, source, of_all = [*fields[end + 1 : end + 4], "", "", ""][:3]
                point = fields[4].replace("\\040", " ")
                yield Mount(fields[3], point, tuple(fields[5].split(",")), kind, source, tuple(of_all.split(",")))

    def mount_of(self, path: str) -> Mount | None:
        """Return the mount that a path lies on, the last one where several cover each other."""
        best: Mount | None = None
        for mount in self.mounts():
            point = mount.point.rstrip("/")
            inside = path == mount.point or path.startswith(point + "/")
            if inside and (best is None or len(point) >= len(best.point.rstrip("/"))):
                best = mount
        return best
