"""Threads, sleeping, and the time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from isolate_fn.policy.conditions import Arg

from .builtin import Builtin, Permission, rules
from .groups import CLONE_THREAD
from .kernel_words import Prctl

_CREATE = Permission(
    "allow_create()",
    "",
    (
        *CLONE_THREAD,
        *rules(
            "prctl",
            Arg(0, 32).one_of(Prctl.SET_NAME, Prctl.GET_NAME),
            reason="PR_SET_NAME PR_GET_NAME",
            need=True,
        ),
    ),
)
_SLEEP = Permission("allow_sleep()", "clock_nanosleep nanosleep")
_AFFINITY = Permission("allow_affinity()", "sched_setaffinity")

_GETTIME = Permission("allow_gettime()", "clock_gettime clock_getres gettimeofday time")
_CPU_TIME = Permission("allow_cpu_time()", "times getrusage")


@dataclass(frozen=True, init=False, repr=False)
class Threads(Builtin):
    """Threads of this process.

    ``Threads()`` permits nothing; choose with its methods, or ``Threads.everything()``.
    """

    _EVERYTHING = (_CREATE, _SLEEP, _AFFINITY)

    def allow_create(self) -> Self:
        """Permit new threads: no process, and no namespace.

        Permits:
            clone: CLONE_THREAD CLONE_SIGHAND CLONE_VM, and no namespace
            prctl: PR_SET_NAME PR_GET_NAME

        clone3 hides its flags behind a pointer; it is answered ENOSYS, on which every libc falls back to clone.
        """
        return self._with(_CREATE)

    def allow_sleep(self) -> Self:
        """Permit to sleep: time.sleep().

        An attacker who can run code may time with it what others do.

        Permits:
            clock_nanosleep nanosleep
        """
        return self._with(_SLEEP)

    def allow_affinity(self) -> Self:
        """Permit to choose processors: os.sched_setaffinity(), also of other processes of the user.

        Permits:
            sched_setaffinity
        """
        return self._with(_AFFINITY)


@dataclass(frozen=True, init=False, repr=False)
class Time(Builtin):
    """Reading clocks.

    ``Time()`` permits nothing; choose with its methods, or ``Time.everything()``.
    """

    _EVERYTHING = (_GETTIME, _CPU_TIME)

    def allow_gettime(self) -> Self:
        """Permit to read the time.

        Mostly the vDSO answers without any system call, so denying these hides no time; the clocks of a process or a
        thread are not in the vDSO. BasicCapabilities has all of them already.

        Permits:
            clock_gettime clock_getres gettimeofday time
        """
        return self._with(_GETTIME)

    def allow_cpu_time(self) -> Self:
        """Permit to read what the process has used: os.times(), resource.getrusage().

        Permits:
            times getrusage
        """
        return self._with(_CPU_TIME)
