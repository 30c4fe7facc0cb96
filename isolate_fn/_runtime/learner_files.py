"""Files that a learned program opens or looks at: found in its own file tree, and where they must be, opened for it.

A file outside of the plain places can be opened by nobody inside, whatever is in memory by then: Landlock denies it. So it
is opened here, by a handle that was looked at, and through the isolate's own tree, whose mounts are read-only: the
descriptor that the program gets can do no more than one of its own.
"""

from __future__ import annotations

import errno
import os
import stat

from isolate_fn._plan.orders import Learning
from isolate_fn._plan.sensitive import LOOKED_AT, by_content, by_name, may_hold_keys
from isolate_fn._runtime.learner_record import Record
from isolate_fn._sys import calls
from isolate_fn._sys import constants as k
from isolate_fn._sys import notification_calls as kernel

_TMPFILE = 0o20000000  # O_TMPFILE without O_DIRECTORY
_KEPT = os.O_NONBLOCK | os.O_DIRECTORY
_PEEK = 4096
_WITHIN = k.RESOLVE_IN_ROOT | k.RESOLVE_NO_MAGICLINKS


class Refused(Exception):
    """The call is to fail."""

    def __init__(self, errno: int) -> None:
        super().__init__(errno)
        self.errno = errno


class Given(Exception):
    """The call is to return a descriptor."""

    def __init__(self, descriptor: int, *, cloexec: bool) -> None:
        super().__init__(descriptor)
        self.descriptor, self.cloexec = descriptor, cloexec


class Files:
    """The file tree of one isolate, seen from outside.

    Args:
        orders: what it was told.
        record: where to note what is seen.
        ids: user and group that it runs under.
    """

    def __init__(self, orders: Learning, record: Record, ids: tuple[int, int]) -> None:
        self.orders, self.record, self.ids = orders, record, ids
        self.root = -1

    def close(self) -> None:
        """Let go of the tree."""
        if self.root >= 0:
            os.close(self.root)
            self.root = -1

    def enter(self, root: str) -> None:
        """Hold the tree by its root, which nobody inside can change."""
        self.root = os.open(root, k.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def noted(self, kind: str, path: str, role: str) -> None:
        """Note a path that a call names; the kernel carries it out."""
        path = self._named(path)
        if kind == "change":
            self._changed(path)
            return
        state, real = self._state(path)
        if state == "missing":
            self.record.path(path, "missing")
        elif kind == "run":
            self._run(path, real, role)
        elif kind == "write":
            self._written(path, real, state)
        else:
            self.record.path(path, "looked", real=real, kind=state)

    def opened(self, asked: kernel.Notification, path: str, flags: int, mode: int) -> None:
        """Decide on an open.

        Raises:
            Refused: it fails.
            Given: the program gets this descriptor.
        """
        path = self._named(path)
        state, real = self._state(path)
        if flags & k.O_PATH:
            self.record.path(path, "missing" if state == "missing" else "looked", real=real, kind=state)
            return
        if flags & _TMPFILE == _TMPFILE:
            self._changed(f"{path}/*")
            return
        writes = flags & os.O_ACCMODE != os.O_RDONLY or flags & os.O_TRUNC
        if state == "missing":
            if flags & os.O_CREAT:
                self._changed(path)
            else:
                self.record.path(path, "missing")
            return  # the kernel says how it is missing
        if writes:
            self._written(path, real, state)
            return
        if self._plain(real):
            self.record.path(path, "listed" if state == "directory" else "read", real=real, kind=state)
            return
        self._give(path, real, flags)

    def _named(self, path: str) -> str:
        """Return a path without ``.``, doubled slashes and, by asking the kernel, without ``..``."""
        parts = path.split("/")
        if ".." in parts:
            above, _, last = path.rstrip("/").rpartition("/")
            if last in ("..", "."):
                above, last = path, ""
            handle = calls.openat2(self.root, above or "/", k.O_PATH, _WITHIN)
            try:
                path = f"{os.readlink(f'/proc/self/fd/{handle}').rstrip('/')}/{last}"
            finally:
                os.close(handle)
            parts = path.split("/")
        return "/" + "/".join([each for each in parts if each not in ("", ".")])

    def _state(self, path: str) -> tuple[str, str]:
        """Return what is there, and its path without links."""
        if path == "/proc" or path.startswith("/proc/"):
            return "file", path  # its links lead elsewhere for each process
        try:
            handle = calls.openat2(self.root, path, k.O_PATH, _WITHIN)
        except OSError:
            return "missing", ""
        try:
            return _kind(os.fstat(handle).st_mode), os.readlink(f"/proc/self/fd/{handle}")
        finally:
            os.close(handle)

    def _plain(self, real: str) -> bool:
        return any(real == each or real.startswith(f"{each}/") for each in self.orders.plain)

    def _give(self, path: str, real: str, flags: int) -> None:
        handle = calls.openat2(self.root, path, k.O_PATH, _WITHIN)
        try:
            status = os.fstat(handle)
            real = os.readlink(f"/proc/self/fd/{handle}")
            real = real if status.st_nlink else real.removesuffix(" (deleted)")  # which hides what its name tells
            kind = _kind(status.st_mode)
            if kind not in ("file", "directory") or not self._readable(status) or self._plain(real):
                return  # the kernel says no, or that it may be opened
            self._refuse_secrets(path, real, by_name(path) or by_name(real))
            descriptor = os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | flags & _KEPT)
        finally:
            os.close(handle)
        try:
            if kind == "file":
                size = LOOKED_AT if may_hold_keys(real) or may_hold_keys(path) else _PEEK
                self._refuse_secrets(path, real, by_content(real, os.pread(descriptor, size, 0)))
        except BaseException:
            os.close(descriptor)
            raise
        self.record.path(path, "listed" if kind == "directory" else "read", real=real, kind=kind)
        raise Given(descriptor, cloexec=bool(flags & os.O_CLOEXEC))

    def _refuse_secrets(self, path: str, real: str, what: str) -> None:
        if not what:
            return
        allowed = any(real == each or real.startswith(f"{each}/") for each in self.orders.allowed)
        self.record.path(path, "secret read" if allowed else "secret", real=real, kind="file", detail=what)
        if not allowed:
            raise Refused(errno.EACCES)

    def _readable(self, status: os.stat_result) -> bool:
        """Tell whether the isolate may read it by its permission bits; a spawner of root's may read everything."""
        if os.geteuid() != 0:
            return True  # the kernel decides when it is opened
        mode = status.st_mode
        user, group = self.ids
        return bool(mode & 0o004 or (status.st_uid == user and mode & 0o400) or (status.st_gid == group and mode & 0o040))

    def _changed(self, path: str) -> None:
        """Note that a name is made, taken away or replaced."""
        above = path.rpartition("/")[0] or "/"
        state, real = self._state(above)
        if state != "directory":
            self.record.path(path, "missing")
            return
        self.record.path(path, "changed", real=f"{real.rstrip('/')}/{path.rpartition('/')[2]}", kind="file")

    def _written(self, path: str, real: str, state: str) -> None:
        what = by_name(path) or by_name(real)
        if what and not any(real == each or real.startswith(f"{each}/") for each in self.orders.allowed):
            self.record.path(path, "secret", real=real, kind=state, detail=what)
        else:
            self.record.path(path, "written", real=real, kind=state)

    def _run(self, path: str, real: str, role: str) -> None:
        self.record.path(path, "run", real=real, kind="file", detail=role)
        if not self._plain(real):
            self.record.path(path, "stopped", real=real, kind="file", detail=role)  # Landlock does it
        script = self._first_line(real)
        if script.startswith("/") and len(script) < 1024:
            state, target = self._state(script)
            if state == "file":
                self.record.path(script, "run", real=target, kind="file", detail=role)

    def _first_line(self, real: str) -> str:
        """Return the interpreter of a script, which the kernel opens by itself; nothing for other programs."""
        handle = calls.openat2(self.root, real, k.O_PATH, _WITHIN)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return ""
            descriptor = os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(handle)
        try:
            line = os.pread(descriptor, 256, 0)
        finally:
            os.close(descriptor)
        words = line.partition(b"\n")[0][2:].split()
        return os.fsdecode(words[0]) if line.startswith(b"#!") and words else ""


def _kind(mode: int) -> str:
    return "directory" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "other"
