"""One call, top to bottom: take an isolate, see that its walls stand, send, supervise, judge the answer, end it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from isolate_fn._runtime import outcome, pool
from isolate_fn._runtime.isolate import SETUP_SECONDS, Ended, Isolate, OutOfTime, TooMuchOutput
from isolate_fn._runtime.output import Output
from isolate_fn._runtime.prepared import Prepared
from isolate_fn._runtime.verify import verify, verify_init
from isolate_fn._transport.calls import EncodedCall, FunctionRef, encode_call, function_reference, unbind
from isolate_fn._transport.frames import ARENA_FROM, Buffer, Frame, Kind, length_of, pack
from isolate_fn.errors import InternalError, LimitExceeded, SetupError, TransportError


@dataclass(frozen=True, kw_only=True, eq=False)
class Signature:
    """What the caller knows of one function: how it travels, and which classes its answers may contain.

    Attributes:
        reference: where the worker finds it.
        classes: of results.
        exceptions: that may come back as themselves.
        encoders: pickled encode functions of registered classes, empty for none.
        trust: plain pickle both ways.
    """

    reference: FunctionRef
    classes: Any
    exceptions: Any
    encoders: bytes
    trust: bool


def sign(function: Callable[..., Any], prepared: Prepared) -> Signature:
    """Look at a function once: its annotation, its module's exceptions, the policy's ``returns`` and ``raises``."""
    from isolate_fn._transport.calls import dump
    from isolate_fn._transport.codec import ClassTable
    from isolate_fn._transport.failures import ExceptionTable

    reference = function_reference(function)
    exceptions = ExceptionTable.for_function(reference.function, prepared.terms.raises)
    classes = ClassTable.for_function(reference.function).with_classes(prepared.terms.returns)
    encoders = classes.encoders()
    return Signature(
        reference=reference,
        classes=classes.with_exceptions(exceptions),
        exceptions=exceptions,
        encoders=dump(encoders) if encoders else b"",
        trust=prepared.terms.trust_result,
    )


def run(
    prepared: Prepared, signature: Signature, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    """Call a function in an isolate of this policy and return its value or raise its exception."""
    terms = prepared.terms
    _, args, kwargs = unbind(function, args, kwargs)
    encoded = encode_call(signature.reference, args, kwargs, known=False)
    isolate = pool.take(prepared)
    isolate.output = Output(terms.output, terms.limits.output)
    refill = _refill(prepared, behind=isolate.prewarmed and isolate.silent())
    keep = False
    try:
        make_ready(isolate, prepared)
        deadline = None if terms.timeout is None else time.monotonic() + terms.timeout
        serves_on = terms.reuse == 0 or isolate.calls + 1 < terms.reuse
        answer = converse(isolate, prepared, signature, encoded, deadline, refill, last=not serves_on)
        if answer.kind is Kind.RESULT and not serves_on:
            isolate.condemn()  # it dies while the answer is read
        isolate.drain()
        keep = serves_on
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
        keep = False
        limit = outcome.too_big(error, isolate, prepared)
        if limit is not None:
            raise limit from None
        raise
    finally:
        finish(isolate, prepared, keep=keep)


def _refill(prepared: Prepared, *, behind: bool) -> Callable[[], None]:
    """Return what orders the isolates of the next calls; more than asked for where calls come faster than they get ready."""
    terms = prepared.terms
    if terms.reuse != 1 or not terms.prewarm:
        return lambda: None
    return lambda: pool.top_up(prepared, terms.prewarm + pool.ahead(prepared, behind=behind))


def finish(isolate: Isolate, prepared: Prepared, *, keep: bool) -> None:
    """Keep the isolate for the next call or end it, and hand out the last of its output."""
    output = isolate.output
    try:
        if keep:
            isolate.output = None
            pool.give_back(prepared, isolate)
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
    encoded: EncodedCall,
    deadline: float | None,
    after_sending: Callable[[], None],
    *,
    last: bool = False,
) -> Frame:
    """Send one call, give the worker shared memory if it asks, and return its one answer.

    Args:
        isolate: it.
        prepared: the policy.
        signature: of the function.
        encoded: the call.
        deadline: by time.monotonic(), None for none.
        after_sending: done while the worker works.
        last: the worker may end after its answer.

    Raises:
        OutOfTime, TooMuchOutput, Ended; LimitExceeded: the result is too big; TransportError: it broke the protocol.
    """
    began = time.monotonic()
    limit = prepared.terms.limits.result
    isolate.fresh_reader(limit)
    isolate.calls += 1
    _send(isolate, signature, encoded, deadline, last=last)
    after_sending()
    arena = -1
    size = 0
    try:
        while True:
            frame = isolate.receive(deadline)
            if isolate.reader.pending:
                raise TransportError("the isolate sent more than one answer", "its worker is not used again")
            if frame.kind is Kind.ARENA and arena < 0:
                size = _wanted(frame.json, limit)
                arena = _give_arena(isolate, size, deadline)
                continue
            isolate.stages["call"] = time.monotonic() - began
            return _with_arena(frame, arena, size)
    finally:
        if arena >= 0:
            os.close(arena)


def _send(
    isolate: Isolate, signature: Signature, encoded: EncodedCall, deadline: float | None, *, last: bool
) -> None:
    from isolate_fn._transport.memory import seal_for_child

    words = {"trust_result": signature.trust, "encoders": bool(signature.encoders), "last": last}
    told = json.dumps(words).encode()
    buffers: list[Buffer] = [encoded.payload, *([signature.encoders] if signature.encoders else []), *encoded.buffers]
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


def _give_arena(isolate: Isolate, size: int, deadline: float | None) -> int:
    from isolate_fn._transport.memory import create_arena

    arena = create_arena(size)
    try:
        isolate.send(pack(Kind.ARENA, b"{}"), arena, deadline)
    except BaseException:
        os.close(arena)
        raise
    return arena


def _with_arena(frame: Frame, arena: int, size: int) -> Frame:
    from isolate_fn._transport.memory import claim_arena

    if not frame.arena:
        return frame
    if arena < 0 or frame.arena_size > size:
        raise TransportError("the isolate refers to shared memory that it was not given")
    return frame.attach(claim_arena(arena, size))


__all__ = ["Signature", "converse", "finish", "make_ready", "run", "sign"]
