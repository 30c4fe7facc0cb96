"""What a worker says to its caller while a call runs, beside the answer: records for logs, questions, items.

Any thread of the function may speak; one at a time, and none after the answer: a word between two calls is an offence, for
which the isolate is ended.
"""

from __future__ import annotations

from _thread import _count, allocate_lock, get_ident

from isolate_fn._transport.channel import WorkerChannel
from isolate_fn._transport.frames import Kind
from isolate_fn._transport.received import asking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from isolate_fn._transport.frames import Buffer

_channel: list[WorkerChannel] = []
"""The channel while a call runs; empty between calls, when nothing may be said."""


observer: list[Callable[[], tuple[bytes, list[Any]]]] = []
"""What counts while calls run, and is asked before each answer: one function, or none."""


class _Turn:
    """One thread speaks at a time, and not in the middle of its own words: a signal handler or a finalizer may try."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._speaker = 0

    def mine(self) -> bool:
        """Tell whether this thread is speaking."""
        return self._speaker == get_ident()

    def __enter__(self) -> None:
        self._lock.acquire()
        self._speaker = get_ident()

    def __exit__(self, *raised: object) -> None:
        self._speaker = 0
        self._lock.release()


_turn = _Turn()


def begin(channel: WorkerChannel) -> None:
    """Let threads speak: a call has begun."""
    _channel.append(channel)


def over() -> None:
    """Let nobody speak any more: the answer comes next. Waits for a thread that has not finished what it says."""
    channel = _channel[0] if observer and _channel else None
    if _count() > 0:  # other threads than this one
        with _turn:
            _channel.clear()
    else:
        _channel.clear()
    if channel is not None:
        channel.send(Kind.OBSERVED, *observer[0]())


def tell(kind: int, json: bytes, buffers: Sequence[Buffer] = ()) -> bool:
    """Say something that needs no reply.

    Returns:
        False where no call runs or this very thread is speaking: nothing was said.
    """
    if _turn.mine():
        return False
    with _turn:
        if _channel:
            _channel[0].send(kind, json, buffers)
        return bool(_channel)


def ask(kind: int, json: bytes, buffers: Sequence[Buffer] = ()) -> tuple[bytes, Sequence[bytes | memoryview]]:
    """Ask the caller something and return its reply: JSON and buffers, which come from the caller and are trusted.

    Raises:
        RuntimeError: no call runs, or this very thread is speaking; ConnectionError: the caller is gone.
    """
    if _turn.mine():
        raise RuntimeError("this thread is in the middle of another question")
    with _turn:
        if not _channel:
            raise RuntimeError("the call that this belongs to is over")
        _channel[0].send(kind, json, buffers)
        reply = _channel[0].reply()
    if reply is None:
        raise ConnectionError("the caller is gone")
    return reply


asking.append(ask)
