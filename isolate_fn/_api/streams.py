"""stdin, stdout and stderr of a program inside, said as `subprocess` says them."""

from __future__ import annotations

import codecs
import os
import stat
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

from isolate_fn._runtime.output import Output
from isolate_fn.errors import PolicyError

Stream = int | IO[Any] | None
Input = str | bytes | bytearray | memoryview | IO[bytes] | IO[str] | Iterable[bytes] | Iterable[str]

_CHUNK = 1 << 18


class SharedOutput(Output):
    """The output of a sandbox block, to which a call and several programs may write at the same time."""

    __slots__ = ("_lock",)

    def __init__(self, kind: str | Callable[[str, bytes], object], limit: int) -> None:
        super().__init__(kind, limit)
        self._lock = threading.RLock()
        self.held = None  # programs write here as well, for as long as the block lives

    def feed(self, stream: int, data: bytes) -> bool:
        """Do what `Output.feed` does, one at a time."""
        with self._lock:
            return super().feed(stream, data)

    def taker(self, stream: int) -> Callable[[bytes], bool]:
        """Return what takes the output of one stream."""
        return lambda data: self.feed(stream, data)

    def count(self, stream: int, size: int) -> int:
        """Count bytes that are kept elsewhere; return how much room there was."""
        with self._lock:
            room = self.limit - sum(self.counts)
            self.counts[stream] += size
            return max(room, 0)


class Streams:
    """The three streams of one program.

    Args:
        stdin, stdout, stderr: as for `subprocess.Popen`, but nothing (``/dev/null``) for a stdin of None.

    Attributes:
        theirs: the program's ends; who takes them closes them.
        pipes: those of them that are pipes of ours.
        stdin: our end of a pipe, -1 for none.
        asked: stream 0 (stdout) or 1 (stderr) -> our end of the pipe that was asked for.
        unasked: our ends of the others, where nothing was said.

    Raises:
        PolicyError: they contradict each other.
    """

    def __init__(self, stdin: Stream, stdout: Stream, stderr: Stream) -> None:
        self.theirs: list[int] = []
        self.pipes: list[int] = []
        self.stdin = -1
        self.asked: dict[int, int] = {}
        self.unasked: dict[int, int] = {}
        try:
            self._open_stdin(stdin)
            self._open_output(0, stdout)
            if stderr == subprocess.STDOUT:
                self.theirs.append(os.dup(self.theirs[1]))
            else:
                self._open_output(1, stderr)
        except BaseException:
            self.close()
            raise

    def _pipe(self, theirs: int) -> int:
        """Make a pipe of which the program gets end 0 (reading) or 1; return the other."""
        ends = os.pipe2(os.O_CLOEXEC)
        self.theirs.append(ends[theirs])
        self.pipes.append(ends[theirs])
        return ends[1 - theirs]

    def _open_stdin(self, stdin: Stream) -> None:
        if stdin is None or stdin == subprocess.DEVNULL:
            self.theirs.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        elif stdin == subprocess.PIPE:
            self.stdin = self._pipe(0)
        else:
            self._given("stdin", stdin)

    def _open_output(self, stream: int, target: Stream) -> None:
        if target == subprocess.DEVNULL:
            self.theirs.append(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC))
        elif target is None or target == subprocess.PIPE:
            (self.unasked if target is None else self.asked)[stream] = self._pipe(1)
        else:
            self._given(("stdout", "stderr")[stream], target)

    def _given(self, field: str, file: int | IO[Any]) -> None:
        number = file if isinstance(file, int) else file.fileno()
        if number < 0:
            raise PolicyError(field, f"{file!r:.60} is not a stream", "pass a file, PIPE, DEVNULL or None")
        if stat.S_ISDIR(os.fstat(number).st_mode):  # from there, paths lead out of the isolate
            raise PolicyError(field, "is a directory", "pass a file, or ro(...) of the directory as a mount")
        self.theirs.append(os.dup(number))

    def take_theirs(self) -> list[int]:
        """Hand over the program's ends."""
        ends, self.theirs = self.theirs, []
        return ends

    def close(self) -> None:
        """Close every end that nobody took."""
        for end in (*self.take_theirs(), *self.asked.values(), *self.unasked.values()):
            os.close(end)
        self.asked, self.unasked = {}, {}
        if self.stdin >= 0:
            os.close(self.stdin)
            self.stdin = -1


class Collected:
    """What is kept of a program's output for the caller, within the sandbox's limit of output.

    Args:
        output: counts.
        text: None for bytes, else encoding and what to do with bytes that are none in it.
    """

    def __init__(self, output: SharedOutput, text: tuple[str, str] | None) -> None:
        self._output, self._text = output, text
        self._kept: list[bytearray | None] = [None, None]

    def taker(self, stream: int) -> Callable[[bytes], bool]:
        """Return what takes the output of one stream."""
        kept = self._kept[stream] = bytearray()

        def take(data: bytes) -> bool:
            room = self._output.count(stream, len(data))
            kept.extend(data[:room])
            return len(data) <= room

        return take

    def results(self) -> tuple[Any, Any]:
        """Return stdout and stderr, None where nothing was asked for."""
        out, err = (None if kept is None else self._converted(kept) for kept in self._kept)
        return out, err

    def _converted(self, kept: bytearray) -> str | bytes:
        if self._text is None:
            return bytes(kept)
        return kept.decode(*self._text).replace("\r\n", "\n").replace("\r", "\n")


def text_mode(text: bool | None, encoding: str | None, errors: str | None) -> tuple[str, str] | None:
    """Return encoding and error handler, None for bytes. Output is hostile: what cannot be decoded is replaced."""
    return (encoding or "utf-8", errors or "replace") if text or encoding or errors else None


def pieces_of(value: Input | None, text: tuple[str, str] | None) -> Iterator[memoryview]:
    """Cut input into pieces: a file and an iterable are asked for more as the program reads, and never held whole.

    Raises:
        PolicyError: at once, where it can be neither bytes nor text; later, where a piece is not.
    """
    if value is not None and not isinstance(value, str) and not hasattr(value, "read"):
        try:
            return iter([memoryview(value).cast("B")])  # type: ignore[arg-type]
        except TypeError:
            if not hasattr(value, "__iter__"):
                raise PolicyError("input", f"{value!r:.60} is no data", "pass bytes, a file or an iterable") from None
    if isinstance(value, str):
        _encoder(text)
    return _encoded(_parts(value), text)


def _parts(value: Any) -> Iterator[str | bytes]:
    if hasattr(value, "read"):
        while part := value.read(_CHUNK):
            yield part
    elif isinstance(value, str):
        yield value
    elif value is not None:
        yield from value


def _encoder(text: tuple[str, str] | None) -> codecs.IncrementalEncoder:
    if text is None:
        raise PolicyError("input", "is a str", "pass bytes, or text=True")
    return codecs.getincrementalencoder(text[0])(text[1] if text[1] != "replace" else "strict")


def _encoded(parts: Iterator[Any], text: tuple[str, str] | None) -> Iterator[memoryview]:
    encoder = None
    for part in parts:
        if isinstance(part, str):
            encoder = encoder or _encoder(text)
            part = encoder.encode(part)
        elif isinstance(part, int):
            raise PolicyError("input", "holds numbers", "pass bytes, or an iterable of bytes")
        yield memoryview(part).cast("B")
    if encoder is not None:
        yield memoryview(encoder.encode("", final=True))


__all__ = ["Collected", "Input", "SharedOutput", "Stream", "Streams", "pieces_of", "text_mode"]
