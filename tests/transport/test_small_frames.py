"""The usual call and the usual answer, handled without the general machinery: just as that would handle them, or not at all."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from isolate_fn._transport.codec import DecodeLimits, decode, encode
from isolate_fn._transport.codec_decode import LONG, decode_short
from isolate_fn._transport.codec_types import INT_DIGITS
from isolate_fn._transport.frames import COALESCE, KINDS, FrameReader, Kind, pack
from isolate_fn._transport.small_frames import before_arguments, pack_small, split_small
from isolate_fn.errors import TransportError

FAST = settings(
    max_examples=200, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
kinds = st.sampled_from(KINDS)
small = st.binary(max_size=60) | st.integers(0, 3000).map(lambda size: b"x" * size)


def joined(*args: object, **kwargs: object) -> bytes:
    return b"".join(bytes(piece) for piece in pack(*args, **kwargs))


@FAST
@given(kinds, small, small, small)
@example(Kind.CALL, b"", b"", b"")
@example(Kind.CALL, b"{}", b"\0", b"x" * (COALESCE - 1))
def test_a_call_is_packed_as_any_frame_is(kind, text, first, second):
    packed = pack_small(kind, text, first, second)
    assert packed == joined(kind, text, [first, second])
    frame = FrameReader().feed(packed)
    assert (frame.kind, frame.json, list(map(bytes, frame.buffers))) == (kind, text, [first, second])
    assert split_small(packed) == (text, (first, second))


@FAST
@given(small, st.integers(0, 255), st.binary(min_size=1, max_size=3000))
def test_the_head_is_that_of_the_whole(words, number, arguments):
    """As a reused function has it: made for one number and one length of arguments, used with any of that length."""
    built = before_arguments(words, number, len(arguments)) + arguments
    assert built == pack_small(Kind.CALL, words, bytes((number,)), arguments)


@FAST
@given(kinds, small, st.lists(small, max_size=5), st.booleans())
@example(Kind.CALL, b"x" * 100, [], False)
@example(Kind.CALL, b"", [b"a", b"b"], True)
def test_what_has_not_two_buffers_in_it_is_left_to_the_reader(kind, text, buffers, arena):
    arena = arena and bool(buffers)
    expected = (text, tuple(buffers)) if len(buffers) == 2 and not arena else None
    assert split_small(joined(kind, text, buffers, arena=arena)) == expected


@FAST
@given(small, small, small, st.data())
def test_parts_of_a_call_and_more_than_one_are_left_to_the_reader(text, first, second, data):
    packed = pack_small(Kind.CALL, text, first, second)
    assert split_small(packed[: data.draw(st.integers(0, len(packed) - 1))]) is None
    assert split_small(packed + data.draw(st.binary(min_size=1, max_size=100))) is None
    assert split_small(packed + packed) is None


def same(one: object, other: object) -> bool:
    """Equal in every type: repr() tells nan, -0.0, and True from 1."""
    return type(one) is type(other) and repr(one) == repr(other)


def judged(text: bytes) -> object:
    """What `decode` makes of it: the value, or LONG where it refuses."""
    try:
        return decode(text)
    except TransportError:
        return LONG


scalars = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=20)
plain = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@FAST
@given(plain | scalars)
@example(None)
@example(-0.0)
@example(float("nan"))
@example("\ud800")
@example({"$": 1})
@example(10**20)
@example(-(10**20))
def test_a_short_answer_is_read_as_any_answer_is(value):
    text, buffers = encode(value)
    found = decode_short(bytes(text))
    # Not everything is left to the other: what is short and has no tag is read.
    assert (found is LONG) == (len(text) > INT_DIGITS or b'"$"' in text), text
    assert not buffers
    assert found is LONG or (same(found, decode(text)) and same(found, value))


hostile = st.text('[]{}:,"$\\u0019.eE+-ntfalsruI N', max_size=25).map(str.encode)
cut = plain.map(lambda value: bytes(encode(value).json)).flatmap(
    lambda text: st.sampled_from([text[:20], text[1:], text * 2])
)


@settings(FAST, max_examples=2000)
@given(hostile | cut | st.binary(max_size=25))
def test_a_short_text_of_somebody_hostile_is_read_as_any_is_or_not_at_all(text):
    found = decode_short(text)
    assert found is LONG or same(found, judged(text)), text


REFUSED = [
    b"", b" ", b" 1", b"1 ", b"1 2", b"01", b"+1", b"1.", b".5", b"0x1", b"1_0", b"None", b"True", b"nan", b"tru", b"nul",
    b"[", b"]", b"[1", b"[1,]", b"{", b"{1:2}", b'{"a"}', b'{"a":}', b"'a'", b'"a', b'"\\x41"', b'"\n"', b"\xff", b'"\xff"',
    b'"\xed\xa0\x80"', b'"\xe2\x82"', b"\xef\xbb\xbf1", b"1\0", b'{"$":1}', b'{"a":"$"}', b'["$"]', b"9" * 22, b"1" + b" " * 21,
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_value_is_left_to_the_decoder(text):
    assert decode_short(text) is LONG


@pytest.mark.parametrize(
    "text", [b"9" * 21, b"-" + b"9" * 20, b"[[[[[[[[[[0]]]]]]]]]]", b'{"a":1,"a":2}', b'"\\u0024"', b'{"\\u0024":"int"}', b"NaN",
             b"-Infinity", b"1e999", b"-0", b"[ 1 , 2 ]", b'"\\ud800"'],
)  # fmt: skip
def test_the_longest_and_the_oddest_values_that_are_read(text):
    assert len(text) <= INT_DIGITS
    assert same(decode_short(text), decode(text))
    assert same(decode(text), json.loads(text))


def test_no_limit_is_passed_by_what_is_short():
    """But that of the size, which is looked at before: the most that is read without looking at any other."""
    tight = DecodeLimits(total=INT_DIGITS)
    for text in (b"[" * 10 + b"]" * 10, b"[0,0,0,0,0,0,0,0,0,0]", b"9" * 21, b'{"a":{"b":{"c":{}}}}'):
        assert same(decode_short(text), decode(text, limits=tight))
