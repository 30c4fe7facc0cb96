"""Anything goes in, and a value or a TransportError comes out."""

from __future__ import annotations

import json
import math
import random
import struct

import pytest
import transport_errors as errors
import transport_samples as samples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isolate_fn._transport.codec import ClassTable, DecodeLimits, decode, encode
from isolate_fn._transport.codec_decode import builders
from isolate_fn._transport.codec_decoder import _OPTIONAL
from isolate_fn._transport.failures import ExceptionTable, describe, rebuild
from isolate_fn._transport.frames import HEADER, FrameReader, Kind, pack
from isolate_fn.errors import TransportError

FAST = settings(
    max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
CLASSES = ClassTable().with_classes([*samples.VALUE_CLASSES, errors.Simple])
TABLE = ExceptionTable.for_function(errors.function)
LIMITS = DecodeLimits(total=1 << 20, nodes=10_000)

texts = st.text(st.characters(exclude_categories=[]), max_size=30)  # lone surrogates included
hashables = st.recursive(
    st.none() | st.booleans() | st.integers() | texts | st.binary(max_size=400) | st.dates() | st.uuids(),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
leaves = (
    hashables
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.datetimes(timezones=st.none() | st.timezones())
    | st.timedeltas()
    | st.ip_addresses()
    | st.sampled_from([samples.Color.RED, samples.Access.READ, samples.Point(1), samples.Pair(1, 2), range(3)])
    | st.lists(st.integers(-(2**70), 2**70), min_size=250, max_size=300)
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(texts | st.just("$"), inner, max_size=4)
        | st.dictionaries(hashables, inner, max_size=4)
        | st.tuples(inner)
        | st.sets(hashables, max_size=4)
    ),
    max_leaves=15,
)


def types_of(value):
    if isinstance(value, dict):
        return (type(value), [(types_of(k), types_of(v)) for k, v in value.items()])
    if isinstance(value, (list, tuple)):
        return (type(value), [types_of(each) for each in value])
    return type(value)


@FAST
@given(values)
def test_generated_values_come_back(value):
    encoded = encode(value)
    frame = FrameReader().feed(b"".join(map(bytes, pack(Kind.RESULT, encoded.json, encoded.buffers))))
    back = decode(frame.json, frame.buffers, classes=CLASSES)
    assert back == value
    assert types_of(back) == types_of(value)


def survive(data: bytes) -> None:
    """What the caller does with bytes from the socket: a value or a TransportError, nothing else."""
    reader = FrameReader(limit=1 << 20)
    try:
        frame = reader.feed(data)
        while frame is not None:
            decode(frame.json, frame.buffers, classes=CLASSES, limits=LIMITS)
            frame = reader.next()
    except TransportError as refusal:
        str(refusal)


@FAST
@given(st.binary(max_size=200), st.booleans())
def test_random_bytes_as_frames(data, start):
    survive(b"IFN1" + data if start else data)


@FAST
@given(st.binary(max_size=100), st.integers(0, 20), st.integers(0, 5), st.lists(st.integers(0, 100), max_size=5))
def test_random_frames_with_a_right_header(data, kind, extra, lengths):
    head = HEADER.pack(b"IFN1", kind, 0, 0, len(lengths), max(0, len(data) - extra), sum(lengths))
    survive(head + struct.pack(f"<{len(lengths)}Q", *lengths) + data + bytes(sum(lengths)))


TAGS = [*builders(), *_OPTIONAL]
atoms = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | texts
    | st.sampled_from(["<f8", "|b1", "<U3", "AAAAAAAAAAA=", "transport_samples:Point", "transport_samples:Color", "RGB",
                       "numpy", "int64", "builtins:ValueError", "PosixPath", "UTC", "1.5", "1E999999", "list", 0, 1, 2])
)  # fmt: skip
PARTS = st.sampled_from(list("vkcnfzdimstpworlbxy") + ["type", "args"])
shapes = st.recursive(
    atoms,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(PARTS, inner, max_size=4)
        | st.builds(
            lambda tag, parts: {"$": tag, **parts}, st.sampled_from(TAGS), st.dictionaries(PARTS, inner, max_size=5)
        )
    ),
    max_leaves=12,
)


@settings(FAST, max_examples=120)
@given(shapes, st.lists(st.binary(max_size=24), max_size=3))
@pytest.mark.filterwarnings("ignore")
def test_random_tagged_structures(shape, buffers):
    try:
        decode(json.dumps(shape).encode(), [memoryview(b) for b in buffers], classes=CLASSES, limits=LIMITS)
    except TransportError as refusal:
        str(refusal)


@settings(FAST, max_examples=60)
@given(shapes)
def test_random_descriptions(shape):
    for described in (shape, {"type": "builtins:OSError", "text": "x", "args": shape, "state": shape, "fields": shape}):
        back = rebuild(described, TABLE)
        assert isinstance(back, Exception)
        str(back), repr(back), str(back.__cause__)


def honest_frames():
    """Frames with most tags in them, to be damaged."""
    import collections
    import datetime
    import decimal
    import uuid

    moment = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    yield [
        1,
        2.5,
        "a",
        None,
        (1, {2}),
        {1: 2},
        b"abc",
        10**30,
        list(range(300)),
        [b"x"] * 300,
        samples.Point(1),
        moment,
    ]
    yield [
        collections.Counter("ab"),
        collections.deque([1], 2),
        decimal.Decimal("1.5"),
        uuid.UUID(int=1),
        samples.Color.RED,
        ...,
    ]
    try:
        import numpy
    except ImportError:
        return
    yield [numpy.zeros((3, 4), "f4"), numpy.zeros(100, [("a", "i4"), ("b", "U3")]), numpy.float64(1), numpy.str_("a")]
    try:
        import pandas
        import pyarrow
    except ImportError:
        return
    yield pandas.DataFrame({"a": [1, 2], "b": ["x", None], "c": pandas.Categorical(["a", "b"])})
    yield pyarrow.table({"a": [1, 2], "b": ["x", None], "c": [[1], []]})


@pytest.mark.filterwarnings("ignore")
def test_damaged_frames():
    chance = random.Random(5)
    for value in [*honest_frames(), describe(OSError(2, "x", "/a"))]:
        encoded = encode(value)
        good = b"".join(map(bytes, pack(Kind.RESULT, encoded.json, encoded.buffers)))
        survive(good)
        for _ in range(150):
            data = bytearray(good)
            for _ in range(chance.choice((1, 1, 2, 8))):
                place = chance.randrange(len(data))
                match chance.randrange(4):
                    case 0:
                        data[place] = chance.randrange(256)
                    case 1:
                        data[place] ^= 1 << chance.randrange(8)
                    case 2:
                        del data[place : place + chance.randrange(1, 5)]
                    case _:
                        data[place:place] = data[place : place + chance.randrange(1, 9)]
                data = data or bytearray(b"I")
            survive(bytes(data))


SWAPS = [
    0,
    -1,
    1,
    2,
    99999,
    2**62,
    1.5,
    None,
    True,
    "",
    "$",
    [],
    {},
    "AA==",
    "AAAAAAAAAAA=",
    math.nan,
    "<i8",
    "|b1",
    [0],
    [2**40],
]


def damaged(chance, structure):
    """A copy with one or two parts replaced: by something odd, or by another of its parts."""
    copy = json.loads(json.dumps(structure))
    places = []
    waiting = [copy]
    while waiting:
        part = waiting.pop()
        for key in part if isinstance(part, dict) else range(len(part)):
            places.append((part, key))
            if isinstance(part[key], (dict, list)):
                waiting.append(part[key])
    for _ in range(chance.choice((1, 1, 2))):
        part, key = chance.choice(places)
        other, at = chance.choice(places)
        part[key] = json.loads(json.dumps(other.get(at) if isinstance(other, dict) else other[at : at + 1] or None))
        if chance.random() < 0.7:
            part[key] = chance.choice(SWAPS)
    return copy


def spoil(chance, value, rounds):
    encoded = encode(value)
    structure = json.loads(encoded.json)
    for _ in range(rounds):
        buffers = [bytearray(buffer) for buffer in encoded.buffers]
        if buffers and chance.random() < 0.3:
            buffers[chance.randrange(len(buffers))] = bytearray(chance.randbytes(chance.randrange(64)))
        data = json.dumps(damaged(chance, structure)).encode()
        try:
            back = decode(data, [memoryview(buffer) for buffer in buffers], classes=CLASSES, limits=LIMITS)
        except TransportError as refusal:
            str(refusal)
        else:
            repr(back)


@pytest.mark.filterwarnings("ignore")
def test_damaged_structure_with_right_lengths():
    chance = random.Random(6)
    for value in [*honest_frames(), describe(OSError(2, "x", "/a"))]:
        spoil(chance, value, 150)
