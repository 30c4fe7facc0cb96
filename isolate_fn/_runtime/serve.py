"""The worker's loop: one call in, one answer out, silence until the next."""

from __future__ import annotations

import contextlib
import json
import pickle
import sys
from collections.abc import Callable, Sequence
from typing import Any

from isolate_fn._enforce.scene import StepFailed
from isolate_fn._plan.orders import Narrowing
from isolate_fn._sys import calls
from isolate_fn._transport.channel import WorkerChannel
from isolate_fn._transport.codec_encode import encode
from isolate_fn._transport.failures_describe import describe
from isolate_fn._transport.frames import Kind
from isolate_fn._transport.received import NESTED, load_arguments, load_function
from isolate_fn._transport.small_frames import NOT_KEPT
from isolate_fn.errors import CallRejected, PolicyError, ResultRejected

_current: list[Callable[..., Any] | None] = [None]
"""The function of the last call."""

_functions: dict[int, Callable[..., Any]] = {}
"""Functions by the number that the caller gave them: it sends each once."""

_expected: dict[bytes, Callable[..., Any] | CallRejected] = {}
"""The function loaded ahead of its call, or why it could not be."""

_words: dict[bytes, tuple[bool, bool, bool]] = {}
"""What a call says beside function and arguments, by its text: (trust_result, encoders, last)."""

_rules: list[Narrowing] = []
"""What the next call has to take before its arguments are read; empty once it is in force."""


narrowed = False
"""True once rules of the user's are in force."""

serving = False
"""True in a worker, and nowhere else: how the decorator knows that it is inside."""


def runs(function: Callable[..., Any]) -> bool:
    """True when the call that this worker serves is one of this function."""
    plain = getattr(function, "__func__", function)
    return _current[0] is not None and _current[0] in (function, plain)


def serve(channel: WorkerChannel, rules: Narrowing | None = None, function: bytes = b"") -> None:
    """Answer calls until the caller closes the channel, or none came for as long as the channel waits.

    The function that this worker is meant for is imported first: that is code which the caller has imported too, the walls
    stand, and a call that comes later does not wait for it.

    After the one that the caller calls the last there is nothing to wait for: the caller kills the isolate anyway, but
    need not wait for this process to die then.
    """
    global serving
    serving = True
    _rules[:] = [rules] if rules is not None else []
    if function:
        _expect(function)
    while (received := channel.receive()) is not None:
        last = _answer(channel, *received)
        del received  # its buffers are the arguments of a call that is over
        if last:
            break


def _answer(channel: WorkerChannel, words: bytes, buffers: Sequence[bytes | memoryview]) -> bool:
    """Answer one call; return whether it was the last."""
    trusted, encoders, last = _words.get(words) or _read_words(words)
    try:
        part = buffers[0]
        function = _current[0] = _functions[part[0]] if len(part) == 1 else _new_function(part)
        if _rules:
            _narrow(_rules[0], function)
            _rules.clear()  # not where that failed: no call may run without them
        if len(buffers) == 2:
            args, kwargs = load_arguments(buffers[1])
            value = function(*args, **kwargs)
            kind, (body, memory) = Kind.RESULT, _dump(value) if trusted else encode(value)
        else:
            registered = pickle.loads(buffers[1]) if encoders else None  # noqa: S301 - the caller's own functions
            first = 2 if encoders else 1
            args, kwargs = load_arguments(buffers[first], buffers[first + 1 :])
            value = function(*args, **kwargs)
            kind, (body, memory) = Kind.RESULT, _dump(value) if trusted else encode(value, registered=registered)
    except ResultRejected as rejected:
        parts = {"type_name": rejected.type_name, "where": rejected.where, "remedy": rejected.remedy}
        kind, body, memory = Kind.REJECTED, json.dumps(parts).encode(), []
    except CallRejected as rejected:
        remedy = rejected.remedy
        if narrowed:
            remedy += "; under rules= import it in the function's own module, or permit imports: Interpreter()"
        parts = {"what": rejected.what, "problem": rejected.problem, "remedy": remedy}
        kind, body, memory = Kind.REJECTED, json.dumps(parts).encode(), []
    except PolicyError as refused:
        kind, body, memory = _nested(refused) or _describe(refused)
    except BaseException as error:  # the function's own, SystemExit and KeyboardInterrupt included
        kind, body, memory = _describe(error)
    _flush()
    channel.send(kind, body, memory)
    # After anything else the caller may still ask what the isolate uses: a full file system is told by its numbers.
    return last and kind is Kind.RESULT


def _read_words(words: bytes) -> tuple[bool, bool, bool]:
    told = json.loads(words)
    read = _words[words] = (told["trust_result"], told["encoders"], told["last"])
    return read


def _new_function(part: bytes | memoryview) -> Callable[..., Any]:
    """Load the function that a call is for, and keep it under the number that the caller gives it."""
    expected = _expected.pop(bytes(part[1:]), None) if _expected else None
    if isinstance(expected, CallRejected):
        raise expected
    function = expected or load_function(memoryview(part)[1:])
    if part[0] != NOT_KEPT:
        _functions[part[0]] = function
    return function


def _expect(part: bytes) -> None:
    """Load a function ahead of its call; why that fails is for the call to tell."""
    try:
        _expected[part] = load_function(part)
    except CallRejected as rejected:
        _expected[part] = rejected
    except BaseException:  # the call tries again, and tells what comes of it
        return


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
    try:
        narrow(rules)
        narrowed = True
    except StepFailed as failure:
        problem = f"cannot be enforced: {failure.call} failed: {failure.detail}"
        raise CallRejected("rules=", problem, "change the rules, or the mounts they speak of") from None


def _dump(value: Any) -> tuple[bytes, list[Any]]:
    from isolate_fn._transport.calls import dump

    return b"true", [dump(value)]


def _describe(error: BaseException) -> tuple[Kind, bytes, list[Any]]:
    try:
        encoded = encode(describe(error))
    except BaseException as failure:  # an exception's text is code of the function's as well
        text = f"{type(error).__qualname__}, which cannot be described: {type(failure).__qualname__}"
        encoded = encode(describe(RuntimeError(text)))
    return Kind.EXCEPTION, encoded.json, encoded.buffers


def _nested(refused: PolicyError) -> tuple[Kind, bytes, list[Any]] | None:
    """Tell the caller by the right error that isolates do not nest: no other one of ours leaves an isolate as itself."""
    if refused.field != NESTED:
        return None
    parts = {"field": refused.field, "problem": refused.problem, "remedy": refused.remedy}
    return Kind.REJECTED, json.dumps(parts).encode(), []


def _flush() -> None:
    """Push out what the function printed before its answer, so that the caller finds it when the answer is there."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
        calls.flush_stdio()
    except (OSError, ValueError, AttributeError):  # the function closed or replaced one
        for flush in (_flush_stdout, _flush_stderr, calls.flush_stdio):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                flush()


def _flush_stdout() -> None:
    sys.stdout.flush()


def _flush_stderr() -> None:
    sys.stderr.flush()
