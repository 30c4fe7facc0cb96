"""Every exception that isolate_fn raises itself; imports nothing of the package.

::

    IsolationError                  .ran: had your function started?          .remedy: what to try
    ├── PolicyError (ValueError)    .field .problem                           what was asked cannot be meant
    │   └── ConflictingRules        .sets .syscall                            two requests contradict each
    other ├── Unsupported                 .feature .needs .found                    this machine or version
    cannot do it ├── SetupError                  .step .call .errno                        the walls could not
    be built ├── Terminated                  .report                                   the call was ended from
    outside it │   ├── SyscallDenied           .syscall .args .path .location
    │   ├── LimitExceeded           .limit .allowed .used
    │   ├── TimedOut (TimeoutError) .timeout
    │   └── Crashed                 .signal .exit_code .detail
    ├── TransportError              .message                                  the channel broke or was abused
    │   ├── CallRejected            .what .problem                            the call could not be sent in
    │   └── ResultRejected          .type_name .where                         the answer could not come out
    ├── RemoteError                 .type_name .message .traceback .notes     an exception of an unknown class
    └── InternalError               .message                                  a defect of isolate_fn

The first four are raised before the function runs, so the call can be repeated safely after mending it.
``str()`` of each says what happened, whether the function had started, and ends with what to try. All are
rebuilt by pickle with their fields, their notes (PEP 678) and any attribute set on them.

The user's own exceptions are not in this tree: they come through as themselves.
"""

from __future__ import annotations

import errno as _errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar

__all__ = [
    "CallRejected",
    "ConflictingRules",
    "Crashed",
    "InternalError",
    "IsolationError",
    "LimitExceeded",
    "PolicyError",
    "RemoteError",
    "ResultRejected",
    "SetupError",
    "SyscallDenied",
    "Terminated",
    "TimedOut",
    "TransportError",
    "Unsupported",
]


class IsolationError(Exception):
    """Base of everything isolate_fn raises itself.

    Attributes:
        ran: False when the function certainly did not start, True when it may have. Set by the class; whoever
            knows better for one error sets it on the instance.
        ended_before: True where an earlier call had ended the sandbox block that this one was for, in the way that this
            error tells; then `ran` is False.
        remedy: what to try, as one sentence.
    """

    ran: bool = True
    ended_before: bool = False
    remedy: str = ""
    # Names of the constructor's arguments, in order. Pickling goes by them and not by BaseException.args,
    # because SyscallDenied.args means the system call's arguments.
    _fields: ClassVar[tuple[str, ...]] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        if not self._fields:
            return (type(self), self.args, self.__dict__)
        return (type(self), tuple(getattr(self, name) for name in self._fields), self.__dict__)

    def __str__(self) -> str:
        lines = [self._what()]
        if self.ended_before:
            lines.append("  Your function did not run: the sandbox had ended before, as told above.")
        else:
            lines.append("  Your function had started." if self.ran else "  Your function did not run.")
        lines.extend(self._more())
        if self.remedy:
            lines.append(f"  try: {self.remedy}")
        return "\n".join(lines)

    def _what(self) -> str:
        """Say what happened, without the remedy."""
        return Exception.__str__(self) or type(self).__name__

    def _more(self) -> list[str]:
        """Return further lines: what else is known."""
        return []


class PolicyError(IsolationError, ValueError):
    """An option is wrong in itself. Your function did not run.

    Args:
        field: the option, as written: ``"timeout"``, ``"mounts[2]"``, ``"limits.memory"``.
        problem: what is wrong with its value, including the value.
        remedy: what to write instead.

    Attributes:
        file: the file that says it, where it was read from one; empty for what was written in Python.
        line: the line in that file, from 1; 0 without a file.
    """

    ran = False
    file: str = ""
    line: int = 0
    _fields: ClassVar[tuple[str, ...]] = ("field", "problem", "remedy")

    def __init__(self, field: str, problem: str, remedy: str) -> None:
        super().__init__(field, problem, remedy)
        self.field, self.problem, self.remedy = field, problem, remedy

    def _what(self) -> str:
        where = f"{self.file}:{self.line}: " if self.file else ""
        return f"{where}{self.field}: {self.problem}"


class ConflictingRules(PolicyError):
    """Two requests contradict each other: one would silently void the other. Your function did not run.

    Args:
        field: the option that holds both.
        problem: the contradiction, naming both.
        remedy: which of them to change.
        sets: the two rule sets or mount words.
        syscall: the system call both speak of; empty for mounts.
    """

    _fields = ("field", "problem", "remedy", "sets", "syscall")

    def __init__(
        self, field: str, problem: str, remedy: str, sets: tuple[str, ...] = (), syscall: str = ""
    ) -> None:
        super().__init__(field, problem, remedy)
        self.sets, self.syscall = tuple(sets), syscall


class Unsupported(IsolationError):
    """What was asked cannot be enforced here, so nothing was started. Your function did not run.

    Args:
        feature: what was asked for.
        needs: what would be necessary for it.
        found: what is there instead, and why.
        remedy: the command, setting or option that helps.
    """

    ran = False
    _fields = ("feature", "needs", "found", "remedy")

    def __init__(self, feature: str, needs: str, found: str, remedy: str) -> None:
        super().__init__(feature, needs, found, remedy)
        self.feature, self.needs, self.found, self.remedy = feature, needs, found, remedy

    def _what(self) -> str:
        return f"{self.feature} needs {self.needs}; found: {self.found}"


class SetupError(IsolationError):
    """The walls could not be built. Your function did not run.

    Args:
        step: the step of the set-up, as in the order of set-up: ``"mount /proc"``.
        call: the system call with its arguments: ``"mount('proc', '/proc')"``.
        errno: its error number; 0 where no system call failed.
        remedy: what to try.
    """

    ran = False
    _fields = ("step", "call", "errno", "remedy")

    def __init__(self, step: str, call: str, errno: int, remedy: str) -> None:
        super().__init__(step, call, errno, remedy)
        self.step, self.call, self.errno, self.remedy = step, call, errno, remedy

    def _what(self) -> str:
        if not self.errno:
            return f"{self.step}: {self.call} failed"
        name = _errno.errorcode.get(self.errno, str(self.errno))
        return f"{self.step}: {self.call} failed: {name}, {os.strerror(self.errno)}"


class Terminated(IsolationError):
    """The call was ended from outside the function; everything it had started is gone.

    Attributes:
        report: the call's ``Report`` (enforcement, denied system calls, resources used), or None where there
            is none.
    """

    report: Any = None
    remedy = "see .report for what the call did until then"

    def _more(self) -> list[str]:
        summary = getattr(self.report, "summary", None)
        return [f"  used: {summary()}"] if summary is not None else []


class SyscallDenied(Terminated):
    """The function made a system call that its policy does not allow.

    Args:
        syscall: name of the system call; empty where the kernel told only that one was denied (``on_denied="kill"``): it
            ends the process with SIGSYS, and tells nobody but its own log for which call.
        args: its arguments, as integers. (Not the exception's own arguments, as ``args`` elsewhere.)
        path: the path it was about, or None.
        location: ``"file:line"`` of the Python code that made it, as the isolate reports it, or None.
        report: see `Terminated`.
    """

    _fields = ("syscall", "args", "path", "location", "report")

    def __init__(
        self,
        syscall: str,
        args: tuple[Any, ...] = (),
        path: str | None = None,
        location: str | None = None,
        report: Any = None,
    ) -> None:
        super().__init__(syscall)
        if not syscall:
            self.remedy = (
                "call it with on_denied='errno' or 'report': the call that is denied then fails with PermissionError, "
                "and the traceback leads to it"
            )
        self.syscall, self.path, self.location, self.report = syscall, path, location, report
        self.args = tuple(args)
        if syscall:
            self.remedy = (
                f"grant the path with a mount, such as ro({path!r}), if the function needs it"
                if path
                else f"allow {syscall} in rules= if the function needs it, or look for what calls it"
            )

    def _what(self) -> str:
        if not self.syscall:
            denied = "a system call that the filter denies (the kernel does not tell for which)"
            return f"killed by SIGSYS for {denied}, or it sent itself that signal"
        target = f" on {self.path!r}" if self.path else ""
        place = f" at {self.location}" if self.location else ""
        arguments = ", ".join(hex(value) if isinstance(value, int) else repr(value) for value in self.args)
        return f"denied system call {self.syscall}({arguments}){target}{place}"


class LimitExceeded(Terminated):
    """The call reached one of its limits.

    Args:
        limit: the field of ``Limits``: ``"memory"``, ``"cpu_time"``, ``"processes"``, ``"rootfs_size"``,
            ``"output"``...
        allowed: the limit, in its own unit (bytes, seconds or a count).
        used: what was reached, in the same unit, or None where the kernel does not tell.
        report: see `Terminated`.

    Attributes:
        told_by: who found it: ``"kernel"``; ``"init"``, which watches the isolate and runs no code of yours; ``"tools"``,
            which starts programs and moves files; ``"caller"``, this process; or ``"function"``: it raised what the limit
            makes the kernel answer, such as EMFILE, and **nobody else vouches for that**. What it raised is the cause of
            this error then.
    """

    _fields = ("limit", "allowed", "used", "report")
    told_by: str = "caller"

    def __init__(
        self, limit: str, allowed: float | None, used: float | None = None, report: Any = None
    ) -> None:
        super().__init__(limit, allowed, used, report)
        self.limit, self.allowed, self.used, self.report = limit, allowed, used, report
        more: float | str = "..."
        if allowed:
            more = 2 * allowed if used is None or used < 2 * allowed else 2 * used  # above what was used
        self.remedy = f"raise it with limits=Limits({limit}={more}), or make the function need less"

    def _what(self) -> str:
        used = "" if self.used is None else f", reached {self.used}"
        whose = "; so the function's own exception says" if self.told_by == "function" else ""
        if self.told_by == "kernel" and self.limit != "memory":
            whose = "; by SIGXFSZ, unless it sent itself that signal"
        return f"limit {self.limit} exceeded: allowed {self.allowed}{used}{whose}"


class TimedOut(Terminated, TimeoutError):
    """The call took longer than its timeout; its whole process tree was killed.

    Args:
        timeout: the timeout in seconds of wall clock.
        report: see `Terminated`.
    """

    _fields = ("timeout", "report")
    remedy = "raise timeout= if the call deserves more time"

    def __init__(self, timeout: float, report: Any = None) -> None:
        # Not super().__init__(): OSError would take two arguments for errno and text.
        Exception.__init__(self, timeout, report)
        self.timeout, self.report = timeout, report
        self.errno, self.strerror = _errno.ETIMEDOUT, os.strerror(_errno.ETIMEDOUT)

    def _what(self) -> str:
        return f"timed out after {self.timeout:g} seconds"


class Crashed(Terminated):
    """The worker died without an answer: a crash in native code, ``os._exit``, ``os.abort``...

    Args:
        signal: number of the signal that killed it, or None.
        exit_code: its exit status where it exited by itself, or None.
        detail: what else is known: what the signal means, who may have sent it.
        report: see `Terminated`.

    Attributes:
        said: the last of what the isolate wrote to stderr, such as the message of a failed assertion in C. Hostile: whatever
            the code inside wanted to be read here, with control characters made visible.
        stack: the part of it that looks like a stack dumped by `faulthandler`, which every isolate has switched on: of
            Python, and from Python 3.14 on of C as well. As hostile.
    """

    _fields = ("signal", "exit_code", "detail", "report")
    said: str = ""
    stack: str = ""

    def __init__(
        self, signal: int | None, exit_code: int | None, detail: str = "", report: Any = None
    ) -> None:
        super().__init__(signal, exit_code, detail, report)
        self.signal, self.exit_code, self.detail, self.report = signal, exit_code, detail, report
        self.remedy = (
            "look for the native code that was called; .stack and .said have what the isolate wrote when it died"
            if signal
            else "return or raise instead of leaving the process"
        )

    def _what(self) -> str:
        if self.signal:
            how = f"was killed by {_signal_name(self.signal)}"
        elif self.exit_code is not None:
            how = f"exited with status {self.exit_code}"
        else:
            how = "ended without an answer"
        return f"the isolate {how}" + (f": {self.detail}" if self.detail else "")

    def _more(self) -> list[str]:
        shown = self.said.splitlines()
        if len(shown) > _SHOWN:
            shown = [*shown[:_SHOWN], "..."]
        told = ["  the last it wrote to stderr (its own words, for which nothing vouches):"] if shown else []
        return [*super()._more(), *told, *(f"    | {line}" for line in shown)]


class TransportError(IsolationError):
    """The channel to the isolate broke, or carried something that its protocol does not allow.

    Args:
        message: what was wrong.
        remedy: what to try.
    """

    _fields: ClassVar[tuple[str, ...]] = ("message", "remedy")

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy or "nothing of the answer was used; find out why the isolate misbehaved"

    def _what(self) -> str:
        return self.message


class CallRejected(TransportError):
    """The call could not be sent in. Your function did not run.

    Args:
        what: the part: ``"argument 1"``, ``"argument 'path'"``, ``"the function"``.
        problem: why it cannot travel.
        remedy: what to pass instead.
    """

    ran = False
    _fields = ("what", "problem", "remedy")

    def __init__(self, what: str, problem: str, remedy: str) -> None:
        super().__init__(f"{what} cannot be sent into the isolate: {problem}", remedy)
        self.what, self.problem = what, problem


class ResultRejected(TransportError):
    """The answer holds something that may not come out. Your function ran; its result was discarded.

    Args:
        type_name: the type's qualified name, or the kind of damage.
        remedy: the one-line fix, such as ``returns=(mypackage.Point,)``.
        where: path to the value inside the result: ``"result['points'][3]"``.
    """

    _fields = ("type_name", "remedy", "where")

    def __init__(self, type_name: str, remedy: str, where: str = "") -> None:
        place = f" at {where}" if where else ""
        super().__init__(f"the result was rejected: {type_name}{place}", remedy)
        self.type_name, self.where = type_name, where


class RemoteError(IsolationError):
    """The function raised an exception whose class is not known on this side.

    Args:
        type_name: qualified name of the class, as the isolate gives it.
        message: its text, as the isolate gives it.
        traceback: the isolate's traceback as text.
        notes: the exception's own notes; they are attached to this one as well.
    """

    _fields = ("type_name", "message", "traceback", "notes")

    def __init__(
        self, type_name: str, message: str, traceback: str = "", notes: tuple[str, ...] = ()
    ) -> None:
        super().__init__(type_name, message, traceback, notes)
        self.type_name, self.message, self.traceback = type_name, message, traceback
        self.notes = tuple(notes)
        for note in self.notes:
            self.add_note(note)
        if type_name in _STEERING or type_name.startswith("isolate_fn.") or type_name.endswith(".CancelledError"):
            self.remedy = "it never arrives as itself: catch it inside, and return or raise what the caller shall know"
        else:
            self.remedy = "to receive it as itself, name its class in raises=(...)"
            if "<locals>" in type_name:
                self.remedy += "; move it to module level where the caller cannot name it"

    def _what(self) -> str:
        return f"{self.type_name}: {self.message}" if self.message else self.type_name


class InternalError(IsolationError):
    """Something happened that should be impossible: a defect of isolate_fn. Let it propagate.

    Args:
        message: what was found.
    """

    _fields = ("message",)
    remedy = "report this defect of isolate_fn with this traceback and the output of uname -a"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def _what(self) -> str:
        return self.message


# Names of exceptions that steer a program instead of reporting.
_STEERING = frozenset(
    ("SystemExit", "KeyboardInterrupt", "GeneratorExit", "StopIteration", "StopAsyncIteration", "BaseException")
)
_SHOWN = 40  # lines of what a crashed isolate wrote


def _signal_name(number: int) -> str:
    import signal  # only where a worker crashed: the name is for people

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
