"""What an isolated method is once it is looked up on an instance: the same, with the instance in front."""

from __future__ import annotations

import functools

TYPE_CHECKING = False
if not TYPE_CHECKING:
    from isolate_fn._api.other_ways import overload

    # The call in C, as that of Python's own bound methods. Those take their attributes from the function, and so the
    # function's `call_async` would not know the instance.
    _Base = functools.partial

else:
    from collections.abc import Callable, Coroutine
    from typing import Any, Generic, ParamSpec, TypeVar
    from typing import overload as overload

    from isolate_fn._api.function import Isolated

    Q = ParamSpec("Q")
    T = TypeVar("T")
    U = TypeVar("U")

    class _Base(Generic[Q, T]):
        """What a type checker sees: the calls of `functools.partial` take any argument."""

        func: Any
        args: tuple[Any, ...]

        def __init__(self, function: Isolated[..., T], instance: object) -> None: ...

        def __call__(self, /, *args: Q.args, **kwargs: Q.kwargs) -> T:
            raise NotImplementedError


class Bound(_Base["Q", "T"]):
    """An isolated method of one instance, or a classmethod of one class.

    Has what a bound method of Python's has (``__self__``, ``__func__``), and what `Isolated` has.
    """

    __isolate_fn_bound__ = True

    @property
    def __self__(self) -> Any:
        """What it is bound to."""
        return self.args[0]

    @property
    def __func__(self) -> Isolated[..., T]:
        """The isolated function."""
        function: Isolated[..., T] = self.func
        return function

    @property
    def __wrapped__(self) -> Callable[Q, T]:
        """The plain method, bound alike; calling it runs it unprotected, in this process."""
        from types import MethodType

        return MethodType(self.func.__wrapped__, self.__self__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.func, name)

    @overload
    def call_async(
        self: Bound[Q, Coroutine[Any, Any, U]], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Coroutine[Any, Any, U]: ...

    @overload
    def call_async(self, /, *args: Q.args, **kwargs: Q.kwargs) -> Coroutine[Any, Any, T]: ...

    def call_async(self, /, *args: Any, **kwargs: Any) -> Any:
        """See `Isolated.call_async`."""
        return self.func.call_async(self.__self__, *args, **kwargs)

    def submit(self, /, *args: Q.args, **kwargs: Q.kwargs) -> Any:
        """See `Isolated.submit`."""
        return self.func.submit(self.__self__, *args, **kwargs)

    def map(self, *iterables: Any, **options: Any) -> Any:
        """See `Isolated.map`."""
        from itertools import repeat

        return self.func.map(repeat(self.__self__), *iterables, **options)

    def options(self, **changes: Any) -> Bound[Q, T]:
        """Return the same method, bound alike, under changed options. See `Isolated.options`."""
        return Bound(self.func.options(**changes), self.__self__)

    def __get__(self, instance: object, owner: type | None = None) -> Bound[Q, T]:
        """Stay as it is: it is bound already."""
        return self

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Bound):
            return NotImplemented
        return self.func is other.func and self.__self__ is other.__self__

    def __hash__(self) -> int:
        return hash((id(self.func), id(self.__self__)))

    def __repr__(self) -> str:
        return f"<bound {self.func!r} of {self.__self__!r}>"

    def __reduce__(self) -> Any:
        """Pickle as a bound method does: what it is bound to, and the name."""
        return getattr, (self.__self__, self.func.__name__)


# Of the function's as well; the class's own would be found first.
Bound.__doc__ = property(lambda self: self.func.__doc__)  # type: ignore[assignment]
Bound.__module__ = property(lambda self: self.func.__module__)  # type: ignore[assignment]
