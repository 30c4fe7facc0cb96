"""Arrow arrays and tables: exact where they travel, refused where their parts do not fit."""

from __future__ import annotations

import base64
import datetime
import decimal
import json

import pytest

from isolate_fn._transport.codec import decode, encode
from isolate_fn.errors import ResultRejected, TransportError

arrow = pytest.importorskip("pyarrow")


def round_trip(value):
    encoded = encode(value)
    return decode(encoded.json, [memoryview(bytearray(buffer)) for buffer in encoded.buffers])


def tag(kind, **parts) -> bytes:
    return json.dumps({"$": kind, **parts}).encode()


def raw(data: bytes) -> str:
    return base64.b64encode(data).decode()


def arrow_arrays():
    yield from map(arrow.array, ([1, 2, None], ["a", None, "ccc"], [b"x"], [True, None] * 10, [1.5], [None, None]))
    yield from map(arrow.array, ([[1, 2], None, [3]], [{"a": 1, "b": "x"}, None], [[{"x": ["q", None]}], []]))
    yield arrow.array(["a", "b", "a", None]).dictionary_encode()
    yield from map(
        arrow.array, ([decimal.Decimal("1.23")], [datetime.datetime(2020, 1, 1)], [datetime.date(2020, 1, 1)])
    )
    yield from map(arrow.array, ([datetime.time(1, 2)], [datetime.timedelta(1)]))
    yield arrow.array([1], arrow.timestamp("ms", "Europe/Berlin"))
    yield arrow.array([[1, 2], [3, 4], None], arrow.list_(arrow.int8(), 2))
    yield arrow.array(["x"], arrow.large_string())
    yield arrow.array([b"abc"], arrow.binary(3))
    yield arrow.array([], arrow.int32())
    yield arrow.array(range(10_000))


def test_arrow_arrays_are_exact_and_slices_send_only_themselves():
    for array in arrow_arrays():
        for one in (array, array[1:], array[:1]):
            back = round_trip(one)
            assert back.equals(one)
            assert back.type == one.type
            assert type(back) is type(one)
    small = encode(arrow.array(range(1_000_000))[500:510])
    assert sum(map(len, small.buffers)) + len(small.json) < 1000


def test_arrow_tables_are_exact():
    for table in (
        arrow.table({"a": [1, 2], "b": ["x", None]}),
        arrow.table({}),
        arrow.chunked_array([[1], [2, 3]]),
        arrow.record_batch({"a": [1, 2]}),
        arrow.concat_tables([arrow.table({"a": [1]})] * 2),
        arrow.table({"a": [1, 2]}).slice(1),
        arrow.table({"a": [1]}, metadata={"k": "v"}),
    ):
        back = round_trip(table)
        assert back.equals(table)
        assert type(back) is type(table)
        assert not hasattr(table, "schema") or back.schema.equals(table.schema, check_metadata=True)


def test_arrow_types_without_a_word_are_refused_inside():
    for array in (
        arrow.array(["a"], arrow.string_view()),
        arrow.array([[(1, 2)]], arrow.map_(arrow.int8(), arrow.int8())),
    ):
        with pytest.raises(ResultRejected, match="pyarrow type"):
            encode(array)


INT64 = ["int64"]


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (INT64, [5, [None, raw(bytes(8))], [], None]),
        (INT64, [1, [raw(b""), raw(bytes(8))], [], None]),
        (INT64, [1, [raw(bytes(8))], [], None]),
        (INT64, [1, [None, None], [], None]),
        (INT64, [-1, [None, raw(bytes(8))], [], None]),
        (INT64, [2**60, [None, raw(bytes(8))], [], None]),
        (["string"], [1, [None, raw((0).to_bytes(4, "little") + (100).to_bytes(4, "little")), raw(b"abc")], [], None]),
        (["string"], [1, [None, raw((0).to_bytes(4, "little") + (1).to_bytes(4, "little")), raw(b"\xff")], [], None]),
        (["string"], [2, [None, raw(bytes(4)), raw(b"")], [], None]),
        (["string"], [1, [None, raw(b"\0\0\0\0\xff\xff\xff\xff"), raw(b"abc")], [], None]),
        (
            ["list", ["item", INT64, True]],
            [1, [None, raw(bytes(4) + b"\x05\0\0\0")], [[1, [None, raw(bytes(8))], [], None]], None],
        ),
        (["list", ["item", INT64, True]], [1, [None, raw(bytes(8))], [], None]),
        (["struct", [["a", INT64, True]]], [5, [None], [[1, [None, raw(bytes(8))], [], None]], None]),
        (
            ["dictionary", ["int8"], INT64, False],
            [1, [], [[1, [None, raw(b"\x05")], [], None]], [1, [None, raw(bytes(8))], [], None]],
        ),
        (["dictionary", ["string"], INT64, False], [0, [], [], None]),
        (["extension"], [0, [], [], None]),
        (["decimal128", 500, 1], [0, [None, None], [], None]),
        (["fixed", 0], [0, [None, None], [], None]),
        (["timestamp", "s", "../../etc"], [0, [None, None], [], None]),
        (["__class__"], [0, [None, None], [], None]),
        ([["int64"]], [0, [None, None], [], None]),
        (None, []),
    ],
    ids=str,
)
def test_arrow_arrays_that_do_not_fit_are_refused(kind, data):
    with pytest.raises(TransportError):
        decode(tag("paA", t=kind, v=data))
