"""Which functions an event loop has to run: those whose call returns a coroutine."""

from __future__ import annotations

from types import FunctionType

_COROUTINE = 0x80
"""CO_COROUTINE of code objects, as inspect calls it."""


def is_coroutine_function(function: object) -> bool:
    """True for what ``async def`` makes, and for what is marked as being like it (inspect.markcoroutinefunction).

    Args:
        function: anything that can be called.
    """
    # Most functions tell by their code; importing inspect for them would take longer than all else that decorating does.
    if type(function) is FunctionType and not function.__dict__:
        return bool(function.__code__.co_flags & _COROUTINE)
    import inspect

    return inspect.iscoroutinefunction(function)
