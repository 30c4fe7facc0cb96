"""`Popen`: a program that runs inside while the caller does something else; the contract of `subprocess.Popen`."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import threading
import time
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import IO, Any, AnyStr, Generic

from isolate_fn._api.streams import Collected, Input, SharedOutput, Streams, pieces_of
from isolate_fn._runtime import lifetime
from isolate_fn._runtime.endings import Ended, OutOfTime
from isolate_fn._runtime.program import Program, hide
from isolate_fn._runtime.pump import Pump
from isolate_fn.errors import PolicyError


class Relay(threading.Thread):
    """Passes on the output of a program that nobody asked for, until the program has ended.

    Args:
        program: killed where its output is too much, or cannot be passed on.
        output: where it goes.
        pipes: stream 0 (stdout) or 1 (stderr) -> our end of its pipe.
    """

    def __init__(self, program: Program, output: SharedOutput, pipes: dict[int, int]) -> None:
        super().__init__(name="isolate_fn output", daemon=True)
        self.program = program
        self.failure: BaseException | None = None
        self.pump = Pump(iter(()), -1, {pipe: output.taker(stream) for stream, pipe in pipes.items()})

    def run(self) -> None:
        """Move output until the end."""
        try:
            self.pump.until_end(self.program, None)
        except BaseException as failure:  # the user's own function may take the output
            self.failure = failure
            _kill(self.program)
        finally:
            self.pump.close()

    def finish(self, deadline: float | None) -> None:
        """Wait until all output is passed on.

        Raises:
            TooMuchOutput: it passed the limit. Whatever the user's function raised.
        """
        if threading.current_thread() is not self:
            self.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure


class Popen(Generic[AnyStr]):
    """A program that runs in a sandbox block; made by `Sandbox.popen`. The contract of `subprocess.Popen`.

    It ends at the latest when the block does. When it ends, whatever it has left behind is killed; only then do ``poll``
    and ``wait`` tell of its end. Output that nobody asked for goes where the sandbox's goes, moved by a thread.

    Attributes:
        args: as given.
        pid: number of its process *inside*; outside it means nothing, or another process.
        stdin, stdout, stderr: our ends of its pipes, where ``subprocess.PIPE`` was said. What is read from them does not
            count for ``limits.output``: at most a pipe's buffer (64 KiB) waits there, and the program with it.
        returncode: None while no ``poll`` or ``wait`` has found it ended; negative for a signal.
    """

    stdin: IO[AnyStr] | None
    stdout: IO[AnyStr] | None
    stderr: IO[AnyStr] | None

    def __init__(
        self,
        args: Any,
        program: Program,
        streams: Streams,
        relay: Relay | None,
        *,
        output: SharedOutput,
        reason: Callable[[Program, BaseException | None], BaseException | None],
        text: tuple[str, str] | None,
        bufsize: int,
    ) -> None:
        self.args = args
        self.pid = program.pid
        self.returncode: int | None = None
        self._program, self._relay, self._text = program, relay, text
        self._reason, self._collected = reason, Collected(output, text)
        self._pump: Pump | None = None
        self._owner = os.getpid()
        ends = [streams.stdin, streams.asked.get(0, -1), streams.asked.get(1, -1)]
        streams.stdin, streams.asked = -1, {}
        self.stdin, self.stdout, self.stderr = (
            _opened(end, "rw"[number == 0] + "b", bufsize, text) if end >= 0 else None for number, end in enumerate(ends)
        )
        lifetime.hold(self)

    # --- its end -----------------------------------------------------------------------------------------------------

    def poll(self) -> int | None:
        """Return the code it ended with, None while it runs."""
        if self.returncode is None:
            self.returncode = self._program.poll()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its code.

        Args:
            timeout: seconds.

        Raises:
            subprocess.TimeoutExpired: it still runs; LimitExceeded: its output was too much for the sandbox, or the
            whole sandbox passed a limit and is gone; Crashed: the sandbox is gone.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            self._program.wait(deadline)
        except OutOfTime:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0) from None
        return self._ended(deadline)

    def _ended(self, deadline: float | None) -> int:
        code = self.returncode = self._program.poll()
        failure: BaseException | None = None
        if self._relay is not None:
            try:
                self._relay.finish(deadline)
            except BaseException as found:
                failure = found
        failure = self._reason(self._program, failure)
        if failure is not None:
            raise failure
        assert code is not None
        return code

    def send_signal(self, sig: int) -> None:
        """Send it a signal, unless it has ended. SIGSTOP and SIGCONT work too."""
        self._program.signal(signal.Signals(sig) if not isinstance(sig, signal.Signals) else sig)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL. What it started is killed as well, when it has ended."""
        self.send_signal(signal.SIGKILL)

    # --- its streams -------------------------------------------------------------------------------------------------

    def communicate(self, input: Input | None = None, timeout: float | None = None) -> tuple[AnyStr, AnyStr]:  # noqa: A002
        """Send input, read all output, wait for the end; after a time-out it may be called again, and goes on.

        Args:
            input: bytes, text, a file or an iterable of pieces, which is never held whole.
            timeout: seconds.

        Returns:
            stdout and stderr, None for a stream that is not a pipe.

        Raises:
            subprocess.TimeoutExpired: it still runs; LimitExceeded: it wrote more than ``limits.output``, and is killed.
        """
        if self._pump is None:
            self._pump = self._start_pump(input)
        elif input:
            raise ValueError("Cannot send input after starting communication")
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            self._pump.until_end(self._program, deadline)
        except OutOfTime:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0, *self._collected.results()) from None
        except BaseException as failure:
            reason = self._reason(self._program, failure)  # while what it uses is there to be told
            _kill(self._program)
            self._pump.close()
            try:
                raise (reason or failure) from None
            finally:
                del reason  # it holds this frame, and with it the program's socket
        self._pump.close()
        self._ended(deadline)
        return self._collected.results()

    def _start_pump(self, data: Input | None) -> Pump:
        if data and self.stdin is None:
            raise PolicyError("input", "was given, but stdin is not a pipe", "say stdin=subprocess.PIPE")
        pieces = pieces_of(data, self._text)
        files = {file.fileno(): file for file in (self.stdin, self.stdout, self.stderr) if file and not file.closed}
        if self.stdin and not self.stdin.closed:
            with contextlib.suppress(BrokenPipeError):  # it has ended, or does not want it
                self.stdin.flush()
        outputs = {
            file.fileno(): self._collected.taker(number)
            for number, file in enumerate((self.stdout, self.stderr))
            if file and not file.closed
        }
        stdin = self.stdin.fileno() if self.stdin and not self.stdin.closed else -1
        return Pump(pieces, stdin, outputs, lambda end: _close(files[end]))

    def __enter__(self) -> Popen[AnyStr]:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the pipes, then wait for the end."""
        for file in (self.stdout, self.stderr, self.stdin):
            if file is not None:
                _close(file)
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self.kill()
        self.wait()

    def __repr__(self) -> str:
        return f"<Popen in a sandbox: returncode: {self.returncode} args: {self.args!r:.80}>"

    # --- forks of the caller, and being forgotten --------------------------------------------------------------------

    def abandon(self) -> None:
        """In a forked child: hold no end of a pipe, and write nothing twice."""
        for file in (self.stdin, self.stdout, self.stderr):
            if file is not None and not file.closed:
                hide(file.fileno())

    def end(self) -> None:
        """Nothing is left to do at the caller's exit: the isolate is killed."""

    def __del__(self) -> None:
        if getattr(self, "_program", None) is not None and self.poll() is None and self._owner == os.getpid():
            warnings.warn(f"program {self.args!r:.80} is still running", ResourceWarning, source=self, stacklevel=2)


def _opened(end: int, mode: str, bufsize: int, text: tuple[str, str] | None) -> IO[Any]:
    raw: IO[Any] = open(end, mode, 0 if text is None and bufsize == 0 else (-1 if bufsize in (0, 1) else bufsize))
    if text is None:
        return raw
    encoding, errors = text
    line = bufsize == 1 and mode == "wb"
    through = bufsize == 0 and mode == "wb"
    return io.TextIOWrapper(raw, encoding=encoding, errors=errors, line_buffering=line, write_through=through)


def _kill(program: Program) -> None:
    """Kill a program whose pipes are about to be closed, so that it does not end of that."""
    with contextlib.suppress(Ended):  # the end of the block ends it, if nothing else
        program.kill()


def _close(file: IO[Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # it has ended and does not want the rest
        file.close()


__all__ = ["Popen", "Relay"]
