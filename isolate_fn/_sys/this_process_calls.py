"""System calls by which a running program hardens itself: one typed wrapper each, every failure an OSError that names it.

They are apart from `calls.py` because an isolate never makes them: there, walls are put up by a process that was started
for it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from isolate_fn._sys import constants as k
from isolate_fn._sys import numbers
from isolate_fn._sys.libc import bind
from isolate_fn._sys.seccomp_constants import FilterFlag, Prctl, SeccompOperation

# From 424 on every architecture shares one numbering.
_OPENAT2, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT = 437, 445, 446

# <linux/sched.h>: parts of the execution context that threads share
CLONE_FS = 0x00000200
CLONE_FILES = 0x00000400
CLONE_SYSVSEM = 0x00040000

# <linux/landlock.h>, ABI 4, Linux 6.7
_LANDLOCK_RULE_NET_PORT = 2

TSYNC = int(FilterFlag.TSYNC)
#: Without it a failed TSYNC returns a thread's id, which cannot be told from a listener's descriptor. Linux 5.7.
TSYNC_ESRCH = int(FilterFlag.TSYNC_ESRCH)
NEW_LISTENER = int(FilterFlag.NEW_LISTENER)

_syscall = bind("syscall", *([ctypes.c_long] * 5), restype=ctypes.c_long)
_prctl = bind("prctl", ctypes.c_int, *([ctypes.c_ulong] * 4))
_unshare = bind("unshare", ctypes.c_int)


def _call(name: str, number: int, *arguments: int) -> int:
    """Make a raw system call of at most four arguments.

    Raises:
        OSError: the kernel refused; ``filename`` is ``name``.
    """
    try:
        return int(_syscall(number, *arguments, *([0] * (4 - len(arguments)))))
    except OSError as failure:
        raise OSError(failure.errno, failure.strerror, name) from None


def _seccomp(operation: SeccompOperation, flags: int, address: int) -> int:
    table = numbers.table(os.uname().machine)
    return _call("seccomp", table["seccomp"], int(operation), flags, address)


def open_or_create(path: str, flags: int, mode: int) -> int:
    """Open a file, or create it, never through a magic link such as ``/proc/self/fd/3``. See openat2(2), Linux 5.6.

    Args:
        path: relative to the working directory, or absolute; symbolic links are followed.
        flags: O_* of open(2).
        mode: permission bits of a new file, before the umask.

    Returns:
        A descriptor.
    """
    how = ctypes.create_string_buffer(struct.pack("=3Q", flags, mode, k.RESOLVE_NO_MAGICLINKS), 24)
    name = ctypes.create_string_buffer(os.fsencode(path))
    while True:
        try:
            return _call("openat2", _OPENAT2, k.AT_FDCWD, ctypes.addressof(name), ctypes.addressof(how), 24)
        except InterruptedError:
            continue  # a signal; its Python handler runs before the next try (PEP 475)


def unshare(flags: int) -> None:
    """Stop sharing the given parts of the execution context. See unshare(2)."""
    _unshare(flags)


def clear_ambient_capabilities() -> None:
    """Empty this thread's ambient set, which an exec would turn into real capabilities. See prctl(2), Linux 4.3."""
    _prctl(k.PR_CAP_AMBIENT, k.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)


def has_no_new_privs() -> bool:
    """Tell whether this thread can gain no privileges by an exec any more. See prctl(2), Linux 3.5."""
    return bool(_prctl(k.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0))


def set_no_new_privs() -> None:
    """Make setuid programs and file capabilities inert for this thread and all it starts. See prctl(2), Linux 3.5."""
    _prctl(k.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def try_seccomp() -> int:
    """Ask, without changing anything, whether seccomp(2) would take a filter.

    A filter at address 0 is refused before anything else is looked at (seccomp(2), "Notes").

    Returns:
        0 where filters work, else what the kernel says instead of EFAULT: ENOSYS or EINVAL without the feature, EPERM
        where a filter that is already in force denies seccomp(2).
    """
    try:
        _seccomp(SeccompOperation.SET_MODE_FILTER, 0, 0)
    except OSError as refused:
        return 0 if refused.errno == errno.EFAULT else refused.errno or errno.EINVAL
    return errno.EINVAL  # nobody accepts a filter that is not there, except something that ignores filters


def knows_action(verdict: int) -> bool:
    """Tell whether the kernel knows a SECCOMP_RET_* action. See seccomp(2), Linux 4.14."""
    action = ctypes.create_string_buffer(struct.pack("=I", verdict & 0xFFFF0000), 4)
    try:
        _seccomp(SeccompOperation.GET_ACTION_AVAIL, 0, ctypes.addressof(action))
    except OSError as refused:
        if refused.errno == errno.EOPNOTSUPP:
            return False
        raise
    return True


def is_filtered() -> bool | None:
    """Tell whether this thread is under a filter; None where the kernel does not say. See prctl(2), PR_GET_SECCOMP.

    Asked where `try_seccomp` failed: without the feature the answer is EINVAL, and a filter that denies prctl(2) gives
    its own errno.
    """
    try:
        return bool(_prctl(int(Prctl.GET_SECCOMP), 0, 0, 0, 0) == k.SECCOMP_MODE_FILTER)
    except OSError as refused:
        return None if refused.errno == errno.EINVAL else True


def install_filter(program: bytes, flags: int) -> int:
    """Put this thread, or with TSYNC every thread, under a filter. See seccomp(2), Linux 3.17.

    Args:
        program: an array of struct sock_filter.
        flags: SECCOMP_FILTER_FLAG_*, or-ed.

    Returns:
        0, with TSYNC the id of a thread that could not be brought along (nothing is changed then), with NEW_LISTENER
        a close-on-exec descriptor.
    """
    instructions = ctypes.create_string_buffer(program, len(program))
    fprog = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", len(program) // 8, ctypes.addressof(instructions)), 16)
    return _seccomp(SeccompOperation.SET_MODE_FILTER, flags, ctypes.addressof(fprog))


def landlock_add_port(ruleset: int, access: int, port: int) -> None:
    """Allow LANDLOCK_ACCESS_NET_* rights on one port. See landlock_add_rule(2), ABI 4, Linux 6.7."""
    attributes = ctypes.create_string_buffer(struct.pack("=2Q", access, port), 16)
    _call("landlock_add_rule", _LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_RULE_NET_PORT, ctypes.addressof(attributes), 0)


def landlock_restrict(ruleset: int, flags: int) -> None:
    """Put this thread under a Landlock rule set; with LANDLOCK_RESTRICT_SELF_TSYNC every thread (ABI 8, Linux 7.0)."""
    _call("landlock_restrict_self", _LANDLOCK_RESTRICT, ruleset, flags)
