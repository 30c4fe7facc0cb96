"""Programs in a sandbox block: `run` to the end, or `popen` to go on beside the caller."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import Any, Literal, overload

from isolate_fn._api.popen import Popen, Relay
from isolate_fn._api.starts import Argv, Starts
from isolate_fn._api.streams import Collected, Input, Stream, Streams, pieces_of, text_mode
from isolate_fn._runtime.endings import OutOfTime, TooMuchOutput
from isolate_fn._runtime.program import Program
from isolate_fn._runtime.pump import Pump
from isolate_fn.errors import PolicyError


class Programs(Starts):
    """The part of a sandbox block that runs programs. They run side by side, and beside its calls."""

    def run(
        self,
        argv: Argv,
        *,
        input: Input | None = None,  # noqa: A002 - the name in subprocess.run
        capture_output: bool = False,
        text: bool = False,
        encoding: str | None = None,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
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
            input: for its stdin: bytes; text with ``text`` or ``encoding``; a file or an iterable of pieces, which is
                read as the program reads and never held whole. While a file or iterable lets us wait for its next piece,
                nothing else is moved, and ``timeout`` is not noticed.
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
            Crashed: the sandbox is gone, or a program has stopped its processes.
        """
        if capture_output and (stdout is not None or stderr is not None):
            raise PolicyError("capture_output", "was given together with stdout or stderr", "leave one of them out")
        if input is not None and stdin is not None:
            raise PolicyError("input", "was given together with stdin", "leave one of them out")
        mode = text_mode(text, encoding, None)
        pieces = pieces_of(input, mode)
        if input is not None:
            stdin = subprocess.PIPE
        if capture_output:
            stdout = stderr = subprocess.PIPE
        limit = self.policy.timeout if timeout is None else timeout
        deadline = None if limit is None else time.monotonic() + limit
        kept = Collected(self._output, mode)
        with contextlib.closing(Streams(stdin, stdout, stderr)) as streams:
            program = self._start(argv, cwd, env, streams)
            try:
                code = self._until_end(program, streams, pieces, kept, deadline)
            except OutOfTime:
                raise subprocess.TimeoutExpired(argv, limit or 0.0, *kept.results()) from None
        out, err = kept.results()
        if check and code:
            raise subprocess.CalledProcessError(code, argv, out, err)
        return subprocess.CompletedProcess(argv, code, out, err)

    def _until_end(
        self, program: Program, streams: Streams, pieces: Iterator[memoryview], kept: Collected, deadline: float | None
    ) -> int:
        takers = {end: kept.taker(stream) for stream, end in streams.asked.items()}
        takers |= {end: self._output.taker(stream) for stream, end in streams.unasked.items()}
        pump = Pump(pieces, streams.stdin, takers)
        streams.stdin, streams.asked, streams.unasked = -1, {}, {}
        try:
            self._wait_for_start(program, deadline)
            code = pump.until_end(program, deadline)
        except BaseException as failure:
            reason = self._reason(program, failure)  # while what it uses is there to be told
            self._kill(program)
            with contextlib.suppress(TooMuchOutput):
                pump.drain()
            try:
                raise (reason or failure) from None
            finally:
                del reason  # it holds this frame, and with it the program's socket
        finally:
            pump.close()
        reason = self._reason(program, None)
        if reason is not None:
            raise reason
        return code

    @overload
    def popen(
        self,
        argv: Argv,
        *,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        text: Literal[True],
        encoding: str | None = None,
        errors: str | None = None,
        bufsize: int = -1,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Popen[str]: ...

    @overload
    def popen(
        self,
        argv: Argv,
        *,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        text: bool = False,
        encoding: str,
        errors: str | None = None,
        bufsize: int = -1,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Popen[str]: ...

    @overload
    def popen(
        self,
        argv: Argv,
        *,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        text: Literal[False] = False,
        encoding: None = None,
        errors: None = None,
        bufsize: int = -1,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Popen[bytes]: ...

    def popen(
        self,
        argv: Argv,
        *,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        text: bool = False,
        encoding: str | None = None,
        errors: str | None = None,
        bufsize: int = -1,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Popen[Any]:
        """Start a program inside and return at once; the contract of `subprocess.Popen`.

        Any number of them run side by side, and beside ``run`` and ``call``; each needs two of ``limits.processes``. One's
        ``stdout`` can be another's ``stdin``. They end at the latest with the block.

        Args:
            argv: program and arguments; the program is looked up in PATH inside.
            stdin: ``subprocess.PIPE``, a file, a descriptor; nothing (``/dev/null``) if left out.
            stdout: likewise; the sandbox's output if left out, moved by a thread and counted for ``limits.output``.
            stderr: likewise; ``subprocess.STDOUT`` merges it.
            text: pipes carry str, in UTF-8.
            encoding: pipes carry str, in this encoding.
            errors: what to do with bytes that are no text; replaced if left out.
            bufsize: of the pipes' files, as for `open`.
            cwd: directory inside.
            env: its whole environment; the isolate's if left out.

        Raises:
            FileNotFoundError, PermissionError: there is no such program inside.
            LimitExceeded: there are too many processes. Crashed: the sandbox is gone.
        """
        mode = text_mode(text, encoding, errors)
        with contextlib.closing(Streams(stdin, stdout, stderr)) as streams:
            program = self._start(argv, cwd, env, streams)
            try:
                self._wait_for_start(program, None)
            except OutOfTime:
                raise self._gone() from None
            relay = None
            if streams.unasked:
                relay, streams.unasked = Relay(program, self._output, streams.unasked), {}
                relay.start()
            for each, its in list(self._running.items()):
                if each.poll() is not None and (its is None or not its.is_alive()):
                    self._running.pop(each, None)
            self._running[program] = relay
            return Popen(
                argv, program, streams, relay, output=self._output, reason=self._reason, text=mode, bufsize=bufsize
            )


__all__ = ["Programs"]
