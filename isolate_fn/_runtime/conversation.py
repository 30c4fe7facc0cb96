"""One call on the channel: the function where the worker does not have it, the arguments, shared memory, one answer."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

from isolate_fn._runtime.isolate import Isolate
from isolate_fn._runtime.prepared import Prepared
from isolate_fn._runtime.signature import Signature
from isolate_fn._transport.calls import EncodedCall
from isolate_fn._transport.frames import ARENA_FROM, COALESCE, Buffer, Frame, Kind, length_of, pack
from isolate_fn._transport.small_frames import NOT_KEPT, pack_small
from isolate_fn.errors import LimitExceeded, TransportError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from isolate_fn._runtime.talk import Talk


def converse(
    isolate: Isolate,
    prepared: Prepared,
    signature: Signature,
    part: bytes,
    encoded: EncodedCall,
    deadline: float | None,
    after_sending: Callable[[], None] | None = None,
    *,
    last: bool = False,
) -> Talk[Frame]:
    """Send one call, give the worker shared memory if it asks, and return its one answer.

    Args:
        isolate: it.
        prepared: the policy.
        signature: of the function.
        part: the function, as it is sent to a worker that does not have it.
        encoded: the arguments.
        deadline: by time.monotonic(), None for none.
        after_sending: done while the worker works.
        last: the worker may end after its answer.

    Raises:
        OutOfTime, TooMuchOutput, Ended; LimitExceeded: the result is too big; TransportError: it broke the protocol.
    """
    began = time.monotonic()
    limit = prepared.terms.limits.result
    isolate.expect_answer(limit)
    isolate.calls += 1
    isolate.noticed = 0
    try:
        if encoded.iterators or prepared.terms.expose:
            _lend(isolate, prepared, encoded)
        yield from _send(isolate, signature, _function_for(isolate, signature, part), encoded, deadline, last=last)
        if after_sending is not None:
            after_sending()
        answer = yield from hear_answer(isolate, prepared, signature, deadline)
    finally:
        if encoded.loan is not None:
            encoded.loan.settle()
        isolate.asides.clear()
        isolate.awaits = False
        isolate.stages["call"] = time.monotonic() - began
    return answer


def _lend(isolate: Isolate, prepared: Prepared, encoded: EncodedCall) -> None:
    """Let the isolate ask for what of the caller's it may use during this call."""
    if encoded.iterators:
        from isolate_fn._runtime.feeding import Feed

        isolate.asides[Kind.NEXT] = Feed(isolate, encoded.iterators).hear
    if prepared.terms.expose:
        from isolate_fn._runtime.hosting import Hosts

        isolate.asides[Kind.HOST_CALL] = Hosts(isolate, prepared).hear


def hear_answer(
    isolate: Isolate, prepared: Prepared, signature: Signature, deadline: float | None, data: bytes = b""
) -> Talk[Frame]:
    """Return the answer to a call that was sent, of which ``data`` was received already."""
    observed = False
    while True:
        frame = yield from _next_frame(isolate, prepared, deadline, data)
        heard, data = isolate.asides.get(frame.kind), b""
        if heard is not None:
            renewed = yield from heard(frame, deadline)
            deadline = deadline if renewed is None else renewed
        elif frame.kind is Kind.HOST_CALL:
            from isolate_fn._runtime import hosting  # for code that looks for what is not there

            yield from hosting.nothing_exposed(isolate, frame, deadline)
        elif frame.kind is Kind.NEXT:
            from isolate_fn._runtime import feeding  # for code that keeps an iterator beyond its call

            yield from feeding.nothing_to_feed(isolate, frame, deadline)
        elif frame.kind is Kind.NOTICE:
            from isolate_fn._runtime import notices  # for code that logs

            yield from notices.hear(isolate, prepared, frame, deadline)
        elif frame.kind is Kind.OBSERVED and prepared.hear is not None and not observed:
            observed = True
            _observed(prepared, signature, frame)
        else:
            break
    if isolate.reader.pending:
        raise TransportError("the isolate sent more than one answer", "its worker is not used again")
    if frame.kind is Kind.REJECTED:
        isolate.functions.pop(signature, None)  # the worker may not have got it
    return frame


def _next_frame(isolate: Isolate, prepared: Prepared, deadline: float | None, data: bytes) -> Talk[Frame]:
    frame = yield from isolate.receive(deadline, data)
    if frame.kind is Kind.ARENA:
        frame = yield from _through_arena(isolate, _wanted(frame.json, prepared.terms.limits.result), deadline)
    elif frame.arena:
        raise TransportError("the isolate refers to shared memory that it was not given")
    return frame


def _observed(prepared: Prepared, signature: Signature, frame: Frame) -> None:
    """Take what a worker has counted."""
    from isolate_fn._transport.codec_decode import decode

    assert prepared.hear is not None
    prepared.hear(decode(frame.json, frame.buffers, limits=signature.limits))


def _function_for(isolate: Isolate, signature: Signature, part: bytes) -> bytes:
    """Return what tells this worker which function is meant: a number, and where it does not have it so yet, the function."""
    number, sent = isolate.functions.get(signature, (-1, b""))
    if sent == part:
        return _NUMBERS[number]
    if number < 0:
        number = min(isolate.numbered, NOT_KEPT)
        isolate.numbered += 1
    if number < NOT_KEPT:
        isolate.functions[signature] = (number, part)
    return _NUMBERS[number] + part


def _send(
    isolate: Isolate, signature: Signature, part: bytes, encoded: EncodedCall, deadline: float | None, *, last: bool
) -> Talk[None]:
    told = signature.words[last]
    lent = encoded.loan.descriptors if encoded.loan is not None else ()
    if "logging" in sys.modules:
        told = _with_levels(told)
    if not (encoded.buffers or signature.encoders or lent) and len(encoded.arguments) < COALESCE:
        yield from isolate.send([pack_small(Kind.CALL, told, part, encoded.arguments)], -1, deadline)
        return
    encoders = [signature.encoders] if signature.encoders else []
    buffers: list[Buffer] = [part, *encoders, encoded.arguments, *encoded.buffers]
    if sum(map(length_of, buffers)) < ARENA_FROM:
        yield from isolate.send(pack(Kind.CALL, told, buffers), -1, deadline, lent)
        return
    from isolate_fn._transport.memory import seal_for_child  # few calls are as large

    memory, _ = seal_for_child(buffers)
    try:
        yield from isolate.send(pack(Kind.CALL, told, buffers, arena=True), memory, deadline, lent)
    finally:
        os.close(memory)


def _with_levels(told: bytes) -> bytes:
    """Add what this process wants to hear of logs, unless that is what any Python starts with."""
    from isolate_fn._runtime.log_levels import levels

    found = levels()
    return told if found is None else told[:-1] + b', "levels": ' + json.dumps(found).encode() + b"}"


def _wanted(text: bytes, limit: int) -> int:
    """Read how much shared memory a worker asks for; the text is hostile, so it is short and one number."""
    if len(text) > 64:
        raise TransportError("the isolate's request for shared memory is not valid")
    try:
        size = json.loads(text)["size"]
    except (ValueError, TypeError, KeyError, RecursionError):
        size = None
    if type(size) is not int or size < 1:
        raise TransportError("the isolate's request for shared memory is not valid")
    if size > limit:
        raise LimitExceeded("result", limit, size)  # `call` adds the report
    return size


def _through_arena(isolate: Isolate, size: int, deadline: float | None) -> Talk[Frame]:
    """Give the worker the shared memory it asked for, and return its answer with its buffers in there."""
    if isolate.reader.pending:
        raise TransportError("the isolate sent more than one answer", "its worker is not used again")
    from isolate_fn._transport.memory import claim_arena, create_arena

    arena = create_arena(size)
    try:
        yield from isolate.send(pack(Kind.ARENA, b"{}"), arena, deadline)
        frame = yield from isolate.receive(deadline)
        if not frame.arena:
            return frame
        if frame.arena_size > size:
            raise TransportError("the isolate refers to shared memory that it was not given")
        return frame.attach(claim_arena(arena, size))
    finally:
        os.close(arena)


_NUMBERS = [bytes((number,)) for number in range(256)]
