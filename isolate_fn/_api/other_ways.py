"""The other ways to call an isolated function: in the background, for each of many items, awaited."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import GenericAlias

from isolate_fn.policy.inside import inside

TYPE_CHECKING = False
if not TYPE_CHECKING:  # what of typing is there at run time: it would be one of the slowest imports of a first call

    class Generic:
        """Lets a class be written with its parameters."""

        __class_getitem__ = classmethod(GenericAlias)

    def overload(function):
        """Leave the function as it is."""
        return function

else:
    from collections.abc import Coroutine
    from typing import Any, Generic, ParamSpec, TypeVar
    from typing import overload as overload

    from isolate_fn._api.future import IsolatedFuture

    P = ParamSpec("P")
    R = TypeVar("R")
    T = TypeVar("T")


class OtherWays(Generic["P", "R"]):
    """The part of `Isolated` that has no plain call; what does it is loaded when it is used."""

    def _nested(self) -> Exception:
        raise NotImplementedError

    @overload
    def call_async(
        self: OtherWays[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]: ...

    @overload
    def call_async(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]: ...

    def call_async(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call it without a thread, waiting in the running asyncio event loop; cancelling kills what it runs.

        Args:
            *args: the function's arguments.
            **kwargs: its keyword arguments.

        Returns:
            A coroutine; awaiting it gives the function's value or raises its exception.
        """
        from isolate_fn._api.asynchronous import call

        function: Any = self
        return call(function, args, kwargs)

    def submit(self, /, *args: P.args, **kwargs: P.kwargs) -> IsolatedFuture[R]:
        """Make the call in the background and return its future, whose `cancel` also kills a call that runs.

        Args:
            *args: the function's arguments; for a method the instance first: ``Class.method.submit(instance, ...)``.
            **kwargs: its keyword arguments.

        Raises:
            RuntimeError: the interpreter is shutting down.
        """
        if inside():
            raise self._nested()
        from isolate_fn._api.submitting import submit

        function: Any = self
        future: IsolatedFuture[R] = submit(function, args, kwargs)
        return future

    def map(
        self, iterable: Iterable[Any], *more: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[R]:
        """Call the function for each item, several at a time, and return an iterator of the values in order.

        No more is read of the iterables, and no more calls are made ahead, than keeps the processors busy. When a call
        raises, the time is over or the iterator is closed, calls that have not ended are cancelled, and killed.

        Args:
            iterable: of the first argument.
            *more: of further arguments; the shortest one ends all, as with the builtin ``map``.
            timeout: seconds from now, for all values; then the iterator raises TimeoutError.
            chunksize: calls that are sent together and share one isolate; if one raises, its chunk has no other value.

        Raises:
            ValueError: ``chunksize`` is below 1.
        """
        if inside():
            raise self._nested()
        from isolate_fn._api.submitting import each

        function: Any = self
        values: Iterator[R] = each(function, (iterable, *more), timeout, chunksize)
        return values
