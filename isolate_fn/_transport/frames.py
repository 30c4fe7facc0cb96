"""Messages on the channel: one fixed header, the buffer lengths, JSON text, then raw buffers.

    magic "IFN1" | kind u8 | flags u8 | reserved u16 = 0 | n_buffers u32 | json_len u64 | inline_len u64
    n_buffers x u64 lengths | JSON | the buffers back to back                        (all little endian)

With the flag ``ARENA`` the buffers are not in the stream: they lie in shared memory, in order, each at the next
multiple of ``ALIGNMENT``, and ``inline_len`` is 0.

The reader is written for a hostile sender. Memory grows with the bytes that arrived, never with a length that
was claimed; every length is checked against the limit before anything is cut out; and bytes after a frame
stay visible as ``FrameReader.pending`` so that the owner can end a worker that says more than was asked.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from isolate_fn._transport.codec_types import json_limit as default_json_limit
from isolate_fn.errors import TransportError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar, NamedTuple
else:
    from isolate_fn._records import NamedTuple

MAGIC = b"IFN1"
HEADER = struct.Struct("<4sBBHIQQ")
HEADER_SIZE = HEADER.size
ALIGNMENT = 64
"""Bytes. A cache line, and what Arrow and vectorised numpy loops want."""

ARENA_FROM = 256 * 1024
"""Bytes of buffers from which shared memory is cheaper than the socket, in either direction."""

MAX_BUFFERS = 1 << 18
"""Each costs the reader some 200 bytes, however small it is."""
COALESCE = 16 * 1024
"""Buffers smaller than this many bytes are joined before sending: sendmsg(2) takes at most IOV_MAX = 1024
pieces."""

MOST_LENT = 16
"""Descriptors of the caller's that may come along with one call."""

Buffer = bytes | bytearray | memoryview

_unpack_header = HEADER.unpack_from


class Kind(int):
    """What a frame is. A number not listed here ends the conversation.

    No enum: a spawner, which loads this, imports it in half the time without that module.
    """

    name: str

    READY: ClassVar[Kind]  # the walls stand, the worker waits for its call
    RESULT: ClassVar[Kind]  # JSON and buffers of codec.encode
    EXCEPTION: ClassVar[Kind]  # JSON and buffers of codec.encode(failures.describe(...))
    ARENA: ClassVar[Kind]  # {"size": bytes}: the worker asks for shared memory
    REJECTED: ClassVar[Kind]  # {"type_name", "where", "remedy"}: the value could not be encoded
    ITEM: ClassVar[Kind]  # one value of a generator
    END: ClassVar[Kind]  # a generator is exhausted
    HOST_CALL: ClassVar[Kind]  # a call of an exposed host function
    HOST_REPLY: ClassVar[Kind]  # its answer
    SETUP_FAILED: ClassVar[Kind]  # {"step", "call", "errno", "remedy"}: the walls could not be built
    CALL: ClassVar[Kind]  # the call going in
    NEXT: ClassVar[Kind]  # the caller wants the next item
    NOTICE: ClassVar[Kind]  # text for logs and progress
    OBSERVED: ClassVar[Kind]  # what was counted: coverage; once before an answer, where it was asked for

    def __new__(cls, number: int, name: str) -> Kind:
        """Make one of them."""
        kind = super().__new__(cls, number)
        kind.name = name
        setattr(cls, name, kind)
        return kind


KINDS = tuple([Kind(number, name) for number, name in enumerate(filter(str.isupper, Kind.__annotations__), 1)])
"""All of them, in the order above, from 1 on."""

_KINDS = {int(kind): kind for kind in KINDS}

_ARENA = 1
"""The only bit of the header's flag byte."""


class Frame(NamedTuple):
    """One message.

    ``json`` is text in UTF-8. ``buffers`` are writable views of this frame's own memory, or empty where
    ``arena`` is true: then ``lengths`` says how the arena is divided (``attach``).
    """

    kind: Kind
    json: bytes
    buffers: Sequence[memoryview | bytes]
    arena: bool = False
    lengths: tuple[int, ...] = ()

    @property
    def arena_size(self) -> int:
        """Bytes of shared memory this frame refers to; 0 without an arena."""
        return arena_layout(self.lengths)[0] if self.arena else 0

    def attach(self, mapping: memoryview) -> Frame:
        """Return this frame with its buffers cut out of the mapped arena.

        Raises:
            TransportError: the arena is smaller than the lengths say.
        """
        size, offsets = arena_layout(self.lengths)
        if not self.arena or mapping.nbytes < size:
            raise TransportError(f"the answer refers to {size} bytes of shared memory, {mapping.nbytes} are there")
        views = [mapping[start : start + length] for start, length in zip(offsets, self.lengths, strict=True)]
        return self._replace(buffers=views)


def length_of(buffer: Buffer) -> int:
    """Size of a buffer in bytes; ``len`` counts elements for typed memoryviews."""
    return buffer.nbytes if isinstance(buffer, memoryview) else len(buffer)


def arena_layout(buffers: Iterable[Buffer | int]) -> tuple[int, tuple[int, ...]]:
    """Where each buffer (or length in bytes) lies in an arena.

    Returns:
        ``(size, offsets)`` in bytes; offsets are multiples of ALIGNMENT.
    """
    offsets = []
    end = 0
    for buffer in buffers:
        start = -(-end // ALIGNMENT) * ALIGNMENT
        offsets.append(start)
        end = start + (buffer if isinstance(buffer, int) else length_of(buffer))
    return end, tuple(offsets)


def pack(kind: int, json: bytes = b"null", buffers: Sequence[Buffer] = (), arena: bool = False) -> list[Buffer]:
    """Build the pieces of one frame, for sendmsg(2).

    Args:
        kind: a ``Kind``.
        json: the structure, UTF-8 text.
        buffers: raw memory the JSON refers to by position.
        arena: the buffers were written to the arena already; send their lengths only.

    Returns:
        Pieces in order. Large buffers are not copied; small ones are joined.
    """
    if not buffers:
        return [HEADER.pack(MAGIC, kind, _ARENA if arena else 0, 0, 0, len(json), 0) + json]
    lengths = [length_of(buffer) for buffer in buffers]
    inline = 0 if arena else sum(lengths)
    head = HEADER.pack(MAGIC, kind, _ARENA if arena else 0, 0, len(lengths), len(json), inline)
    head += struct.pack(f"<{len(lengths)}Q", *lengths) + json
    return [head] if arena else _joined(head, buffers)


def _joined(head: bytes, buffers: Sequence[Buffer]) -> list[Buffer]:
    pieces: list[Buffer] = []
    small: list[Buffer] = [head]
    for buffer in buffers:
        if length_of(buffer) <= COALESCE:
            small.append(buffer)
            continue
        if small:
            pieces.append(b"".join(small))
            small = []
        pieces.append(memoryview(buffer).cast("B"))
    if small:
        pieces.append(b"".join(small))
    return pieces


class FrameReader:
    """Cuts frames out of a byte stream.

    Use ``feed(sock.recv(n))``, or ``sock.recv_into(reader.room())`` followed by ``received(count)``. Each
    returns a frame, or None while it is incomplete. Bytes beyond the frame are kept and counted in
    ``pending``; ``next()`` reads on from them.

    Args:
        limit: most bytes that JSON and buffers of one frame may have together, in the arena or not.
        json_limit: most bytes of JSON; a quarter of ``limit`` (but at least 1 MiB) unless given, because text
            grows when it is parsed.
    """

    __slots__ = ("_data", "_json_limit", "_limit", "_need", "_scratch")

    def __init__(self, limit: int = 256 << 20, json_limit: int | None = None) -> None:
        self._limit = limit
        self._json_limit = default_json_limit(limit) if json_limit is None else json_limit
        self._data = bytearray()
        self._need = HEADER_SIZE
        self._scratch: bytearray | None = None

    @property
    def pending(self) -> int:
        """Bytes received that belong to no returned frame: 0 after exactly one frame."""
        return len(self._data)

    def room(self, size: int = 64 * 1024) -> memoryview:
        """Memory for recv_into(2); its content counts once ``received`` was called."""
        if self._scratch is None or len(self._scratch) != size:
            self._scratch = bytearray(size)
        return memoryview(self._scratch)

    def received(self, count: int) -> Frame | None:
        """Take the first ``count`` bytes of ``room()``. See ``feed``."""
        if self._scratch is None or not 0 <= count <= len(self._scratch):
            raise ValueError("received() needs room() first and at most its size")
        return self.feed(memoryview(self._scratch)[:count])

    def feed(self, data: Buffer) -> Frame | None:
        """Add received bytes; return the first complete frame, if any.

        Raises:
            TransportError: these bytes cannot be a frame, or exceed the limit.
        """
        if type(data) is bytes and not self._data and len(data) >= HEADER_SIZE:
            # The usual case, a whole small message in one recv: nothing is copied but the JSON.
            magic, number, flags, reserved, count, json_len, inline = _unpack_header(data)
            if not (flags or reserved or count or inline) and magic == MAGIC and HEADER_SIZE + json_len == len(data):
                kind = _KINDS.get(number)
                if kind is not None and json_len <= self._json_limit:
                    return Frame(kind, data[HEADER_SIZE:], [], False, ())
        self._data += data
        if len(self._data) >= self._need:
            return self.next()
        self._early()
        return None

    def next(self) -> Frame | None:
        """Cut the next frame out of what was received, or return None when it is incomplete.

        Raises:
            TransportError: these bytes cannot be a frame, or exceed the limit.
        """
        data = self._data
        if len(data) < HEADER_SIZE:
            self._early()
            return None
        magic, number, flags, reserved, count, json_len, inline = _unpack_header(data)
        kind = _KINDS.get(number)
        if magic != MAGIC or kind is None or reserved or flags & ~_ARENA:
            raise TransportError("the isolate sent bytes that are not a message of this protocol")
        if json_len > self._json_limit or inline > self._limit - json_len or count > MAX_BUFFERS:
            raise self._too_big(json_len + inline, count)
        start = HEADER_SIZE + 8 * count
        self._need = end = start + json_len + inline
        if len(data) < end:
            if count and len(data) >= start:
                self._lengths(count, flags, json_len, inline)  # fail before the rest arrives
            return None
        lengths = self._lengths(count, flags, json_len, inline) if count or inline else ()
        self._need = HEADER_SIZE
        json = bytes(memoryview(data)[start : start + json_len])
        if len(data) == end:
            self._data = bytearray()
        else:
            self._data = data[end:]
        if not count:
            return Frame(kind, json, [], bool(flags), ())
        views = [] if flags else _cut(memoryview(data), start + json_len, lengths)
        return Frame(kind, json, views, bool(flags), lengths)

    def _early(self) -> None:
        """Refuse a wrong beginning at once, or it would wait for a header that never comes."""
        if self._data[:4] != MAGIC[: len(self._data)]:
            raise TransportError("the isolate sent bytes that are not a message of this protocol")

    def _too_big(self, announced: int, count: int) -> TransportError:
        error = TransportError(
            f"the isolate announced {announced} bytes in {count} buffers; {self._limit} are allowed",
            "return less, or raise Limits(result=...)",
        )
        # Tells this error from a broken protocol; not a field, because no other TransportError has it.
        error.announced = announced  # type: ignore[attr-defined]
        return error

    def _lengths(self, count: int, flags: int, json_len: int, inline: int) -> tuple[int, ...]:
        lengths: tuple[int, ...] = struct.unpack_from(f"<{count}Q", self._data, HEADER_SIZE)
        total = sum(lengths)
        if inline != (0 if flags else total):
            raise TransportError("the lengths in the isolate's message do not add up")
        if total > self._limit - json_len:
            raise self._too_big(json_len + total, count)
        return lengths


def _cut(view: memoryview, start: int, lengths: Sequence[int]) -> list[memoryview]:
    views = []
    for length in lengths:
        views.append(view[start : start + length])
        start += length
    return views
