"""Several calls of one function sent as one: at the worker, what such a call runs. Light, as the worker imports it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping

from isolate_fn._runtime import serve
from isolate_fn._transport.received import load_function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def load_chunk(part: bytes, named: Mapping[str, Any]) -> Callable[[Iterable[tuple[Any, ...]]], list[Any]]:
    """Return what calls a function for each of many tuples of arguments; called from inside pickles.

    Args:
        part: the function, as `isolate_fn._transport.calls.function_part` wrote it.
        named: keyword arguments of all calls.
    """
    return functools.partial(_each, load_function(part), named)


def _each(function: Callable[..., Any], named: Mapping[str, Any], calls: Iterable[tuple[Any, ...]]) -> list[Any]:
    serve.runs_instead(function)
    return [function(*args, **named) for args in calls]
