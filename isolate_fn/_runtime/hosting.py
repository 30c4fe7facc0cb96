"""The caller's side of host functions: which may be called from inside, with what, how often, and what comes of it.

A question is ``[name, args, kwargs]`` in the closed format, hostile as any answer. Replies go in by pickle, but only what
the closed format could carry: an object of the caller's would take along whatever it refers to.
"""

from __future__ import annotations

import inspect
import pickle
import re
import time
from collections.abc import Callable

from isolate_fn._runtime.endings import Foreign, OutOfTime
from isolate_fn._runtime.feeding import INTERNAL
from isolate_fn._transport.codec_decode import decode
from isolate_fn._transport.codec_types import DecodeLimits, class_name
from isolate_fn._transport.data_only import dump_data
from isolate_fn._transport.frames import Frame, Kind, pack
from isolate_fn._transport.registry import ClassTable
from isolate_fn._transport.text import visible
from isolate_fn.errors import LimitExceeded, PolicyError, ResultRejected, TransportError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from isolate_fn._runtime.isolate import Isolate
    from isolate_fn._runtime.prepared import Prepared
    from isolate_fn._runtime.talk import Talk

NAMES = b"null"
"""The question which names there are."""

VALUE, RAISED = b'"value"', b'"raised"'

_TEXT = 1000  # characters of an exception's message
_PATH = re.compile(r"(?<![\w/:.])(?:/[\w.@+~-]+)+/?")


def nothing_exposed(isolate: Isolate, frame: Frame, deadline: float | None) -> Talk[None]:
    """Reply that there are no names; any other question where nothing is exposed is an offence.

    Raises:
        TransportError: it is another one.
    """
    if frame.json != NAMES or frame.buffers or frame.arena:
        raise TransportError("the isolate called a host function, and none is exposed")
    yield from isolate.send(pack(Kind.HOST_REPLY, VALUE, [pickle.dumps(())]), -1, deadline)


class Hosts:
    """The host functions that one call may use.

    Args:
        isolate: which calls them.
        prepared: the policy.

    Raises:
        PolicyError: one must be awaited, and nobody can.
    """

    def __init__(self, isolate: Isolate, prepared: Prepared) -> None:
        self.isolate, self.prepared = isolate, prepared
        self.expose = prepared.terms.expose or {}
        self.total = prepared.terms.limits.result
        self.calls = dict.fromkeys(self.expose, 0)
        self.seconds = dict.fromkeys(self.expose, 0.0)
        for name, host in self.expose.items():
            if not isolate.awaits and inspect.iscoroutinefunction(host.function):
                raise _not_awaited(name)
        self.returned: dict[str, ClassTable] = {}
        hints = [_hints(host.function) for host in self.expose.values()]
        annotations = [hint for each in hints for name, hint in each.items() if name != "return"]
        self.classes = ClassTable.from_annotation(*annotations)

    def hear(self, frame: Frame, deadline: float | None) -> Talk[None]:
        """Call a host function and reply what came of it.

        Raises:
            TransportError: the question is not valid, or names what is not exposed.
            Foreign: the function was called too often, took too long, or is to be awaited, and nobody can.
        """
        if frame.json == NAMES and not frame.buffers:
            yield from self._reply(VALUE, tuple(self.expose), deadline)
            return
        name, args, kwargs = self._question(frame)
        try:
            value = yield from self._call(name, args, kwargs, deadline)
        except (*INTERNAL, Foreign):
            raise
        except Exception as error:
            yield from self._reply(RAISED, _told(error), deadline)
            return
        try:
            pickled = dump_data(value, lambda: self._results(name))
        except ResultRejected as rejected:  # it would take along whatever it refers to
            text = f"host.{name}() returned what does not go into an isolate: {rejected.type_name}; {rejected.remedy}"
            yield from self._reply(RAISED, ("TypeError", (text,)), deadline)
            return
        yield from self._send(VALUE, pickled, deadline)

    def _results(self, name: str) -> ClassTable:
        """Return the classes that results of a host function may have."""
        if name not in self.returned:
            self.returned[name] = ClassTable.from_annotation(_hints(self.expose[name].function).get("return"))
        return self.returned[name]

    def _question(self, frame: Frame) -> tuple[str, Any, dict[str, Any]]:
        asked = decode(frame.json, frame.buffers, classes=self.classes, limits=DecodeLimits(total=self.total))
        if not (type(asked) is list and len(asked) == 3):
            raise TransportError("the isolate called a host function in a way that is not valid")
        name, args, kwargs = asked
        if not (type(name) is str and type(args) is list and type(kwargs) is dict and set(map(type, kwargs)) <= {str}):
            raise TransportError("the isolate called a host function in a way that is not valid")
        if name not in self.expose:
            raise TransportError(f"the isolate called a host function that is not exposed: {visible(name, 100)!r}")
        return name, args, kwargs

    def _call(self, name: str, args: Any, kwargs: dict[str, Any], deadline: float | None) -> Talk[Any]:
        host = self.expose[name]
        self.calls[name] += 1
        if host.calls is not None and self.calls[name] > host.calls:
            raise self._exceeded(name, "calls", host.calls, self.calls[name])
        left = None if host.seconds is None else host.seconds - self.seconds[name]
        if left is not None and left <= 0:
            raise self._exceeded(name, "seconds", host.seconds, self.seconds[name])
        began = time.monotonic()
        try:
            value = yield from self._value(name, host.function, args, kwargs, left, deadline)
        finally:
            self.seconds[name] += time.monotonic() - began
        if host.seconds is not None and self.seconds[name] > host.seconds:
            raise self._exceeded(name, "seconds", host.seconds, self.seconds[name])
        return value

    def _value(
        self, name: str, function: Callable[..., Any], args: Any, kwargs: Any, left: float | None, deadline: float | None
    ) -> Talk[Any]:
        try:
            value = function(*args, **kwargs)
        except StopIteration as error:  # it would end this generator
            raise RuntimeError(f"StopIteration: {error}") from error
        if inspect.isawaitable(value):
            if not self.isolate.awaits:
                getattr(value, "close", bool)()
                raise Foreign(_not_awaited(name))
            from isolate_fn._runtime.handed import Awaited  # for code that has asyncio

            ends = [] if deadline is None else [deadline]
            ends += [] if left is None else [time.monotonic() + left]
            try:
                value = yield Awaited(value, min(ends, default=None))  # type: ignore[misc]
            except OutOfTime:
                if deadline is None or time.monotonic() < deadline:
                    raise self._exceeded(name, "seconds", self.expose[name].seconds, None) from None
                raise
        if deadline is not None and time.monotonic() >= deadline:
            raise OutOfTime
        return value

    def _exceeded(self, name: str, what: str, allowed: float | None, used: float | None) -> Foreign:
        error = LimitExceeded(f"expose[{name!r}].{what}", allowed, used)  # `call` adds the report
        error.remedy = f"raise it with expose={{{name!r}: Host(..., {what}=...)}}, or make the function call it less"
        return Foreign(error)

    def _reply(self, how: bytes, value: Any, deadline: float | None) -> Talk[None]:
        yield from self._send(how, pickle.dumps(value, 5), deadline)

    def _send(self, how: bytes, pickled: bytes, deadline: float | None) -> Talk[None]:
        yield from self.isolate.send(pack(Kind.HOST_REPLY, how, [pickled]), -1, deadline)


def _not_awaited(name: str) -> PolicyError:
    return PolicyError(
        f"expose[{name!r}]",
        "it is a coroutine function, and this call is not awaited",
        "make the isolated function async, or await its call_async(...), or expose a plain function",
    )


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return its annotations: they say which classes arguments may have, and results."""
    import typing

    try:
        return typing.get_type_hints(function)
    except Exception:  # a name that exists for type checkers alone, or no function
        return {}


def _told(error: BaseException) -> tuple[str, tuple[object, ...]]:
    """Say as much of an exception as the isolate may know: a builtin class, a message; no traceback, no path."""
    builtin = type(error).__module__ == "builtins"
    if builtin and isinstance(error, OSError) and error.errno is not None:
        return type(error).__name__, (error.errno, _without_paths(error.strerror))
    try:
        single = len(error.args) == 1 and type(error.args[0]) is str  # of a KeyError the text is another one
        text = _without_paths(error.args[0] if single else str(error))
    except Exception:
        text = ""
    if builtin:
        return type(error).__name__, (text,)
    return "RuntimeError", (f"{class_name(type(error)).rpartition(':')[2]}: {text}",)


def _without_paths(text: object) -> str:
    return _PATH.sub("<path>", str(text or "")[: 4 * _TEXT])[:_TEXT]
