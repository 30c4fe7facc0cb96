"""What a worker does that has been taken over: it speaks for itself on its channel. Runs inside isolates.

Descriptor 3 is the channel. Frames are made by hand here, as an attacker would; see `isolate_fn._transport.frames`.
"""

from __future__ import annotations

import array
import os
import socket
import struct
import threading
import time
from typing import Any

from isolate_fn._diagnose.selftest.native import call, put, stay

CHANNEL = 3
READY, RESULT, EXCEPTION, ARENA, REJECTED = range(1, 6)
_PROT_READ_WRITE, _MAP_SHARED, _F_ADD_SEALS, _F_SEAL_SEAL = 3, 1, 1033, 1


def header(kind: int, json: int = 0, inline: int = 0, buffers: int = 0, flags: int = 0, reserved: int = 0) -> bytes:
    """Return a frame's header with any numbers in it."""
    return struct.pack("<4sBBHIQQ", b"IFN1", kind, flags, reserved, buffers, json, inline)


def frame(kind: int, json: bytes = b"null", *buffers: bytes) -> bytes:
    """Return one well-formed frame."""
    lengths = struct.pack(f"<{len(buffers)}Q", *map(len, buffers))
    return header(kind, len(json), sum(map(len, buffers)), len(buffers)) + lengths + json + b"".join(buffers)


HONEST = frame(RESULT, b'"honest"')


def honest() -> str:
    """Answer as one should."""
    return "honest"


def say(data: bytes, then: str = "stay") -> str:
    """Answer with these bytes; then ``"stay"`` for ever, ``"exit"``, or ``"return"``, which answers once more."""
    put(data, CHANNEL)
    if then == "exit":
        call("exit_group", 0)
    if then == "stay":
        stay()
    return "the function's own answer"


def pour(head: bytes) -> None:
    """Answer for ever."""
    put(head, CHANNEL)
    while put(b"x" * (1 << 16), CHANNEL) == 0:
        pass
    stay()


def trickle(head: bytes) -> None:
    """Answer one byte after the other, so that there is always something to read."""
    put(head, CHANNEL)
    while call("write", CHANNEL, b"x", 1) > 0:
        pass
    stay()


def close(first: int) -> None:
    """Close descriptors from one on, and live on."""
    call("close_range", first, 0xFFFFFFFF, 0)
    stay()


def attach(count: int) -> int:
    """Send an answer with descriptors attached: minus the errno where the kernel does not take them."""
    null = os.open("/dev/null", os.O_RDONLY)
    rights = array.array("i", [null] * count)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, os.dup(CHANNEL)) as channel:
        try:
            channel.sendmsg([HONEST], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        except OSError as refused:
            return -(refused.errno or 1)
    stay()
    return 0


def ask(text: bytes, times: int = 1) -> None:
    """Ask for shared memory."""
    put(frame(ARENA, text) * times, CHANNEL)
    stay()


def misuse(how: str, json: bytes, size: int) -> dict[str, int]:
    """Take shared memory, and answer with what could still be changed in it.

    Args:
        how: ``"mapped"`` keeps a writable mapping, ``"sealed"`` forbids further seals, ``"bigger"`` claims more than there
            is, ``"resized"`` tries to change its size and returns what came of it.
        json: the answer's text, which refers to one buffer.
        size: bytes of shared memory.
    """
    put(frame(ARENA, b'{"size": %d}' % size), CHANNEL)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, os.dup(CHANNEL)) as channel:
        memory = socket.recv_fds(channel, 64, 1)[1][0]
    if how == "resized":
        return {
            "grow": call("ftruncate", memory, size * 2),
            "shrink": call("ftruncate", memory, 0),
            "append": call("pwrite64", memory, b"x", 1, size),
            "allocate": call("fallocate", memory, 0, 0, size * 2),
        }
    os.pwrite(memory, b"a" * size, 0)
    if how == "mapped":
        call("mmap", 0, size, _PROT_READ_WRITE, _MAP_SHARED, memory, 0)
    elif how == "sealed":
        call("fcntl", memory, _F_ADD_SEALS, _F_SEAL_SEAL)
    put(header(RESULT, len(json), 0, 1, 1) + struct.pack("<Q", size * (2 if how == "bigger" else 1)) + json, CHANNEL)
    stay()
    return {}


class Stubborn(Exception):
    """Raises whatever it is asked, and would run a command were it unpickled.

    Args:
        command: the command.
    """

    def __init__(self, command: str) -> None:
        self.command = command

    def __str__(self) -> str:
        raise SystemExit("asked for its text")

    __repr__ = __str__

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


def raise_it(kind: str, text: str, depth: int) -> None:
    """Raise exceptions of awkward kinds."""
    error: Exception = ValueError(text)
    if kind == "chain":
        for number in range(depth):
            outer = ValueError(number)
            outer.__cause__, error = error, outer
    elif kind == "cycle":
        other = ValueError("second")
        error.__context__, other.__context__ = other, error
    elif kind == "notes":
        for _ in range(depth):
            error.add_note(text)
    elif kind == "group":
        for _ in range(depth):
            error = ExceptionGroup(text, [error])
    elif kind == "stubborn":
        error = Stubborn(text)
    elif kind in ("SystemExit", "KeyboardInterrupt"):
        raise {"SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt}[kind](text)
    raise error


def write_out(data: bytes) -> int:
    """Write to stdout and stderr."""
    return put(data, 1) + put(data, 2)


def speak_later(data: bytes) -> str:
    """Answer honestly, and leave a thread behind that answers when nobody has asked."""
    channel = os.dup(CHANNEL)

    def later() -> None:
        time.sleep(0.05)  # the honest answer goes first; should it not, the call fails, and that is seen
        put(data, channel)

    threading.Thread(target=later, daemon=True).start()
    return "first"
