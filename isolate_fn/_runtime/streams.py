"""The caller's side of a generator inside an isolate: one conversation that rests between two items."""

from __future__ import annotations

import time
from collections.abc import Callable

from isolate_fn._runtime import outcome
from isolate_fn._runtime.call import whole
from isolate_fn._runtime.generating import CLOSE, SEND, THROW
from isolate_fn._runtime.handed import Item
from isolate_fn._transport.calls import dump
from isolate_fn._transport.frames import Frame, Kind, pack
from isolate_fn.errors import CallRejected, TransportError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from isolate_fn._runtime.isolate import Isolate
    from isolate_fn._runtime.prepared import Prepared
    from isolate_fn._runtime.signature import Signature
    from isolate_fn._runtime.talk import Talk
    from isolate_fn._transport.calls import EncodedCall
    from isolate_fn._transport.frames import Buffer

    Command = list[Buffer]

CLOSE_SECONDS = 1.0
"""How long a generator inside may take to close, where its worker serves on; then it is killed."""


def stream(isolate: Isolate, prepared: Prepared, signature: Signature, encoded: EncodedCall, part: bytes) -> Talk[Any]:
    """Return the conversation: it hands over each `Item`, is sent a `Command`, and returns what the generator returns.

    Args:
        isolate: which was taken.
        prepared: the policy.
        signature: of the function.
        encoded: the arguments.
        part: the function, as it is sent to a worker that does not have it.
    """
    isolate.asides[Kind.ITEM] = _hears(isolate, prepared, signature)
    return whole(isolate, prepared, signature, encoded, part)


def _hears(
    isolate: Isolate, prepared: Prepared, signature: Signature
) -> Callable[[Frame, float | None], Talk[float | None]]:
    def hear(frame: Frame, deadline: float | None) -> Talk[float | None]:
        if isolate.wrote:
            isolate.drain()  # what was printed before the item
        value = outcome.judge(frame._replace(kind=Kind.RESULT), isolate, prepared, signature)
        item = Item(value)
        del value, frame  # not kept while the caller works with it
        command: Any = yield item  # type: ignore[misc]
        if isolate.reader.pending or (isolate._readable() and not isolate.closed()):
            raise TransportError("the isolate sent more than it was asked for", "its worker is not used again")
        timeout = CLOSE_SECONDS if command == _CLOSE else prepared.terms.timeout
        deadline = None if timeout is None else time.monotonic() + timeout
        yield from isolate.send(command, -1, deadline)
        return deadline

    return hear


def to_send(value: object) -> Command:
    """Return the command to go on, with what ``yield`` inside shall return.

    Raises:
        CallRejected: it cannot be pickled.
    """
    return _GO_ON if value is None else pack(Kind.NEXT, SEND, [_pickled(value, "what was sent to the generator")])


def to_throw(error: BaseException) -> Command:
    """Return the command to raise an exception where the generator waits.

    Raises:
        CallRejected: it cannot be pickled.
    """
    return pack(Kind.NEXT, THROW, [_pickled(error, "what was thrown into the generator")])


def to_close() -> Command:
    """Return the command to close the generator."""
    return _CLOSE


_GO_ON, _CLOSE = pack(Kind.NEXT, SEND), pack(Kind.NEXT, CLOSE)


def _pickled(value: object, what: str) -> bytes:
    try:
        return dump(value)
    except Exception as error:
        raise CallRejected(what, f"pickling it failed: {error}", "use plain data") from error
