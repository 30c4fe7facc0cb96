"""System calls that isolates get for some arguments only: data, with a reason for each rule.

Ints are compared in their low 32 bits and pointers in 64 (see `conditions.py`). What cannot be filtered,
because it lies behind a pointer, shapes the tables: paths (Landlock and mounts carry those), addresses given
to sendmsg(2) (so only stream pairs can be made at all), and the structures of clone3(2) and openat2(2)
(answered ENOSYS, which makes every libc fall back to calls whose arguments can be read).
"""

from __future__ import annotations

import errno
import os

from isolate_fn._plan.seccomp import fail_with
from isolate_fn._plan.seccomp_grants import Checked
from isolate_fn._sys import constants as k
from isolate_fn._sys.constants import PROBE
from isolate_fn._sys.seccomp_constants import (
    CLONE_NAMESPACES,
    PR_CAP_AMBIENT_IS_SET,
    PR_SET_VMA_ANON_NAME,
    SOCK_TYPE_MASK,
    ArchPrctl,
    CloneFlag,
    Family,
    Fcntl,
    FilterFlag,
    Ioctl,
    ModeBit,
    OpenFlag,
    Prctl,
    Protection,
    RandomFlag,
    SeccompOperation,
    SockType,
)
from isolate_fn.policy.conditions import Arg

ENOTTY = fail_with(errno.ENOTTY)

_CREATES = OpenFlag.CREAT | OpenFlag.TMPFILE
#: A set-user-ID file in a writable mount would hand its owner's rights to whoever runs it on the host.
_SET_ID = ModeBit.SET_USER_ID | ModeBit.SET_GROUP_ID

WORKER_CHECKED = (
    Checked("opens a file that exists", "open", (Arg(1, 32).has_none(_CREATES),)),
    Checked("creates a file without set-ID bits", "open", (Arg(2, 32).has_none(_SET_ID),)),
    Checked("opens a file that exists", "openat", (Arg(2, 32).has_none(_CREATES),)),
    Checked("creates a file without set-ID bits", "openat", (Arg(3, 32).has_none(_SET_ID),)),
    Checked("creates a file without set-ID bits", "creat mkdir", (Arg(1, 32).has_none(_SET_ID),)),
    Checked("creates a directory without set-ID bits", "mkdirat", (Arg(2, 32).has_none(_SET_ID),)),
    Checked("sets a mode without set-ID bits", "chmod fchmod", (Arg(1, 32).has_none(_SET_ID),)),
    Checked("sets a mode without set-ID bits", "fchmodat fchmodat2", (Arg(2, 32).has_none(_SET_ID),)),
    Checked(
        "stream pairs: a datagram pair reaches any socket file",
        "socketpair",
        (
            Arg(0, 32).one_of(Family.UNIX),
            Arg(1, 32).one_of(SockType.STREAM, mask=SOCK_TYPE_MASK),
        ),
    ),
    Checked("never blocks on the entropy pool", "getrandom", (Arg(2, 32).has_none(RandomFlag.RANDOM),)),
    Checked(
        "what CPython asks of a descriptor; no terminal may be steered (TIOCSTI)",
        "ioctl",
        (
            Arg(1, 32).one_of(
                Ioctl.TCGETS,
                Ioctl.TCGETS2,
                Ioctl.TIOCGWINSZ,
                Ioctl.FIONREAD,
                Ioctl.FIONBIO,
                Ioctl.FIOCLEX,
                Ioctl.FIONCLEX,
            ),
        ),
        ENOTTY,
    ),
    Checked(
        "no leases, no signals to others, no directory notices: they delay or disturb the host",
        "fcntl",
        (
            Arg(1, 32).one_of(
                Fcntl.DUPFD,
                Fcntl.DUPFD_CLOEXEC,
                Fcntl.DUPFD_QUERY,
                Fcntl.GETFD,
                Fcntl.SETFD,
                Fcntl.GETFL,
                Fcntl.SETFL,
                Fcntl.GETLK,
                Fcntl.SETLK,
                Fcntl.SETLKW,
                Fcntl.OFD_GETLK,
                Fcntl.OFD_SETLK,
                Fcntl.OFD_SETLKW,
                Fcntl.ADD_SEALS,
                Fcntl.GET_SEALS,
                Fcntl.GETPIPE_SZ,
            ),
        ),
    ),
    Checked(
        "its own limits, reading: RLIMIT_CORE must stay where it is",
        "prlimit64",
        (Arg(0, 32).eq(0), Arg(2).eq(0)),
    ),
    Checked(
        "names of threads, and reading",
        "prctl",
        (
            Arg(0, 32).one_of(
                Prctl.SET_NAME,
                Prctl.GET_NAME,
                Prctl.GET_PDEATHSIG,
                Prctl.GET_DUMPABLE,
                Prctl.GET_KEEPCAPS,
                Prctl.GET_TIMING,
                Prctl.GET_SECCOMP,
                Prctl.CAPBSET_READ,
                Prctl.GET_TSC,
                Prctl.GET_SECUREBITS,
                Prctl.GET_TIMERSLACK,
                Prctl.GET_CHILD_SUBREAPER,
                Prctl.GET_NO_NEW_PRIVS,
                Prctl.GET_TID_ADDRESS,
                Prctl.GET_THP_DISABLE,
                Prctl.SVE_GET_VL,
                Prctl.SME_GET_VL,
                Prctl.GET_SPECULATION_CTRL,
                Prctl.GET_TAGGED_ADDR_CTRL,
                Prctl.GET_IO_FLUSHER,
                Prctl.GET_AUXV,
            ),
        ),
    ),
    Checked(
        "names of mappings: glibc, jemalloc",
        "prctl",
        (
            Arg(0, 32).one_of(Prctl.SET_VMA),
            Arg(1).eq(PR_SET_VMA_ANON_NAME),
        ),
    ),
    Checked(
        "the ambient capabilities, reading",
        "prctl",
        (
            Arg(0, 32).one_of(Prctl.CAP_AMBIENT),
            Arg(1).eq(PR_CAP_AMBIENT_IS_SET),
        ),
    ),
    Checked(
        "thread-local storage, AMX, shadow stacks",
        "arch_prctl",
        (
            Arg(0, 32).one_of(
                ArchPrctl.SET_FS,
                ArchPrctl.GET_FS,
                ArchPrctl.SET_GS,
                ArchPrctl.GET_GS,
                ArchPrctl.GET_CPUID,
                ArchPrctl.GET_XCOMP_SUPP,
                ArchPrctl.GET_XCOMP_PERM,
                ArchPrctl.REQ_XCOMP_PERM,
                ArchPrctl.CET_STATUS,
                ArchPrctl.SHSTK_ENABLE,
                ArchPrctl.SHSTK_DISABLE,
                ArchPrctl.SHSTK_LOCK,
                ArchPrctl.SHSTK_STATUS,
            ),
        ),
    ),
)

_THREAD = CloneFlag.VM | CloneFlag.SIGHAND | CloneFlag.THREAD

THREADS_CHECKED = (
    Checked(
        "threads of this process; no child, no namespace",
        "clone",
        (Arg(0, 32).masked(_THREAD | CLONE_NAMESPACES, _THREAD),),
    ),
)
FORK_CHECKED = (
    Checked(
        "threads, and child processes of its own; no namespace, no sibling of PID 1's child",
        "clone",
        (Arg(0, 32).has_none(CLONE_NAMESPACES | CloneFlag.PARENT),),
    ),
)
EXEC_CHECKED = (
    Checked(
        "adopts the orphans of its own descendants, to end them; it cannot give them away",
        "prctl",
        (
            Arg(0, 32).one_of(Prctl.SET_CHILD_SUBREAPER),
            Arg(1).eq(1),
        ),
    ),
)
_NARROWING = FilterFlag.TSYNC | FilterFlag.LOG | FilterFlag.SPEC_ALLOW

_LISTENING = k.SECCOMP_FILTER_FLAG_NEW_LISTENER | k.SECCOMP_FILTER_FLAG_TSYNC_ESRCH | k.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV


def narrowing_checked(*, listening: bool) -> tuple[Checked, ...]:
    """Return what stacking a further filter needs.

    Args:
        listening: that filter gets the listener. Code that makes one before has gained nothing: what it would answer for
            is asked by requests of ioctl(2), which are denied by an errno, and no filter of its own goes before that.
    """
    flags = int(_NARROWING) | (_LISTENING if listening else 0)
    stacks = Checked(
        "stacks a filter, which can only take away",
        "seccomp",
        (
            Arg(0, 32).one_of(SeccompOperation.SET_MODE_FILTER),
            Arg(1, 32).masked(0xFFFFFFFF & ~flags, 0),
        ),
    )
    return (stacks, *_NARROWING_CHECKED)


_NARROWING_CHECKED = (
    Checked(
        "asks what the kernel can answer",
        "seccomp",
        (
            Arg(0, 32).one_of(SeccompOperation.GET_ACTION_AVAIL),
            Arg(1, 32).eq(0),
        ),
    ),
    Checked(
        "no_new_privs, which stacking needs; it cannot be cleared",
        "prctl",
        (
            Arg(0, 32).one_of(Prctl.SET_NO_NEW_PRIVS),
            Arg(1).eq(1),
        ),
    ),
)

_WRITES = OpenFlag.WRONLY | OpenFlag.RDWR | OpenFlag.CREAT | OpenFlag.TRUNC | OpenFlag.APPEND | OpenFlag.TMPFILE

_CLOEXEC_NONBLOCK = os.O_CLOEXEC | os.O_NONBLOCK  # as SOCK_CLOEXEC and SOCK_NONBLOCK of <bits/socket_type.h>
_NSCD = (Arg(0, 32).one_of(Family.UNIX), Arg(1, 32).eq(SockType.STREAM | _CLOEXEC_NONBLOCK))
_ROUTES = (Arg(0, 32).one_of(Family.NETLINK), Arg(2, 32).eq(0))  # NETLINK_ROUTE

LATER_CHECKED = (
    Checked("child processes", "clone", FORK_CHECKED[0].conditions),
    Checked(
        "TCP and UDP",
        "socket",
        (
            Arg(0, 32).one_of(Family.INET, Family.INET6),
            Arg(1, 32).one_of(SockType.STREAM, SockType.DGRAM, mask=SOCK_TYPE_MASK),
        ),
    ),
)
"""As `seccomp_grants.LATER`, for calls that are denied for most arguments whatever the options."""

QUIET_CHECKED = (
    Checked("glibc looks for nscd, and goes on without it", "socket", _NSCD),
    Checked("getaddrinfo(3) asks which addresses there are, and goes on without", "socket", _ROUTES),
    Checked("the self-check of each isolate", "unshare", (Arg(1).eq(PROBE),)),
)

INIT_CHECKED = (
    Checked("data only", "mmap mprotect", (Arg(2, 32).has_none(Protection.EXEC),)),
    Checked("reading", "open", (Arg(1, 32).has_none(_WRITES),)),
    Checked("reading", "openat", (Arg(2, 32).has_none(_WRITES),)),
    Checked("never blocks on the entropy pool", "getrandom", (Arg(2, 32).has_none(RandomFlag.RANDOM),)),
    Checked(
        "set_blocking(), set_inheritable()",
        "ioctl",
        (Arg(1, 32).one_of(Ioctl.FIONBIO, Ioctl.FIOCLEX, Ioctl.FIONCLEX, Ioctl.FIONREAD),),
        ENOTTY,
    ),
    Checked(
        "flags of descriptors",
        "fcntl",
        (Arg(1, 32).one_of(Fcntl.GETFD, Fcntl.SETFD, Fcntl.GETFL, Fcntl.SETFL, Fcntl.DUPFD_CLOEXEC),),
    ),
)
