"""What a running program asks the kernel for to harden itself, in terms of `calls.py`; every failure an OSError that names it.

Apart from there because an isolate never does: there, walls are put up by a process that was started for it.
"""

from __future__ import annotations

import errno
import struct

from isolate_fn._sys import calls
from isolate_fn._sys import constants as k
from isolate_fn._sys.seccomp_constants import FilterFlag, Prctl, SeccompOperation

# <linux/sched.h>: parts of the execution context that threads share
CLONE_FS = 0x00000200
CLONE_FILES = 0x00000400
CLONE_SYSVSEM = 0x00040000

NEW_LISTENER = int(FilterFlag.NEW_LISTENER)


def open_or_create(path: str, flags: int, mode: int) -> int:
    """Open a file, or create it, never through a magic link such as ``/proc/self/fd/3``. See openat2(2), Linux 5.6.

    Args:
        path: relative to the working directory, or absolute; symbolic links are followed.
        flags: O_* of open(2).
        mode: permission bits of a new file, before the umask.

    Returns:
        A descriptor.
    """
    while True:
        try:
            # os.O_CLOEXEC is the caller's choice, and among the flags then.
            return calls.openat2(k.AT_FDCWD, path, flags, k.RESOLVE_NO_MAGICLINKS, mode=mode, inheritable=True)
        except InterruptedError:
            continue  # a signal; its Python handler runs before the next try (PEP 475)


def clear_ambient_capabilities() -> None:
    """Empty this thread's ambient set, which an exec would turn into real capabilities. See prctl(2), Linux 4.3."""
    calls.prctl(k.PR_CAP_AMBIENT, k.PR_CAP_AMBIENT_CLEAR_ALL)


def set_no_new_privs() -> None:
    """Make setuid programs and file capabilities inert for this thread and all it starts. See prctl(2), Linux 3.5."""
    calls.prctl(k.PR_SET_NO_NEW_PRIVS, 1)


def try_seccomp() -> int:
    """Ask, without changing anything, whether seccomp(2) would take a filter.

    A filter at address 0 is refused before anything else is looked at (seccomp(2), "Notes").

    Returns:
        0 where filters work, else what the kernel says instead of EFAULT: ENOSYS or EINVAL without the feature, EPERM
        where a filter that is already in force denies seccomp(2).
    """
    try:
        calls.seccomp(SeccompOperation.SET_MODE_FILTER, 0, None)
    except OSError as refused:
        return 0 if refused.errno == errno.EFAULT else refused.errno or errno.EINVAL
    return errno.EINVAL  # nobody accepts a filter that is not there, except something that ignores filters


def knows_action(verdict: int) -> bool:
    """Tell whether the kernel knows a SECCOMP_RET_* action. See seccomp(2), Linux 4.14."""
    try:
        calls.seccomp(SeccompOperation.GET_ACTION_AVAIL, 0, struct.pack("=I", verdict & 0xFFFF0000))
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
        return bool(calls.prctl(Prctl.GET_SECCOMP) == k.SECCOMP_MODE_FILTER)
    except OSError as refused:
        return None if refused.errno == errno.EINVAL else True
