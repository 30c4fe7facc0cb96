"""The system calls of a spawner's first stage: apart from the others, so that its interpreter imports nothing else."""

from __future__ import annotations

import sys

from isolate_fn._sys.libc import Int, Text, ULong, bind, bind_syscall

_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()  # what os.fsencode() goes by
_CLOSE_RANGE = 436  # on every architecture

_unshare = bind("unshare", Int)
_mount = bind("mount", Text, Text, Text, ULong, Text)
_close_range = bind_syscall("close_range", _CLOSE_RANGE, ULong, ULong, ULong)


def unshare(flags: int) -> None:
    """Leave the given namespaces. See unshare(2)."""
    _unshare(flags)


def mount(source: str, target: str, fstype: str = "", flags: int = 0, data: str = "") -> None:
    """Mount, bind or remount. See mount(2)."""
    paths = (path.encode(_ENCODING, _ERRORS) for path in (source, target))
    _mount(*paths, fstype.encode(), flags, data.encode() or None)


def close_from(first: int) -> None:
    """Close every descriptor from ``first`` on. See close_range(2), Linux 5.9."""
    _close_range(first, 0xFFFFFFFF, 0)
