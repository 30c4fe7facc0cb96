"""System calls by number, as native code would make them: nothing of Python's or libc's stands in between.

Results are those of the kernel: what the call returned, or minus its errno.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Any

from isolate_fn._sys import libc
from isolate_fn._sys.numbers import table

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
O_PATH = 0o10000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
SIGCHLD, SIGKILL = 17, 9
UNIX, INET, INET6, NETLINK, PACKET, ALG, VSOCK = 1, 2, 10, 16, 17, 38, 40
STREAM, DATAGRAM, RAW, SEQPACKET = 1, 2, 3, 5
HIGH = 1 << 32
"""A bit that the kernel does not see in an argument of 32 bits, and a filter may."""

_syscall = libc.bind("syscall", restype=libc.Long)
_PASS = (errno.EPERM, errno.EACCES, errno.ENOSYS)


def call(name: str | int, *arguments: Any) -> int:
    """Make one system call.

    Args:
        name: of the call, or its number; a name that this architecture lacks gives ENOSYS.
        *arguments: ints (all 64 bits of them), bytes or str (as pointers), or ctypes buffers.

    Returns:
        What the kernel returned; minus the errno where it failed.
    """
    number = name if isinstance(name, int) else table(os.uname().machine).get(name, -1)
    if number < 0:
        return -errno.ENOSYS
    try:
        return int(_syscall(ctypes.c_long(number), *map(_word, arguments)))
    except OSError as failure:
        return -(failure.errno or errno.EIO)


def _word(value: Any) -> Any:
    if isinstance(value, int):
        return ctypes.c_ulong(value & (1 << 64) - 1)
    return ctypes.c_char_p(os.fsencode(value)) if isinstance(value, (str, bytes)) else value


def asked(name: str | int, *arguments: Any) -> int | str:
    """Make a call that must not reach the kernel's code: any answer but a plain refusal tells that it did.

    Returns:
        Minus EPERM, EACCES or ENOSYS; else what the kernel answered, as text.
    """
    result = call(name, *arguments)
    if -result in _PASS:
        return result
    return f"the kernel answered {errno.errorcode.get(-result, '') if result < 0 else result}"


def read(path: str, base: int = AT_FDCWD) -> int | bytes:
    """Return a file's first bytes, or minus the errno."""
    descriptor = call("openat", base, path, os.O_RDONLY | os.O_NONBLOCK)
    if descriptor < 0:
        return descriptor
    buffer = ctypes.create_string_buffer(4096)
    size = call("read", descriptor, buffer, 4096)
    call("close", descriptor)
    return size if size < 0 else buffer.raw[:size]


def write(path: str, text: bytes, flags: int = os.O_WRONLY, mode: int = 0o600) -> int:
    """Write to a file; return how much, or minus the errno of what failed first."""
    descriptor = call("openat", AT_FDCWD, path, flags | os.O_NONBLOCK, mode)
    if descriptor < 0:
        return descriptor
    written = call("write", descriptor, text, len(text))
    call("close", descriptor)
    return written


def put(data: bytes, descriptor: int) -> int:
    """Write all of it; 0, or minus the errno where the other side has gone."""
    view = memoryview(data)
    while view:
        written = call("write", descriptor, bytes(view[: 1 << 20]), min(len(view), 1 << 20))
        if written < 0:
            return written
        view = view[written:]
    return 0


def opened(path: str, flags: int = os.O_RDONLY, base: int = AT_FDCWD) -> int:
    """Open a file and close it: 0, or minus the errno."""
    descriptor = call("openat", base, path, flags | os.O_NONBLOCK, 0o600)
    if descriptor >= 0:
        call("close", descriptor)
    return min(descriptor, 0)


def copy_of_memory(start: int, end: int) -> bytes:
    """Copy memory of this process through a pipe, which says EFAULT where a plain read would be a crash."""
    here, there = os.pipe()
    pieces = []
    buffer = ctypes.create_string_buffer(65536)
    for address in range(start, end, 65536):
        size = call("write", there, ctypes.c_void_p(address), min(65536, end - address))
        if size > 0:
            call("read", here, buffer, size)
            pieces.append(buffer.raw[:size])
            ctypes.memset(buffer, 0, size)
    os.close(here)
    os.close(there)
    return b"".join(pieces)


def holds(text: bytes, head: bytes, tail: bytes) -> bool:
    """Tell whether a text has one that comes in two halves, so that asking for it does not plant it."""
    place = text.find(head)
    while place >= 0:
        if text[place + len(head) : place + len(head) + len(tail)] == tail:
            return True
        place = text.find(head, place + 1)
    return False


def fork() -> int:
    """Fork by the plain call: the child must run only system calls, and end by `leave`."""
    return call("clone", SIGCHLD, 0, 0, 0, 0)


def leave(code: int = 0) -> None:
    """End this process at once."""
    call("exit_group", code)


def reap(pid: int) -> int:
    """Wait for a child; return its exit code, or minus its signal."""
    state = ctypes.c_int()
    call("wait4", pid, ctypes.byref(state), 0, 0)
    return os.waitstatus_to_exitcode(state.value)


def stay() -> None:
    """Wait for ever."""
    while True:
        call("ppoll", 0, 0, 0, 0, 0)


def reach(family: int, kind: int, address: bytes, text: bytes = b"attack") -> int:
    """Connect, or send one datagram: 0, or minus the errno."""
    descriptor = call("socket", family, kind, 0)
    if descriptor < 0:
        return descriptor
    if kind & 15 == DATAGRAM:
        result = call("sendto", descriptor, text, len(text), 0, address, len(address))
    else:
        result = call("connect", descriptor, address, len(address))
    call("close", descriptor)
    return min(result, 0)


def unix_address(path: str) -> bytes:
    """Return a sockaddr_un of a path."""
    return struct.pack("H", UNIX) + os.fsencode(path) + b"\0"


def abstract_address(name: str) -> bytes:
    """Return a sockaddr_un of an abstract name."""
    return struct.pack("H", UNIX) + b"\0" + name.encode()


def inet_address(port: int) -> bytes:
    """Return a sockaddr_in of the loopback interface."""
    return struct.pack("=H", INET) + struct.pack("!H4s8x", port, bytes([127, 0, 0, 1]))


def inet6_address(port: int) -> bytes:
    """Return a sockaddr_in6 of the loopback interface."""
    return struct.pack("=H", INET6) + struct.pack("!HI", port, 0) + bytes(15) + b"\1" + bytes(4)
