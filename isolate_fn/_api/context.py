"""`sandbox`: one isolate for the length of a ``with`` block."""

from __future__ import annotations

import copy
import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import IO, Any, TypeVar

from isolate_fn._api.contents import content_of, inside, word
from isolate_fn._api.prepare import prepare
from isolate_fn._api.programs import Streams
from isolate_fn._runtime import call, outcome, pool
from isolate_fn._runtime.conversation import converse
from isolate_fn._runtime.endings import Ended, OutOfTime, TooMuchOutput
from isolate_fn._runtime.isolate import Isolate
from isolate_fn._runtime.output import Output
from isolate_fn._runtime.report import Report
from isolate_fn._runtime.signature import Signature, sign
from isolate_fn._runtime.toolbox import Toolbox
from isolate_fn._transport.calls import encode_call, function_part, function_reference, unbind
from isolate_fn.errors import CallRejected, PolicyError, ResultRejected, TransportError
from isolate_fn.policy import checks
from isolate_fn.policy.policy import Policy
from isolate_fn.policy.unsupported import refuse_unbuilt

T = TypeVar("T")


class Sandbox:
    """One isolate with a persistent worker and a file system of its own, until the block ends; made by `sandbox`.

    State lives in it: what one call leaves in memory or in files, the next one finds. It is one trust domain.
    Calls of several threads take turns.

    Args:
        policy: what may be done inside.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._prepared = prepare(policy, tools=True, by_value=True)
        self._isolate: Isolate | None = None
        self._toolbox: Toolbox | None = None
        self._output = Output(policy.output, policy.limits.output)
        self._signatures: dict[Any, Signature] = {}
        self._lock = threading.Lock()
        self._report: Report | None = None
        self._why: BaseException | None = None

    def __enter__(self) -> Sandbox:
        """Build the isolate and check its walls.

        Raises:
            Unsupported, SetupError: it cannot be built here; says why.
        """
        if self._isolate is not None or self._report is not None:
            raise PolicyError("sandbox", "this block was entered before", "write with sandbox(...) again")
        isolate = pool.start(self._prepared)
        try:
            isolate.output = self._output
            call.make_ready(isolate, self._prepared)
            self._toolbox = Toolbox(isolate, self._prepared)
            self._toolbox.make_ready()
        except BaseException:
            isolate.end()
            raise
        self._isolate = isolate
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Kill everything inside and wait until it is gone."""
        if self._isolate is not None:
            if self._isolate.alive():
                self._isolate.ask_usage()
            self._close()
            self._output.finish()

    def _close(self) -> None:
        assert self._isolate is not None
        isolate, self._isolate = self._isolate, None
        isolate.end()
        self._report = outcome.report_of(isolate, self._prepared, output=self._output)

    def _open(self) -> tuple[Isolate, Toolbox]:
        if self._isolate is None or self._toolbox is None:
            if self._why is not None:
                raise copy.copy(self._why) from self._why
            raise PolicyError("sandbox", "the block is not open", "use it as `with sandbox(...) as box:`")
        return self._isolate, self._toolbox

    def call(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Call a function in the sandbox's worker and return its value or raise its exception.

        Args:
            function: any function that `isolated` could decorate.
            *args: its arguments.
            **kwargs: its keyword arguments.

        Raises:
            TimedOut: after ``timeout`` seconds; the sandbox is gone then.
            LimitExceeded, Crashed, TransportError: likewise.
            CallRejected: function or argument cannot be sent; the sandbox goes on.
        """
        with self._lock:
            isolate, _ = self._open()
            function, args, kwargs = unbind(function, args, kwargs)
            signature = self._sign(function)
            encoded = encode_call(signature.reference, args, kwargs)
            part = signature.part or function_part(signature.reference)
            deadline = None if self.policy.timeout is None else time.monotonic() + self.policy.timeout
            try:
                answer = converse(isolate, self._prepared, signature, part, encoded, deadline)
                if isolate.wrote:
                    isolate.drain()
            except BaseException as reason:
                raise self._ended_by(reason, isolate) from None
            try:
                result: T = outcome.judge(answer, isolate, self._prepared, signature)
            except (CallRejected, ResultRejected):
                raise
            except TransportError as broken:
                raise self._ended_by(broken, isolate) from None
            return result

    def _sign(self, function: Callable[..., Any]) -> Signature:
        try:
            known = self._signatures.get(function)
        except TypeError:  # a callable that cannot be a key
            return sign(function_reference(function), self._prepared)
        if known is None:
            known = self._signatures[function] = sign(function_reference(function), self._prepared)
        return known

    def _ended_by(self, reason: BaseException, isolate: Isolate) -> BaseException:
        """End the sandbox for a reason, and return the error that names it."""
        if isinstance(reason, OutOfTime):
            reason = outcome.timed_out(self.policy.timeout or 0.0, isolate, self._prepared)
        elif isinstance(reason, TooMuchOutput):
            reason = outcome.too_much_output(isolate, self._prepared)
        elif isinstance(reason, TransportError):
            reason = outcome.too_big(reason, isolate, self._prepared) or reason
        elif isinstance(reason, Ended):
            reason = outcome.ended(isolate, self._prepared)
        if isinstance(reason, Exception):
            self._why = reason
        self._close()
        return reason

    def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        input: str | bytes | None = None,  # noqa: A002 - the name in subprocess.run
        capture_output: bool = False,
        text: bool = False,
        encoding: str | None = None,
        stdin: int | IO[Any] | None = None,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        timeout: float | None = None,
        check: bool = False,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[Any]:
        """Run a program inside; the contract of `subprocess.run`.

        It has the sandbox's mounts, network and limits, and a filter that permits exec. Processes that it leaves behind
        are killed when it ends. Without ``stdout`` or ``capture_output``, its output goes where the sandbox's goes.

        Args:
            argv: program and arguments; the program is looked up in PATH inside.
            input: for its stdin; text with ``text`` or ``encoding``.
            capture_output: keep both streams in the result.
            text: streams are str, in UTF-8.
            encoding: streams are str, in this encoding.
            stdin: as for `subprocess.run`; nothing (``/dev/null``) if left out.
            stdout: likewise; the sandbox's output if left out.
            stderr: likewise; ``subprocess.STDOUT`` merges it.
            timeout: seconds; the program and its children are killed then. The policy's if left out.
            check: raise for a code other than 0.
            cwd: directory inside.
            env: its whole environment; the isolate's if left out.

        Raises:
            subprocess.TimeoutExpired, subprocess.CalledProcessError: as in `subprocess.run`.
            FileNotFoundError: there is no such program inside.
            LimitExceeded: it wrote more than ``limits.output``, or used more memory or time than allowed.
        """
        if not argv or isinstance(argv, (str, bytes)):
            raise PolicyError("argv", f"{argv!r:.60} is not a list of words", "pass a list, such as ['ls', '-l']")
        words = [word("argv", each) for each in argv]
        directory = None if cwd is None else word("cwd", cwd)
        environment = None if env is None else dict(checks.text_pairs("env", env))
        with self._lock:
            isolate, toolbox = self._open()
            limit = self.policy.timeout if timeout is None else timeout
            streams = Streams(
                self._output, input=input, capture_output=capture_output, text=text, encoding=encoding,
                stdin=stdin, stdout=stdout, stderr=stderr,
            )  # fmt: skip
            for pipe in streams.pipes:
                isolate.hand_over(pipe)
            try:
                code = toolbox.run(
                    words,
                    cwd=directory,
                    env=environment,
                    descriptors=streams.theirs(),
                    pump=streams.pump,
                    deadline=None if limit is None else time.monotonic() + limit,
                )
            except OutOfTime:
                out, err = streams.results()
                raise subprocess.TimeoutExpired(argv, limit or 0.0, out, err) from None
            except TooMuchOutput:
                raise outcome.too_much_output(isolate, self._prepared) from None
            except FileNotFoundError as missing:
                raise FileNotFoundError(missing.errno, missing.strerror, missing.filename or words[0]) from None
            finally:
                streams.close()
            out, err = streams.results()
        if check and code:
            raise subprocess.CalledProcessError(code, argv, out, err)
        return subprocess.CompletedProcess(argv, code, out, err)

    def put(self, path_inside: str, content: bytes | bytearray | memoryview | os.PathLike[str] | IO[bytes]) -> None:
        """Write a file inside.

        Args:
            path_inside: where; relative to the working directory. Missing directories are made.
            content: bytes, the path of a file of the caller's, or an open binary file.

        Raises:
            OSError: it cannot be written there.
            LimitExceeded: the sandbox's file system is full.
        """
        data = content_of(content)
        with self._lock:
            self._open()[1].put(inside("put", path_inside), data)

    def get(self, path_inside: str) -> bytes:
        """Return the content of a regular file inside. It is hostile data, whatever its name says.

        Args:
            path_inside: relative to the working directory.

        Raises:
            OSError: it does not exist, or is a directory, a link, a device or a pipe.
            LimitExceeded: it is bigger than ``limits.result``.
        """
        with self._lock:
            return self._open()[1].get(inside("get", path_inside))

    def report(self) -> Report:
        """Return what is in force and what was used so far; also after the block."""
        with self._lock:
            if self._isolate is None:
                if self._report is None:
                    raise PolicyError("sandbox", "the block was never open", "use `with sandbox(...) as box:`")
                return self._report
            self._isolate.ask_usage()
            self._isolate.drain()
            return outcome.report_of(self._isolate, self._prepared, output=self._output)


def sandbox(*, policy: Policy | None = None, **options: Any) -> Sandbox:
    """Open a sandbox for the length of a ``with`` block.

    Args:
        policy: options to start from; the others override it.
        **options: as for `isolated`.

    Raises:
        PolicyError: an option does not exist, has the wrong type or is out of range; a mount's source is missing.
        Unsupported: an option that this version or this machine cannot enforce.
    """
    made = Policy.from_options(policy, **options)
    refuse_unbuilt(made)
    return Sandbox(made)


__all__ = ["Sandbox", "sandbox"]
