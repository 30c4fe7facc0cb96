"""Seccomp user notification (seccomp_unotify(2)), and reading the memory of who waits for an answer."""

from __future__ import annotations

import fcntl
import struct

from isolate_fn._sys.libc import Byte, Int, Long, Text, ULong, bind, get_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# <linux/seccomp.h>: _IOWR('!', 0, 80), _IOWR('!', 1, 24), _IOW('!', 2, 8) and what that was before Linux 5.17
_RECV, _SEND, _ID_VALID, _ID_VALID_BEFORE = 0xC0502100, 0xC0182101, 0x40082102, 0x80082102
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_ANSWER = struct.Struct("=QqiI")
_ID = struct.Struct("=Q")
_PAGE = 4096

_page: Any = (Byte * _PAGE)()  # of a process with one thread: a new type of ctypes for each size costs more than the read
_process_vm_readv = bind("process_vm_readv", Int, Text, ULong, Text, ULong, ULong, restype=Long)


class Notification:
    """One denied call, whose thread waits.

    Args:
        id: for the answer.
        tid: of the thread, in the pid namespace of who asks.
        number: of the call.
        arguments: six, unsigned.
    """

    __slots__ = ("arguments", "id", "number", "tid")

    def __init__(self, id: int, tid: int, number: int, arguments: tuple[int, ...]) -> None:  # noqa: A002 - the kernel's
        self.id, self.tid, self.number, self.arguments = id, tid, number, arguments


def receive(listener: int) -> Notification:
    """Take a notification, of which poll(2) has said that there is one.

    Raises:
        OSError: ENOENT: its thread was killed meanwhile.
    """
    buffer = bytearray(_NOTIFICATION.size)
    fcntl.ioctl(listener, _RECV, buffer, True)
    identity, tid, _, number, _, _, *arguments = _NOTIFICATION.unpack(buffer)
    return Notification(identity, tid, number, tuple(arguments))


def deny(listener: int, identity: int, code: int) -> None:
    """Let the call fail with an errno. There is no way here to let one succeed.

    Raises:
        OSError: ENOENT: nobody waits for it any more.
    """
    fcntl.ioctl(listener, _SEND, bytearray(_ANSWER.pack(identity, 0, -abs(code or 1), 0)), True)


def still_waits(listener: int, identity: int) -> bool:
    """Tell whether the thread still waits, so that what was read by its number was its own."""
    for request in (_ID_VALID, _ID_VALID_BEFORE):
        try:
            fcntl.ioctl(listener, request, _ID.pack(identity))
        except OSError:
            continue
        return True
    return False


def read_memory(pid: int, address: int, size: int) -> bytes:
    """Read another process's memory, as far as it is mapped. See process_vm_readv(2).

    Args:
        pid: of the process or one of its threads.
        address: where.
        size: bytes; the pages are read one by one, so that the first that is missing ends it.

    Returns:
        What could be read, perhaps nothing.
    """
    parts = []
    while size > 0 and 0 < address < 1 << 63:
        count = min(size, _PAGE - address % _PAGE)
        part = _read_page(pid, address, count)
        parts.append(part)
        if len(part) < count:
            break
        address, size = address + count, size - count
    return b"".join(parts)


def _read_page(pid: int, address: int, count: int) -> bytes:
    here = struct.pack("=QQ", get_address(_page), count)
    try:
        got = _process_vm_readv(pid, here, 1, struct.pack("=QQ", address, count), 1, 0)
    except OSError:
        return b""
    return bytes(_page[: int(got)])
