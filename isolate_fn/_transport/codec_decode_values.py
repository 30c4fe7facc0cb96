"""Builders of the standard library's value types: dates, numbers, UUIDs, paths, addresses."""

from __future__ import annotations

import re

from isolate_fn._transport.codec_decoder import Builder, Decoder, Invalid, a, ints
from isolate_fn._transport.codec_encode_std import ADDRESSES, PATHS
from isolate_fn._transport.codec_types import DECIMAL_DIGITS, FRACTION_BYTES, ROOT
from isolate_fn.errors import ResultRejected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_UUID = re.compile(r"[0-9a-f]{32}\Z")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?(?:E[+-]?[0-9]{1,20})?|s?NaN[0-9]*|Infinity)\Z")
# Relative, without dots or empty parts: the key becomes part of a file name.
_ZONE = re.compile(r"[A-Za-z0-9_+-]{1,40}(?:/[A-Za-z0-9_+-]{1,40}){0,3}\Z")
_ADDRESS_TEXT = 128
_PATH_TEXT = 1 << 16


def _date(decoder: Decoder, obj: dict[str, Any]) -> Any:
    import datetime

    return datetime.date(*ints(obj.get("v"), 3))


def _time(decoder: Decoder, obj: dict[str, Any]) -> Any:
    import datetime

    hour, minute, second, microsecond, fold = ints(obj.get("v"), 5)
    return datetime.time(hour, minute, second, microsecond, _zone(obj), fold=fold)


def _datetime(decoder: Decoder, obj: dict[str, Any]) -> Any:
    import datetime

    *numbers, fold = ints(obj.get("v"), 8)
    return datetime.datetime(*numbers, tzinfo=_zone(obj), fold=fold)  # type: ignore[misc,arg-type]


def _zone(obj: dict[str, Any]) -> Any:
    import datetime
    import zoneinfo

    zone = obj.get("z")
    if zone is not None and type(zone) is not datetime.timezone and type(zone) is not zoneinfo.ZoneInfo:
        raise Invalid("no time zone")
    return zone


def _timedelta(decoder: Decoder, obj: dict[str, Any]) -> Any:
    import datetime

    days, seconds, microseconds = ints(obj.get("v"), 3)
    return datetime.timedelta(days, seconds, microseconds)


def _timezone(decoder: Decoder, obj: dict[str, Any]) -> Any:
    import datetime

    offset, name = _timedelta(decoder, obj), obj.get("n")
    return datetime.timezone(offset) if name is None else datetime.timezone(offset, a(str, name))


def _zoneinfo(decoder: Decoder, obj: dict[str, Any]) -> Any:
    import zoneinfo

    key = a(str, obj.get("v"))
    if not _ZONE.match(key):
        raise Invalid("not the name of a time zone")
    try:
        return zoneinfo.ZoneInfo(key)
    except (ValueError, OSError, LookupError):
        raise ResultRejected(
            f"time zone {key}", "install the tzdata package for the calling interpreter", ROOT
        ) from None


def _decimal(decoder: Decoder, obj: dict[str, Any]) -> Any:
    import decimal

    text = a(str, obj.get("v"))
    if len(text) > DECIMAL_DIGITS or not _DECIMAL.match(text):
        raise Invalid("not a Decimal")
    return decimal.Decimal(text)


def _fraction(decoder: Decoder, obj: dict[str, Any]) -> Any:
    import fractions

    numerator, denominator = ints(obj.get("v"), 2)
    if max(numerator.bit_length(), denominator.bit_length()) > 8 * FRACTION_BYTES:
        raise Invalid("a Fraction of huge numbers")
    return fractions.Fraction(numerator, denominator)


def _uuid(decoder: Decoder, obj: dict[str, Any]) -> Any:
    import uuid

    text = a(str, obj.get("v"))
    if not _UUID.match(text):
        raise Invalid("not a UUID")
    return uuid.UUID(hex=text, is_safe=uuid.SafeUUID[a(str, obj.get("n"))])


def _from_text(module: str, names: tuple[str, ...], longest: int) -> Builder:
    def build(decoder: Decoder, obj: dict[str, Any]) -> Any:
        name, text = obj.get("c"), a(str, obj.get("v"))
        if name not in names or len(text) > longest:
            raise Invalid(f"not a value of {module}")
        return getattr(__import__(module), name)(text)  # both from this file

    return build


BUILDERS: dict[str, Builder] = {
    "da": _date,
    "ti": _time,
    "dt": _datetime,
    "td": _timedelta,
    "tz": _timezone,
    "zi": _zoneinfo,
    "D": _decimal,
    "F": _fraction,
    "u": _uuid,
    "p": _from_text("pathlib", PATHS, _PATH_TEXT),
    "ip": _from_text("ipaddress", ADDRESSES, _ADDRESS_TEXT),
}
