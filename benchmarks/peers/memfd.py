"""The floor of carrying data: written once into a memfd, mapped on the other side, each way; nothing checked or sealed.

Arrays come out as views of the mapping; bytes have to be made of it, one copy more, as the type demands. Run as a script
it is the other side; `Carrier` starts it.
"""

from __future__ import annotations

import mmap
import os
import pickle
import socket
import struct
import subprocess
import sys
from typing import Any

HEADER = struct.Struct("=QQ?")  # bytes of the pickle, bytes in the memfd, whether the payload is plain bytes
ENOUGH = 65536


class Carrier:
    """One other process that gives back what it is sent."""

    def __init__(self) -> None:
        self.ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()]
            )

    def __call__(self, payload: Any) -> Any:
        """Return what comes back for bytes or an array."""
        give(self.ours, payload)
        return take(self.ours)

    def close(self) -> None:
        """End it."""
        self.ours.shutdown(socket.SHUT_RDWR)  # closing is not enough: forked pools have copies of it
        self.ours.close()
        self.process.wait()


def give(to: socket.socket, payload: Any) -> None:
    """Send one object, its buffer in a memfd of its own."""
    plain = isinstance(payload, bytes)
    buffers: list[pickle.PickleBuffer] = []
    told = pickle.dumps(pickle.PickleBuffer(payload) if plain else payload, 5, buffer_callback=buffers.append)
    (data,) = (buffer.raw() for buffer in buffers)
    memory = os.memfd_create("payload")
    try:
        rest = data
        while rest:
            rest = rest[os.write(memory, rest) :]
        message = HEADER.pack(len(told), data.nbytes, plain) + told
        socket.send_fds(to, [message], [memory])
    finally:
        os.close(memory)


def take(of: socket.socket) -> Any:
    """Receive one object.

    Raises:
        EOFError: the other side has ended.
    """
    message, descriptors, _, _ = socket.recv_fds(of, ENOUGH, 1)
    if not message:
        raise EOFError
    _, size, plain = HEADER.unpack_from(message)
    with os.fdopen(descriptors[0], "rb") as memory:
        mapped = mmap.mmap(memory.fileno(), size, prot=mmap.PROT_READ)
    if plain:
        with mapped:
            return bytes(mapped)
    return pickle.loads(message[HEADER.size :], buffers=[memoryview(mapped)])


def serve(descriptor: int) -> None:
    """Be the other process until the socket ends."""
    with socket.socket(fileno=descriptor) as other:
        while True:
            try:
                payload = take(other)
            except EOFError:
                return
            give(other, payload)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
