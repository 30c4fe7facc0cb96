"""Answers to a system call as the filter returns them, and the words of `policy.actions` turned into these.

Source: seccomp(2) and <linux/seccomp.h>, ``SECCOMP_RET_*``.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from isolate_fn._sys.seccomp_constants import (
    MAX_ERRNO,
    SECCOMP_RET_ACTION_FULL,
    SECCOMP_RET_ALLOW,
    SECCOMP_RET_DATA,
    SECCOMP_RET_ERRNO,
    SECCOMP_RET_KILL_PROCESS,
    SECCOMP_RET_KILL_THREAD,
    SECCOMP_RET_LOG,
    SECCOMP_RET_TRAP,
    SECCOMP_RET_USER_NOTIF,
)
from isolate_fn.errors import PolicyError
from isolate_fn.policy import actions

#: The kinds of `policy.actions`. Killing a thread has no word there: the locks that it holds, the interpreter's own
#: among them, would never be released.
_BY_WORD = {
    "allow": SECCOMP_RET_ALLOW,
    "errno": SECCOMP_RET_ERRNO,
    "kill_process": SECCOMP_RET_KILL_PROCESS,
    "trap": SECCOMP_RET_TRAP,
    "log": SECCOMP_RET_LOG,
    "notify": SECCOMP_RET_USER_NOTIF,
}


@dataclass(frozen=True, slots=True)
class Action:
    """One answer to a system call.

    Attributes:
        verdict: the SECCOMP_RET_* value that the filter returns.
    """

    verdict: int

    def __str__(self) -> str:
        kind, data = self.verdict & 0xFFFF0000, self.verdict & 0xFFFF
        if kind == SECCOMP_RET_ERRNO:
            return f"errno {errno.errorcode.get(data, data)}"
        name = _ACTION_NAMES.get(kind, f"{kind:#x}")
        return f"{name} {data}" if data else name


_ACTION_NAMES = {
    SECCOMP_RET_ALLOW: "allow",
    SECCOMP_RET_KILL_PROCESS: "kill process",
    SECCOMP_RET_KILL_THREAD: "kill thread",
    SECCOMP_RET_TRAP: "trap",
    SECCOMP_RET_LOG: "log",
    SECCOMP_RET_USER_NOTIF: "notify",
}

ALLOW = Action(SECCOMP_RET_ALLOW)
KILL_PROCESS = Action(SECCOMP_RET_KILL_PROCESS)
KILL_THREAD = Action(SECCOMP_RET_KILL_THREAD)
TRAP = Action(SECCOMP_RET_TRAP)
LOG = Action(SECCOMP_RET_LOG)
NOTIFY = Action(SECCOMP_RET_USER_NOTIF)


def fail_with(code: int) -> Action:
    """Return the answer "fail with this errno".

    Args:
        code: 1 to 4095. 0 would make a denied call return success; the kernel cuts larger ones down to 4095.

    Raises:
        PolicyError: outside that range.
    """
    if not 1 <= code <= MAX_ERRNO:
        raise PolicyError("rules", f"errno {code} cannot be returned", f"use 1 to {MAX_ERRNO}, such as errno.EPERM")
    return Action(SECCOMP_RET_ERRNO | code)


def trap_with(data: int) -> Action:
    """Return the answer "send SIGSYS", whose handler finds `data` in ``si_errno``.

    Args:
        data: 0 to 65535.

    Raises:
        PolicyError: outside that range.
    """
    if not 0 <= data <= SECCOMP_RET_DATA:
        raise PolicyError("rules", f"trap data {data} does not fit", f"use 0 to {SECCOMP_RET_DATA}")
    return Action(SECCOMP_RET_TRAP | data)


def verdict(answer: Action | actions.Action) -> Action:
    """Return a word of `policy.actions` as the filter says it; what is in that form already, unchanged."""
    if isinstance(answer, Action):
        return answer
    return Action(_BY_WORD[answer.kind] | answer.data)


def lets_through(action: Action) -> bool:
    """Tell whether the call is made: allowed, or allowed and logged."""
    return action.verdict & SECCOMP_RET_ACTION_FULL in (SECCOMP_RET_ALLOW, SECCOMP_RET_LOG)


EPERM = fail_with(errno.EPERM)
ENOSYS = fail_with(errno.ENOSYS)
