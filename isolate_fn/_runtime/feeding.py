"""The caller's side of iterators as arguments: runs them in the thread or task that makes the call, one item per question."""

from __future__ import annotations

import time
from collections.abc import Mapping

from isolate_fn._runtime.endings import Cancelled, Ended, Foreign, OutOfTime, TooMuchOutput
from isolate_fn._transport.calls import dump
from isolate_fn._transport.fed import END, GONE
from isolate_fn._transport.frames import Frame, Kind, pack
from isolate_fn.errors import CallRejected, PolicyError, TransportError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from isolate_fn._runtime.isolate import Isolate
    from isolate_fn._runtime.talk import Talk

INTERNAL = (OutOfTime, TooMuchOutput, Ended, Cancelled)
"""What a conversation itself raises while code of the caller's is waited for."""

_ENDED = object()


class Feed:
    """The iterators of one call.

    Args:
        isolate: which asks for their items.
        iterators: they, by number.

    Raises:
        PolicyError: one must be awaited, and nobody can.
    """

    def __init__(self, isolate: Isolate, iterators: Mapping[int, Any]) -> None:
        self.isolate, self.iterators = isolate, iterators
        if not isolate.awaits and any(hasattr(type(iterator), "__anext__") for iterator in iterators.values()):
            raise PolicyError(
                "arguments",
                "an async iterator is one of them, and this call is not awaited",
                "make the function async, or await its call_async(...)",
            )

    def hear(self, frame: Frame, deadline: float | None) -> Talk[None]:
        """Reply with one item.

        Raises:
            Foreign: the iterator raised an exception, or its item cannot be sent.
            TransportError: the question is not valid.
        """
        number = _number(frame)
        if number not in self.iterators:
            yield from self.isolate.send(pack(Kind.ITEM, GONE), -1, deadline)
            return
        value = yield from _next(self.iterators[number], deadline)
        if deadline is not None and time.monotonic() >= deadline:
            raise OutOfTime
        pieces = pack(Kind.END, END) if value is _ENDED else pack(Kind.ITEM, b"0", [_pickled(value)])
        yield from self.isolate.send(pieces, -1, deadline)


def nothing_to_feed(isolate: Isolate, frame: Frame, deadline: float | None) -> Talk[None]:
    """Reply that there is no such iterator: what asks is left from an earlier call.

    Raises:
        TransportError: the question is not valid.
    """
    _number(frame)
    yield from isolate.send(pack(Kind.ITEM, GONE), -1, deadline)


def _number(frame: Frame) -> int:
    number = frame.json
    if not (0 < len(number) <= 18 and number.isdigit() and not frame.buffers and not frame.arena):
        raise TransportError("the isolate asked for an item in a way that is not valid")
    return int(number)


def _next(iterator: Any, deadline: float | None) -> Talk[Any]:
    try:
        if hasattr(type(iterator), "__anext__"):
            from isolate_fn._runtime.handed import Awaited  # for code that has asyncio

            return (yield Awaited(iterator.__anext__(), deadline))  # type: ignore[misc]
        return next(iterator)
    except (StopIteration, StopAsyncIteration):
        return _ENDED
    except INTERNAL:
        raise
    except Exception as error:
        raise Foreign(error) from None


def _pickled(value: Any) -> bytes:
    try:
        return dump(value)
    except Exception as error:
        rejected = CallRejected(
            f"an item of type {type(value).__qualname__}", f"pickling it failed: {error}", "let the iterator yield plain data"
        )
        rejected.ran = True
        raise Foreign(rejected) from error
