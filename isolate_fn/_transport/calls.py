"""The call on its way in, at the caller: which function, by name or by value, and its arguments.

This direction is trusted: function and arguments are the caller's own, so they travel by pickle. (What comes
back never does.) Every problem is found here, before any process starts, and is told by the name of the
parameter.

The two parts, read by `isolate_fn._transport.received`::

    function    b"N" + pickle of a Location, or b"V" + pickle (cloudpickle) of the function itself
    arguments   pickle, protocol 5, of the tuple of positional arguments, or of [args, kwargs] where there are keywords;
                big buffers travel beside it
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any, NamedTuple

from isolate_fn._transport.naming import MAIN_MODULES, Location, importable_file, locate
from isolate_fn._transport.pickling import dump as dump
from isolate_fn._transport.pickling import is_decorated

BY_NAME, BY_VALUE = b"N", b"V"

# Below this many bytes a buffer costs less inside the payload than as a mapping of its own.
OUT_OF_BAND_FROM = 64 * 1024

# Exact types that plain pickle writes without ever asking a class of the caller's.
ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})


class FunctionRef(NamedTuple):
    """One function, and how it travels. Made once per function; the caller keeps it.

    Attributes:
        function: the plain function, behind every decorator of ours.
        location: where it is found by name; None where it travels by value.
        by_value_because: why no name leads to it; empty where one does.
    """

    function: Callable[..., Any]
    location: Location | None
    by_value_because: str


class EncodedCall(NamedTuple):
    """The arguments of one call.

    Attributes:
        arguments: see the module's description.
        buffers: contiguous bytes that the arguments refer to by position. They are the caller's own memory,
            not copies.
    """

    arguments: bytes
    buffers: list[memoryview]


def unbind(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """Reduce what was called to a plain function and all its arguments.

    Bound methods become their function with the instance in front, partials hand over what they hold,
    decorator objects of ours and static methods give way to the function behind them.

    Returns:
        (function, args, kwargs) that mean the same call.
    """
    keywords = dict(kwargs)
    placeholder = getattr(functools, "Placeholder", FunctionRef)  # partial's gaps, since Python 3.14
    while True:
        if isinstance(function, MethodType):
            args, function = (function.__self__, *args), function.__func__
        elif type(function) is functools.partial and not any(held is placeholder for held in function.args):
            args, keywords = (*function.args, *args), {**function.keywords, **keywords}
            function = function.func
        elif isinstance(function, (staticmethod, classmethod)) or is_decorated(function):
            function = function.__wrapped__  # type: ignore[attr-defined]
        else:
            return function, args, keywords


def function_reference(function: Callable[..., Any]) -> FunctionRef:
    """Decide how a function travels.

    By name wherever importing its module inside reaches the same function; by value from ``__main__``, for
    lambdas and for functions defined in functions, and where the module cannot be imported again by name.

    Args:
        function: as `unbind` returns it. Decorator objects of ours stand for the function behind them.
    """
    function, _, _ = unbind(function, (), {})
    location = locate(function)
    return FunctionRef(function, location, "" if location else _why_not_by_name(function))


def encode_call(
    reference: FunctionRef,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    out_of_band_from: int = OUT_OF_BAND_FROM,
) -> EncodedCall:
    """Write down the arguments of one call.

    Args:
        reference: the function, for what an error says.
        args: positional arguments, bound ones included.
        kwargs: keyword arguments.
        out_of_band_from: buffers of at least this many bytes stay out of the pickle.

    Returns:
        The arguments and the buffers beside them.

    Raises:
        CallRejected: an argument cannot be pickled.
    """
    if not kwargs:
        for value in args:
            kind = type(value)
            if kind not in ATOMS or (kind is bytes and len(value) >= out_of_band_from):
                break
        else:
            return EncodedCall(pickle.dumps(args, 5), [])
    outside: list[memoryview] = []

    def keep_inside(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < out_of_band_from:
            return True
        outside.append(raw)
        return False

    positional = tuple(_large(value, out_of_band_from) for value in args)
    keywords = {name: _large(value, out_of_band_from) for name, value in kwargs.items()}
    try:
        everything = [positional, keywords] if keywords else positional
        return EncodedCall(dump(everything, b"", keep_inside, start_over=outside.clear), outside)
    except Exception as error:
        from isolate_fn._transport.rejection import explain_arguments  # only for a call that fails

        raise explain_arguments(reference.function, args, kwargs, error) from error


class _Large:
    """Stands for a big bytes or bytearray argument, which pickle by itself always copies into the payload."""

    __slots__ = ("value",)

    def __init__(self, value: bytes | bytearray) -> None:
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self.value), (pickle.PickleBuffer(self.value),)


def _large(value: Any, least: int) -> Any:
    return _Large(value) if type(value) in (bytes, bytearray) and len(value) >= least else value


def function_part(reference: FunctionRef) -> bytes:
    """Write down the function of a call.

    Args:
        reference: it. By name the result is always the same; by value it is as the function is now, its globals and
            closure included.

    Raises:
        CallRejected: a global that a function sent by value uses cannot be pickled.
    """
    if reference.location is not None:
        return BY_NAME + pickle.dumps(tuple(reference.location), 5)
    try:
        return dump(reference.function, BY_VALUE)
    except Exception as error:
        from isolate_fn._transport.rejection import explain_function  # only for a call that fails

        raise explain_function(reference.function, reference.by_value_because, error) from error


def _why_not_by_name(function: Any) -> str:
    module = getattr(function, "__module__", None)
    qualname = getattr(function, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualname, str):
        return "it is an object without a name of its own"
    if module in MAIN_MODULES:
        return "it is defined in __main__, which only the process that runs it has"
    if "<lambda>" in qualname:
        return "it is a lambda"
    if "<locals>" in qualname:
        return "it is defined inside another function"
    if importable_file(module) is None:
        return f"no other process can import its module {module!r}"
    return f"{module}.{qualname} is another object now, and no __wrapped__ leads from there to it"
