"""Open files and sockets of the caller's, at the worker: made of the descriptors that came with a call, gone with it.

They are the caller's own open file descriptions: offset, flags and locks are shared. What Python keeps on top of them is
not, so the caller has flushed its buffers before, and this side leaves the offset where the function stopped reading.
"""

from __future__ import annotations

import contextlib
import io
import os

from isolate_fn.errors import CallRejected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OFFSET = (1 << 64) - 1  # of a text file's position, which also tells the state of its decoder (io.TextIOBase.tell)

_present: list[Lending] = []
"""What was lent for the call that runs."""


class Lending:
    """What was lent for one call.

    Args:
        descriptors: what came with it; this object closes them.
    """

    def __init__(self, descriptors: list[int]) -> None:
        self._unclaimed: list[int | None] = [*descriptors]
        self._files: list[tuple[Any, Any, io.FileIO]] = []
        self._sockets: list[Any] = []
        _present[:] = [self]

    def claim(self, index: int) -> int:
        """Return a descriptor, which is the claimer's from then on.

        Raises:
            CallRejected: it did not come along.
        """
        descriptor = self._unclaimed[index] if index < len(self._unclaimed) else None
        if descriptor is None:
            problem = "it did not arrive: the isolate has as many open files as limits.open_files allows"
            raise CallRejected("an open file", problem, "allow more, or close what earlier calls have left open")
        self._unclaimed[index] = None
        return descriptor

    def keep(self, file: Any, binary: Any, raw: io.FileIO) -> None:
        """Remember a file that was made of a descriptor, and what it is made of."""
        self._files.append((file, binary, raw))

    def keep_socket(self, made: Any) -> None:
        """Remember a socket."""
        self._sockets.append(made)

    def give_back(self) -> None:
        """Write out what the function has left in buffers, set offsets to where it stopped, and close everything.

        Raises:
            OSError: something could not be written.
        """
        while self._files:
            _give_back(*self._files.pop())
        self.close()

    def close(self) -> None:
        """Do the same, whatever fails."""
        _present.clear()
        while self._files:
            with contextlib.suppress(OSError, ValueError):
                _give_back(*self._files.pop())
        while self._sockets:
            _close(self._sockets.pop().detach())
        while self._unclaimed:
            _close(self._unclaimed.pop())


def _close(descriptor: int | None) -> None:
    if descriptor is not None and descriptor >= 0:
        with contextlib.suppress(OSError):  # the function has closed it by its number
            os.close(descriptor)


def _give_back(file: Any, binary: Any, raw: io.FileIO) -> None:
    if raw.closed:
        return
    try:
        offset = _offset(file, binary) if binary is not raw and raw.readable() and raw.seekable() else -1
        for layer in (file, binary):
            with contextlib.suppress(ValueError):  # detached: what is on top now is the function's
                layer.flush()
        if offset >= 0:
            os.lseek(raw.fileno(), offset, os.SEEK_SET)
    finally:
        with contextlib.suppress(OSError):
            raw.close()


def _offset(file: Any, binary: Any) -> int:
    """Return where the function stopped reading; inside a loop over a text file's lines, the end of what was read ahead."""
    for layer in (file, binary):
        with contextlib.suppress(OSError, ValueError):  # in the middle of a loop; detached
            return int(layer.tell()) & _OFFSET
    return -1


def open_lent(index: int, kind: str, mode: str, text: tuple[Any, ...] | None) -> Any:
    """Make a file of a descriptor that came with the call; called from inside pickles.

    Args:
        index: which of them.
        kind: ``"raw"``, ``"reader"``, ``"writer"`` or ``"random"``.
        mode: of the raw file.
        text: (mode, encoding, errors, line_buffering, write_through) of a text file, None for a binary one.
    """
    lending = _present[0]
    descriptor = lending.claim(index)
    try:
        offset = os.lseek(descriptor, 0, os.SEEK_CUR)
    except OSError:
        offset = -1
    raw = io.FileIO(descriptor, mode)
    if offset >= 0:
        os.lseek(descriptor, offset, os.SEEK_SET)  # in mode "a", making the object has moved it to the end
    file: Any = _BUFFERS[kind](raw)
    binary = file
    if text is not None:
        text_mode, encoding, errors, line_buffering, write_through = text
        file = io.TextIOWrapper(file, encoding, errors, None, line_buffering, write_through)
        file.mode = text_mode
    lending.keep(file, binary, raw)
    return file


def _as_it_is(raw: io.FileIO) -> io.FileIO:
    return raw


_BUFFERS: dict[str, Any] = {
    "raw": _as_it_is,
    "reader": io.BufferedReader,
    "writer": io.BufferedWriter,
    "random": io.BufferedRandom,
}


def socket_lent(index: int, family: int, kind: int, protocol: int, timeout: float | None) -> Any:
    """Make a socket of a descriptor that came with the call; called from inside pickles."""
    import socket

    lending = _present[0]
    made = socket.socket(family, kind, protocol, lending.claim(index))
    made.settimeout(timeout)
    lending.keep_socket(made)
    return made
