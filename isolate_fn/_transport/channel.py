"""The worker's end of the channel: whole frames over one stream socket, shared memory where they are big.

Only this side ever receives a descriptor. The caller's end (`isolate_fn._runtime.supervise`) reads with recv(2), which
drops whatever a hostile worker attaches.
"""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Sequence
from typing import Any

from isolate_fn.errors import TransportError

from .frames import (
    ARENA_FROM,
    HEADER,
    HEADER_SIZE,
    MAGIC,
    Buffer,
    Frame,
    FrameReader,
    Kind,
    arena_layout,
    length_of,
    pack,
)
from .memory import map_sealed, write_arena
from .small_frames import split_small

_NO_LIMIT = 1 << 62
_IOV_MAX = 512
_MOST_DESCRIPTORS = 3
_ANCILLARY = socket.CMSG_SPACE(4 * _MOST_DESCRIPTORS)
_SMALL, _BIG = 1 << 15, 1 << 20
"""Bytes to ask for, at first and when more is to come: malloc(3) maps and unmaps what is much bigger than the first."""


def sendmsg_all(connection: socket.socket, pieces: Sequence[Buffer]) -> None:
    """Send every piece, however many calls it takes."""
    views = [memoryview(piece).cast("B") for piece in pieces if length_of(piece)]
    while views:
        sent = connection.sendmsg(views[:_IOV_MAX], (), socket.MSG_NOSIGNAL)
        while views and sent >= views[0].nbytes:
            sent -= views.pop(0).nbytes
        if sent:
            views[0] = views[0][sent:]


class WorkerChannel:
    """A blocking connection to the caller.

    Args:
        descriptor: of the stream socket; it stays open as long as this object.
    """

    def __init__(self, descriptor: int) -> None:
        self.connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, descriptor)
        self._recvmsg, self._sendall = self.connection.recvmsg, self.connection.sendall

    def receive(self) -> tuple[bytes, Sequence[bytes | memoryview]] | None:
        """Wait for one frame.

        Returns:
            Its JSON and its buffers; None when the caller has closed, or sent nothing for as long as it said (SO_RCVTIMEO).

        Raises:
            TransportError: the bytes are no frame.
        """
        try:
            data, ancillary, _, _ = self._recvmsg(_SMALL, _ANCILLARY)
        except BlockingIOError:
            return None
        small = None if ancillary else split_small(data)
        if small is not None:
            return small
        received = self._receive(data, ancillary)
        if received is None:
            return None
        frame, descriptors = received
        try:
            frame = self._with_arena(frame, descriptors)
            return frame.json, frame.buffers
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def receive_with_descriptors(self) -> tuple[Frame, list[int]] | None:
        """Wait for one frame and what came with it; None when the caller has closed."""
        data, ancillary, _, _ = self._recvmsg(_SMALL, _ANCILLARY)
        return self._receive(data, ancillary)

    def _receive(self, data: bytes, ancillary: Any) -> tuple[Frame, list[int]] | None:
        reader = FrameReader(_NO_LIMIT, _NO_LIMIT)
        descriptors: list[int] = []
        complete = False
        try:
            while True:
                for level, kind, content in ancillary:
                    if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                        descriptors.extend(array.array("i", content[: len(content) // 4 * 4]))
                if not data:
                    return None
                frame = reader.feed(data)
                if frame is not None:
                    complete = True
                    return frame, descriptors
                data, ancillary, _, _ = self._recvmsg(_BIG, _ANCILLARY)
        finally:
            while descriptors and not complete:
                os.close(descriptors.pop())

    def _with_arena(self, frame: Frame, descriptors: list[int]) -> Frame:
        if not frame.arena:
            return frame
        if len(descriptors) != 1:
            raise TransportError("a call announced shared memory and came without it")
        return frame.attach(map_sealed(descriptors[0], max(frame.arena_size, 1)))

    def send(self, kind: int, json: bytes, buffers: Sequence[Buffer] = ()) -> None:
        """Send one frame; big buffers go through shared memory that the caller makes."""
        if not buffers and len(json) < _SMALL:
            self._sendall(HEADER.pack(MAGIC, kind, 0, 0, 0, len(json), 0) + json, socket.MSG_NOSIGNAL)
            return
        if sum(map(length_of, buffers)) < ARENA_FROM:
            sendmsg_all(self.connection, pack(kind, json, buffers))
            return
        self._fill_arena(buffers)
        sendmsg_all(self.connection, pack(kind, json, buffers, arena=True))

    def send_inline(self, kind: int, json: bytes, buffers: Sequence[Buffer] = ()) -> None:
        """Send one frame through the socket alone, whatever its size."""
        sendmsg_all(self.connection, pack(kind, json, buffers))

    def _fill_arena(self, buffers: Sequence[Buffer]) -> None:
        size = arena_layout(buffers)[0]
        sendmsg_all(self.connection, pack(Kind.ARENA, b'{"size": %d}' % size))
        _, descriptors, _, _ = socket.recv_fds(self.connection, HEADER_SIZE + 2, 1)
        if len(descriptors) != 1:
            raise TransportError("the caller gave no shared memory")
        try:
            write_arena(descriptors[0], buffers)
        finally:
            os.close(descriptors[0])
