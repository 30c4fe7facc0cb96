"""Several calls of one function as one call: at the caller, what stands for the function."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from isolate_fn._runtime.chunks import load_chunk
from isolate_fn._transport.calls import function_part, function_reference, unbind

Arguments = tuple[Any, ...]


class Chunk:
    """Called with many tuples of arguments, it calls a function for each, inside.

    Args:
        function: any function that can be isolated.

    Attributes:
        by_value: the function travels by value.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        # What is bound to it goes in front of the arguments of each call.
        plain, self.before, self.named = unbind(function, (), {})
        self.reference = function_reference(plain)
        self.by_value = self.reference.location is None
        # Results and exceptions are checked as the function's own.
        for name in ("__module__", "__name__", "__annotations__", "__globals__", "__code__", "__closure__"):
            with contextlib.suppress(AttributeError):
                setattr(self, name, getattr(plain, name))
        self.__qualname__ = f"{getattr(plain, '__qualname__', 'function')}.<chunk>"  # no name leads to it

    def __call__(self, calls: list[Arguments]) -> list[Any]:
        return [self.reference.function(*args, **self.named) for args in calls]

    def __reduce__(self) -> tuple[Any, ...]:
        return load_chunk, (function_part(self.reference), self.named)

    def arguments(self, iterables: Iterable[Iterable[Any]], size: int) -> Iterator[tuple[list[Arguments]]]:
        """Return the arguments of each chunk.

        Args:
            iterables: as for `map`.
            size: calls in a chunk.
        """
        calls = zip(*iterables, strict=False)
        while chunk := list(itertools.islice(calls, size)):
            yield ([(*self.before, *args) for args in chunk],)


def check_size(chunksize: int) -> None:
    """Refuse a ``chunksize`` below 1.

    Raises:
        ValueError: it is.
    """
    if chunksize < 1:
        raise ValueError("chunksize must be >= 1.")
