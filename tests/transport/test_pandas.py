"""pandas frames, series, indexes: exact where they travel, refused where their parts do not fit."""

from __future__ import annotations

import base64
import json

import pytest

from isolate_fn._transport.codec import decode, encode
from isolate_fn.errors import ResultRejected, TransportError

numpy = pytest.importorskip("numpy")
pandas = pytest.importorskip("pandas")


def round_trip(value):
    encoded = encode(value)
    return decode(encoded.json, [memoryview(bytearray(buffer)) for buffer in encoded.buffers])


def raw(data: bytes) -> str:
    return base64.b64encode(data).decode()


def frames():
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
    for frame in frames():
        back = round_trip(frame)
        pandas.testing.assert_frame_equal(back, frame)
        assert list(back.dtypes) == list(frame.dtypes)
        for name in frame.columns[:1]:
            assert not len(frame) or back[name].to_numpy().flags.writeable == frame[name].to_numpy().flags.writeable


def test_series_indexes_and_scalars_are_exact():
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
    with pytest.raises(TransportError):
        decode(json.dumps(data).encode())
