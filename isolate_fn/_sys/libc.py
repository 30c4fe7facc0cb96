"""The only door to libc, and the only code in the package that reads errno.

errno keeps its old value when a call succeeds, so it never decides *whether* something failed; it is read once,
here, after a call has returned its failure value.
"""

from __future__ import annotations

import ctypes
import os
from functools import partial
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)


def _raise_on_failure(result: int, function: Any, arguments: tuple[Any, ...]) -> int:
    """Turn a return value of -1 into OSError(errno, text, name of the call)."""
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), function.call_name)
    return result


def bind(name: str, *argtypes: Any, restype: Any = ctypes.c_int) -> Any:
    """Declare a libc function that reports failure by returning -1.

    Args:
        name: exported name of the function.
        argtypes: ctypes types of its arguments.
        restype: ctypes type of its result.

    Returns:
        A callable that raises OSError with ``filename`` set to the name of the call.
    """
    prototype = ctypes.CFUNCTYPE(restype, *argtypes, use_errno=True)
    function: Any = prototype((name, _libc))
    function.call_name = name
    function.errcheck = _raise_on_failure
    return function


def bind_unchecked(name: str, *argtypes: Any) -> Any:
    """Declare a libc function whose failure is of no interest, for a third of the time of a checked call."""
    return ctypes.CFUNCTYPE(ctypes.c_int, *argtypes)((name, _libc))


def bind_syscall(name: str, number: int, *argtypes: Any) -> Any:
    """Declare a raw system call, for those that libc does not wrap.

    One prototype a call, so that texts and structures go in as ``bytes`` without a buffer (and, in ctypes, a type) made
    for each: in a process that was just forked every object touched is a page copied.

    Args:
        name: its name, used in the error.
        number: its number on this architecture, -1 where it has none: the call then fails with ENOSYS.
        argtypes: ctypes types of its arguments; ``c_char_p`` for memory that the kernel only reads.

    Returns:
        A callable that raises OSError with ``filename`` set to the name of the call.
    """
    prototype = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_long, *argtypes, use_errno=True)
    function: Any = prototype(("syscall", _libc))
    function.call_name = name
    function.errcheck = _raise_on_failure
    return partial(function, number)
