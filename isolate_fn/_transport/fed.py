"""Iterators of the caller's as arguments: they stay where they are, and each ``next()`` inside asks for one item."""

from __future__ import annotations

import io
import itertools
from _pickle import loads
from collections.abc import Callable, Mapping

from isolate_fn._transport import received
from isolate_fn._transport.frames import Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST = 64
"""Iterators that one call may have."""

_numbers = itertools.count()

END, GONE = b'"end"', b'"gone"'
"""What the caller's side replies instead of an item: there is none any more; there is no such iterator."""

def is_fed(value: object) -> bool:
    """Tell whether an argument is an iterator that can be read once, and no open file."""
    kind = type(value)
    if hasattr(kind, "__anext__"):
        return hasattr(kind, "__aiter__") and value.__aiter__() is value  # type: ignore[attr-defined]
    if not hasattr(kind, "__next__") or isinstance(value, io.IOBase) or hasattr(value, "fileno"):
        return False
    return hasattr(kind, "__iter__") and iter(value) is value  # type: ignore[call-overload]


def take_out(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any], dict[int, Any]]:
    """Put stand-ins in the place of iterators.

    Args:
        function: the plain function; the object that a method is called on travels as any other object does.
        args: positional arguments, bound ones included.
        kwargs: keyword arguments.

    Returns:
        (args, kwargs, iterators): the iterators by their numbers, which are given once in the life of this process: what a
        worker has kept of an earlier call reads no iterator of a later one.
    """
    iterators: dict[int, Any] = {}

    def stand_in(value: Any) -> Any:
        if not is_fed(value) or len(iterators) >= MOST:
            return value
        number = next(_numbers)
        iterators[number] = value
        return Fed(number, hasattr(type(value), "__anext__"))

    first = 1 if args and _is_method_of(function, args[0]) else 0
    positional = (*args[:first], *map(stand_in, args[first:]))
    return positional, {name: stand_in(value) for name, value in kwargs.items()}, iterators


def _is_method_of(function: Callable[..., Any], instance: object) -> bool:
    found = getattr(type(instance), getattr(function, "__name__", ""), None)
    return found is function or getattr(found, "__wrapped__", None) is function


class Fed:
    """What an iterator of the caller's is inside: an iterator that asks for its items one by one.

    An async iterator can be read by ``async for`` as well; the loop inside stands still while the caller's side runs.

    Args:
        number: of the iterator.
        awaited: it is an async iterator.
    """

    def __init__(self, number: int, awaited: bool) -> None:
        self._number, self._awaited, self._over = number, awaited, False

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self._number, self._awaited)

    def __iter__(self) -> Fed:
        return self

    def __next__(self) -> Any:
        """Return the next item.

        Raises:
            StopIteration: there is none.
            RuntimeError: the call that the iterator was passed to is over.
        """
        if self._over:
            raise StopIteration
        text, pickled = received.asking[0](Kind.NEXT, b"%d" % self._number)
        if text == END:
            self._over = True
            raise StopIteration
        if text == GONE:
            raise RuntimeError("the call that this iterator was passed to is over")
        return loads(pickled[0])


class AwaitedFed(Fed):
    """What an async iterator of the caller's is inside."""

    def __aiter__(self) -> AwaitedFed:
        return self

    async def __anext__(self) -> Any:
        """Return the next item, as `Fed.__next__` does."""
        try:
            return next(self)
        except StopIteration:
            raise StopAsyncIteration from None


def _rebuilt(number: int, awaited: bool) -> Fed:
    return (AwaitedFed if awaited else Fed)(number, awaited)
