"""One call, top to bottom: take an isolate, see that its walls stand, send, supervise, judge the answer, end it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from isolate_fn._runtime import outcome, pool
from isolate_fn._runtime.conversation import converse, hear_answer
from isolate_fn._runtime.endings import Ended, OutOfTime, TooMuchOutput
from isolate_fn._runtime.isolate import SETUP_SECONDS, Isolate
from isolate_fn._runtime.output import Output
from isolate_fn._runtime.prepared import Prepared
from isolate_fn._runtime.said import read
from isolate_fn._runtime.signature import Signature
from isolate_fn._runtime.verify import verify, verify_init
from isolate_fn._transport.calls import EncodedCall
from isolate_fn._transport.frames import (
    Frame,
    Kind,
)
from isolate_fn.errors import InternalError, LimitExceeded, SetupError, TransportError


def run(prepared: Prepared, signature: Signature, encoded: EncodedCall, part: bytes) -> Any:
    """Call a function in an isolate of this policy and return its value or raise its exception.

    Args:
        prepared: the policy.
        signature: of the function.
        encoded: the arguments.
        part: the function, as it is sent to a worker that does not have it.
    """
    terms = prepared.terms
    isolate = pool.take(prepared, signature.part)
    refill = _refill(prepared, signature.part, behind=isolate.prewarmed and isolate.silent()) if terms.reuse == 1 else None
    last = isolate.calls + 1 == terms.reuse

    def talk() -> Frame:
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
        return hear_answer(isolate, prepared, signature, deadline, data)

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
        said = read(frame) if prepared.unchecked else verify(frame, prepared.plan)
        while "built" not in isolate.told:
            if {"failed", "end"} & isolate.told.keys():
                raise Ended
            isolate.step(latest)
        if not prepared.unchecked:
            verify_init(isolate.told["built"][1], prepared.plan)
    except OutOfTime:
        raise SetupError("build the isolate", "poll", 0, f"it took longer than {SETUP_SECONDS:.0f} s") from None
    except Ended:
        raise outcome.not_built(isolate) from None
    isolate.ready = said
    isolate.stages["ready"] = time.monotonic() - began


__all__ = ["finish", "go_on", "make_ready", "run"]
