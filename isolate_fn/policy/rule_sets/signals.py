"""Signals and timers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from isolate_fn.policy import checks
from isolate_fn.policy.conditions import Arg

from .builtin import Builtin, Permission, rules

_WAIT = Permission("allow_wait()", "pause ppoll rt_sigsuspend rt_sigpending rt_sigtimedwait signalfd signalfd4")
_TIMERS = Permission(
    "allow_timers()",
    "alarm setitimer getitimer timer_create timer_settime timer_gettime timer_getoverrun timer_delete "
    "timerfd_create timerfd_settime timerfd_gettime",
)
_KILL = Permission("allow_kill()", "kill tgkill tkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_open pidfd_send_signal")
_KEEP_INSIDE = Permission("keep_inside()", scopes=("signal",))


@dataclass(frozen=True, init=False, repr=False)
class Signals(Builtin):
    """Sending signals, and waiting for them; handlers can be set without it.

    ``Signals()`` permits nothing; choose with its methods, or ``Signals.everything()``.
    """

    _EVERYTHING = (_WAIT, _TIMERS, _KILL)

    def allow_wait(self) -> Self:
        """Permit to wait for signals: signal.pause(), sigwait(), signal descriptors.

        Permits:
            pause ppoll rt_sigsuspend rt_sigpending rt_sigtimedwait signalfd signalfd4
        """
        return self._with(_WAIT)

    def allow_timers(self) -> Self:
        """Permit timers: signal.alarm(), signal.setitimer(), timer descriptors.

        Permits:
            alarm setitimer getitimer timer_create timer_settime timer_gettime timer_getoverrun timer_delete
            timerfd_create timerfd_settime timerfd_gettime
        """
        return self._with(_TIMERS)

    def allow_raise(self, pid: int) -> Self:
        """Permit signals to one process, such as this one: os.abort(), signal.raise_signal(), os.kill(pid, ...).

        Permits:
            kill tgkill: to that process

        Args:
            pid: its number, such as os.getpid(). A child has another one.

        Raises:
            PolicyError: not a process id.
        """
        number = checks.number_of("allow_raise(pid)", pid, maximum=1 << 22)
        to_it = rules("kill tgkill", Arg(0, 32).eq(number), reason="to that process", need=True)
        return self._with(Permission(f"allow_raise({number})", "", to_it))

    def allow_kill(self) -> Self:
        """Permit signals to any process that the user may signal: subprocess's kill(), multiprocessing's terminate().

        Permits:
            kill tgkill tkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_open pidfd_send_signal
        """
        return self._with(_KILL)

    def keep_inside(self) -> Self:
        """Let signals reach only processes under the same rules, by Landlock's scope (Linux 6.12).

        Permits:
            Landlock scope: signal
        """
        return self._with(_KEEP_INSIDE)
