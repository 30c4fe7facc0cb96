"""The file tree as an isolate without mounts sees it: the host's, where names can be asked for and content is denied.

Landlock denies the content, not this: here is what the host's permissions let the isolate's user find. Of its private
directory, whose name is chosen at each start, only what is made with it is known.
"""

from __future__ import annotations

import os
import stat

from isolate_fn._diagnose.inside import EXECUTE, READ, WRITE, Spot, Tree, kind_of
from isolate_fn._enforce.scratch import PREFIX, TEMPORARY
from isolate_fn._plan.mounts import is_within
from isolate_fn._plan.orders import MountOrder, Plan

_ALL = READ | WRITE | EXECUTE


class HostInside(Tree):
    """The host's tree, and the private directory of one plan's isolates.

    Args:
        plan: of the isolates.

    Attributes:
        private: stands for the path of the private directory.
        scratch: names of the writable places in it, for people.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._own_id = not plan.processes  # else processes are watched, because the id is the caller's
        self.private = f"{plan.scratch.rstrip('/')}/{PREFIX}\N{HORIZONTAL ELLIPSIS}"
        self._places = (self.private, self.private + plan.cwd, self.private + TEMPORARY)
        self.scratch = ("the working directory", "tempfile.gettempdir()")

    def _absolute(self, path: str) -> str:
        return path if path.startswith("/") else f"{self.private}{self.plan.cwd}/{path}"

    def _link(self, path: str) -> str | None:
        """Return what a symbolic link says; those of /proc that say what this process is are answered for the isolate."""
        if self._is_private(path) or path in ("/proc/self", "/proc/thread-self"):
            return None
        own = {"cwd": self.private + self.plan.cwd, "root": "/", "exe": self.plan.interpreter}
        above, _, name = path.rpartition("/")
        if above in ("/proc/self", "/proc/thread-self") and name in own:
            return own[name]
        if is_within(path, "/proc") and path.split("/")[2].isdigit():
            return None  # for who may trace that process, and nobody else
        try:
            return os.readlink(path)
        except OSError:
            return None

    def _is_private(self, path: str) -> bool:
        return path == self.private or is_within(path, self.private)

    def _at(self, path: str) -> Spot:
        if self._is_private(path):
            there = path in self._places
            return Spot(path, "directory" if there else "missing", home="private", mode=_ALL if there else 0)
        order = self._order(path)
        try:
            state = os.lstat(path)
        except PermissionError:
            return Spot(path, "closed", order, path, "host")
        except OSError:
            return Spot(path, "missing", order, path, "host")
        kind = kind_of(state.st_mode)
        if path in ("/proc/self", "/proc/thread-self"):
            return Spot(path, "directory", order, path, "host", READ | EXECUTE)
        if stat.S_ISLNK(state.st_mode) and is_within(path, "/proc"):
            return Spot(path, "closed", order, path, "host")
        return Spot(path, kind, order, path, "host", self._permissions(state))

    def _order(self, path: str) -> MountOrder | None:
        covering = [each for each in self.plan.mounts if path == each.source or is_within(path, each.source)]
        return max(covering, key=lambda each: len(each.source), default=None)

    def _permissions(self, state: os.stat_result) -> int:
        """Return which of rwx the isolate's user has; it has no capability, and under an id of its own no group."""
        own = not self._own_id and state.st_uid == os.geteuid()
        groups = () if self._own_id else (os.getegid(), *os.getgroups())
        shift = 6 if own else 3 if state.st_gid in groups else 0
        return stat.S_IMODE(state.st_mode) >> shift & 7
