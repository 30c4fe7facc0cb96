"""One call, top to bottom: take an isolate, see that its walls stand, send, supervise, judge the answer, end it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from isolate_fn._runtime import outcome, pool
from isolate_fn._runtime.isolate import SETUP_SECONDS, Ended, Isolate, OutOfTime, TooMuchOutput
from isolate_fn._runtime.output import Output
from isolate_fn._runtime.prepared import Prepared
from isolate_fn._runtime.verify import verify, verify_init
from isolate_fn._transport.calls import (
    EncodedCall,
    FunctionRef,
    dump,
    encode_call,
    function_part,
    function_reference,
    unbind,
)
from isolate_fn._transport.codec import ClassTable, DecodeLimits
from isolate_fn._transport.failures import ExceptionTable
from isolate_fn._transport.frames import (
    ARENA_FROM,
    COALESCE,
    NOT_KEPT,
    Buffer,
    Frame,
    Kind,
    length_of,
    pack,
    pack_small,
)
from isolate_fn._transport.memory import claim_arena, create_arena, seal_for_child
from isolate_fn.errors import InternalError, LimitExceeded, SetupError, TransportError


@dataclass(frozen=True, kw_only=True, eq=False)
class Signature:
    """What the caller knows of one function: how it travels, and which classes its answers may contain.

    Attributes:
        reference: where the worker finds it.
        part: what is sent to a worker that does not have it; empty where it travels by value, as it is then.
        bare: calls need no unbinding.
        classes: of results.
        exceptions: that may come back as themselves.
        encoders: pickled encode functions of registered classes, empty for none.
        trust: plain pickle both ways.
        limits: of results.
        words: what a call says of all this, and the same for the last one of its worker.
    """

    reference: FunctionRef
    part: bytes
    bare: bool
    classes: Any
    exceptions: Any
    encoders: bytes
    trust: bool
    limits: DecodeLimits
    words: tuple[bytes, bytes]


def sign(function: Callable[..., Any], prepared: Prepared) -> Signature:
    """Look at a function once: its annotation, its module's exceptions, the policy's ``returns`` and ``raises``."""
    reference = function_reference(function)
    exceptions = ExceptionTable.for_function(reference.function, prepared.terms.raises)
    classes = ClassTable.for_function(reference.function).with_classes(prepared.terms.returns)
    encoders = classes.encoders()
    words = {"trust_result": prepared.terms.trust_result, "encoders": bool(encoders)}
    return Signature(
        reference=reference,
        part=function_part(reference) if reference.location is not None else b"",
        bare=type(function) is FunctionType,
        classes=classes.with_exceptions(exceptions),
        exceptions=exceptions,
        encoders=dump(encoders) if encoders else b"",
        trust=prepared.terms.trust_result,
        limits=DecodeLimits(total=prepared.terms.limits.result),
        words=(json.dumps({**words, "last": False}).encode(), json.dumps({**words, "last": True}).encode()),
    )


def run(
    prepared: Prepared, signature: Signature, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    """Call a function in an isolate of this policy and return its value or raise its exception."""
    terms = prepared.terms
    if not signature.bare:
        _, args, kwargs = unbind(function, args, kwargs)
    encoded = encode_call(signature.reference, args, kwargs)
    part = signature.part or function_part(signature.reference)
    isolate = pool.take(prepared, signature.part)
    refill = _refill(prepared, signature.part, behind=isolate.prewarmed and isolate.silent()) if terms.reuse == 1 else None
    last = isolate.calls + 1 == terms.reuse

    def talk() -> Frame:
        if isolate.ready is None:
            make_ready(isolate, prepared)
        deadline = None if terms.timeout is None else time.monotonic() + terms.timeout
        return converse(isolate, prepared, signature, part, encoded, deadline, refill, last=last)

    return _to_the_end(isolate, prepared, signature, talk, last=last)


def go_on(prepared: Prepared, signature: Signature, isolate: Isolate, began: float, rest: bytes, data: bytes) -> Any:
    """Go on with a call that has been sent, or its beginning.

    Args:
        prepared: the policy.
        signature: of the function.
        isolate: where it was sent; it serves on.
        began: when, by time.monotonic().
        rest: what of it was not sent yet.
        data: what was received already.
    """

    def talk() -> Frame:
        timeout = prepared.terms.timeout
        deadline = None if timeout is None else began + timeout
        if rest:
            isolate.send([rest], -1, deadline)
        return _hear_answer(isolate, prepared, signature, deadline, data)

    return _to_the_end(isolate, prepared, signature, talk, last=False)


def _to_the_end(
    isolate: Isolate, prepared: Prepared, signature: Signature, talk: Callable[[], Frame], *, last: bool
) -> Any:
    """Have a conversation, judge its answer, tell every other end by the error that names its cause, and let go."""
    terms = prepared.terms
    isolate.output = Output(terms.output, terms.limits.output)
    keep = answered = False
    try:
        answer = talk()
        if last and answer.kind is Kind.RESULT:
            isolate.condemn()  # it dies while the answer is read
        if isolate.wrote:
            isolate.drain()
        keep = not last
        answered = answer.kind is Kind.RESULT
        return outcome.judge(answer, isolate, prepared, signature)
    except OutOfTime:
        raise outcome.timed_out(terms.timeout or 0.0, isolate, prepared) from None
    except TooMuchOutput:
        raise outcome.too_much_output(isolate, prepared) from None
    except Ended:
        raise outcome.ended(isolate, prepared) from None
    except LimitExceeded as error:
        error.report = error.report or outcome.report_of(isolate, prepared)
        raise
    except TransportError as error:
        keep = answered = False
        limit = outcome.too_big(error, isolate, prepared)
        if limit is not None:
            raise limit from None
        raise
    finally:
        finish(isolate, prepared, signature, keep=keep, answered=answered)


def _refill(prepared: Prepared, function: bytes, *, behind: bool) -> Callable[[], None] | None:
    """Return what orders the isolates of the next calls; more than asked for where calls come faster than they get ready."""
    terms = prepared.terms
    if not terms.prewarm:
        return None
    return lambda: pool.top_up(prepared, terms.prewarm + pool.ahead(prepared, function, behind=behind), function)


def finish(isolate: Isolate, prepared: Prepared, signature: Signature, *, keep: bool, answered: bool) -> None:
    """Keep the isolate for the next call or end it, and hand out the last of its output."""
    output = isolate.output
    try:
        if keep:
            isolate.output = None
            pool.give_back(pool.waiting_for(prepared, signature.part), isolate)
        elif answered and prepared.touches_nothing:
            isolate.dismiss()
        else:
            isolate.end()
    finally:
        if output is not None:
            output.finish()


def make_ready(isolate: Isolate, prepared: Prepared) -> None:
    """Wait until the walls stand and check them; once per isolate.

    Raises:
        SetupError: a step failed, or the self-check is not as planned. The function was not sent.
    """
    if isolate.ready is not None:
        return
    began = time.monotonic()
    latest = began + SETUP_SECONDS
    try:
        frame = isolate.receive(latest)
        if frame.kind is Kind.SETUP_FAILED:
            raise outcome.setup_failed(json.loads(frame.json))
        if frame.kind is not Kind.READY:
            raise InternalError(f"the worker said {frame.kind.name} before it was ready")
        said = json.loads(frame.json)
        while "built" not in isolate.told:
            if {"failed", "end"} & isolate.told.keys():
                raise Ended
            isolate.step(latest)
        if not prepared.unchecked:
            verify(said, prepared.plan)
            verify_init(isolate.told["built"][1], prepared.plan)
    except OutOfTime:
        raise SetupError("build the isolate", "poll", 0, f"it took longer than {SETUP_SECONDS:.0f} s") from None
    except Ended:
        raise outcome.not_built(isolate) from None
    isolate.ready = said
    isolate.stages["ready"] = time.monotonic() - began


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
    answer = _hear_answer(isolate, prepared, signature, deadline)
    isolate.stages["call"] = time.monotonic() - began
    return answer


def _hear_answer(
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

__all__ = ["Signature", "converse", "finish", "make_ready", "run", "sign"]
