"""The file tree as an isolate sees it, answered from its plan: where a path leads, and what may be done there.

Nothing is run and nothing is mounted. Below a mount the host's own files are looked at, as they are at this moment; what
the isolate makes for itself (its tmpfs, /dev, /proc) is known from the plan.
"""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

from isolate_fn._enforce.template import DEVICE_LINKS, DEVICES
from isolate_fn._enforce.trees import needs_own_ids
from isolate_fn._plan import sharing
from isolate_fn._plan.mounts import is_within
from isolate_fn._plan.orders import GRANTS, MountOrder, Plan
from isolate_fn._sys.features import Features

MOST_LINKS = 40
READ, WRITE, EXECUTE = 4, 2, 1


class Spot(NamedTuple):
    """Where a path leads.

    Attributes:
        path: real path inside, every symbolic link followed.
        kind: ``"directory"``, ``"file"``, ``"device"``, ``"socket"``, ``"fifo"``, ``"missing"``, ``"loop"`` (of symbolic
            links) or ``"closed"`` (a directory on the way may not be entered).
        order: the mount that it lies in; None for what the isolate has of its own.
        source: its path on the host, where it has one.
        home: of what is the isolate's own: ``"root"``, ``"scratch"``, ``"proc"``, ``"device"``; without mounts,
            ``"private"``, and ``"host"`` for the host's tree; else empty.
        mode: permissions that the isolate's user has of it: READ, WRITE, EXECUTE; of a missing one, 0.
    """

    path: str
    kind: str
    order: MountOrder | None = None
    source: str = ""
    home: str = ""
    mode: int = 0

    @property
    def writable(self) -> bool:
        """Whether its mount may be written; permissions are another matter."""
        if self.home == "host":
            return self.kind == "device" or not self._of_file_system(os.ST_RDONLY)
        if self.order is None:
            return self.home in ("scratch", "private", "device")
        if self.order.kind == "tmpfs":
            return True
        if self.order.kind != "bind" or self.order.read_only:
            return self.order.kind == "device"
        return not self._of_file_system(os.ST_RDONLY)

    def _of_file_system(self, flag: int) -> bool:
        try:
            return bool(os.statvfs(os.path.dirname(self.source) if self.kind == "missing" else self.source).f_flag & flag)
        except OSError:
            return False

    @property
    def noexec(self) -> bool:
        """Whether its mount refuses execve(2)."""
        if self.home == "host":
            return self._of_file_system(os.ST_NOEXEC)
        return self.order.noexec if self.order is not None else self.home != "root"


class Tree:
    """A file tree that paths are followed in; what lies where is known to its subclasses."""

    def find(self, path: str, *, follow: bool = True) -> Spot:
        """Return where a path leads.

        Args:
            path: inside; a relative one starts at the working directory.
            follow: follow a symbolic link at its end as well.
        """
        real, pending, seen = "", self._absolute(path).split("/")[::-1], 0
        while pending:
            part = pending.pop()
            if part in ("", "."):
                continue
            here = self._at(real or "/")
            if here.kind != "directory" or not here.mode & EXECUTE:
                kind = "closed" if here.kind == "directory" else here.kind if here.kind == "closed" else "missing"
                return Spot(f"{real}/{part}", kind, here.order, here.source, here.home)
            if part == "..":
                real = real.rpartition("/")[0]
                continue
            text = self._link(f"{real}/{part}")
            if text is None or (not pending and not follow):
                real = f"{real}/{part}"
                continue
            seen += 1
            if seen > MOST_LINKS:
                return Spot(f"{real}/{part}", "loop")
            real = "" if text.startswith("/") else real
            pending.extend(text.split("/")[::-1])
        spot = self._at(real or "/")
        if path.endswith("/") and spot.kind not in ("directory", "missing", "closed"):
            return Spot(f"{real}/", "missing", spot.order, spot.source, spot.home)  # only a directory is there by that name
        return spot

    def _absolute(self, path: str) -> str:
        """Return a path from the root."""
        raise NotImplementedError

    def _link(self, path: str) -> str | None:
        """Return what a symbolic link says, None where there is none."""
        raise NotImplementedError

    def _at(self, path: str) -> Spot:
        """Return what lies at a path, no link of which is left to follow."""
        raise NotImplementedError


class Inside(Tree):
    """The tree of one plan.

    Args:
        plan: of the isolates.
        features: of this machine: a privileged caller's isolates run under an id of their own.
    """

    def __init__(self, plan: Plan, features: Features) -> None:
        self.plan, self._own_ids = plan, features.privileged
        self.links = {order.destination: order.source for order in plan.mounts if order.kind == "symlink"}
        self.links |= {f"/dev/{name}": target for name, target in DEVICE_LINKS}
        self._by_place = {
            order.destination: order for order in plan.mounts if order.kind not in ("symlink", "directory")
        }
        self.scratch = tuple(dict.fromkeys(sharing.own_places(plan.cwd)))
        self.names = {*(order.destination for order in plan.mounts), *self.scratch, "/proc", "/dev", GRANTS, *self.links}
        self.names |= {f"/dev/{name}" for name in DEVICES}

    def _absolute(self, path: str) -> str:
        return path if path.startswith("/") else f"{self.plan.cwd}/{path}"

    def _covering(self, path: str) -> MountOrder | None:
        """Return the mount that a path lies in, or that lies there; None for what is the isolate's own."""
        place = path
        while place and place != "/":
            # A mount at the very place of a directory of the isolate's own covers it, being made later.
            if place in self._by_place or place in self.scratch:
                return self._by_place.get(place)
            place = place.rpartition("/")[0]
        return None

    def _link(self, path: str) -> str | None:
        if path in self.links:
            return self.links[path]
        if path in ("/proc/self/cwd", "/proc/self/root", "/proc/self/exe"):
            return {"cwd": self.plan.cwd, "root": "/", "exe": self.plan.interpreter}[path.rpartition("/")[2]]
        if path == "/proc/self/fd/0":
            return "/dev/null"  # unless somebody gives a program another stdin
        order = self._covering(path)
        if order is None or order.kind != "bind" or path == order.destination:
            return None
        try:
            return os.readlink(_source(order, path))
        except OSError:
            return None

    def _at(self, path: str) -> Spot:
        """Return what lies at a path without symbolic links."""
        order = self._covering(path)
        if order is None:
            return self._own(path)
        if order.kind == "bind":
            return self._of_host(path, order, _source(order, path))
        if path != order.destination:
            return Spot(path, "missing", order)
        if order.kind == "tmpfs":
            return Spot(path, "directory", order, mode=READ | WRITE | EXECUTE)
        if order.kind == "device":
            return self._of_host(path, order, order.source)
        # A copy is made for everybody to read.
        return Spot(path, "file", order, order.source, mode=READ)

    def _own(self, path: str) -> Spot:
        if path in self.scratch:
            return Spot(path, "directory", home="scratch", mode=READ | WRITE | EXECUTE)
        if any(is_within(path, place) for place in self.scratch):
            if not self._leads_on(path):
                return Spot(path, "missing", home="scratch")
            # Made for a mount below it by whoever builds the tree: the caller's own id, or root.
            return Spot(path, "directory", home="scratch", mode=READ | EXECUTE | (0 if self._own_ids else WRITE))
        if path == "/proc" or path.startswith("/proc/"):
            return _proc(path, 0 if self._own_ids else 6)
        if path.startswith("/dev/") and path.removeprefix("/dev/") in DEVICES:
            return Spot(path, "device", source=path, home="device", mode=READ | WRITE)
        if path == "/" or path in self.names or self._leads_on(path):
            return Spot(path, "directory", home="root", mode=READ | EXECUTE)
        return Spot(path, "missing", home="root")

    def _leads_on(self, path: str) -> bool:
        return any(name.startswith(f"{path}/") for name in self.names)

    def _of_host(self, path: str, order: MountOrder, source: str) -> Spot:
        try:
            state = os.lstat(source)
        except PermissionError:
            return Spot(path, "closed", order, source)
        except OSError:
            return Spot(path, "missing", order, source)
        return Spot(path, kind_of(state.st_mode), order, source, mode=self._permissions(state, order))

    def _permissions(self, state: os.stat_result, order: MountOrder) -> int:
        """Return which of rwx the isolate's user has; it has no capability, whoever the caller is."""
        if not self._own_ids:  # the caller's own id
            own, groups = state.st_uid == os.geteuid(), {os.getegid(), *os.getgroups()}
        elif needs_own_ids(order):  # what is the caller's is the isolate's there
            own, groups = state.st_uid == os.geteuid(), {os.getegid()}
        else:
            own, groups = False, set()
        shift = 6 if own else 3 if state.st_gid in groups else 0
        return stat.S_IMODE(state.st_mode) >> shift & 7


def kind_of(mode: int) -> str:
    """Return what a file is, by its mode: a value of `Spot.kind`."""
    kinds = (
        (stat.S_ISDIR, "directory"),
        (stat.S_ISREG, "file"),
        (stat.S_ISSOCK, "socket"),
        (stat.S_ISFIFO, "fifo"),
    )
    return next((name for test, name in kinds if test(mode)), "device")


def _source(order: MountOrder, path: str) -> str:
    return order.source + path.removeprefix(order.destination)


#: Files of /proc/PID that only who may trace the process may open, whatever their permission bits say.
_TRACED = frozenset(
    [
        "auxv",
        "environ",
        "maps",
        "mem",
        "numa_maps",
        "pagemap",
        "smaps",
        "smaps_rollup",
        "stack",
        "syscall",
        "personality",
    ]
)


def _proc(path: str, shift: int) -> Spot:
    """Return what is known of the isolate's own /proc, which shows its processes and nothing else.

    The files are those of this process, on the same kernel. No worker is dumpable, so they belong to root of the user
    namespace that its interpreter was started in: to root outside (``shift`` 0: the bits of others count), or to the caller
    that the namespace is around (6: the owner's).
    """
    parts = path.split("/")[2:]
    if parts and parts[0] not in ("self", "thread-self", "1", "2"):  # init and the worker
        return Spot(path, "missing", home="proc")
    if len(parts) < 2:
        return Spot(path, "directory", home="proc", mode=READ | EXECUTE)
    try:
        state = os.lstat("/".join(("/proc/self", *parts[1:])))
    except OSError:
        return Spot(path, "missing", home="proc")
    kind = "directory" if stat.S_ISDIR(state.st_mode) else "file"
    if parts[1] == "fd" and parts[0] != "1":  # a process may always look at its own
        return Spot(path, kind, home="proc", mode=READ | (EXECUTE if kind == "directory" else WRITE))
    closed = parts[0] == "1" and parts[1] in _TRACED
    return Spot(path, kind, home="proc", mode=0 if closed else stat.S_IMODE(state.st_mode) >> shift & 7)
