"""Calls that an event loop waits for, and the functions that are made of ``async def``."""

from __future__ import annotations

import functools

from isolate_fn._api.function import Isolated, inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any, ParamSpec, TypeVar

    P = ParamSpec("P")
    R = TypeVar("R")


class IsolatedCoroutine(Isolated["P", "R"]):
    """A coroutine function that runs inside its own sandbox, in an event loop of its own; made by `isolated`.

    Calling it returns a coroutine, as the function itself would. It looks enough like a function for
    ``inspect.iscoroutinefunction`` to find that it is one.
    """

    def __init__(self, function: Any, policy: Any) -> None:
        super().__init__(function, policy)
        plain: Any = self.__wrapped__
        while isinstance(plain, functools.partial):
            plain = plain.func
        for name in ("__name__", "__code__", "__defaults__", "__kwdefaults__"):  # of a bound method: its function's
            if hasattr(plain, name) and not hasattr(self, name):
                setattr(self, name, getattr(plain, name))

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if inside():
            return self._inside_call(args, kwargs)
        coroutine: Any = call(self, args, kwargs)
        return coroutine  # type: ignore[no-any-return]


def call(function: Isolated[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Coroutine[Any, Any, Any]:
    """Return a coroutine that calls an isolated function; cancelling it kills what the call runs.

    Args:
        function: it.
        args: positional arguments, bound ones included.
        kwargs: keyword arguments.
    """
    coroutine: Any = _call(function, args, kwargs)
    # What shows in the warning about a coroutine that was never awaited, and in a task's description.
    coroutine.__name__ = getattr(function, "__name__", coroutine.__name__)
    coroutine.__qualname__ = getattr(function, "__qualname__", coroutine.__qualname__)
    return coroutine  # type: ignore[no-any-return]


async def _call(function: Isolated[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    from isolate_fn._runtime import asynchronous

    asynchronous.check_loop()
    if not function.is_up_to_date():
        await asynchronous.once(function, function.made_ready, (), {})
    return await asynchronous.run(*function.made_ready(args, kwargs))
