"""What runs inside in place of a generator function, which would be learned up to its first item only."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def all_items(function: Callable[..., Any], *args: Any, **kwargs: Any) -> list[Any]:
    """Return all that a generator function yields."""
    return list(function(*args, **kwargs))


async def all_items_of_async(function: Callable[..., Any], *args: Any, **kwargs: Any) -> list[Any]:
    """Return all that an asynchronous one yields."""
    return [item async for item in function(*args, **kwargs)]


def to_the_end(function: Callable[..., Any]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Return what to call, and what to pass before the arguments, so that all of a function is run."""
    if inspect.isgeneratorfunction(function):
        return all_items, (function,)
    if inspect.isasyncgenfunction(function):
        return all_items_of_async, (function,)
    return function, ()
