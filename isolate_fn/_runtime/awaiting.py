"""Run a coroutine function inside an isolate: every call in an event loop of its own, as by ``asyncio.run``.

Imported only in workers that need it, and there before the policy's narrower filter, by which time asyncio is loaded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Awaited:
    """A coroutine function made an ordinary one, which returns when the coroutine has.

    Args:
        function: its calls return awaitables.

    Attributes:
        __func__: the function.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__func__ = function

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        raised: list[Exception] = []
        runner = asyncio.Runner()
        try:
            runner.get_loop()
        except PermissionError as denied:
            denied.add_note("The rules= of this function do not permit an event loop. Add rules.Asyncio() to them.")
            raise
        with runner:
            value = runner.run(self._call(raised, args, kwargs))
        if raised:
            raise raised[0]
        return value

    async def _call(self, raised: list[Exception], args: Any, kwargs: Any) -> Any:
        try:
            # Here and not before: a function that is merely marked may ask for the running loop before it returns.
            return await self.__func__(*args, **kwargs)
        except Exception as error:  # past the loop, whose frames would come before the function's in the traceback
            raised.append(error)
