"""Builders of pandas frames, series, indexes and scalars, from parts that were decoded already."""

from __future__ import annotations

from typing import Any

from isolate_fn._transport.codec_decoder import Builder, Decoder, Invalid, need
from isolate_fn._transport.codec_pandas import FREQUENCY, MASKED

_UNITS = ("s", "ms", "us", "ns")
_CLOSED = ("left", "right", "both", "neither")


def _build_frame(decoder: Decoder, obj: dict[str, Any]) -> Any:
    pandas: Any = need("pandas")
    index, columns = _an_index(obj.get("i")), _an_index(obj.get("c"))
    if "b" in obj:
        block = _an_array(obj["b"])
        if block.shape != (len(index), len(columns)) or block.dtype.kind not in "biufc" or not block.dtype.isnative:
            raise Invalid("a frame whose parts differ in length")
        frame = pandas.DataFrame(block, index=index, copy=False)
    else:
        arrays = obj.get("v")
        if type(arrays) is not list or len(arrays) != len(columns):
            raise Invalid("a frame whose parts differ in length")
        checked = [_a_column(array, len(index)) for array in arrays]
        frame = pandas.DataFrame(
            {number: column.set_axis(index) for number, column in enumerate(checked)}, index=index, copy=False
        )
    frame.columns = columns
    return _with_attrs(frame, obj)


def _build_series(decoder: Decoder, obj: dict[str, Any]) -> Any:
    index = _an_index(obj.get("i"))
    values = _a_column(obj.get("v"), len(index))
    name = obj.get("n")
    hash(name)
    series = values.set_axis(index)
    series.name = name
    return _with_attrs(series, obj)


def _with_attrs(made: Any, obj: dict[str, Any]) -> Any:
    attrs = obj.get("a")
    if type(attrs) is dict:
        made.attrs = attrs
    return made


def _build_index(decoder: Decoder, obj: dict[str, Any]) -> Any:
    pandas: Any = need("pandas")
    names = obj.get("n")
    if type(names) is not list:
        raise Invalid("an index without names")
    if "r" in obj:
        index = _range_index(pandas, obj["r"])
    elif "l" in obj:
        levels, codes = obj["l"], obj.get("k")
        if type(levels) is not list or type(codes) is not list:
            raise Invalid("not an index")
        parts = [_an_array(part) for part in codes]
        return pandas.MultiIndex(
            levels=[_an_index(level) for level in levels], codes=parts, names=names, verify_integrity=True
        )
    else:
        series = _a_column(obj.get("v"), None)
        index = pandas.Index(series.array, dtype=series.dtype, copy=False)
        frequency = obj.get("f")
        if (
            type(frequency) is str
            and FREQUENCY.match(frequency)
            and isinstance(index, (pandas.DatetimeIndex, pandas.TimedeltaIndex))
        ):
            index.freq = frequency  # checked against the values
    index.names = names
    return index


def _range_index(pandas: Any, parts: Any) -> Any:
    if (
        type(parts) is not list
        or len(parts) != 3
        or any(type(part) is not int or abs(part) >= 1 << 62 for part in parts)
    ):
        raise Invalid("not an index")
    if len(range(*parts)) >= 1 << 62:
        raise Invalid("not an index")
    return pandas.RangeIndex(*parts)


def _an_index(value: Any) -> Any:
    if not isinstance(value, need("pandas").Index):
        raise Invalid("no index where one belongs")
    return value


def _an_array(value: Any) -> Any:
    if type(value) is not need("numpy").ndarray:
        raise Invalid("no array where one belongs")
    return value


def _a_column(value: Any, length: int | None) -> Any:
    if type(value) is not need("pandas").Series or (length is not None and len(value) != length):
        raise Invalid("no column of the right length where one belongs")
    return value


def _build_column(decoder: Decoder, obj: dict[str, Any]) -> Any:
    """A column comes as a series without index, so that no bare array can be mistaken for one."""
    pandas: Any = need("pandas")
    kind, value = obj.get("k"), obj.get("v")
    build = _KINDS.get(kind) if type(kind) is str else None
    if build is None:
        raise Invalid("an unknown kind of column")
    array = build(pandas, value, obj)
    dtype = object if kind == "objects" else getattr(array, "dtype", None)
    return pandas.Series(array, dtype=dtype, copy=False)


def _numpy_column(pandas: Any, value: Any, obj: dict[str, Any]) -> Any:
    array = _an_array(value)
    dtype = array.dtype
    if array.ndim != 1 or dtype.kind not in "biufcmM" or not dtype.isnative:
        raise Invalid("not a column")
    if dtype.kind in "mM" and dtype.str.partition("[")[2] not in [f"{unit}]" for unit in _UNITS]:
        raise Invalid("not a column of times")
    return array


def _object_column(pandas: Any, value: Any, obj: dict[str, Any]) -> Any:
    if type(value) is not list:
        raise Invalid("not a column")
    array = need("numpy").empty(len(value), dtype=object)
    for number, item in enumerate(value):
        array[number] = item
    return array


def _zoned_column(pandas: Any, value: Any, obj: dict[str, Any]) -> Any:
    array = _numpy_column(pandas, value, obj)
    if array.dtype.kind != "M":
        raise Invalid("not a column of times")
    return pandas.DatetimeIndex(array, copy=False).tz_localize("UTC").tz_convert(_zone(obj.get("z"))).array


def _zone(zone: Any) -> Any:
    import datetime

    if not isinstance(zone, datetime.tzinfo):
        raise Invalid("no time zone")
    return zone


def _categories_column(pandas: Any, value: Any, obj: dict[str, Any]) -> Any:
    codes, categories = _numpy_column(pandas, value, obj), _an_index(obj.get("c"))
    return pandas.Categorical.from_codes(codes, categories=categories, ordered=obj.get("o") is True)


def _masked_column(pandas: Any, value: Any, obj: dict[str, Any]) -> Any:
    values, mask = _numpy_column(pandas, value, obj), _an_array(obj.get("m"))
    if mask.dtype.str != "|b1" or mask.shape != values.shape:
        raise Invalid("not a mask")
    return getattr(pandas.arrays, obj["k"])(values, mask)  # obj["k"] is a key of _KINDS


def _text_column(pandas: Any, value: Any, obj: dict[str, Any]) -> Any:
    if type(value) is not list or not all(text is None or type(text) is str for text in value):
        raise Invalid("not a column of text")
    storage = obj.get("s")
    if storage not in ("python", "pyarrow"):
        raise Invalid("not a column of text")
    missing = float("nan") if obj.get("na") is True else pandas.NA
    return pandas.array(value, dtype=pandas.StringDtype(storage, na_value=missing))


def _period_column(pandas: Any, value: Any, obj: dict[str, Any]) -> Any:
    array, frequency = _numpy_column(pandas, value, obj), obj.get("f")
    if array.dtype.str[1:] != "i8" or type(frequency) is not str or not FREQUENCY.match(frequency):
        raise Invalid("not a column of periods")
    return pandas.PeriodIndex.from_ordinals(array, freq=frequency).array


def _interval_column(pandas: Any, value: Any, obj: dict[str, Any]) -> Any:
    if type(value) is not list or len(value) != 2 or obj.get("c") not in _CLOSED:
        raise Invalid("not a column of intervals")
    return pandas.arrays.IntervalArray.from_arrays(_an_index(value[0]), _an_index(value[1]), closed=obj["c"])


def _arrow_column(pandas: Any, value: Any, obj: dict[str, Any]) -> Any:
    arrow: Any = need("pyarrow")
    if type(value) is not arrow.ChunkedArray:
        raise Invalid("not a column of Arrow data")
    return pandas.arrays.ArrowExtensionArray(value)


_KINDS: dict[str, Any] = {
    "numpy": _numpy_column,
    "objects": _object_column,
    "zoned": _zoned_column,
    "categories": _categories_column,
    "text": _text_column,
    "periods": _period_column,
    "intervals": _interval_column,
    "arrow": _arrow_column,
    **dict.fromkeys(MASKED, _masked_column),
}


def _build_other(decoder: Decoder, obj: dict[str, Any]) -> Any:
    pandas: Any = need("pandas")
    kind, value = obj.get("s"), obj.get("v")
    if kind is None:
        return _a_column(value, None).array
    if kind in ("NaT", "NA"):
        return pandas.NaT if kind == "NaT" else pandas.NA
    numpy: Any = need("numpy")
    if kind == "Timedelta" and type(value) is numpy.timedelta64:
        return pandas.Timedelta(value)
    if kind != "Timestamp" or type(value) is not numpy.datetime64:
        raise Invalid("an unknown kind of pandas value")
    stamp = pandas.Timestamp(value)
    return stamp if obj.get("z") is None else stamp.tz_localize("UTC").tz_convert(_zone(obj["z"]))


BUILDERS: dict[str, Builder] = {
    "pdF": _build_frame, "pdS": _build_series, "pdI": _build_index, "pdA": _build_column, "pdX": _build_other,
}  # fmt: skip
