"""The worker's loop: one call in, one answer out, silence until the next."""

from __future__ import annotations

from _pickle import loads  # the module without the underscore imports what it has in Python as well
from collections.abc import Callable, Sequence
from marshal import loads as unmarshal

from isolate_fn._enforce.scene import StepFailed
from isolate_fn._plan.orders import Narrowing
from isolate_fn._runtime import asides, messages, rehearsal
from isolate_fn._runtime.flushing import flush
from isolate_fn._transport.channel import WorkerChannel
from isolate_fn._transport.codec_encode import encode, encode_short
from isolate_fn._transport.failures_describe import describe
from isolate_fn._transport.frames import Kind
from isolate_fn._transport.json_text import dump_ascii
from isolate_fn._transport.received import AWAITED, NESTED, PLAIN, load_arguments, load_function
from isolate_fn._transport.small_frames import NOT_KEPT, split_small
from isolate_fn.errors import CallRejected, PolicyError, ResultRejected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from isolate_fn._transport.lent import Lending

_current: list[Callable[..., Any] | None] = [None]
"""The function of the last call."""

_functions: dict[int, Callable[..., Any]] = {}
"""Functions by the number that the caller gave them: it sends each once."""

_expected: dict[bytes, Callable[..., Any] | CallRejected] = {}
"""The function loaded ahead of its call, or why it could not be."""

_words: dict[bytes, tuple[bool, bool, bool, Any]] = {
    dump_ascii({"trust_result": trust, "encoders": encoders, "last": last}): (trust, encoders, last, None)
    for trust in (False, True)
    for encoders in (False, True)
    for last in (False, True)
}
"""What a call says beside function and arguments, by its text."""

_NOTHING_SPECIAL = (False, False, False, None)
_MOST_KNOWN, _MOST_WORDS = 256, 64
_known: dict[bytes, tuple[Callable[..., Any], int]] = {}
"""Function, and length of the whole, of calls by the bytes before their arguments."""

_rules: list[Narrowing] = []
"""What the next call has to take before its arguments are read; empty once it is in force."""

narrowed = False
"""True once rules of the user's are in force."""

serving = False
"""True in a worker, and nowhere else: how the decorator knows that it is inside."""


def runs(function: Callable[..., Any]) -> bool:
    """True when the call that this worker serves is one of this function."""
    plain = getattr(function, "__func__", function)
    current = _current[0]
    return current is not None and getattr(current, "__func__", current) in (function, plain)


def runs_instead(function: Callable[..., Any]) -> None:
    """Say that what this worker was called for runs another function, whose recursion is then no nested isolation."""
    from isolate_fn._transport import received

    _current[0] = function
    received._running[:] = [function]


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
        if rules is None and not asides.observer and rehearsal.nobody_calls(channel):
            _rehearse()
    head = 0  # bytes before the arguments of the last call
    while (read := channel.read()) is not None:
        data, ancillary = read
        known = _known.get(data[:head])
        if known is not None and known[1] == len(data) and not ancillary:
            _answer_known(channel, known[0], data[head:])
            continue
        small = None if ancillary else split_small(data)
        received = small or channel.complete(data, ancillary)
        if received is None or _answer(channel, *received):
            break
        if small is not None:
            head = _know(data, *small)
        del read, data, received  # its buffers are the arguments of a call that is over


def _rehearse() -> None:
    _expected[rehearsal.PART] = rehearsal.nothing
    rehearsal.rehearse(next(iter(_words)), _answer)
    _current[0] = None


def _know(data: bytes, words: bytes, buffers: Sequence[bytes]) -> int:
    """Keep how a call began, where the next one that begins alike differs in its arguments only; return the bytes of it."""
    head = len(data) - len(buffers[1])
    function = _functions.get(buffers[0][0]) if len(buffers[0]) == 1 else None
    if function is not None and _words[words] == _NOTHING_SPECIAL and not _rules:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[data[:head]] = function, len(data)
    return head


def _answer_known(channel: WorkerChannel, function: Callable[..., Any], arguments: bytes) -> None:
    """Answer a call that began like an earlier one: nothing but its arguments is looked at."""
    _current[0] = function
    short = b""
    asides.begin(channel)
    try:
        if arguments[0] == PLAIN:
            value = function(*unmarshal(arguments))  # noqa: S302 - the caller's own data
        else:
            args, kwargs = load_arguments(arguments)
            value = function(*args, **kwargs)
        short = encode_short(value)
        kind, (body, memory) = Kind.RESULT, (short, []) if short else encode(value)
    except BaseException as error:
        kind, body, memory = _failed(error)
    flush()
    asides.over()
    if short:
        channel.send_short(short)
    else:
        channel.send(kind, body, memory)


def _answer(channel: WorkerChannel, words: bytes, buffers: Sequence[bytes | memoryview]) -> bool:
    """Answer one call; return whether it was the last."""
    trusted, encoders, last, levels = _words.get(words) or _read_words(words)
    asides.begin(channel)
    lent = _lending(channel) if channel.lent else None
    try:
        part = buffers[0]
        function = _current[0] = _functions[part[0]] if len(part) == 1 else _new_function(part)
        if levels is not None or len(part) > 1:
            messages.install(levels)
        if _rules:
            _narrow(_rules[0], function)
            _rules.clear()  # not where that failed: no call may run without them
        registered = loads(buffers[1]) if encoders else None
        first = 2 if encoders else 1
        args, kwargs = load_arguments(buffers[first], buffers[first + 1 :])
        value = function(*args, **kwargs)
        kind, (body, memory) = Kind.RESULT, _dump(value) if trusted else encode(value, registered=registered)
        if lent is not None:
            lent.give_back()
    except BaseException as error:
        kind, body, memory = _failed(error)
    if lent is not None:
        lent.close()
    flush()
    asides.over()
    channel.send(kind, body, memory)
    # After anything else the caller may still ask what the isolate uses: a full file system is told by its numbers.
    return last and kind is Kind.RESULT


def _lending(channel: WorkerChannel) -> Lending:
    from isolate_fn._transport.lent import Lending  # few calls have any

    channel.lent, descriptors = [], channel.lent
    return Lending(descriptors)


def _failed(error: BaseException) -> tuple[Kind, bytes, list[Any]]:
    """Tell why a call has no value: it was refused, or the function raised, SystemExit and KeyboardInterrupt included."""
    if isinstance(error, ResultRejected):
        return _refused(type_name=error.type_name, where=error.where, remedy=error.remedy)
    if isinstance(error, CallRejected):
        remedy = error.remedy
        if narrowed:
            remedy += "; under rules= import it in the function's own module, or permit imports: Interpreter()"
        return _refused(what=error.what, problem=error.problem, remedy=remedy)
    if isinstance(error, PolicyError) and error.field == NESTED:
        # That isolates do not nest is told by the right error: no other one of ours leaves an isolate as itself.
        return _refused(field=error.field, problem=error.problem, remedy=error.remedy)
    return _describe(error)


def _refused(**parts: Any) -> tuple[Kind, bytes, list[Any]]:
    return Kind.REJECTED, dump_ascii(parts), []


def _read_words(words: bytes) -> tuple[bool, bool, bool, Any]:
    import json  # only where the caller has set levels of its logs

    told = json.loads(words)
    if len(_words) > _MOST_WORDS:
        _words.clear()
    read = _words[words] = (told["trust_result"], told["encoders"], told["last"], told.get("levels"))
    return read


def _new_function(part: bytes | memoryview) -> Callable[..., Any]:
    """Load the function that a call is for, and keep it under the number that the caller gives it."""
    expected = _expected.pop(bytes(part[1:]), None) if _expected else None
    if isinstance(expected, CallRejected):
        raise expected
    function = expected or _load(memoryview(part)[1:])
    if part[0] != NOT_KEPT:
        _functions[part[0]] = function
    return function


def _load(part: bytes | memoryview) -> Callable[..., Any]:
    """Load a function; what would return a coroutine is made to return what that does."""
    if part[0] != AWAITED:
        return load_function(part)
    from isolate_fn._runtime.awaiting import Awaited  # it has asyncio

    return Awaited(load_function(part[1:]))


def _expect(part: bytes) -> None:
    """Load a function ahead of its call; why that fails is for the call to tell."""
    try:
        _expected[part] = _load(part)
    except CallRejected as rejected:
        _expected[part] = rejected
    except BaseException:
        return  # the call tries again, and tells what comes of it


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
    from isolate_fn._transport import fed  # noqa: F401 - an iterator among the arguments is rebuilt by it
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
