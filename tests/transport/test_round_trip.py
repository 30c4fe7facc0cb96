"""Every type of the closed table comes back equal and of exactly the same type."""

from __future__ import annotations

import array
import collections
import datetime
import decimal
import fractions
import ipaddress
import math
import pathlib
import struct
import sys
import uuid
import zoneinfo

import pytest
import transport_samples as samples

from isolate_fn._transport.codec import ClassTable, decode, encode
from isolate_fn._transport.frames import FrameReader, Kind, pack

CLASSES = ClassTable().with_classes(samples.VALUE_CLASSES)


def round_trip(value, classes=CLASSES, **kwargs):
    """Through the frame as well, as a result goes."""
    encoded = encode(value, **kwargs)
    reader = FrameReader()
    frame = reader.feed(b"".join(pack(Kind.RESULT, encoded.json, encoded.buffers)))
    assert reader.pending == 0
    return decode(frame.json, frame.buffers, classes=classes)


def same(left, right) -> bool:
    """Equal all the way down, types, order, signs of zero and NaN included."""
    if type(left) is not type(right):
        return False
    if type(left) is float:
        return struct.pack("d", left) == struct.pack("d", right) or (math.isnan(left) and math.isnan(right))
    if type(left) is complex:
        return same(left.real, right.real) and same(left.imag, right.imag)
    if type(left) is decimal.Decimal:
        return left.as_tuple() == right.as_tuple()
    if isinstance(left, dict):
        extra = [getattr(each, "default_factory", None) for each in (left, right)]
        return extra[0] is extra[1] and same(list(left.items()), list(right.items()))
    if isinstance(left, (set, frozenset)):
        return len(left) == len(right) and all(any(same(a, b) for b in right) for a in left)
    if isinstance(left, (list, tuple, collections.deque)):
        limits = [getattr(each, "maxlen", None) for each in (left, right)]
        return limits[0] == limits[1] and len(left) == len(right) and all(map(same, left, right))
    return left == right and (type(left) is int or repr(left) == repr(right))


BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
nan, inf = math.nan, math.inf

VALUES = [
    *(None, True, False, 0, 1, -1, 2**31, 2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 2**64, 10**21, 10**22),
    *(-(10**30), 10**4000, -(10**4000), 2**16384, 1 << 100_000, -(1 << 100_000)),
    *(0.0, -0.0, 1.5, nan, inf, -inf, 5e-324, 1.7976931348623157e308, 1e22, 123456789012345680000.0),
    *(0j, 1 + 2j, complex(-0.0, nan), complex(inf, -0.0)),
    *("", "a", "\0", "\x7f\x80\u2028", "äöü", "\U0001f600", "\ud800", "\ud83d\ude00", "a" * 5000, "ä\ud800" * 5000),
    *("1" * 30, '"$"', "\\", '"', "1234567890123456789012 and more", "x" * 2_000_000),
    *(b"", b"a", bytes(range(256)), b"x" * 257, b"y" * 300_000, bytearray(), bytearray(b"ab"), bytearray(b"z" * 5000)),
    *([], [[]], [1, [2, [3]]], [None, True, 1, 1.5, "a"], list(range(300)), [1.5] * 300, [2**64] * 300),
    *([True] * 300, [1, True] * 200, [nan, -0.0] * 200, [b"ab"] * 300, [b"", b"c" * 1000] * 200, ["a"] * 300),
    *([-(2**63), 2**63 - 1] * 200, [2**63] * 300, [[1, 2]] * 300, [10**30, 1], [""], ["\ud800", "1" * 30]),
    *((), (1,), (1, (2, (3,))), ([],), tuple(range(300)), (1.0,) * 300),
    *(set(), {1}, {1, "a", None, (1, 2), frozenset({3})}, set(range(300)), frozenset(), frozenset({1, b"x"})),
    *({}, {"a": 1}, {"": ""}, {"a": {"b": [1]}}, {"$": 1}, {"$": "t", "v": []}, {"a": {"$": None}}, {"$$": 1}),
    *({1: 2}, {None: 1, True: 2, 1.5: 3, (1, 2): [4], "s": 5, b"b": 6}, {"\ud800": 1}, {"k" * 5000: 1}),
    *({i: i for i in range(300)}, {str(i): i for i in range(300)}, {nan: 1}, {"a": 10**30}, {"a": "1" * 30}),
    *(collections.deque(), collections.deque([1, 2]), collections.deque([1], 5), collections.deque(maxlen=0)),
    *(collections.OrderedDict(), collections.OrderedDict([("b", 1), ("a", 2)]), collections.Counter("abca")),
    *(collections.Counter({"a": -1, 2: 0}), collections.defaultdict(None, a=1), collections.defaultdict(list, a=[1])),
    *(collections.defaultdict(kind) for kind in (int, list, dict, set, str, float, bool, tuple)),
    *(range(0), range(5), range(1, 10, 2), range(10**30, 0, -1), slice(None), slice(1, None, -1), slice("a", (1,))),
    ...,
    *(array.array("i", [1, -2]), array.array("d", [1.5]), array.array("Q", [2**64 - 1]), array.array("b")),
    *(datetime.date(1, 1, 1), datetime.date(9999, 12, 31), datetime.time(), datetime.time(1, 2, 3, 4, fold=1)),
    datetime.time(1, tzinfo=datetime.UTC),
    *(datetime.datetime(2020, 10, 25, 2, 30, fold=fold, tzinfo=BERLIN) for fold in (0, 1)),
    *(datetime.datetime.min, datetime.datetime.max, datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)),
    *(datetime.timedelta.min, datetime.timedelta.max, datetime.timedelta(-1, 1, 1), datetime.UTC, BERLIN),
    *(datetime.timezone(datetime.timedelta(hours=-3, seconds=1)), datetime.timezone(datetime.timedelta(0), "X")),
    *map(decimal.Decimal, ("0", "-0", "1.10", "1E+999999", "NaN", "-sNaN12", "Infinity", "-1E-20", "9" * 5000)),
    *(fractions.Fraction(1, 3), fractions.Fraction(-(10**50), 7), uuid.UUID(int=0), uuid.uuid4()),
    uuid.UUID(int=5, is_safe=uuid.SafeUUID.safe),
    *(pathlib.Path("/a/b"), pathlib.Path(), pathlib.PurePosixPath("x/../y"), pathlib.PureWindowsPath(r"C:\a")),
    *(pathlib.Path("//a"), pathlib.Path("\udc80"), pathlib.Path("a" * 5000)),
    *(ipaddress.ip_address("1.2.3.4"), ipaddress.ip_address("fe80::1%eth0"), ipaddress.ip_network("10.0.0.0/8")),
    *(ipaddress.ip_network("::/0"), ipaddress.ip_interface("10.1.2.3/8"), ipaddress.ip_interface("::1/64")),
    *(samples.Color.RED, samples.Color.ALSO_RED, samples.Color.GREEN, samples.Number.ONE, samples.Word.A),
    *(samples.Access.READ | samples.Access.WRITE, samples.Access(0), samples.Bits.HIGH, samples.Bits(6)),
    *(samples.Point(1), samples.Line(start=samples.Point(1, 2), end=samples.Point(3)), samples.Checked(4)),
    *(samples.Pair(1, [2]), samples.Pair(samples.Color.RED), samples.Old(1, {2}), samples.Box(1, tall=2)),
    *([samples.Point(1)] * 3, {samples.Key("a"): {samples.Pair(1, 2)}}, samples.Scaled(3)),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_it_comes_back_the_same(value):
    assert same(round_trip(value), value)
    nested = {"a": [value, (value,)], "$": [value]}
    assert same(round_trip(nested), nested)


def test_the_comparison_can_tell():
    for left, right in [(1, True), (0.0, -0.0), ((1,), [1]), ({1: 2}, collections.Counter({1: 2})), (nan, 1.0)]:
        assert not same(left, right)
        assert not same([left], [right])
    assert not same({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert not same(collections.deque([1]), collections.deque([1], 3))


def test_utc_and_enum_members_are_the_very_objects():
    assert round_trip(datetime.UTC) is datetime.UTC
    assert round_trip(samples.Color.GREEN) is samples.Color.GREEN
    assert round_trip(BERLIN) is BERLIN


def test_what_the_constructor_derives_is_derived_again():
    assert round_trip(samples.Checked(4)).area == 16


@pytest.mark.parametrize(
    "view",
    [
        memoryview(b""),
        memoryview(b"abc"),
        memoryview(b"x" * 1000),
        memoryview(bytearray(b"abcdef"))[::2],
        memoryview(array.array("d", [1.5, 2.5])),
        memoryview(bytes(24)).cast("i", (2, 3)),
        memoryview(array.array("q", range(500))),
    ],
)
def test_a_memoryview_comes_back_read_only(view):
    back = round_trip(view)
    assert type(back) is memoryview
    assert back.readonly
    assert back == view
    assert back.shape == view.shape
    assert back.format == view.format


def test_a_bytearray_is_a_copy_of_its_own():
    encoded = encode(bytearray(b"a" * 1000))
    buffers = [bytearray(buffer) for buffer in encoded.buffers]
    back = decode(encoded.json, [memoryview(buffer) for buffer in buffers])
    buffers[0][0] = 0
    assert back == bytearray(b"a" * 1000)


def test_equal_parts_are_not_shared():
    inner = [1]
    back = round_trip([inner, inner])
    assert back == [[1], [1]]
    assert back[0] is not back[1]


def test_big_lists_of_numbers_are_one_buffer():
    encoded = encode({"a": list(range(10_000)), "b": [0.5] * 10_000, "c": {i: i for i in range(10_000)}})
    assert len(encoded.json) < 200
    assert len(encoded.buffers) == 4


def test_small_values_need_no_buffer():
    for value in (b"abc", bytearray(b"x"), 10**30, decimal.Decimal("1.5"), array.array("i", [1])):
        assert encode(value).buffers == []


def test_large_bytes_are_not_copied():
    data = b"x" * 1_000_000
    assert encode([data]).buffers[0] is data


def test_decoding_does_not_depend_on_the_int_digits_limit():
    before = sys.get_int_max_str_digits()
    try:
        for limit in (0, 640):
            sys.set_int_max_str_digits(limit)
            for value in (10**700, [10**700], {"a": [10**5000, "1" * 700]}):
                assert round_trip(value) == value
    finally:
        sys.set_int_max_str_digits(before)


def test_registered_classes_use_their_functions():
    triple = (samples.Plain, lambda plain: {"v": plain.value}, lambda data: samples.Plain(data["v"]))
    table = ClassTable().with_classes([triple])
    assert round_trip([samples.Plain(3)], table, registered=table.encoders()) == [samples.Plain(3)]
