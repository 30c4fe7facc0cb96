"""Functions that return before they have run: generators."""

from __future__ import annotations

from types import FunctionType

from isolate_fn.errors import Unsupported

#: CO_GENERATOR and CO_ASYNC_GENERATOR of code objects, as inspect calls them.
_GENERATES = 0x20 | 0x200


def generates(function: object) -> str:
    """Tell whether a function is a generator function.

    Args:
        function: anything that can be called.

    Returns:
        ``"generator"``, ``"async generator"``, or nothing for any other.
    """
    # Most functions tell by their code; importing inspect for them would take longer than all else that decorating does.
    if type(function) is FunctionType and not function.__code__.co_flags & _GENERATES:
        return ""
    import inspect

    if inspect.isgeneratorfunction(function):
        return "generator"
    return "async generator" if inspect.isasyncgenfunction(function) else ""


def refuse_suspending(function: object) -> None:
    """Refuse a generator function where only one value can come back.

    Args:
        function: anything that can be called.

    Raises:
        Unsupported: it is one.
    """
    kind = generates(function)
    if kind:
        raise Unsupported(
            f"a call of {kind} functions whose result is one value",
            "a plain function",
            getattr(function, "__qualname__", "the function"),
            "decorate it with @isolated and iterate over its call, or pass a plain function that returns a list",
        )
