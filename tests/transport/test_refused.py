"""What cannot travel is refused inside the isolate: with its type, its place, and what to do instead."""

from __future__ import annotations

import collections
import datetime
import fractions
import io
import socket
import threading

import pytest
import transport_samples as samples

from isolate_fn._transport.codec import ClassTable, decode, encode
from isolate_fn._transport.codec_types import DEPTH, VALUE_DEPTH
from isolate_fn.errors import ResultRejected


class Str(str):
    __slots__ = ()


class Int(int):
    pass


class Dict(dict):
    pass


class List(list):
    pass


class Reducer:
    def __reduce__(self):
        raise AssertionError("nothing of pickle is ever called")


class Fails:
    @property
    def __dict__(self):
        raise RuntimeError


class OddZone(datetime.tzinfo):
    pass


CASES = [
    (object(), "builtins:object", "register"),
    (Reducer(), "Reducer", "register"),
    (Fails(), "Fails", "register"),
    (Str("a"), "Str", "str(value)"),
    (Int(1), "Int", "int(value)"),
    (Dict(), "Dict", "dict(value)"),
    (List(), "List", "list(value)"),
    (lambda: 1, "function", "plain data"),
    ((i for i in "a"), "generator", "plain data"),
    (threading, "module", "plain data"),
    (threading.Lock(), "lock", "plain data"),
    (socket.socket, "type", "plain data"),
    (io.BytesIO(b"x"), "BytesIO", "plain data"),
    (samples.Subpoint(1), "Subpoint", "@dataclass"),
    (collections.defaultdict(lambda: 1), "defaultdict", "dict(value)"),
    (datetime.datetime(2020, 1, 1, tzinfo=OddZone()), "OddZone", "plain data"),
    (fractions.Fraction(1 << 40_000, 3), "Fraction", "numerator"),
]


@pytest.mark.parametrize(("value", "name", "remedy"), CASES, ids=lambda part: type(part).__name__)
def test_it_is_refused_with_a_remedy(value, name, remedy):
    with pytest.raises(ResultRejected) as caught:
        encode({"a": [1, 2, (value,)]})
    assert name in caught.value.type_name
    assert remedy in caught.value.remedy
    assert caught.value.where.startswith("result['a'][2][0]")
    assert caught.value.where in str(caught.value)


class Bare:
    pass


PLACES = [
    (Bare(), "result"),
    ([1, Bare()], "result[1]"),
    ((0, 1, Bare()), "result[2]"),
    ({"k": {"j": Bare()}}, "result['k']['j']"),
    ({1: Bare()}, "result[0]"),
    ({Bare(): 1}, "result key <"),
    (collections.OrderedDict(a=Bare()), "result[0]"),
    (samples.Point(1, Bare()), "result.y"),
    (samples.Pair(1, [Bare()]), "result.right[0]"),
    (samples.Box(Bare(), 1), "result._width"),
    (slice(Bare()), "result.stop"),
]


@pytest.mark.parametrize(("value", "where"), PLACES, ids=[where for _, where in PLACES])
def test_the_place_is_exact(value, where):
    with pytest.raises(ResultRejected) as caught:
        encode(value)
    assert caught.value.where.startswith(where)


def cyclic():
    into_list: list = []
    into_list.append(into_list)
    into_dict: dict = {}
    into_dict["a"] = [into_dict]
    point = samples.Point(1)
    point.x = (point,)
    queue: collections.deque = collections.deque()
    queue.append({1: queue})
    return [into_list, into_dict, point, queue]


@pytest.mark.parametrize("value", cyclic(), ids=lambda value: type(value).__name__)
def test_cycles_are_named(value):
    with pytest.raises(ResultRejected, match="contains itself"):
        encode(value)


def test_depth_is_bounded_where_the_decoder_bounds_it():
    def nest(levels):
        value: list = []
        for _ in range(levels - 1):
            value = [value]
        return value

    encode(nest(VALUE_DEPTH))
    with pytest.raises(ResultRejected, match="nested more than"):
        encode(nest(VALUE_DEPTH + 1))
    with pytest.raises(ResultRejected, match="nested more than"):
        encode(nest(100_000))
    assert VALUE_DEPTH < DEPTH


def test_whatever_is_encoded_is_shallow_enough_to_decode():
    deepest = VALUE_DEPTH - 2
    zone = datetime.timezone(datetime.timedelta(hours=1), "X")
    for leaf in (
        1,
        10**30,
        b"x",
        (),
        [b"x"] * 300,
        datetime.datetime(2020, 1, 1, tzinfo=zone),
        samples.Point(1),
        {1: 2},
    ):
        value = leaf
        for _ in range(deepest):
            value = [value]
        encoded = encode(value)
        decode(encoded.json, encoded.buffers, classes=ClassTable.from_annotation(samples.Point))


def test_a_field_that_raises_is_named():
    empty = samples.Line.__new__(samples.Line)
    with pytest.raises(ResultRejected, match="start"):
        encode([empty])


def test_what_an_encode_function_raises_is_told():
    def fails(value):
        raise RuntimeError("no")

    with pytest.raises(ResultRejected, match="RuntimeError"):
        encode(Bare(), registered={Bare: fails})
