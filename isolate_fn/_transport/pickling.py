"""Pickling in the trusted direction: plain pickle where that is enough, cloudpickle for what has no name.

Plain pickle is fast and needs no import, but it sends as a name whatever has one, also where that name means
nothing in another process. So it is stopped there, and cloudpickle starts over.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import pickle
import sys
from collections.abc import Callable
from types import FunctionType

from isolate_fn._transport.naming import MAIN_MODULES, importable_file, locate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _NeedsValue(Exception):
    """Plain pickle met something that must travel by value; ends the attempt."""


def dump(
    value: object,
    head: bytes = b"",
    buffer_callback: Callable[[pickle.PickleBuffer], Any] | None = None,
    start_over: Callable[[], Any] = bool,
) -> bytes:
    """Pickle one value after `head`: plainly where that is enough, else by cloudpickle.

    Args:
        value: what to write.
        head: bytes in front of it.
        buffer_callback: as pickle's.
        start_over: called when the plain attempt is thrown away.

    Raises:
        Exception: whatever the value's own classes raise, PicklingError, RecursionError.
    """
    stream = _after(head)
    try:
        _PlainPickler(stream, 5, buffer_callback=buffer_callback).dump(value)
        return stream.getvalue()  # without a copy: BytesIO hands out its own bytes when nobody else has them
    except (_NeedsValue, pickle.PicklingError, TypeError, AttributeError):
        pass  # the last three are how pickle says that it does not know a thing; cloudpickle knows more
    # After the handler, so that a second failure does not show the first one as well.
    start_over()
    stream = _after(head)
    by_value_pickler()(stream, 5, buffer_callback=buffer_callback).dump(value)
    return stream.getvalue()


def _after(head: bytes) -> io.BytesIO:
    stream = io.BytesIO(head)
    stream.seek(len(head))
    return stream


def is_decorated(value: object) -> bool:
    """True for the objects that our decorator puts in a function's place; they say so in their class."""
    return getattr(type(value), "__isolate_fn__", False) is True


def is_bound(value: object) -> bool:
    """True for decorated methods that are bound."""
    return getattr(type(value), "__isolate_fn_bound__", False) is True


def _refuse_grant(value: object) -> None:
    """Refuse a mount word or an open file inside another value.

    The function would receive the word, and nothing would be mounted. Of a text file cloudpickle would send a copy.
    """
    if getattr(type(value), "__isolate_fn__", False) == "grant":
        raise pickle.PicklingError("only an argument of its own is mounted")
    if type(value) is io.TextIOWrapper:
        raise TypeError("it is an open file")


@functools.cache
def by_value_pickler() -> type[pickle.Pickler]:
    """Make the pickler for what has no name: cloudpickle, but by name for whatever decorators hide."""
    import threading

    import cloudpickle  # here, because importing it costs more than all of isolate_fn

    from isolate_fn._transport.received import load_location, load_stand_in

    # Re-entrant, for signal handlers that make calls; a new one in a forked child, where its holder may not live.
    registering = [threading.RLock()]
    os.register_at_fork(after_in_child=lambda: registering.__setitem__(0, threading.RLock()))

    class ByValuePickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, value: Any) -> Any:
            if type(value) is memoryview:
                return reduce_view(value)
            _refuse_grant(value)
            if is_decorated(value):
                location = locate(value)
                if location:
                    return load_location, (tuple(location),)
                return load_stand_in, (value.__wrapped__,)
            if not isinstance(value, (FunctionType, type)):
                return super().reducer_override(value)
            location = locate(value)
            if location and location.behind:
                return load_location, (tuple(location),)
            module = None if location else _listed_module(value)
            if module is None:
                return _with_qualname(value, super().reducer_override(value))
            # cloudpickle believes that every module in sys.modules can be imported elsewhere. The
            # registration is its only public way to learn otherwise; its decision is made inside this one
            # call.
            with registering[0]:
                cloudpickle.register_pickle_by_value(module)
                try:
                    return _with_qualname(value, super().reducer_override(value))
                finally:
                    with contextlib.suppress(ValueError):  # a signal handler's call did it
                        cloudpickle.unregister_pickle_by_value(module)

    return ByValuePickler


class _PlainPickler(pickle.Pickler):
    """pickle, stopping at whatever it would send as a name that means nothing in another process."""

    def reducer_override(self, value: Any) -> Any:
        kind = type(value)
        if kind is memoryview:
            return reduce_view(value)
        if hasattr(kind, "__isolate_fn__"):
            _refuse_grant(value)
            raise _NeedsValue
        if (kind is FunctionType or isinstance(value, type)) and (
            value.__module__ in MAIN_MODULES or importable_file(value.__module__) is None
        ):
            raise _NeedsValue
        return NotImplemented


def _with_qualname(value: Any, reduced: Any) -> Any:
    """Have a class that travels by value keep its qualified name, by which the caller's tables know what comes back.

    cloudpickle sends it for functions and for Enums. Of other classes it sends the last part alone, and what it sets of their
    attributes is the first part of the state.
    """
    if isinstance(value, type) and isinstance(reduced, tuple) and len(reduced) == 6 and isinstance(reduced[2], tuple):
        attributes = reduced[2][0]
        if type(attributes) is dict and value.__qualname__ != value.__name__:
            attributes["__qualname__"] = value.__qualname__
    return reduced


def reduce_view(view: memoryview) -> tuple[Any, ...]:
    """Say how a view of memory is pickled, which pickle by itself does not know."""
    from isolate_fn._transport.received import load_view

    flat = view.cast("B") if view.c_contiguous and view.nbytes else view.tobytes()
    return load_view, (pickle.PickleBuffer(flat), view.format, view.shape)


def _listed_module(value: Any) -> Any:
    """The module of a class or function, where it is in sys.modules but nowhere on disk."""
    name = value.__module__
    return None if name in MAIN_MODULES or importable_file(name) is not None else sys.modules.get(name)
