"""What the system call filter must hold where no mount and no pid namespace does: stacked before the base filter.

Landlock sees no change of mode, owner, times or extended attributes, knows truncation since ABI 3 and signals since ABI 6.
What an owner may do to files by path is therefore denied by call where an isolate has the caller's own id.
"""

from __future__ import annotations

import errno
import os
from functools import lru_cache
from typing import TypedDict

from isolate_fn._plan import seccomp_arguments as arguments
from isolate_fn._plan import seccomp_grants as grants
from isolate_fn._plan.lending import METADATA
from isolate_fn._plan.orders import OWN_PID
from isolate_fn._plan.seccomp import ALLOW, EPERM, Entry, Rule, SyscallPolicy, compile_filter, fail_with
from isolate_fn._plan.seccomp_base import policy_of
from isolate_fn._sys.seccomp_constants import CloneFlag
from isolate_fn.policy.conditions import Arg, Condition

TIMES = "utimensat utime utimes futimesat"
_CLOSE_RANGE_UNSHARE = 2  # <linux/close_range.h>

CLOCKS = "clock_gettime clock_getres clock_nanosleep timer_create"
_OF_A_PROCESS = 0x80000000
_OWN_CLOCKS = tuple(range(0xFFFFFFF8, 0xFFFFFFFB)) + tuple(range(0xFFFFFFFC, 0xFFFFFFFF))  # of number 0, which is oneself

#: Extended attributes are read by path without any right to read the file's content being asked of Landlock.
ATTRIBUTES = "getxattr lgetxattr listxattr llistxattr getxattrat listxattrat"

SCRATCH = (
    grants.Grant(
        "removes what the isolate has left in its private directory", "rmdir unlinkat renameat renameat2 chmod fchmodat"
    ),
)


class ConfinedOptions(TypedDict):
    """Arguments of `confined_policy`."""

    own_id: bool
    truncation: bool
    signals: bool


def confined_policy(*, own_id: bool, truncation: bool, signals: bool) -> SyscallPolicy:
    """Return what is denied on top of the base filter; it allows everything else.

    Args:
        own_id: the isolate has an id that owns nothing outside.
        truncation: Landlock does not know it.
        signals: a process may signal itself and nobody else.
    """
    entries = dict.fromkeys(ATTRIBUTES.split(), Entry((), fail_with(errno.ENOTSUP)))
    # What is deleted and still open is looked for in one table of descriptors for each process.
    apart = Arg(0, 32).masked(CloneFlag.THREAD | CloneFlag.FILES, CloneFlag.THREAD)
    entries["clone"] = Entry((Rule((apart,), EPERM),), ALLOW)
    entries["close_range"] = Entry((Rule((Arg(2, 32).masked(_CLOSE_RANGE_UNSHARE, _CLOSE_RANGE_UNSHARE),), EPERM),), ALLOW)
    # RLIMIT_FSIZE does not count blocks that are kept beyond the end of a file.
    entries["fallocate"] = Entry((Rule((Arg(1, 32).eq(0),)),), fail_with(errno.EOPNOTSUPP))
    # Clocks that count another process's time have its number, inverted, in theirs (clock_getcpuclockid(3)).
    clocks = (Rule((Arg(0, 32).has_none(_OF_A_PROCESS),)), Rule((Arg(0, 32).one_of(*_OWN_CLOCKS),)))
    entries |= dict.fromkeys(CLOCKS.split(), Entry(clocks, EPERM))
    own = Arg(0, 32).eq(0)
    entries["sched_setaffinity"] = Entry((Rule((own,)),), EPERM)
    # Those of files that every user may write can be set to now by every user, whatever Landlock says.
    entries |= dict.fromkeys(TIMES.split(), Entry((), EPERM))
    if not own_id:
        entries |= dict.fromkeys(METADATA.split(), Entry((), EPERM))
    if truncation:
        entries["truncate"] = Entry((), EPERM)
        for name, index in (("open", 1), ("openat", 2)):
            entries[name] = Entry(tuple(Rule((condition,), EPERM) for condition in _truncates_unasked(index)), ALLOW)
    if signals:
        myself = Arg(0, 32).eq(OWN_PID)
        entries |= dict.fromkeys(("kill", "tgkill"), Entry((Rule((myself,)),), EPERM))
    return SyscallPolicy.of(entries, default=ALLOW, unknown=ALLOW)


def _truncates_unasked(index: int) -> tuple[Condition, ...]:
    """Return what truncates a file that is not opened for writing, so that Landlock asks for no right to write it."""
    mask = os.O_TRUNC | os.O_ACCMODE
    return tuple(Arg(index, 32).masked(mask, os.O_TRUNC | mode) for mode in (os.O_RDONLY, os.O_ACCMODE))


@lru_cache(maxsize=16)
def confined_filter(machine: str, *, own_id: bool, truncation: bool, signals: bool) -> bytes:
    """Return confined_policy() compiled for `machine`."""
    return compile_filter(confined_policy(own_id=own_id, truncation=truncation, signals=signals), machine)


def supervisor_policy() -> SyscallPolicy:
    """Return what init may do where it must itself remove what an isolate leaves behind."""
    return policy_of((*grants.INIT, *SCRATCH), arguments.INIT_CHECKED)


@lru_cache(maxsize=2)
def supervisor_filter(machine: str) -> bytes:
    """Return supervisor_policy() compiled for `machine`."""
    return compile_filter(supervisor_policy(), machine)
