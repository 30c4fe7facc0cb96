"""numpy arrays and scalars: exact where they travel, refused where their parts do not fit."""

from __future__ import annotations

import base64
import json

import pytest

from isolate_fn._transport.codec import decode, encode
from isolate_fn.errors import ResultRejected, TransportError

numpy = pytest.importorskip("numpy")


def round_trip(value):
    encoded = encode(value)
    return decode(encoded.json, [memoryview(bytearray(buffer)) for buffer in encoded.buffers])


def tag(kind, **parts) -> bytes:
    return json.dumps({"$": kind, **parts}).encode()


def raw(data: bytes) -> str:
    return base64.b64encode(data).decode()


STRUCTURE = numpy.dtype([("a", "i4"), ("b", "f8", (2, 3)), ("c", "U3"), ("d", [("e", "?"), ("f", "M8[us]")])])
ARRAYS = [
    numpy.arange(5),
    numpy.arange(10_000.0).reshape(100, 100),
    numpy.zeros((3, 4), order="F"),
    numpy.arange(24).reshape(2, 3, 4).transpose(2, 1, 0),
    numpy.arange(10)[::2],
    numpy.arange(10)[::-1],
    numpy.array(3.5),
    numpy.array([], "f4"),
    numpy.zeros((0, 5)),
    numpy.zeros((5, 0, 3), order="F"),
    numpy.array([True, False]),
    numpy.array(["a", "\U0001f600", ""]),
    numpy.array([b"x", b"yy"]),
    numpy.array(["2020-01-01", "NaT"], "M8[D]"),
    numpy.array([3], "m8[25s]"),
    numpy.array([1, 2], ">i4"),
    numpy.array(["ab"], ">U2"),
    numpy.array([1.5, 0, numpy.inf, numpy.nan, -0.0], numpy.longdouble),
    numpy.array([1 + 2j], numpy.clongdouble),
    numpy.array([1.5], "f2"),
    numpy.array([1], "q"),
    numpy.array([1], "Q"),
    numpy.zeros(2, "V5"),
    numpy.zeros(3, STRUCTURE),
    numpy.zeros(2, numpy.dtype([("a", "i1"), ("b", "i8")], align=True)),
    numpy.zeros(2, numpy.dtype({"names": ["a"], "formats": ["i4"], "offsets": [4], "itemsize": 12})),
    *(numpy.zeros(3, code) for code in "bBhHiIlLfdFD?"),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype.str[:12]}-{array.shape}")
def test_arrays_are_exact(array):
    back = round_trip(array)
    assert type(back) is numpy.ndarray
    assert back.dtype == array.dtype
    assert back.dtype.char == array.dtype.char
    assert back.dtype.isalignedstruct == array.dtype.isalignedstruct
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()
    assert back.flags.f_contiguous == array.flags.f_contiguous or not array.flags.forc
    assert back.flags.writeable
    assert back.flags.aligned


def test_a_read_only_array_stays_read_only():
    array = numpy.arange(1000)
    array.flags.writeable = False
    assert not round_trip(array).flags.writeable


def test_arrays_are_not_copied_on_either_side():
    array = numpy.arange(100_000.0)
    encoded = encode([array])
    memory = bytearray(encoded.buffers[0])
    back = decode(encoded.json, [memoryview(memory)])[0]
    memory[:8] = b"\0" * 7 + b"\x40"
    assert back[0] == 2.0
    assert numpy.shares_memory(numpy.asarray(encoded.buffers[0]), array)


def test_an_unaligned_buffer_is_copied():
    encoded = encode(numpy.arange(1000.0))
    memory = bytearray(b"x" + bytes(encoded.buffers[0]))
    back = decode(encoded.json, [memoryview(memory)[1:]])
    assert back.flags.aligned
    assert (back == numpy.arange(1000.0)).all()


SCALARS = [
    *(numpy.int8(-3), numpy.uint64(2**64 - 1), numpy.float64(1.5), numpy.float32(-0.0), numpy.float16(1)),
    *(numpy.longlong(3), numpy.ulonglong(3), numpy.longdouble(2.5), numpy.complex64(1j), numpy.bool_(True)),
    *(numpy.str_("ab"), numpy.str_(""), numpy.bytes_(b"x\0"), numpy.void(b"abc"), numpy.str_("x" * 10_000)),
    *(numpy.datetime64("2020", "Y"), numpy.timedelta64(3, "s"), numpy.zeros(1, [("a", "i4")])[0]),
]


@pytest.mark.parametrize("value", SCALARS, ids=lambda value: type(value).__name__)
def test_scalars_are_exact(value):
    back = round_trip(value)
    assert type(back) is type(value)
    assert back == value
    assert back.dtype == value.dtype


def test_not_a_time_and_dtypes():
    assert numpy.isnat(round_trip(numpy.datetime64("NaT", "s")))
    for dtype in (STRUCTURE, numpy.dtype("f8"), numpy.dtype("M8[ns]")):
        assert round_trip(dtype) == dtype


REFUSED = [
    (numpy.array([None]), "object"),
    (numpy.array([{"a": 1}], object), "object"),
    (numpy.zeros(2, [("a", "O")]), "dtype"),
    (numpy.ma.array([1], mask=[True]), "MaskedArray"),
    (numpy.zeros(2, [(("title", "a"), "i4")]), "titles"),
]


@pytest.mark.parametrize(("value", "name"), REFUSED, ids=[name for _, name in REFUSED])
def test_what_holds_objects_is_refused_inside(value, name):
    with pytest.raises(ResultRejected, match=name):
        encode([value])


X87_ODD = bytes(7) + b"\0" + b"\x01\x40" + bytes(6)  # exponent without its leading bit
DTYPES = [
    *("O", "|O", "|O8", "<O", "i4,O", "O,i4", "i4,i4", "(2,)i4", "3i4", "S0", "|S0", "<U0", "|V0", "", "f8 ", "f8\n"),
    *("\n<f8", "object", "int", "float64", "str", "=f8", "@f8", "<f3", "<i16", "<f32", "<b1", "T", "|T", "<M8["),
    *("<M8[x]", "<M8[10000000000s]", "|S99999999999", "<U1000000000", "<\u0663", ["O"], {}, None, 5),
    *(["a", "|O", [2]], ["s", 8, False, [["a", "|O", 0]]], ["s", 8, False, []], ["s", 8, False, ["abc"]]),
    *(["s", 0, False, [["a", "<i4", 0]]], ["s", 2**40, False, [["a", "<i4", 0]]], ["s", 8, False, [[1, "<i4", 0]]]),
    *(["s", 8, False, [["a", "<i4", 5]]], ["s", 8, False, [["a", "<i4", -1]]]),
    *(["s", 8, False, [["a", "<i4", at], ["b" if at else "a", "<i4", 4 - at]]] for at in (0, 2)),
    *(["a", "<f8", shape] for shape in ([2**40], [-1], [0], "2")),
    ["a", "<f8"],
    ["s", 8, False, [["a", ["a", "<i4", [2**31]], 0]]],
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtypes_outside_the_grammar_are_refused(dtype):
    for data in (
        tag("nd", d=dtype, n=[1], v=raw(bytes(8))),
        tag("ns", d=dtype, v=raw(b"A" * 8)),
        tag("no", v=dtype),
    ):
        with pytest.raises(TransportError):
            decode(data)


@pytest.mark.parametrize(
    "shape",
    [[2], [0], [-1], [-1, -1], [2**62], [2**40, 2**40], [1.0], [True, 1], "1", None, [1] * 100, [[1]], [2**61, 8]],
)
def test_shapes_that_do_not_fit_are_refused(shape):
    if shape == [True, 1]:
        shape = [True]
    with pytest.raises(TransportError):
        decode(tag("nd", d="<f8", n=shape, v=raw(bytes(8))))


@pytest.mark.parametrize(
    ("dtype", "data"),
    [
        ("|b1", b"\x02"),
        ("<U1", (0x110000).to_bytes(4, "little")),
        (">U1", (0x110000).to_bytes(4, "big")),
        (["s", 5, False, [["a", "|b1", 0], ["b", "<i4", 1]]], b"\xff" + bytes(4)),
        (["s", 4, False, [["a", ["a", "<U1", [1]], 0]]], b"\xff\xff\xff\xff"),
    ],
    ids=["bool", "unicode", "big endian unicode", "field", "subarray"],
)
def test_impossible_bits_are_refused(dtype, data):
    with pytest.raises(TransportError, match="impossible"):
        decode(tag("nd", d=dtype, n=[1], v=raw(data)))


@pytest.mark.skipif(numpy.finfo(numpy.longdouble).nmant != 63, reason="needs x87 long doubles")
@pytest.mark.parametrize("dtype", ["<f16", ">f16"])
def test_malformed_extended_floats_are_refused(dtype):
    with pytest.raises(TransportError, match="impossible"):
        decode(tag("nd", d=dtype, n=[1], v=raw(X87_ODD)))


def test_empty_shapes_do_not_allocate():
    assert decode(tag("nd", d="<f8", n=[0, 2**40], v="")).shape == (0, 2**40)
    with pytest.raises(TransportError):
        decode(tag("nd", d="<f8", n=[0, 2**61, 2**61], v=""))
