"""A call of nothing, made by a worker that nobody has called yet: the first real one finds what it touches in place.

A worker is a fork: each page that it writes is copied, each page of code that it runs is looked up, the first time.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Sequence
from marshal import dumps

from isolate_fn._transport.channel import WorkerChannel
from isolate_fn._transport.frames import Kind
from isolate_fn._transport.small_frames import NOT_KEPT, pack_small, split_small

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PART = b"nothing"
"""What stands for the function on the way."""

_SOON = 2
"""Milliseconds: a call that comes sooner is not kept waiting by a rehearsal."""

_ARGUMENTS = dumps((0, "", [None]), 2)


class _Nobody(WorkerChannel):
    """Leads nowhere."""

    def __init__(self) -> None:
        self.lent = []

    def send(self, kind: int, json: bytes, buffers: Sequence[Any] = ()) -> None:
        """See `WorkerChannel.send`."""


def nothing(*_: object) -> dict[str, list[int]]:
    """Stand for a function; return something that the encoder looks into."""
    return {"": [0]}


def rehearse(words: bytes, answer: Callable[[WorkerChannel, bytes, Sequence[bytes]], bool]) -> None:
    """Answer one call to nobody.

    Args:
        words: what it says beside function and arguments.
        answer: what answers real ones; the function it loads for `PART` is `nothing`.
    """
    small = split_small(pack_small(Kind.CALL, words, bytes((NOT_KEPT,)) + PART, _ARGUMENTS))
    if small is not None:
        answer(_Nobody(), *small)


def nobody_calls(channel: WorkerChannel) -> bool:
    """Return whether no call comes for a moment."""
    poll = select.poll()
    poll.register(channel.connection, select.POLLIN)
    return not poll.poll(_SOON)
