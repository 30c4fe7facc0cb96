"""One call on the channel: the function where the worker does not have it, the arguments, shared memory, one answer."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

from isolate_fn._runtime.isolate import Isolate
from isolate_fn._runtime.prepared import Prepared
from isolate_fn._runtime.signature import Signature
from isolate_fn._transport.calls import EncodedCall
from isolate_fn._transport.frames import ARENA_FROM, COALESCE, Buffer, Frame, Kind, length_of, pack
from isolate_fn._transport.memory import claim_arena, create_arena, seal_for_child
from isolate_fn._transport.small_frames import NOT_KEPT, pack_small
from isolate_fn.errors import LimitExceeded, TransportError


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
) -> Frame:
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
    _send(isolate, signature, _function_for(isolate, signature, part), encoded, deadline, last=last)
    if after_sending is not None:
        after_sending()
    answer = hear_answer(isolate, prepared, signature, deadline)
    isolate.stages["call"] = time.monotonic() - began
    return answer


def hear_answer(
    isolate: Isolate, prepared: Prepared, signature: Signature, deadline: float | None, data: bytes = b""
) -> Frame:
    frame = isolate.receive(deadline, data)
    if frame.kind is Kind.ARENA:
        frame = _through_arena(isolate, _wanted(frame.json, prepared.terms.limits.result), deadline)
    elif frame.arena:
        raise TransportError("the isolate refers to shared memory that it was not given")
    if isolate.reader.pending:
        raise TransportError("the isolate sent more than one answer", "its worker is not used again")
    if frame.kind is Kind.REJECTED:
        isolate.functions.pop(signature, None)  # the worker may not have got it
    return frame


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
) -> None:
    told = signature.words[last]
    if not (encoded.buffers or signature.encoders) and len(encoded.arguments) < COALESCE:
        isolate.send([pack_small(Kind.CALL, told, part, encoded.arguments)], -1, deadline)
        return
    encoders = [signature.encoders] if signature.encoders else []
    buffers: list[Buffer] = [part, *encoders, encoded.arguments, *encoded.buffers]
    if sum(map(length_of, buffers)) < ARENA_FROM:
        isolate.send(pack(Kind.CALL, told, buffers), -1, deadline)
        return
    memory, _ = seal_for_child(buffers)
    try:
        isolate.send(pack(Kind.CALL, told, buffers, arena=True), memory, deadline)
    finally:
        os.close(memory)


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
        raise LimitExceeded("result", limit, size)
    return size


def _through_arena(isolate: Isolate, size: int, deadline: float | None) -> Frame:
    """Give the worker the shared memory it asked for, and return its answer with its buffers in there."""
    if isolate.reader.pending:
        raise TransportError("the isolate sent more than one answer", "its worker is not used again")
    arena = create_arena(size)
    try:
        isolate.send(pack(Kind.ARENA, b"{}"), arena, deadline)
        frame = isolate.receive(deadline)
        if not frame.arena:
            return frame
        if frame.arena_size > size:
            raise TransportError("the isolate refers to shared memory that it was not given")
        return frame.attach(claim_arena(arena, size))
    finally:
        os.close(arena)


_NUMBERS = [bytes((number,)) for number in range(256)]
