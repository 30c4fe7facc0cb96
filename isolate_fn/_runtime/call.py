"""One call, top to bottom: take an isolate, see that its walls stand, send, supervise, judge the answer, end it."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable

from isolate_fn._runtime import outcome, pool
from isolate_fn._runtime.conversation import converse, hear_answer
from isolate_fn._runtime.endings import Ended, Foreign, OutOfTime, TooMuchOutput
from isolate_fn._runtime.isolate import SETUP_SECONDS, Isolate
from isolate_fn._runtime.output import Output
from isolate_fn._runtime.prepared import Prepared
from isolate_fn._runtime.said import read
from isolate_fn._runtime.signature import Signature
from isolate_fn._runtime.talk import to_the_end
from isolate_fn._runtime.verify import verify, verify_init
from isolate_fn._transport.calls import EncodedCall
from isolate_fn._transport.frames import (
    Frame,
    Kind,
    length_of,
)
from isolate_fn.errors import InternalError, LimitExceeded, SetupError, TransportError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from isolate_fn._runtime.cancel import Cancel
    from isolate_fn._runtime.talk import Talk

_LONG = 1 << 16  # bytes of an answer that take a noticeable time to read

_INTRODUCED = {"hello", "built"}
"""What is told of a ready isolate: a handle of init, by the spawner, which may be slower than the worker, and its walls."""


def run(
    prepared: Prepared, signature: Signature, encoded: EncodedCall, part: bytes, cancel: Cancel | None = None
) -> Any:
    """Call a function in an isolate of this policy and return its value or raise its exception.

    Args:
        prepared: the policy.
        signature: of the function.
        encoded: the arguments.
        part: the function, as it is sent to a worker that does not have it.
        cancel: ends the call when thrown.

    Raises:
        Cancelled: by ``cancel``.
    """
    isolate = pool.take(prepared, signature.part)
    return to_the_end(isolate, whole(isolate, prepared, signature, encoded, part, cancel))


def whole(
    isolate: Isolate,
    prepared: Prepared,
    signature: Signature,
    encoded: EncodedCall,
    part: bytes,
    cancel: Cancel | None = None,
    opening: Callable[[Isolate], Talk[None]] | None = None,
    *,
    later: bool = False,
) -> Talk[Any]:
    """Do what `run` does, in an isolate that was taken, with somebody else doing the waiting.

    Where there is an ``opening``, it is said to the isolate before the call, whose timeout does not count it. With ``later``,
    who waits must not be held up by reading a long answer, and is given a `Later` instead.
    """
    terms = prepared.terms
    again = terms.reuse == 1 and not prepared.grants  # what one call was granted is in no other's isolate
    refill = _refill(prepared, signature.part, behind=isolate.behind) if again else None
    last = isolate.calls + 1 == terms.reuse

    def talk() -> Talk[Frame]:
        if cancel is not None:
            isolate.cancelled_by(cancel)
        yield from make_ready(isolate, prepared)
        if opening is not None:
            yield from opening(isolate)
        deadline = None if terms.timeout is None else time.monotonic() + terms.timeout
        return (yield from converse(isolate, prepared, signature, part, encoded, deadline, refill, last=last))

    supervised = _supervised(isolate, prepared, signature, talk(), last=last, later=later)
    return _as_itself(supervised) if encoded.iterators or terms.expose else supervised


def _as_itself(talk: Talk[Any]) -> Talk[Any]:
    """Raise what code of the caller's raised, when the isolate is gone."""
    try:
        return (yield from talk)
    except Foreign as foreign:
        error = foreign.error
    raise error


class Later:
    """A long answer of an isolate that is gone, still to be read.

    Args:
        read: returns the value, or raises why there is none.
    """

    def __init__(self, read: Callable[[], Any]) -> None:
        self.read = read


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

    def talk() -> Talk[Frame]:
        timeout = prepared.terms.timeout
        deadline = None if timeout is None else began + timeout
        if rest:
            yield from isolate.send([rest], -1, deadline)
        try:
            return (yield from hear_answer(isolate, prepared, signature, deadline, data))
        finally:
            isolate.stages["call"] = time.monotonic() - began

    return to_the_end(isolate, _supervised(isolate, prepared, signature, talk(), last=False))


def _supervised(
    isolate: Isolate, prepared: Prepared, signature: Signature, talk: Talk[Frame], *, last: bool, later: bool = False
) -> Talk[Any]:
    """Have a conversation, judge its answer, tell every other end by the error that names its cause, and let go."""
    terms = prepared.terms
    isolate.output = Output(terms.output, terms.limits.output)
    keep = answered = False
    try:
        answer = yield from talk
        if last and answer.kind is Kind.RESULT:
            isolate.condemn()  # it dies while the answer is read
        if isolate.wrote:
            isolate.drain()
        keep = not last
        answered = answer.kind is Kind.RESULT
        if later and last and answered and len(answer.json) + sum(map(length_of, answer.buffers)) > _LONG:
            return Later(functools.partial(outcome.judge, answer, isolate, prepared, signature))
        return outcome.judge(answer, isolate, prepared, signature)
    except OutOfTime:
        raise outcome.timed_out(terms.timeout or 0.0, isolate, prepared) from None
    except TooMuchOutput:
        raise outcome.too_much_output(isolate, prepared) from None
    except Ended:
        raise outcome.ended(isolate, prepared) from None
    except LimitExceeded as error:
        outcome.with_report(error, isolate, prepared)
        raise
    except Foreign as foreign:
        outcome.with_report(foreign.error, isolate, prepared)
        raise
    except TransportError as error:
        keep = answered = False
        limit = outcome.too_big(error, isolate, prepared)
        if limit is not None:
            raise limit from None
        raise
    except GeneratorExit:  # nobody waits with us any more
        isolate.end()
        raise
    finally:
        yield from finish(isolate, prepared, signature, keep=keep, answered=answered)


def _refill(prepared: Prepared, function: bytes, *, behind: bool) -> Callable[[], None] | None:
    """Return what orders the isolates of the next calls; more than asked for where calls come faster than they get ready."""
    terms = prepared.terms
    if not terms.prewarm:
        return None
    return lambda: pool.top_up(prepared, terms.prewarm + pool.ahead(prepared, function, behind=behind), function)


def finish(isolate: Isolate, prepared: Prepared, signature: Signature, *, keep: bool, answered: bool) -> Talk[None]:
    """Keep the isolate for the next call or end it, and hand out the last of its output."""
    output = isolate.output
    try:
        if keep:
            isolate.output = None
            isolate.cancelled_by(None)
            pool.give_back(pool.waiting_for(prepared, signature.part), isolate)
        elif answered and prepared.touches_nothing:
            isolate.dismiss()
        else:
            yield from isolate.ending()
    finally:
        if output is not None:
            output.finish()


def _verified(frame: Frame, prepared: Prepared) -> dict[str, Any]:
    if not prepared.grants:
        return verify(frame, prepared.plan)
    from isolate_fn._runtime.verify_grants import verify_granted

    return verify_granted(frame, prepared.plan, prepared.grants)


def make_ready(isolate: Isolate, prepared: Prepared) -> Talk[None]:
    """Wait until the walls stand and check them; once per isolate.

    Raises:
        SetupError: a step failed, or the self-check is not as planned. LimitExceeded: a limit is too small for what is there
            before any function. The function was not sent.
    """
    if isolate.ready is not None:
        return
    began = time.monotonic()
    latest = began + SETUP_SECONDS
    try:
        frame = yield from isolate.receive(latest)
        if frame.kind is Kind.SETUP_FAILED:
            raise outcome.setup_failed(json.loads(frame.json))
        if frame.kind is not Kind.READY:
            raise InternalError(f"the worker said {frame.kind.name} before it was ready")
        said = read(frame) if prepared.unchecked else _verified(frame, prepared)
        while not isolate.told.keys() >= _INTRODUCED:
            if {"failed", "end"} & isolate.told.keys():
                if "built" in isolate.told:  # it ended afterwards, of what the function's module did: the call tells that
                    break
                raise Ended
            yield from isolate.step(latest)
        if not prepared.unchecked:
            verify_init(isolate.told["built"][1], prepared.plan)
        if "limit" in isolate.told:
            raise Ended
    except OutOfTime:
        raise SetupError("build the isolate", "poll", 0, f"it took longer than {SETUP_SECONDS:.0f} s") from None
    except Ended:
        raise outcome.not_built(isolate, prepared) from None
    isolate.ready = said
    isolate.stages["ready"] = time.monotonic() - began


__all__ = ["Later", "finish", "go_on", "make_ready", "run", "whole"]
