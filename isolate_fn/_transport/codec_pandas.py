"""pandas frames, series, indexes and scalars: names and arrays, rebuilt with public constructors.

Columns that numpy can hold travel as numpy arrays; nullable columns as values and mask; categories as codes
and an index; text and object columns as lists whose elements pass the codec one by one. Sparse columns and
subclasses of frames are refused.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from isolate_fn._transport.codec_encoder import Encoder, Handler, Refused
from isolate_fn._transport.codec_types import TAG

FREQUENCY = re.compile(r"-?[0-9]{0,6}[A-Za-z]{1,6}(?:-[A-Z]{1,3})?\Z")
MASKED = ("IntegerArray", "FloatingArray", "BooleanArray")


def handler_of(kind: type) -> Handler | None:
    """The handler of pandas' own types; subclasses of frames have none."""
    pandas = sys.modules["pandas"]
    if kind is pandas.DataFrame:
        return _frame
    if kind is pandas.Series:
        return _series
    if issubclass(kind, pandas.Index):
        return _index
    if issubclass(kind, pandas.api.extensions.ExtensionArray):
        return _extension
    if kind in (pandas.Timestamp, pandas.Timedelta, type(pandas.NaT), type(pandas.NA)):
        return _scalar
    return None


def _frame(encoder: Encoder, value: Any) -> Any:
    encoder.depth += 2
    out: dict[str, Any] = {
        TAG: "pdF",
        "i": encoder.at(".index", value.index),
        "c": encoder.at(".columns", value.columns),
    }
    kinds = set(value.dtypes)
    if len(kinds) == 1 and value.shape[1] > 1 and _is_numpy(next(iter(kinds))):
        out["b"] = encoder.value(_owned(value.to_numpy()))  # one block, one buffer
    else:
        out["v"] = [
            _column(encoder, value.iloc[:, number].array, f".iloc[:, {number}]") for number in range(value.shape[1])
        ]
    if value.attrs:
        out["a"] = encoder.at(".attrs", value.attrs)
    encoder.depth -= 2
    return out


def _series(encoder: Encoder, value: Any) -> Any:
    encoder.depth += 2
    out = {
        TAG: "pdS", "v": _column(encoder, value.array, ""),
        "i": encoder.at(".index", value.index), "n": encoder.at(".name", value.name),
    }  # fmt: skip
    if value.attrs:
        out["a"] = encoder.at(".attrs", value.attrs)
    encoder.depth -= 2
    return out


def _index(encoder: Encoder, value: Any) -> Any:
    pandas = sys.modules["pandas"]
    encoder.depth += 2
    out: dict[str, Any] = {TAG: "pdI", "n": encoder.at(".names", list(value.names))}
    if type(value) is pandas.RangeIndex:
        out["r"] = [value.start, value.stop, value.step]
    elif type(value) is pandas.MultiIndex:
        out["l"] = [encoder.at(".levels", level) for level in value.levels]
        out["k"] = [encoder.at(".codes", _owned(codes)) for codes in value.codes]
    else:
        out["v"] = _column(encoder, value.array, "")
        frequency = (
            getattr(value, "freqstr", None) if type(value) in (pandas.DatetimeIndex, pandas.TimedeltaIndex) else None
        )
        if frequency is not None and FREQUENCY.match(frequency):
            out["f"] = frequency
    encoder.depth -= 2
    return out


def _extension(encoder: Encoder, value: Any) -> Any:
    return {TAG: "pdX", "v": _column(encoder, value, "")}


def _column(encoder: Encoder, array: Any, place: str) -> Any:
    encoder.depth += 2
    try:
        out = {TAG: "pdA", **_parts(encoder, array)}
    except Refused as refusal:
        refusal.path.append(place)
        raise
    encoder.depth -= 2
    return out


def _parts(encoder: Encoder, array: Any) -> dict[str, Any]:
    pandas, name = sys.modules["pandas"], type(array).__name__
    if name in ("NumpyExtensionArray", "PandasArray", "ndarray"):
        plain = array.to_numpy() if name != "ndarray" else array
        if plain.dtype.kind == "O":
            return {"k": "objects", "v": encoder.value(list(plain))}
        return {"k": "numpy", "v": encoder.value(_owned(plain))}
    if name in ("DatetimeArray", "TimedeltaArray"):
        zone = getattr(array, "tz", None)
        naive = array if zone is None else array.tz_convert("UTC").tz_localize(None)
        return {
            "k": "numpy" if zone is None else "zoned",
            "v": encoder.value(_owned(naive.to_numpy())),
            "z": encoder.value(zone),
        }
    if name == "Categorical":
        codes, categories = encoder.value(_owned(array.codes)), encoder.value(array.categories)
        return {"k": "categories", "v": codes, "c": categories, "o": bool(array.ordered)}
    if name in MASKED:
        values = array.to_numpy(dtype=array.dtype.numpy_dtype, na_value=array.dtype.numpy_dtype.type(0))
        return {"k": name, "v": encoder.value(_owned(values)), "m": encoder.value(_owned(array.isna()))}
    if isinstance(array.dtype, pandas.StringDtype):
        texts = [None if missing else str(text) for text, missing in zip(array, array.isna(), strict=True)]
        nan = array.dtype.na_value is not pandas.NA
        return {"k": "text", "v": encoder.value(texts), "s": array.dtype.storage, "na": nan}
    if name == "PeriodArray" and FREQUENCY.match(array.freqstr):
        return {"k": "periods", "v": encoder.value(_owned(array.asi8)), "f": array.freqstr}
    if name == "IntervalArray":
        sides = [encoder.value(array.left), encoder.value(array.right)]
        return {"k": "intervals", "v": sides, "c": array.closed}
    if name == "ArrowExtensionArray":
        return {"k": "arrow", "v": encoder.value(array.__arrow_array__())}
    raise Refused(f"pandas array of dtype {array.dtype!s:.80}", "convert it with astype() to a numpy or nullable dtype")


def _owned(array: Any) -> Any:
    """Columns of copy-on-write frames are read-only views; what arrives is an array of its own."""
    if array.flags.writeable:
        return array
    view = array.view()
    try:
        view.flags.writeable = True
    except ValueError:
        return array.copy()
    return view


def _is_numpy(dtype: Any) -> bool:
    return hasattr(dtype, "char") and dtype.kind in "biufc"


def _scalar(encoder: Encoder, value: Any) -> Any:
    pandas = sys.modules["pandas"]
    if value is pandas.NaT or value is pandas.NA:
        return {TAG: "pdX", "s": "NaT" if value is pandas.NaT else "NA"}
    if type(value) is pandas.Timedelta:
        return {TAG: "pdX", "s": "Timedelta", "v": encoder.value(value.asm8)}
    utc = value if value.tz is None else value.tz_convert("UTC").tz_localize(None)
    return {TAG: "pdX", "s": "Timestamp", "v": encoder.value(utc.asm8), "z": encoder.at(".tz", value.tz)}
