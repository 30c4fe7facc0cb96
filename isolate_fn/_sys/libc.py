"""The only door to libc, and the only code in the package that reads errno.

errno keeps its old value when a call succeeds, so it never decides *whether* something failed; it is read once,
here, after a call has returned its failure value.

By the module below ``ctypes``, because both interpreters that a cold start waits for come through here: ``ctypes`` itself
imports ``os`` and ``struct`` and makes two dozen classes, of which five are needed.
"""

from __future__ import annotations

import _ctypes
import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

get_address = _ctypes.addressof


class Int(_ctypes._SimpleCData):  # type: ignore[type-arg]
    """C's int."""

    _type_ = "i"


class Long(_ctypes._SimpleCData):  # type: ignore[type-arg]
    """C's long, which is also the type of what system calls return."""

    _type_ = "l"


class ULong(_ctypes._SimpleCData):  # type: ignore[type-arg]
    """C's unsigned long and size_t."""

    _type_ = "L"


class Text(_ctypes._SimpleCData):  # type: ignore[type-arg]
    """C's char *: ``bytes`` that the callee only reads, or None."""

    _type_ = "z"


class Pointer(_ctypes._SimpleCData):  # type: ignore[type-arg]
    """C's void *: an address, or None."""

    _type_ = "P"


class Byte(_ctypes._SimpleCData):  # type: ignore[type-arg]
    """C's char; ``(Byte * 24)()`` is memory that the callee may write to."""

    _type_ = "c"


class _Checked(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
    _restype_ = Int


class _Unchecked(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL
    _restype_ = Int


# The program with everything that it has loaded, libc among it. (Typed as if it needed a name.)
_program = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]


def _raise_on_failure(result: int, function: Any, arguments: tuple[Any, ...]) -> int:
    """Turn a return value of -1 into OSError(errno, text, name of the call)."""
    if result == -1:
        code = _ctypes.get_errno()
        raise OSError(code, posix.strerror(code), function.call_name)
    return result


def bind(name: str, *argtypes: Any, exported: str = "", restype: Any = Int) -> Any:
    """Declare a libc function that reports failure by returning -1.

    Args:
        name: of the call, for its error.
        argtypes: types of its arguments, from above or from ctypes.
        exported: the function's name in libc where that is another one.
        restype: type of its result.

    Returns:
        A callable that raises OSError with ``filename`` set to the name of the call.
    """
    function: Any = _Checked(_ctypes.dlsym(_program, exported or name))
    function.argtypes, function.restype = argtypes, restype
    function.call_name = name
    function.errcheck = _raise_on_failure
    return function


def bind_unchecked(name: str, *argtypes: Any) -> Any:
    """Declare a libc function whose failure is of no interest, for a third of the time of a checked call."""
    function: Any = _Unchecked(_ctypes.dlsym(_program, name))
    function.argtypes = argtypes
    return function


def bind_syscall(name: str, number: int, *argtypes: Any) -> Any:
    """Declare a raw system call, for those that libc does not wrap.

    One function a call, so that texts and structures go in as ``bytes`` without a buffer (and, in ctypes, a type) made
    for each: in a process that was just forked every object touched is a page copied.

    Args:
        name: its name, used in the error.
        number: its number on this architecture, -1 where it has none: the call then fails with ENOSYS.
        argtypes: types of its arguments; ``Text`` for memory that the kernel only reads.

    Returns:
        A callable that raises OSError with ``filename`` set to the name of the call.
    """
    function = bind(name, Long, *argtypes, exported="syscall", restype=Long)

    def call(*arguments: Any) -> Any:
        return function(number, *arguments)

    return call
