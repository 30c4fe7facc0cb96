"""The only door to libc, and the only code in the package that reads errno.

errno keeps its old value when a call succeeds, so it never decides *whether* something failed; it is read once,
here, after a call has returned its failure value.
"""

from __future__ import annotations

import ctypes
import os
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


_raw_syscall = bind("syscall", *([ctypes.c_long] * 7), restype=ctypes.c_long)


def syscall(name: str, number: int, *arguments: Any) -> int:
    """Make a raw system call, for those that libc does not wrap.

    Args:
        name: its name, used in the error.
        number: its number on this architecture.
        arguments: up to six integers; addresses as integers.

    Returns:
        The kernel's result.

    Raises:
        OSError: the kernel refused; ``filename`` is ``name``.
    """
    padded = (*arguments, *([0] * (6 - len(arguments))))
    try:
        return int(_raw_syscall(number, *padded))
    except OSError as failure:
        raise OSError(failure.errno, failure.strerror, name) from None
