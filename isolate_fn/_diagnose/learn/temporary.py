"""Directories that last as long as a block of `learn`, and the removal of those whose process was killed.

They may hold copies of the user's data. A lock on each says that its process lives; the kernel lets go of it however that
ends. So the next block of the same user removes what nobody holds, and nothing else: the name, the owner and the lock of the
very directory that was opened decide, and no link is followed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import tempfile

from isolate_fn._enforce import scratch

_NAME = "isolate-fn-{}-{}-{}"  # kind, user id, 16 hexadecimal digits: nobody names a directory of their own like that
_KINDS = ("learn", "copies")
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Temporary:
    """A new, empty directory that only its user may enter.

    Args:
        kind: what it is for.

    Attributes:
        path: where it is.
    """

    def __init__(self, kind: str) -> None:
        assert kind in _KINDS
        while True:
            self.path = os.path.join(tempfile.gettempdir(), _NAME.format(kind, os.geteuid(), os.urandom(8).hex()))
            os.mkdir(self.path, 0o700)
            self._held = os.open(self.path, _FLAGS)
            if _lock(self._held) and _is_at(self._held, self.path):
                return
            os.close(self._held)  # somebody has removed it before it was locked

    def close(self) -> None:
        """Remove it and all that is in it, also what hostile code has written.

        Raises:
            OSError: something in it cannot be removed.
        """
        try:
            scratch.remove(self.path)
        finally:
            os.close(self._held)


def sweep() -> None:
    """Remove directories of this user whose processes are gone."""
    pattern = re.compile(_NAME.format(f"({'|'.join(_KINDS)})", os.geteuid(), "[0-9a-f]{16}"))
    above = tempfile.gettempdir()
    with contextlib.suppress(OSError), os.scandir(above) as entries:
        for entry in entries:
            if pattern.fullmatch(entry.name):
                with contextlib.suppress(OSError):  # somebody's, or being removed by somebody else
                    _sweep(entry.path)


def _sweep(path: str) -> None:
    found = os.open(path, _FLAGS)
    try:
        if os.fstat(found).st_uid == os.geteuid() and _lock(found):
            scratch.empty(found)
            os.rmdir(path)
    finally:
        os.close(found)


def _lock(directory: int) -> bool:
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(directory: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(directory), os.lstat(path))
    except FileNotFoundError:
        return False
