"""stdin, stdout and stderr of a program inside, said as `subprocess.run` says them."""

from __future__ import annotations

import os
import subprocess
from typing import IO, Any

from isolate_fn._runtime.output import Output
from isolate_fn._runtime.toolbox import Pump
from isolate_fn.errors import PolicyError


class Streams:
    """The three streams of one program.

    Args:
        output: the sandbox's, where streams go that nobody asked for; its limit counts for all of them.
        input, capture_output, text, encoding, stdin, stdout, stderr: as for `subprocess.run`.

    Raises:
        PolicyError: they contradict each other.
    """

    def __init__(
        self,
        output: Output,
        *,
        input: str | bytes | None,  # noqa: A002 - the name in subprocess.run
        capture_output: bool,
        text: bool,
        encoding: str | None,
        stdin: int | IO[Any] | None,
        stdout: int | IO[Any] | None,
        stderr: int | IO[Any] | None,
    ) -> None:
        if capture_output and (stdout is not None or stderr is not None):
            raise PolicyError("capture_output", "was given together with stdout or stderr", "leave one of them out")
        if input is not None and stdin is not None:
            raise PolicyError("input", "was given together with stdin", "leave one of them out")
        if capture_output:
            stdout = stderr = subprocess.PIPE
        self.encoding = encoding or ("utf-8" if text else None)
        self.output = output
        self.captured: list[bytearray | None] = [None, None]
        self._theirs: list[int] = []
        self.pipes: list[int] = []  # those of the program's ends that are pipes of ours
        self._ours: dict[int, Any] = {}
        self._stdin = -1
        data = self._input(input)
        self._open_stdin(stdin, given=input is not None)
        self._open_output(0, stdout)
        if stderr == subprocess.STDOUT:
            self._theirs.append(os.dup(self._theirs[1]))
        else:
            self._open_output(1, stderr)
        self.pump = Pump(data, self._stdin, self._ours)

    def _input(self, value: str | bytes | None) -> bytes:
        if isinstance(value, str):
            if self.encoding is None:
                raise PolicyError("input", "is a str", "pass bytes, or text=True")
            return value.encode(self.encoding)
        return value or b""

    def _open_stdin(self, stdin: int | IO[Any] | None, *, given: bool) -> None:
        if given or stdin == subprocess.PIPE:
            theirs, self._stdin = os.pipe2(os.O_CLOEXEC)
            self._theirs.append(theirs)
            self.pipes.append(theirs)
        elif stdin is None or stdin == subprocess.DEVNULL:
            self._theirs.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        else:
            self._theirs.append(os.dup(stdin if isinstance(stdin, int) else stdin.fileno()))

    def _open_output(self, stream: int, target: int | IO[Any] | None) -> None:
        if target == subprocess.DEVNULL:
            self._theirs.append(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC))
        elif target is None or target == subprocess.PIPE:
            ours, theirs = os.pipe2(os.O_CLOEXEC)
            self._theirs.append(theirs)
            self.pipes.append(theirs)
            if target is None:
                self._ours[ours] = lambda data: self.output.feed(stream, data)
            else:
                self.captured[stream] = bytearray()
                self._ours[ours] = lambda data: self._capture(stream, data)
        else:
            self._theirs.append(os.dup(target if isinstance(target, int) else target.fileno()))

    def _capture(self, stream: int, data: bytes) -> bool:
        room = self.output.limit - sum(self.output.counts)
        self.output.counts[stream] += len(data)
        kept = self.captured[stream]
        assert kept is not None
        kept += data[: max(room, 0)]
        return len(data) <= room

    def theirs(self) -> list[int]:
        """Hand over the program's ends; who takes them closes them."""
        ends, self._theirs = self._theirs, []
        return ends

    def results(self) -> tuple[Any, Any]:
        """Return what was captured of stdout and stderr, None where nothing was asked for."""
        found: list[Any] = [None if kept is None else bytes(kept) for kept in self.captured]
        if self.encoding is not None:
            decoded = [None if kept is None else kept.decode(self.encoding, "replace") for kept in found]
            found = [None if kept is None else kept.replace("\r\n", "\n") for kept in decoded]
        return found[0], found[1]

    def close(self) -> None:
        """Close every end that nobody took."""
        for end in self._theirs:
            os.close(end)
        self._theirs.clear()
        self.pump.close()
