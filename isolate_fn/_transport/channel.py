"""The worker's end of the channel: whole frames over one stream socket, shared memory where they are big.

Only this side ever receives a descriptor. The caller's end (`isolate_fn._runtime.supervise`) reads with recv(2), which
drops whatever a hostile worker attaches.
"""

from __future__ import annotations

import _socket  # ``socket`` makes its numbers enums, which takes longer than all other imports of a worker
import os
import struct
from collections.abc import Sequence

from isolate_fn.errors import TransportError

from .frames import (
    ARENA_FROM,
    HEADER,
    HEADER_SIZE,
    MAGIC,
    MOST_LENT,
    Buffer,
    Frame,
    FrameReader,
    Kind,
    arena_layout,
    length_of,
    pack,
)
from .memory import map_sealed, write_arena
from .small_frames import before_result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NO_LIMIT = 1 << 62
_IOV_MAX = 512
_NO_SIGNAL = _socket.MSG_NOSIGNAL
_MOST_DESCRIPTORS = max(4, 1 + MOST_LENT)
_ANCILLARY = _socket.CMSG_SPACE(4 * _MOST_DESCRIPTORS)
_SMALL, _BIG = 1 << 15, 1 << 20
"""Bytes to ask for, at first and when more is to come: malloc(3) maps and unmaps what is much bigger than the first."""


def _received(ancillary: Any) -> list[int]:
    """Return the descriptors among what recvmsg(2) has returned beside the data."""
    descriptors: list[int] = []
    for level, kind, content in ancillary:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            count = len(content) // 4
            descriptors.extend(struct.unpack(f"{count}i", content[: 4 * count]))
    return descriptors


def sendmsg_all(connection: _socket.socket, pieces: Sequence[Buffer]) -> None:
    """Send every piece, however many calls it takes."""
    views = [memoryview(piece).cast("B") for piece in pieces if length_of(piece)]
    while views:
        sent = connection.sendmsg(views[:_IOV_MAX], (), _socket.MSG_NOSIGNAL)
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
        self.connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, descriptor)
        self._recvmsg, self._sendall = self.connection.recvmsg, self.connection.sendall
        self.lent: list[int] = []  # what came with the last frame beside its shared memory; whoever takes it closes it

    def read(self) -> tuple[bytes, Any] | None:
        """Wait for bytes, and return them and what came with them.

        Returns:
            None when the caller has closed, or sent nothing for as long as it said (SO_RCVTIMEO).
        """
        try:
            data, ancillary, _, _ = self._recvmsg(_SMALL, _ANCILLARY, _socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return None
        return (data, ancillary) if data else None

    def complete(self, data: bytes, ancillary: Any) -> tuple[bytes, Sequence[bytes | memoryview]] | None:
        """Return JSON and buffers of the frame that begins with what was read; None when the caller closes first.

        Raises:
            TransportError: the bytes are no frame.
        """
        received = self._receive(data, ancillary)
        if received is None:
            return None
        frame, descriptors = received
        arena = 1 if frame.arena else 0
        self.lent += descriptors[arena:]
        del descriptors[arena:]
        try:
            frame = self._with_arena(frame, descriptors)
            return frame.json, frame.buffers
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def reply(self) -> tuple[bytes, Sequence[bytes | memoryview]] | None:
        """Wait for one frame however long it takes; None when the caller has closed.

        Raises:
            TransportError: the bytes are no frame.
        """
        while True:
            try:
                data, ancillary, _, _ = self._recvmsg(_SMALL, _ANCILLARY)
            except BlockingIOError:  # the time that a worker waits for a call
                continue
            return self.complete(data, ancillary) if data else None

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
                descriptors += _received(ancillary)
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
            self._sendall(HEADER.pack(MAGIC, kind, 0, 0, 0, len(json), 0) + json, _socket.MSG_NOSIGNAL)
            return
        if sum(map(length_of, buffers)) < ARENA_FROM:
            sendmsg_all(self.connection, pack(kind, json, buffers))
            return
        self._fill_arena(buffers)
        sendmsg_all(self.connection, pack(kind, json, buffers, arena=True))

    def send_short(self, json: bytes) -> None:
        """Send a result that is short and has no buffers."""
        self._sendall(before_result(len(json)) + json, _NO_SIGNAL)

    def send_inline(self, kind: int, json: bytes, buffers: Sequence[Buffer] = ()) -> None:
        """Send one frame through the socket alone, whatever its size."""
        sendmsg_all(self.connection, pack(kind, json, buffers))

    def _fill_arena(self, buffers: Sequence[Buffer]) -> None:
        size = arena_layout(buffers)[0]
        sendmsg_all(self.connection, pack(Kind.ARENA, b'{"size": %d}' % size))
        descriptors = _received(self._recvmsg(HEADER_SIZE + 2, _socket.CMSG_SPACE(4))[1])
        if len(descriptors) != 1:
            raise TransportError("the caller gave no shared memory")
        try:
            write_arena(descriptors[0], buffers)
        finally:
            os.close(descriptors[0])
