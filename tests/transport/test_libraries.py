"""numpy, pandas, pyarrow and PIL values: exact where they travel, refused where their parts do not fit."""

from __future__ import annotations

import base64
import datetime
import decimal
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
    *("O", "|O", "|O8", "<O", "i4,O", "O,i4", "i4,i4", "(2,)i4", "3i4", "S0", "|S0", "<U0", "|V0", "", "f8 ", "f8\n", "\n<f8"),
    *("object", "int", "float64", "str", "=f8", "@f8", "<f3", "<i16", "<f32", "<b1", "T", "|T", "<M8[", "<M8[x]", "<M8[10000000000s]"),
    *("|S99999999999", "<U1000000000", "<\u0663", ["s", 8, False, [["a", "|O", 0]]], ["a", "|O", [2]], ["O"], {}, None, 5),
    *(["s", 8, False, []], ["s", 0, False, [["a", "<i4", 0]]], ["s", 8, False, [["a", "<i4", 5]]]),
    *(["s", 8, False, [["a", "<i4", -1]]], ["s", 8, False, [["a", "<i4", 0], ["b", "<i4", 2]]]),
    *(["s", 8, False, [["a", "<i4", 0], ["a", "<i4", 4]]], ["s", 8, False, [[1, "<i4", 0]]], ["s", 2**40, False, [["a", "<i4", 0]]]),
    *(["s", 8, False, ["abc"]], ["a", "<f8", [2**40]], ["a", "<f8", [-1]], ["a", "<f8", [0]], ["a", "<f8", "2"], ["a", "<f8"]),
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
    "shape", [[2], [0], [-1], [-1, -1], [2**62], [2**40, 2**40], [1.0], [True, 1], "1", None, [1] * 100, [[1]], [2**61, 8]]
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


# --- PIL -------------------------------------------------------------------------------------------------------------

MODES = ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "PA", "La", "RGBX", "RGBa", "I;16", "I;16B", "I;16L"]


@pytest.mark.parametrize("mode", MODES)
def test_images_are_exact(mode):
    image_module = pytest.importorskip("PIL.Image")
    for size in ((5, 3), (64, 64), (0, 3)):
        image = image_module.new(mode, size)
        if all(size) and mode in ("L", "RGB", "RGBA"):
            image.putpixel((1, 1), 7 if mode == "L" else (1, 2, 3, 4)[: len(mode)])
        image.info = {"dpi": (72, 72.5), "icc_profile": b"abc", "object": object()}
        back = round_trip(image)
        assert type(back) is image_module.Image
        assert (back.mode, back.size) == (mode, size)
        assert not all(size) or back.tobytes() == image.tobytes()
        assert back.info == {"dpi": (72, 72.5), "icc_profile": b"abc"}


def test_palettes_and_opened_files(tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    image = image_module.effect_noise((32, 32), 50).convert("RGB").quantize(16)
    assert round_trip(image).convert("RGB").tobytes() == image.convert("RGB").tobytes()
    image.save(tmp_path / "a.png")
    with image_module.open(tmp_path / "a.png") as opened:
        back = round_trip(opened)
        assert back.convert("RGB").tobytes() == opened.convert("RGB").tobytes()


@pytest.mark.parametrize(
    "parts",
    [
        {"m": "RGB", "n": [2, 2], "v": raw(bytes(11))},
        {"m": "RGB", "n": [1 << 30, 1 << 30], "v": raw(bytes(12))},
        {"m": "RGB", "n": [-1, -4], "v": raw(bytes(12))},
        {"m": "RGB", "n": [2.0, 2], "v": raw(bytes(12))},
        {"m": "EVIL", "n": [1, 1], "v": raw(bytes(3))},
        {"m": "RGB", "n": [1, 1], "v": raw(bytes(3)), "i": {"a": [1]}},
        {"m": "RGB", "n": [1, 1], "v": raw(bytes(3)), "i": []},
        {"m": "P", "n": [1, 1], "v": raw(bytes(1))},
        {"m": "P", "n": [1, 1], "v": raw(bytes(1)), "p": ["RGB", raw(bytes(256))]},
        {"m": "P", "n": [1, 1], "v": raw(bytes(1)), "p": ["RGB;L", raw(bytes(3))]},
    ],
    ids=str,
)
def test_images_that_do_not_fit_are_refused(parts):
    pytest.importorskip("PIL.Image")
    with pytest.raises(TransportError):
        decode(tag("im", **{"i": {}, **parts}))


def test_images_of_bits_count_what_they_become():
    pytest.importorskip("PIL.Image")
    with pytest.raises(TransportError, match="bytes of objects"):
        decode(tag("im", m="1", n=[8 << 20, 64], v=0, i={}), [bytes(64 << 20)])


# --- pandas ----------------------------------------------------------------------------------------------------------


def frames(pandas):
    index = pandas.date_range("2020", periods=3, freq="D", tz="Europe/Berlin")
    yield pandas.DataFrame(
        {
            "int": [1, 2, 3],
            "float": [1.5, float("nan"), 2],
            "text": ["x", None, "z"],
            "categories": pandas.Categorical(["u", "v", "u"], ordered=True),
            "zoned": index,
            "Int64": pandas.array([1, None, 3], dtype="Int64"),
            "boolean": pandas.array([True, None, False], dtype="boolean"),
            "timedelta": pandas.timedelta_range("1s", periods=3),
            "object": pandas.Series([1, "x", (1, 2)], dtype=object),
            "period": pandas.period_range("2020", periods=3, freq="M"),
            "interval": pandas.interval_range(0, 3),
            "string": pandas.array(["a", None, "c"], dtype="string"),
            "Float32": pandas.array([1.5, None, 2], dtype="Float32"),
            "bool": [True, False, True],
            "python": pandas.array(["a", "b", None], dtype=pandas.StringDtype("python")),
        },
        index=index,
    )
    yield pandas.DataFrame(numpy.arange(20.0).reshape(5, 4))
    yield pandas.DataFrame()
    yield pandas.DataFrame(index=[1, 2])
    yield pandas.DataFrame({"a": []})
    yield pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]}, index=[7, 7])
    yield pandas.DataFrame([[1, 2], [3, 4]], columns=["x", "x"])
    yield pandas.DataFrame({"a": [1, 2]}, index=pandas.MultiIndex.from_product([["a"], [1, 2]], names=["p", None]))
    yield pandas.DataFrame([[1, 2]], columns=pandas.MultiIndex.from_tuples([("a", 1), ("b", 2)]))


def test_frames_are_exact():
    pandas = pytest.importorskip("pandas")
    for frame in frames(pandas):
        back = round_trip(frame)
        pandas.testing.assert_frame_equal(back, frame)
        assert list(back.dtypes) == list(frame.dtypes)
        for name in frame.columns[:1]:
            assert not len(frame) or back[name].to_numpy().flags.writeable == frame[name].to_numpy().flags.writeable


def test_series_indexes_and_scalars_are_exact():
    pandas = pytest.importorskip("pandas")
    index = pandas.date_range("2020", periods=3, freq="D", tz="Europe/Berlin")
    for series in (
        pandas.Series([1, 2], name="n"),
        pandas.Series([1.5], index=["z"]),
        pandas.Series([], dtype=object),
        pandas.Series(["a"], dtype=object, name=("t", 1)),
        pandas.Series(index),
    ):
        pandas.testing.assert_series_equal(round_trip(series), series)
    for one in (
        pandas.Index([1, 2], name="q"),
        pandas.RangeIndex(5),
        pandas.Index(["a", None]),
        index,
        pandas.CategoricalIndex(["a", "b"]),
        pandas.IntervalIndex.from_breaks([1, 2, 3]),
        pandas.Index([1, "a"], dtype=object),
        pandas.timedelta_range("1D", periods=3),
        pandas.PeriodIndex(["2020-01"], freq="Q-DEC"),
    ):
        pandas.testing.assert_index_equal(round_trip(one), one)
        assert type(round_trip(one)) is type(one)
    for stamp in (pandas.Timestamp("2020-01-01 03:04:05.123456789"), pandas.Timestamp("2020-10-25 01:30", tz="UTC")):
        assert round_trip(stamp) == stamp
        assert (round_trip(stamp).tz, round_trip(stamp).unit) == (stamp.tz, stamp.unit)
    assert round_trip(pandas.Timedelta("1D 3ns")) == pandas.Timedelta("1D 3ns")
    assert round_trip(pandas.NaT) is pandas.NaT
    assert round_trip(pandas.NA) is pandas.NA


def test_what_pandas_cannot_rebuild_publicly_is_refused_inside():
    pandas = pytest.importorskip("pandas")
    sparse = pandas.DataFrame({"a": pandas.arrays.SparseArray([0, 1]), "b": [1, 2]})
    with pytest.raises(ResultRejected, match=r"Sparse.*at result\.iloc\[:, 0\]"):
        encode(sparse)
    with pytest.raises(ResultRejected, match="function at result"):
        encode(pandas.Series([lambda: 1], dtype=object))


RANGE = {"$": "pdI", "n": [None], "r": [0, 1, 1]}
COLUMN = {"$": "pdA", "k": "numpy", "v": {"$": "nd", "d": "<i8", "n": [1], "v": raw(bytes(8))}}


@pytest.mark.parametrize(
    "data",
    [
        {"$": "pdF", "i": RANGE, "c": RANGE, "v": []},
        {"$": "pdF", "i": RANGE, "c": RANGE, "v": [1]},
        {"$": "pdF", "i": RANGE, "c": RANGE, "b": COLUMN["v"]},
        {"$": "pdF", "i": [0], "c": RANGE, "v": [COLUMN]},
        {"$": "pdF", "i": {**RANGE, "r": [0, 2, 1]}, "c": RANGE, "v": [COLUMN]},
        {"$": "pdS", "i": {**RANGE, "r": [0, 2, 1]}, "v": COLUMN, "n": None},
        {"$": "pdS", "i": RANGE, "v": COLUMN, "n": []},
        {"$": "pdI", "n": ["a", "b"], "r": [0, 1, 1]},
        {"$": "pdI", "n": [None], "r": [0, 1, 0]},
        {"$": "pdI", "n": [None], "r": [0, 2**63, 1]},
        {"$": "pdI", "n": [None], "l": [RANGE], "k": [COLUMN["v"], COLUMN["v"]]},
        {"$": "pdI", "n": [None], "l": [{**RANGE, "r": [0, 0, 1]}], "k": [COLUMN["v"]]},
        {**COLUMN, "k": "eval"},
        {**COLUMN, "k": ["numpy"]},
        {**COLUMN, "k": "objects"},
        {**COLUMN, "k": "text"},
        {"$": "pdA", "k": "text", "v": ["a"], "s": "evil", "na": True},
        {"$": "pdA", "k": "text", "v": [1], "s": "python", "na": True},
        {**COLUMN, "k": "IntegerArray", "m": COLUMN["v"]},
        {**COLUMN, "k": "categories", "c": {**RANGE, "r": [0, 0, 1]}},
        {**COLUMN, "k": "zoned", "z": None},
        {**COLUMN, "k": "periods", "f": "__import__"},
        {**COLUMN, "k": "intervals", "c": "both"},
        {"$": "pdA", "k": "numpy", "v": {"$": "nd", "d": "|V8", "n": [1], "v": raw(bytes(8))}},
        {"$": "pdA", "k": "numpy", "v": {"$": "nd", "d": ">i8", "n": [1], "v": raw(bytes(8))}},
        {"$": "pdA", "k": "numpy", "v": {"$": "nd", "d": "<i8", "n": [1, 1], "v": raw(bytes(8))}},
        {"$": "pdX", "s": "Timestamp", "v": 5},
        {"$": "pdX", "s": "DataFrame", "v": 5},
    ],
    ids=lambda data: json.dumps(data)[:60],
)
def test_frames_whose_parts_do_not_fit_are_refused(data):
    pytest.importorskip("pandas")
    with pytest.raises(TransportError):
        decode(json.dumps(data).encode())


# --- pyarrow ---------------------------------------------------------------------------------------------------------


def arrow_arrays(arrow):
    yield from map(arrow.array, ([1, 2, None], ["a", None, "ccc"], [b"x"], [True, None] * 10, [1.5], [None, None]))
    yield from map(arrow.array, ([[1, 2], None, [3]], [{"a": 1, "b": "x"}, None], [[{"x": ["q", None]}], []]))
    yield arrow.array(["a", "b", "a", None]).dictionary_encode()
    yield from map(arrow.array, ([decimal.Decimal("1.23")], [datetime.datetime(2020, 1, 1)], [datetime.date(2020, 1, 1)]))
    yield from map(arrow.array, ([datetime.time(1, 2)], [datetime.timedelta(1)]))
    yield arrow.array([1], arrow.timestamp("ms", "Europe/Berlin"))
    yield arrow.array([[1, 2], [3, 4], None], arrow.list_(arrow.int8(), 2))
    yield arrow.array(["x"], arrow.large_string())
    yield arrow.array([b"abc"], arrow.binary(3))
    yield arrow.array([], arrow.int32())
    yield arrow.array(range(10_000))


def test_arrow_arrays_are_exact_and_slices_send_only_themselves():
    arrow = pytest.importorskip("pyarrow")
    for array in arrow_arrays(arrow):
        for one in (array, array[1:], array[:1]):
            back = round_trip(one)
            assert back.equals(one)
            assert back.type == one.type
            assert type(back) is type(one)
    small = encode(arrow.array(range(1_000_000))[500:510])
    assert sum(map(len, small.buffers)) + len(small.json) < 1000


def test_arrow_tables_are_exact():
    arrow = pytest.importorskip("pyarrow")
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
    arrow = pytest.importorskip("pyarrow")
    for array in (arrow.array(["a"], arrow.string_view()), arrow.array([[(1, 2)]], arrow.map_(arrow.int8(), arrow.int8()))):
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
        (["list", ["item", INT64, True]], [1, [None, raw(bytes(4) + b"\x05\0\0\0")], [[1, [None, raw(bytes(8))], [], None]], None]),
        (["list", ["item", INT64, True]], [1, [None, raw(bytes(8))], [], None]),
        (["struct", [["a", INT64, True]]], [5, [None], [[1, [None, raw(bytes(8))], [], None]], None]),
        (["dictionary", ["int8"], INT64, False], [1, [], [[1, [None, raw(b"\x05")], [], None]], [1, [None, raw(bytes(8))], [], None]]),
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
    pytest.importorskip("pyarrow")
    with pytest.raises(TransportError):
        decode(tag("paA", t=kind, v=data))
