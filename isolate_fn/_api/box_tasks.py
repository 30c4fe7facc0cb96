"""What a sandbox offers to tasks of an asyncio event loop."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from isolate_fn._api.turns import Turns

T = TypeVar("T")


class ForTasks:
    """The part of `Sandbox` that event loops use; what does it is loaded then, because asyncio takes long to load."""

    def __init__(self) -> None:
        self._lock = Turns()
        self._tasks = 0  # that wait for a call
        self._leaving = False

    async def __aenter__(self) -> Self:
        """Build the isolate and check its walls.

        Raises:
            Unsupported, SetupError: it cannot be built here; says why. LimitExceeded: a limit is too small for it.
        """
        from isolate_fn._api import box_async

        box: Any = self
        await box_async.enter(box)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Kill everything inside and wait until it is gone."""
        from isolate_fn._api import box_async

        box: Any = self
        await box_async.leave(box, kind, error, traceback)

    @overload
    def call_async(
        self, function: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, **kwargs: Any
    ) -> Coroutine[Any, Any, T]: ...

    @overload
    def call_async(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, T]: ...

    def call_async(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """Do what `call` does, waiting in the running asyncio event loop.

        Calls of several tasks take turns, also with those of threads. Cancelling one that has its turn kills what runs,
        and with it the sandbox; one that waits for its turn just leaves the line.

        Args:
            function: any function that `isolated` could decorate.
            *args: its arguments.
            **kwargs: its keyword arguments.

        Returns:
            A coroutine; awaiting it gives the function's value, or raises what `call` raises.
        """
        from isolate_fn._api import box_async

        box: Any = self
        return box_async.call(box, function, args, kwargs)
