"""Where this interpreter keeps what it knows of its main thread, for a supervisor that reads it from outside."""

from __future__ import annotations

import _ctypes
from types import CodeType

from isolate_fn._sys.libc import Long


class Anchors:
    """Addresses in one process, and in every fork of it.

    Args:
        thread: of the PyThreadState of the thread that asked.
        code: of the type of code objects.
        text: of ``str``.
        data: of ``bytes``.
    """

    __slots__ = ("code", "data", "text", "thread")

    def __init__(self, thread: int, code: int, text: int, data: int) -> None:
        self.thread, self.code, self.text, self.data = thread, code, text, data


class _OfPython(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_PYTHONAPI
    _restype_ = Long  # an address; PyThreadState_Get never returns NULL


def anchors() -> Anchors:
    """Return those of this process and thread."""
    own = _ctypes.dlopen(None, 0)  # type: ignore[arg-type] # typed as if it needed a name
    thread = _OfPython(_ctypes.dlsym(own, "PyThreadState_Get"))()
    return Anchors(thread, id(CodeType), id(str), id(bytes))
