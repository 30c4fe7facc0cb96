"""Frames: what a sender packs a reader cuts out again, and what no sender packs it refuses."""

from __future__ import annotations

import pickle
import struct
import tracemalloc

import pytest

from isolate_fn._transport.frames import (
    ALIGNMENT,
    HEADER,
    HEADER_SIZE,
    KINDS,
    MAGIC,
    MAX_BUFFERS,
    FrameReader,
    Kind,
    arena_layout,
    pack,
)
from isolate_fn.errors import TransportError


def stream(*args, **kwargs) -> bytes:
    return b"".join(bytes(piece) for piece in pack(*args, **kwargs))


def feed_all(reader, data, step) -> None:
    for start in range(0, len(data), step):
        assert reader.feed(data[start : start + step]) is None


def header(kind=2, flags=0, reserved=0, buffers=0, json=0, inline=0, magic=MAGIC) -> bytes:
    return HEADER.pack(magic, kind, flags, reserved, buffers, json, inline)


def test_the_header_is_28_bytes_and_its_numbers_are_fixed():
    assert HEADER_SIZE == 28
    assert stream(Kind.RESULT, b"1") == b"IFN1\x02\0\0\0" + bytes(4) + b"\1" + bytes(15) + b"1"
    assert [(int(kind), kind.name) for kind in KINDS] == [
        (1, "READY"), (2, "RESULT"), (3, "EXCEPTION"), (4, "ARENA"), (5, "REJECTED"), (6, "ITEM"), (7, "END"),
        (8, "HOST_CALL"), (9, "HOST_REPLY"), (10, "SETUP_FAILED"), (11, "CALL"), (12, "NEXT"), (13, "NOTICE"),
        (14, "OBSERVED"),
    ]  # fmt: skip
    assert Kind.OBSERVED is KINDS[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_frame_arrives_in_one_piece(kind):
    reader = FrameReader()
    frame = reader.feed(stream(kind, b'{"a":1}'))
    assert frame == (kind, b'{"a":1}', [], False, ())
    assert reader.pending == 0


BUFFERS = [b"", b"a", b"b" * 100_000, memoryview(b"cccc").cast("I"), bytearray(b"d" * 20_000)]


@pytest.mark.parametrize("step", [1, 7, 28, 29, 4096, 10**6])
def test_a_frame_arrives_in_pieces(step):
    data = stream(Kind.RESULT, b"[1]", BUFFERS)
    reader, frame = FrameReader(), None
    steps = range(0, len(data), step) if step > 1 else range(0, len(data), 997)
    for start in steps:
        assert frame is None
        frame = reader.feed(data[start : start + (step if step > 1 else 997)])
    assert frame is not None
    assert frame.json == b"[1]"
    assert [bytes(buffer) for buffer in frame.buffers] == [bytes(buffer) for buffer in BUFFERS]
    assert reader.pending == 0


def test_buffers_are_writable_and_stay_when_the_reader_goes_on():
    reader = FrameReader()
    first = reader.feed(stream(Kind.ITEM, b"1", [b"x" * 5000]))
    second = reader.feed(stream(Kind.ITEM, b"2", [b"y" * 5000]))
    first.buffers[0][0] = 0
    assert bytes(first.buffers[0]) == b"\0" + b"x" * 4999
    assert bytes(second.buffers[0]) == b"y" * 5000


def test_recv_into_is_another_way_in():
    data = stream(Kind.RESULT, b"[1]", [b"z" * 1000])
    reader, frame = FrameReader(), None
    for start in range(0, len(data), 100):
        piece = data[start : start + 100]
        reader.room(256)[: len(piece)] = piece
        frame = reader.received(len(piece))
    assert frame is not None
    assert bytes(frame.buffers[0]) == b"z" * 1000
    with pytest.raises(ValueError, match="room"):
        reader.received(10**6)


def test_two_answers_show_as_pending():
    one = stream(Kind.RESULT, b"1")
    reader = FrameReader()
    assert reader.feed(one + one).json == b"1"
    assert reader.pending == len(one)
    assert reader.next().json == b"1"
    assert reader.pending == 0
    assert reader.next() is None


def test_one_byte_too_many_shows_as_pending():
    reader = FrameReader()
    reader.feed(stream(Kind.RESULT, b"1", [b"abc"]) + b"\0")
    assert reader.pending == 1


HOSTILE = {
    "pickle": pickle.dumps(OSError("x")),
    "short pickle": b"\x80\x04N.",
    "pickle of eval": b'c__builtin__\neval\n(S"1"\ntR.',
    "extension code": b"\x80\x02\x82\xf0)R.",
    "persistent id": b"\x80\x02K\x01Q.",
    "memo bomb": b"\x80\x04Nr" + (40_000_000).to_bytes(4, "little") + b".",
    "http": b"HTTP/1.1 200 OK\r\n\r\n",
    "other version": header(magic=b"IFN2"),
    "kind 0": header(kind=0),
    "unknown kind": header(kind=200),
    "unknown flag": header(flags=2),
    "all flags": header(flags=255),
    "reserved": header(reserved=1),
    "huge json": header(json=2**60),
    "largest json": header(json=2**64 - 1),
    "huge inline": header(buffers=1, inline=2**60),
    "inline overflow": header(json=2**63, inline=2**63, buffers=1),
    "too many buffers": header(buffers=MAX_BUFFERS + 1),
    "most buffers": header(buffers=2**32 - 1),
    "inline without buffers": header(inline=5) + b"12345",
    "arena with inline": header(flags=1, buffers=1, inline=5) + struct.pack("<Q", 5) + b"12345",
    "sum too small": header(buffers=2, inline=9) + struct.pack("<2Q", 4, 4) + b"123456789",
    "sum too large": header(buffers=2, inline=3) + struct.pack("<2Q", 4, 4) + b"123",
    "lengths that wrap": header(buffers=2, inline=3) + struct.pack("<2Q", 2**64 - 1, 4) + b"123",
    "huge arena": header(flags=1, buffers=1) + struct.pack("<Q", 2**50),
    "huge arena in parts": header(flags=1, buffers=3) + struct.pack("<3Q", 2**27, 2**27, 2**27),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("step", [1, 10**6])
def test_bytes_that_are_no_frame_are_refused_at_once(name, step):
    reader = FrameReader(limit=256 << 20)
    with pytest.raises(TransportError):
        feed_all(reader, HOSTILE[name], step)


def test_a_wrong_beginning_is_refused_before_a_whole_header_came():
    with pytest.raises(TransportError):
        FrameReader().feed(b"IFX")
    assert FrameReader().feed(b"IFN") is None


def test_a_size_over_the_limit_says_so():
    with pytest.raises(TransportError, match="1000") as caught:
        FrameReader(limit=1000).feed(header(buffers=1, inline=2000))
    assert caught.value.announced == 2000
    assert "result" in str(caught.value)


def test_a_claimed_size_allocates_nothing():
    reader = FrameReader(limit=1 << 40)
    tracemalloc.start()
    reader.feed(header(buffers=1, inline=1 << 39) + struct.pack("<Q", 1 << 39) + b"x" * 1000)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert used < 100_000
    assert reader.pending == 28 + 8 + 1000


def test_json_has_a_limit_of_its_own():
    with pytest.raises(TransportError):
        FrameReader(limit=100 << 20).feed(header(json=26 << 20))
    assert FrameReader(limit=100 << 20).feed(header(json=24 << 20)) is None
    assert FrameReader(limit=100 << 20, json_limit=50 << 20).feed(header(json=26 << 20)) is None


def test_an_endless_stream_is_refused_without_being_kept():
    reader = FrameReader(limit=1 << 20)
    with pytest.raises(TransportError):
        feed_all(reader, b"x" * (4 << 20), 65536)
    assert reader.pending <= 65536


def test_arena_layout_is_aligned_and_in_order():
    size, offsets = arena_layout([b"abc", b"", 64, memoryview(b"12345678").cast("Q")])
    assert offsets == (0, ALIGNMENT, ALIGNMENT, 2 * ALIGNMENT)
    assert size == 2 * ALIGNMENT + 8
    assert arena_layout([]) == (0, ())


def test_arena_frames_carry_only_lengths():
    buffers = [b"a" * 10, b"b" * 200]
    frame = FrameReader().feed(stream(Kind.RESULT, b"[]", buffers, arena=True))
    assert frame.arena
    assert frame.lengths == (10, 200)
    assert frame.buffers == []
    assert frame.arena_size == arena_layout(buffers)[0]
    memory = bytearray(frame.arena_size)
    memory[0:10], memory[64:264] = buffers
    attached = frame.attach(memoryview(memory))
    assert [bytes(buffer) for buffer in attached.buffers] == buffers


def test_an_arena_that_is_too_small_is_refused():
    frame = FrameReader().feed(stream(Kind.RESULT, b"[]", [b"a" * 100], arena=True))
    with pytest.raises(TransportError):
        frame.attach(memoryview(bytearray(99)))
    plain = FrameReader().feed(stream(Kind.RESULT, b"[]"))
    with pytest.raises(TransportError):
        plain.attach(memoryview(bytearray(99)))


def test_small_buffers_are_joined_for_sending_and_large_ones_not_copied():
    large = b"l" * 100_000
    pieces = pack(Kind.RESULT, b"[]", [b"s"] * 500 + [large] + [b"t"] * 500)
    assert len(pieces) == 3
    assert pieces[1].obj is large
