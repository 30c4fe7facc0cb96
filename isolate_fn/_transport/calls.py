"""The call on its way in, at the caller: which function, by name or by value, and its arguments.

This direction is trusted: function and arguments are the caller's own, so they travel by pickle. (What comes
back never does.) Every problem is found here, before any process starts, and is told by the name of the
parameter.

The two parts, read by `isolate_fn._transport.received`::

    function    b"N" + pickle of a Location, or b"V" + pickle (cloudpickle) of the function itself;
                b"A" before either where its calls are to be awaited
    arguments   `plain` arguments by marshal, which begins with another byte and takes a third of the time; else pickle,
                protocol 5, of the tuple of positional arguments, or of [args, kwargs] where there are keywords; big
                buffers travel beside it
"""

from __future__ import annotations

import contextlib
import functools
import marshal
import pickle
from collections.abc import Callable, Mapping
from types import MethodType

from isolate_fn._frozen import dataclass
from isolate_fn._transport.coroutines import is_coroutine_function
from isolate_fn._transport.naming import MAIN_MODULES, Location, importable_file, locate
from isolate_fn._transport.pickling import dump as dump
from isolate_fn._transport.pickling import is_bound, is_decorated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

AWAITED, BY_NAME, BY_VALUE = b"A", b"N", b"V"

MARSHAL_VERSION = 2  # before references between equal objects, which are only looked for in vain here

# Below this many bytes a buffer costs less inside the payload than as a mapping of its own.
OUT_OF_BAND_FROM = 64 * 1024

# Exact types that are written without ever asking a class of the caller's.
ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})


@dataclass(frozen=True)
class FunctionRef:
    """One function, and how it travels. Made once per function; the caller keeps it.

    Attributes:
        function: the plain function, behind every decorator of ours.
        location: where it is found by name; None where it travels by value.
        by_value_because: why no name leads to it; empty where one does.
        awaited: its calls return coroutines, which the worker runs to their end.
    """

    function: Callable[..., Any]
    location: Location | None
    by_value_because: str
    awaited: bool = False


class EncodedCall:
    """The arguments of one call.

    Attributes:
        arguments: see the module's description.
        buffers: contiguous bytes that the arguments refer to by position. They are the caller's own memory,
            not copies.
        iterators: one-shot iterators of the caller's among the arguments, which it goes on running, by their numbers.
        loan: what is passed open: its ``descriptors`` travel with the call, and ``settle()`` ends it. None for nothing.
    """

    __slots__ = ("arguments", "buffers", "iterators", "loan")

    def __init__(
        self, arguments: bytes, buffers: list[memoryview], loan: Any = None, iterators: Mapping[int, Any] | None = None
    ) -> None:
        self.arguments, self.buffers, self.loan, self.iterators = arguments, buffers, loan, iterators


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
        if isinstance(function, MethodType) or is_bound(function):
            args, function = (function.__self__, *args), function.__func__  # type: ignore[attr-defined]
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
    why = "" if location else _why_not_by_name(function)
    return FunctionRef(function, location, why, is_coroutine_function(function))


def plain(args: tuple[Any, ...]) -> bytes:
    """Write positional arguments that are all of `ATOMS`.

    Raises:
        ValueError: one is longer than marshal can count.
    """
    return marshal.dumps(args, MARSHAL_VERSION)


def encode_call(
    reference: FunctionRef,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    out_of_band_from: int = OUT_OF_BAND_FROM,
    loan: Any = None,
) -> EncodedCall:
    """Write down the arguments of one call.

    Args:
        reference: the function, for what an error says.
        args: positional arguments, bound ones included.
        kwargs: keyword arguments.
        out_of_band_from: buffers of at least this many bytes stay out of the pickle.
        loan: see `EncodedCall`; settled where the arguments cannot be written.

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
            with contextlib.suppress(ValueError):  # 2 GiB of text
                return EncodedCall(plain(args), [])
    iterators: Mapping[int, Any] | None = None
    for value in (*args, *kwargs.values()):
        if hasattr(type(value), "__next__") or hasattr(type(value), "__anext__"):
            from isolate_fn._transport.fed import take_out  # few calls have one

            args, kwargs, iterators = take_out(reference.function, args, kwargs)
            break
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
        return EncodedCall(dump(everything, b"", keep_inside, start_over=outside.clear), outside, loan, iterators)
    except Exception as error:
        if loan is not None:
            loan.settle()
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
    awaited = AWAITED if reference.awaited else b""
    if reference.location is not None:
        return awaited + BY_NAME + pickle.dumps(tuple(reference.location), 5)
    try:
        return dump(reference.function, awaited + BY_VALUE)
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
