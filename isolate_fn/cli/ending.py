"""An orderly end for commands that have something to take away first."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

EXIT_SIGNALLED = 128  # and the signal's number, as a shell reports it
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Ended(BaseException):
    """Somebody has asked this process to end; no `Exception`, so that nothing on the way takes it for a failure.

    Attributes:
        signal: by which.
    """

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)


@contextlib.contextmanager
def orderly() -> Iterator[None]:
    """Raise `Ended` for the first SIGTERM or SIGHUP in the block; what is ignored (nohup), or handled, stays so."""
    ours = threading.current_thread() is threading.main_thread()
    taken = [number for number in _SIGNALS if ours and signal.getsignal(number) is signal.SIG_DFL]

    def end(number: int, frame: FrameType | None) -> None:
        for each in taken:  # another one would interrupt what is taken away
            signal.signal(each, signal.SIG_IGN)
        raise Ended(number)

    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
