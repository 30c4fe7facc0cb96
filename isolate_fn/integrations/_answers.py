"""What an engine's task may answer: what the functions in it may, as if each were called by itself."""

from __future__ import annotations

import contextlib
import functools
import typing
from collections.abc import Callable, Iterable
from typing import Any

_MOST_STEPS = 100  # a chain of decorators is a handful long
_OF_FUNCTIONS = ("__module__", "__name__", "__annotations__", "__globals__", "__code__", "__closure__")


class Task:
    """Submitted in place of what runs an engine's task, whose results and exceptions are then checked as its functions' own.

    An executor asks what it is given for its annotation and for its module's names, and has what is inside do the work.

    Args:
        run: a function with a name, which is what runs.
        functions: that it will call.
    """

    def __init__(self, run: Callable[..., Any], functions: Iterable[Any]) -> None:
        self._run = run
        plain = list(dict.fromkeys(map(_plain, functions)))
        for name in _OF_FUNCTIONS:
            with contextlib.suppress(AttributeError):
                setattr(self, name, getattr(plain[0] if plain else run, name))
        self.__qualname__ = f"{getattr(self, '__name__', 'function')}.<task>"  # no name leads to it
        if len(plain) > 1:
            self.__annotations__ = {"return": tuple[tuple(map(_returned, plain))]}  # type: ignore[misc]
            self.__globals__ = {name: each for one in plain for name, each in getattr(one, "__globals__", {}).items()}

    def __call__(self, *args: Any) -> Any:
        """Run the task."""
        return self._run(*args)

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial, (self._run,)


def _plain(function: Any) -> Any:
    """Return what is behind partials and decorators that are objects: a function, or something else without globals."""
    for _ in range(_MOST_STEPS):
        if hasattr(function, "__globals__"):
            return getattr(function, "__func__", function)
        inner = function.func if isinstance(function, functools.partial) else getattr(function, "__wrapped__", None)
        if inner is None:
            break
        function = inner
    return function if _can_be_key(function) else type(function)


def _can_be_key(function: Any) -> bool:
    try:
        hash(function)
    except TypeError:
        return False
    return True


def _returned(function: Any) -> Any:
    try:
        return typing.get_type_hints(function).get("return")
    except Exception:  # a name that is not there yet, or no function at all
        return None
