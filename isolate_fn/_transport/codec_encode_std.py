"""Encoding of types from the standard library that few results hold.

Their modules are found in sys.modules: a value of the type exists only where its module is loaded, and
nothing is imported on their behalf.
"""

from __future__ import annotations

import sys

from isolate_fn._transport.codec_encoder import Encoder, Handler, Refused
from isolate_fn._transport.codec_types import DECIMAL_DIGITS, FRACTION_BYTES, TAG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VIEW_FORMATS = frozenset("bBhHiIlLqQfd?c")
"""Formats that memoryview.cast can restore."""

ARRAY_CODES = frozenset("bBhHiIlLqQfd")
FACTORIES = {
    "int": int,
    "list": list,
    "dict": dict,
    "set": set,
    "str": str,
    "float": float,
    "bool": bool,
    "tuple": tuple,
}


def handler_of(kind: type) -> Handler | None:
    """The handler of a type listed below, or None."""
    for (module, name), handler in _TABLE.items():
        loaded = sys.modules.get(module)
        if loaded is not None and getattr(loaded, name, None) is kind:
            return handler
    return None


def _memoryview(encoder: Encoder, value: memoryview) -> Any:
    code = value.format.removeprefix("@")
    if code not in VIEW_FORMATS:
        raise Refused(f"memoryview of format {value.format!r}", "return bytes(view) or a numpy array")
    data: Any = value.cast("B") if value.c_contiguous and value.nbytes else value.tobytes()
    return {TAG: "mv", "v": encoder.buffer(data), "f": code, "n": list(value.shape or ())}


def _array(encoder: Encoder, value: Any) -> Any:
    if value.typecode not in ARRAY_CODES:
        raise Refused(f"array.array({value.typecode!r})", "return a str instead")
    return {TAG: "ar", "v": encoder.buffer(value.tobytes()), "f": value.typecode}


def _deque(encoder: Encoder, value: Any) -> Any:
    encoder.enter(value, 2)
    out = {TAG: "dq", "v": encoder.items(list(value)), "n": value.maxlen}
    encoder.depth -= 2
    return out


def _mapping(tag: str) -> Handler:
    def handler(encoder: Encoder, value: Any) -> Any:
        encoder.enter(value, 2)
        keys, values = encoder.pairs(value)
        encoder.depth -= 2
        return {TAG: tag, "k": keys, "v": values}

    return handler


def _defaultdict(encoder: Encoder, value: Any) -> Any:
    factory = value.default_factory
    name = None if factory is None else getattr(factory, "__name__", "")
    if name is not None and FACTORIES.get(name) is not factory:
        raise Refused(
            f"collections:defaultdict with the factory {factory!r:.100}",
            "return dict(value); only int, list, dict, set, str, float, bool and tuple may be its factory",
        )
    out: dict[str, Any] = _mapping("dd")(encoder, value)
    out["f"] = name
    return out


def _range(encoder: Encoder, value: range) -> Any:
    return {TAG: "r", "v": [encoder.value(part) for part in (value.start, value.stop, value.step)]}


def _slice(encoder: Encoder, value: slice) -> Any:
    encoder.enter(value, 2)
    parts = [
        encoder.at(".start", value.start),
        encoder.at(".stop", value.stop),
        encoder.at(".step", value.step),
    ]
    encoder.depth -= 2
    return {TAG: "sl", "v": parts}


def _ellipsis(encoder: Encoder, value: Any) -> Any:
    return {TAG: "el", "v": None}


def _date(encoder: Encoder, value: Any) -> Any:
    return {TAG: "da", "v": [value.year, value.month, value.day]}


def _time(encoder: Encoder, value: Any) -> Any:
    numbers = [value.hour, value.minute, value.second, value.microsecond, value.fold]
    return {TAG: "ti", "v": numbers, "z": encoder.at(".tzinfo", value.tzinfo)}


def _datetime(encoder: Encoder, value: Any) -> Any:
    numbers = [
        value.year,
        value.month,
        value.day,
        value.hour,
        value.minute,
        value.second,
        value.microsecond,
        value.fold,
    ]
    return {TAG: "dt", "v": numbers, "z": encoder.at(".tzinfo", value.tzinfo)}


def _timedelta(encoder: Encoder, value: Any) -> Any:
    return {TAG: "td", "v": [value.days, value.seconds, value.microseconds]}


def _timezone(encoder: Encoder, value: Any) -> Any:
    offset, *name = value.__getinitargs__()
    parts = [offset.days, offset.seconds, offset.microseconds]
    return {TAG: "tz", "v": parts, "n": encoder.value(name[0]) if name else None}


def _zoneinfo(encoder: Encoder, value: Any) -> Any:
    if value.key is None:
        raise Refused("zoneinfo:ZoneInfo without a key", "use ZoneInfo('Area/City')")
    return {TAG: "zi", "v": value.key}


def _decimal(encoder: Encoder, value: Any) -> Any:
    text = str(value)
    if len(text) > DECIMAL_DIGITS:
        raise Refused(f"decimal:Decimal of {len(text)} characters", "round it, or return str(value)")
    return {TAG: "D", "v": encoder.value(text)}


def _fraction(encoder: Encoder, value: Any) -> Any:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > 8 * FRACTION_BYTES:
        raise Refused("fractions:Fraction of huge numbers", "return (value.numerator, value.denominator)")
    return {TAG: "F", "v": [encoder.value(value.numerator), encoder.value(value.denominator)]}


def _uuid(encoder: Encoder, value: Any) -> Any:
    return {TAG: "u", "v": value.hex, "n": value.is_safe.name}


def _text_form(tag: str, name: str) -> Handler:
    def handler(encoder: Encoder, value: Any) -> Any:
        return {TAG: tag, "c": name, "v": encoder.value(str(value))}

    return handler


PATHS = ("PosixPath", "PurePosixPath", "PureWindowsPath")
ADDRESSES = ("IPv4Address", "IPv6Address", "IPv4Network", "IPv6Network", "IPv4Interface", "IPv6Interface")

_TABLE: dict[tuple[str, str], Handler] = {
    ("builtins", "memoryview"): _memoryview,
    ("builtins", "range"): _range,
    ("builtins", "slice"): _slice,
    ("types", "EllipsisType"): _ellipsis,
    ("array", "array"): _array,
    ("collections", "deque"): _deque,
    ("collections", "OrderedDict"): _mapping("od"),
    ("collections", "Counter"): _mapping("ct"),
    ("collections", "defaultdict"): _defaultdict,
    ("datetime", "date"): _date,
    ("datetime", "time"): _time,
    ("datetime", "datetime"): _datetime,
    ("datetime", "timedelta"): _timedelta,
    ("datetime", "timezone"): _timezone,
    ("zoneinfo", "ZoneInfo"): _zoneinfo,
    ("decimal", "Decimal"): _decimal,
    ("fractions", "Fraction"): _fraction,
    ("uuid", "UUID"): _uuid,
    **{("pathlib", name): _text_form("p", name) for name in PATHS},
    **{("ipaddress", name): _text_form("ip", name) for name in ADDRESSES},
}
