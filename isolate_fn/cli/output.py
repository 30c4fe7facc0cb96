"""Standard output of a command: what happens where it cannot be written.

Whoever reads it may leave (``isolate-fn doctor | head``): the rest is thrown away, and the exit status is the command's own,
whether it was noticed or not. Anything else, such as a full disk, is an error that is said.
"""

from __future__ import annotations

import contextlib
import io
import select
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class NotWritten(Exception):
    """What a command had to say is lost, in whole or in part."""


class _Unread(io.FileIO):
    """A descriptor that is written to until its reader leaves."""

    over = False

    def write(self, data: Any) -> int:
        """Write some of the data, and tell how much; all of it where nobody wants any."""
        while not self.over:
            try:
                written = super().write(data)
            except BrokenPipeError:
                self.over = True
            except OSError as failure:
                self.over = True  # or what is still buffered would fail once more, at the interpreter's end
                raise NotWritten(failure.strerror or str(failure)) from failure
            else:
                if written is not None:
                    return written
                select.select([], [self.fileno()], [])  # whoever shares it with us has made it O_NONBLOCK
        return memoryview(data).nbytes


@contextlib.contextmanager
def output() -> Iterator[None]:
    """Write standard output as the module says, and all of it by the end of the block.

    Raises:
        NotWritten: it could not be written, for another reason than that nobody reads it.
    """
    before = sys.stdout
    if before is not sys.__stdout__ or not isinstance(before, io.TextIOWrapper):
        yield  # a caller of `main` has put something of its own there, or it was closed
        return
    before.flush()
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Unread(before.fileno(), "w", closefd=False)),
        before.encoding,
        before.errors,
        line_buffering=before.line_buffering or before.write_through,
    )
    try:
        yield
    finally:
        try:
            sys.stdout.flush()
        finally:
            sys.stdout = before
