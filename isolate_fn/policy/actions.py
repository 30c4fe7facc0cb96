"""The words for answers to a system call.

    ALLOW           make the call
    ERRNO(code)     do not make it; it fails with this errno
    TRAP(data)      do not make it; the thread gets SIGSYS, which a handler can catch
    KILL_PROCESS    end the whole process with SIGSYS, which nothing can catch
    LOG             make the call and write it to the kernel's audit log
    NOTIFY          wait for the answer of a supervisor (Linux 5.0)

Source: seccomp(2) and <linux/seccomp.h>, ``SECCOMP_RET_*``.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from isolate_fn.errors import PolicyError

from . import checks

#: The largest errno that the kernel passes on (MAX_ERRNO of <linux/err.h>); it cuts larger ones down to it.
HIGHEST_ERRNO = 4095
#: SECCOMP_RET_DATA: what a filter can hand to the handler of SIGSYS in si_errno.
HIGHEST_DATA = 0xFFFF


@dataclass(frozen=True, slots=True)
class Action:
    """One answer to a system call. Use the names of this module instead of making one.

    Attributes:
        kind: ``"allow"``, ``"errno"``, ``"trap"``, ``"kill_process"``, ``"log"`` or ``"notify"``.
        data: the errno of ``"errno"``, the number that ``"trap"`` passes on, else 0.
    """

    kind: str
    data: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise PolicyError("action", f"{checks.show(self.kind)} is not an action", f"use {', '.join(KINDS)}")
        lowest, highest = KINDS[self.kind]
        if isinstance(self.data, bool) or not isinstance(self.data, int):
            raise PolicyError("action", f"{checks.show(self.data)} is not an int", "use errno.EPERM or the like")
        if not lowest <= self.data <= highest:
            # errno 0 would make a denied call return success.
            problem = f"{self.kind} cannot carry {self.data}"
            raise PolicyError("action", problem, f"use {lowest} to {highest}" if highest else "leave it out")

    def __repr__(self) -> str:
        if self.kind == "errno":
            return f"ERRNO({errno.errorcode.get(self.data, self.data)})"
        return f"{self.kind.upper()}({self.data})" if self.kind == "trap" else self.kind.upper()


#: kind -> (lowest, highest) of its data.
KINDS = {
    "allow": (0, 0),
    "errno": (1, HIGHEST_ERRNO),
    "trap": (0, HIGHEST_DATA),
    "kill_process": (0, 0),
    "log": (0, 0),
    "notify": (0, 0),
}

ALLOW = Action("allow")
KILL_PROCESS = Action("kill_process")
LOG = Action("log")
NOTIFY = Action("notify")


def ERRNO(code: int = errno.EPERM) -> Action:  # noqa: N802 - a word like its neighbours
    """Return the answer "fail with this errno".

    Args:
        code: 1 to 4095.

    Raises:
        PolicyError: outside that range; 0 would make a denied call return success.
    """
    return Action("errno", code)


def TRAP(data: int = 0) -> Action:  # noqa: N802 - a word like its neighbours
    """Return the answer "send SIGSYS", whose handler finds `data` (0 to 65535) in si_errno."""
    return Action("trap", data)
