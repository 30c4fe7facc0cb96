"""Who answers a system call: the kernel, or a seccomp filter in front of it.

Each call is made with arguments that the kernel refuses with an errno of its own before it looks at privileges and
before anything happens. A filter answers earlier: EPERM or ENOSYS instead tells that it is there, whatever installed it.
"""

from __future__ import annotations

import errno

from isolate_fn._sys import calls
from isolate_fn._sys import constants as k
from isolate_fn._sys.libc import Int, Long, Text, ULong, bind, bind_syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_CLONE_VFORK = 0x4000  # nothing that unshare(2) could leave: EINVAL, after the filter and before all else
_NO_FLAGS = 0x7FFFFFFF  # more flags than any call has
_PIDFD_OPEN = 434
_OF_FILTERS = (errno.EPERM, errno.EACCES, errno.ENOSYS)


def _call(name: str, number: int, *arguments: tuple[Any, Any]) -> Callable[[], object]:
    """Return a raw system call, ready to be made."""

    def make() -> object:
        kinds, values = zip(*arguments, strict=True)
        return bind_syscall(name, number, *kinds)(*values)

    return make


def _function(name: str, *arguments: tuple[Any, Any]) -> Callable[[], object]:
    """Return a function of libc, ready to be called."""

    def make() -> object:
        kinds, values = zip(*arguments, strict=True)
        return bind(name, *kinds)(*values)

    return make


def _unshare() -> None:
    """Ask first with no kind of namespace, then with the one whose flag filters look for.

    Debian's kernels refuse that flag before they look at the others, where their own switch is off: then it tells nothing.
    """
    unshare = bind("unshare", Int)
    try:
        unshare(_CLONE_VFORK)  # EINVAL
    except OSError as failure:
        if failure.errno in _OF_FILTERS or _switched_off():
            raise
    unshare(k.CLONE_NEWUSER | _CLONE_VFORK)  # EINVAL


def _switched_off() -> bool:
    try:
        with open("/proc/sys/kernel/unprivileged_userns_clone", encoding="ascii") as switch:
            return switch.read().strip() == "0"
    except OSError:
        return False


_NOTHING = (Text, None)
_NO_FILE = (Long, -1)

#: Call -> what is tried. Those of the second table ask for privileges first: tried where there are some.
WITHOUT_PRIVILEGE: dict[str, Callable[[], object]] = {
    "unshare": _unshare,
    "mount": _function("mount", _NOTHING, _NOTHING, _NOTHING, (ULong, 0), _NOTHING),  # EFAULT
    "umount2": _function("umount2", _NOTHING, (Int, _NO_FLAGS)),  # EINVAL
    "setns": _function("setns", (Int, -1), (Int, 0)),  # EBADF
    "open_tree": _call("open_tree", 428, _NO_FILE, _NOTHING, (ULong, _NO_FLAGS)),  # EINVAL
    "fsconfig": _call("fsconfig", 431, _NO_FILE, (ULong, _NO_FLAGS), _NOTHING, _NOTHING, (Long, 0)),  # EINVAL
    "mount_setattr": _call(
        "mount_setattr", 442, _NO_FILE, _NOTHING, (ULong, _NO_FLAGS), _NOTHING, (ULong, 0)
    ),  # EINVAL
    "openat2": _call("openat2", 437, _NO_FILE, _NOTHING, _NOTHING, (ULong, 0)),  # EINVAL
    "close_range": _call("close_range", 436, (ULong, 2), (ULong, 1), (ULong, 0)),  # EINVAL
    "pidfd_open": _call("pidfd_open", _PIDFD_OPEN, (Long, -1), (ULong, 0)),  # EINVAL
    "keyctl": lambda: calls._keyctl(_NO_FLAGS, 0, 0, 0),  # EOPNOTSUPP
    "capset": _function("capset", _NOTHING, _NOTHING),  # EFAULT
}
WITH_PRIVILEGE: dict[str, Callable[[], object]] = {
    "pivot_root": lambda: calls._pivot_root(None, None),  # EFAULT
    "move_mount": _call("move_mount", 429, _NO_FILE, _NOTHING, _NO_FILE, _NOTHING, (ULong, _NO_FLAGS)),  # EINVAL
    "fsopen": _call("fsopen", 430, _NOTHING, (ULong, _NO_FLAGS)),  # EINVAL
    "fsmount": _call("fsmount", 432, _NO_FILE, (ULong, _NO_FLAGS), (ULong, 0)),  # EINVAL
    "sethostname": _function("sethostname", _NOTHING, (ULong, _NO_FLAGS)),  # EINVAL
}


def answer(call: str) -> int:
    """Return the errno that a call is answered here when it is made with impossible arguments.

    Args:
        call: a name of the tables above.
    """
    try:
        (WITHOUT_PRIVILEGE | WITH_PRIVILEGE)[call]()
    except OSError as failure:
        return failure.errno or 0
    return 0


def by_a_filter(call: str) -> bool:
    """Tell whether a filter refuses a call; False for those that this cannot tell."""
    return call in WITHOUT_PRIVILEGE and answer(call) in _OF_FILTERS
