"""The worker's loop: one call in, one answer out, silence until the next."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from typing import Any

from isolate_fn._enforce.scene import StepFailed
from isolate_fn._plan.orders import Narrowing
from isolate_fn._sys import calls
from isolate_fn._transport.channel import WorkerChannel
from isolate_fn._transport.frames import Frame, Kind
from isolate_fn._transport.received import NESTED, ReceivedCall, load_arguments, load_function
from isolate_fn.errors import CallRejected, PolicyError, ResultRejected

_current: list[Callable[..., Any]] = []
"""The function of the last call; the caller sends it again only when it is another."""


_rules: list[Narrowing] = []
"""What the next call has to take before its arguments are read; empty once it is in force."""


narrowed = False
"""True once rules of the user's are in force."""

serving = False
"""True in a worker, and nowhere else: how the decorator knows that it is inside."""


def runs(function: Callable[..., Any]) -> bool:
    """True when the call that this worker serves is one of this function."""
    plain = getattr(function, "__func__", function)
    return bool(_current) and _current[0] in (function, plain)


def serve(channel: WorkerChannel, idle_timeout: float, rules: Narrowing | None = None) -> None:
    """Answer calls until the caller closes the channel, or none came for ``idle_timeout`` seconds (0 waits for ever).

    After the one that the caller calls the last there is nothing to wait for: the caller kills the isolate anyway, but
    need not wait for this process to die then.
    """
    global serving
    serving = True
    _rules[:] = [rules] if rules is not None else []
    while channel.wait(idle_timeout or None) and (frame := channel.receive()) is not None:
        last = _answer(channel, frame)
        del frame  # its buffers are the arguments of a call that is over
        if last:
            break


def _answer(channel: WorkerChannel, frame: Frame) -> bool:
    """Answer one call; return whether it was the last."""
    import json

    told = json.loads(frame.json)
    try:
        value, registered = _call(frame, encoders=told["encoders"])
        kind, body, buffers = _encode(value, registered, trusted=told["trust_result"])
    except ResultRejected as rejected:
        parts = {"type_name": rejected.type_name, "where": rejected.where, "remedy": rejected.remedy}
        kind, body, buffers = Kind.REJECTED, json.dumps(parts).encode(), []
    except CallRejected as rejected:
        remedy = rejected.remedy
        if narrowed:
            remedy += "; under rules= import it in the function's own module, or permit imports: Interpreter()"
        parts = {"what": rejected.what, "problem": rejected.problem, "remedy": remedy}
        kind, body, buffers = Kind.REJECTED, json.dumps(parts).encode(), []
    except PolicyError as refused:
        kind, body, buffers = _nested(refused) or _describe(refused)
    except BaseException as error:  # the function's own, SystemExit and KeyboardInterrupt included
        kind, body, buffers = _describe(error)
    _flush()
    channel.send(kind, body, buffers)
    # After anything else the caller may still ask what the isolate uses: a full file system is told by its numbers.
    return bool(told["last"]) and kind is Kind.RESULT


def _call(frame: Frame, *, encoders: bool) -> tuple[Any, Any]:
    """Run the call; return its value and the encode functions of registered classes."""
    payload, *buffers = frame.buffers
    received = ReceivedCall(payload)
    if received.function:
        _current[:] = [load_function(received.function)]
    if _rules:
        _narrow(_rules.pop(), _current[0])
    registered = pickle.loads(buffers.pop(0)) if encoders else None  # noqa: S301 - the caller's own functions
    args, kwargs = load_arguments(received.arguments, buffers)
    return _current[0](*args, **kwargs), registered


def _narrow(rules: Narrowing, function: Callable[..., Any]) -> None:
    """Take the user's rules, once, when the function's module is imported and its arguments are not read yet.

    What CPython imports inside functions is loaded before, and the lines that a traceback will show.

    Raises:
        CallRejected: they cannot be enforced; the function does not run.
    """
    global narrowed
    import linecache

    from isolate_fn._enforce import preload
    from isolate_fn._enforce.narrowing import narrow

    preload.load_what_comes_later()
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    if code is not None:
        linecache.getlines(code.co_filename)
    # What an answer needs; an interpreter that was executed anew has none of it yet.
    from isolate_fn._transport import codec_encode, failures_describe  # noqa: F401

    try:
        narrow(rules)
        narrowed = True
    except StepFailed as failure:
        problem = f"cannot be enforced: {failure.call} failed: {failure.detail}"
        raise CallRejected("rules=", problem, "change the rules, or the mounts they speak of") from None


def _encode(value: Any, registered: Any, *, trusted: bool) -> tuple[Kind, bytes, list[Any]]:
    if trusted:
        from isolate_fn._transport.calls import dump

        return Kind.RESULT, b"true", [dump(value)]
    from isolate_fn._transport.codec_encode import encode

    encoded = encode(value, registered=registered) if registered else encode(value)
    return Kind.RESULT, encoded.json, encoded.buffers


def _describe(error: BaseException) -> tuple[Kind, bytes, list[Any]]:
    from isolate_fn._transport.codec_encode import encode
    from isolate_fn._transport.failures_describe import describe

    try:
        encoded = encode(describe(error))
    except BaseException as failure:  # an exception's text is code of the function's as well
        text = f"{type(error).__qualname__}, which cannot be described: {type(failure).__qualname__}"
        encoded = encode(describe(RuntimeError(text)))
    return Kind.EXCEPTION, encoded.json, encoded.buffers


def _nested(refused: PolicyError) -> tuple[Kind, bytes, list[Any]] | None:
    """Tell the caller by the right error that isolates do not nest: no other one of ours leaves an isolate as itself."""
    import json

    if refused.field != NESTED:
        return None
    parts = {"field": refused.field, "problem": refused.problem, "remedy": refused.remedy}
    return Kind.REJECTED, json.dumps(parts).encode(), []


def _flush() -> None:
    """Push out what the function printed before its answer, so that the caller finds it when the answer is there."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # the function closed or replaced it
    try:
        calls.flush_stdio()
    except OSError:
        pass  # the same of C code's
