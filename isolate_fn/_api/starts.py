"""What `run` and `popen` have in common: how a program starts inside, and which error tells of an unusual end."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from isolate_fn._api.contents import word
from isolate_fn._api.popen import Relay
from isolate_fn._api.streams import SharedOutput, Streams
from isolate_fn._api.turns import Turns
from isolate_fn._runtime import outcome
from isolate_fn._runtime.endings import Ended, TooMuchOutput
from isolate_fn._runtime.isolate import SETUP_SECONDS
from isolate_fn._runtime.program import Program
from isolate_fn.errors import IsolationError, LimitExceeded, PolicyError
from isolate_fn.policy import checks

if TYPE_CHECKING:

    from isolate_fn._runtime.isolate import Isolate
    from isolate_fn._runtime.prepared import Prepared
    from isolate_fn._runtime.report import Report
    from isolate_fn._runtime.toolbox import Toolbox
    from isolate_fn.policy.policy import Policy

Argv = Sequence[str | os.PathLike[str]]
_RELAY_SECONDS = 10.0


def ended_before(why: BaseException) -> Exception:
    """Return the error for what was asked of a sandbox that had ended already: it did not start, and why there is none.

    Args:
        why: what has ended it.
    """
    if isinstance(why, IsolationError):
        error = copy.copy(why)
        error.ran, error.ended_before = False, True
        return error
    problem = f"an earlier call has ended it: {type(why).__name__}: {why!s:.200}"  # raised by code of the caller's
    return PolicyError("sandbox", problem, "open another one: write with sandbox(...) again")


class Starts:
    """The part of a sandbox block that starts programs."""

    policy: Policy
    _prepared: Prepared
    _isolate: Isolate | None
    _output: SharedOutput
    _lock: Turns
    _report: Report | None
    _why: BaseException | None
    _running: dict[Program, Relay | None]

    def _open(self) -> tuple[Isolate, Toolbox]:
        raise NotImplementedError

    def _ended_by(self, reason: BaseException, isolate: Isolate) -> BaseException:
        raise NotImplementedError

    def _start(self, argv: Argv, cwd: str | None, env: Mapping[str, str] | None, streams: Streams) -> Program:
        if not argv or isinstance(argv, (str, bytes)):
            raise PolicyError("argv", f"{argv!r:.60} is not a list of words", "pass a list, such as ['ls', '-l']")
        words = [word("argv", each) for each in argv]
        directory = None if cwd is None else word("cwd", cwd)
        environment = None if env is None else dict(checks.text_pairs("env", env))
        isolate, toolbox = self._open()
        for pipe in streams.pipes:
            isolate.hand_over(pipe)
        try:
            return toolbox.start(words, cwd=directory, env=environment, streams=streams.take_theirs())
        except Ended:
            raise self._gone() from None
        except BlockingIOError:
            raise self._too_many() from None

    def _wait_for_start(self, program: Program, deadline: float | None) -> None:
        latest = time.monotonic() + SETUP_SECONDS
        try:
            program.wait_for_start(latest if deadline is None else min(latest, deadline))
        except BlockingIOError:
            raise self._too_many() from None

    def _too_many(self) -> LimitExceeded:
        allowed = self.policy.limits.processes
        return outcome.told_by("tools", LimitExceeded("processes", allowed, allowed, self._report_now()))

    def _report_now(self) -> Report | None:
        """Return what is known by numbers of now; where a call is under way, which is who hears init, by the last ones."""
        with self._lock.if_free() as free:
            isolate = self._isolate
            if isolate is None:
                return self._report
            if free:
                isolate.ask_usage()
            return outcome.report_of(isolate, self._prepared, output=self._output)

    def _kill(self, program: Program) -> None:
        """Kill it; where nobody obeys any more, end the sandbox."""
        try:
            program.kill()
        except Ended:
            raise self._gone() from None

    def _gone(self) -> BaseException:
        """End the sandbox, whose tool process or keepers do not answer, and return the error that names it."""
        with self._lock:
            if self._isolate is None and self._why is not None:  # a call has ended it meanwhile
                return copy.copy(self._why)
            isolate, toolbox = self._open()
            return self._ended_by(toolbox.gone(), isolate)

    def _reason(self, program: Program, failure: BaseException | None) -> BaseException | None:
        """Return the error to raise for a program that has ended, if any."""
        if isinstance(failure, TooMuchOutput):
            return LimitExceeded("output", self.policy.limits.output, sum(self._output.counts), self._report_now())
        if failure is not None or not program.lost:
            return failure
        with self._lock:
            if self._isolate is None:
                return None if self._why is None else copy.copy(self._why)
            isolate, toolbox = self._open()
            return None if toolbox.answers() else self._ended_by(toolbox.gone(), isolate)

    def _stop_running(self) -> None:
        """Let the threads that pass output on finish; their programs are dead."""
        running, self._running = self._running, {}
        for program, relay in running.items():
            program.returncode = program.poll()
            if relay is not None:
                relay.join(_RELAY_SECONDS)


__all__ = ["Argv", "Starts", "ended_before"]
