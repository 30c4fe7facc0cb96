"""Builders of the builtin types and containers.

Each checks the shape of what it got, then calls the type's public, validating constructor. No builder sets
state behind a constructor's back.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter, OrderedDict, defaultdict, deque

from isolate_fn._transport.codec_decoder import Builder, Decoder, Invalid, a, ints
from isolate_fn._transport.codec_encode_std import ARRAY_CODES, FACTORIES, VIEW_FORMATS
from isolate_fn._transport.codec_types import LIST_BYTES, LONG_TEXT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HEX = re.compile(rf"-?[0-9a-f]{{1,{LONG_TEXT + 1}}}\Z")
_TO_UTF16 = bytes(range(0xF0))
_CONTINUATION = bytes(range(0x80, 0xC0))


def _hex_int(decoder: Decoder, obj: dict[str, Any]) -> int:
    text = a(str, obj.get("v"))
    if not _HEX.match(text):
        raise Invalid("not a hexadecimal int")
    return int(text, 16)


def _big_int(decoder: Decoder, obj: dict[str, Any]) -> int:
    return int.from_bytes(decoder.take(obj.get("v")), "little", signed=True)


def _text(decoder: Decoder, obj: dict[str, Any]) -> str:
    raw = bytes(decoder.take(obj.get("v")))
    if not raw.isascii():  # one wide character makes the whole text wide
        width = 4 if raw.translate(None, _TO_UTF16) else 2
        decoder.charge(max(0, len(raw.translate(None, _CONTINUATION)) * width - len(raw)), 1)
    return raw.decode("utf-8", "surrogatepass")


def _bytes(decoder: Decoder, obj: dict[str, Any]) -> bytes:
    return bytes(decoder.take(obj.get("v")))


def _bytearray(decoder: Decoder, obj: dict[str, Any]) -> bytearray:
    return bytearray(decoder.take(obj.get("v")))


def _memoryview(decoder: Decoder, obj: dict[str, Any]) -> memoryview:
    view = decoder.take(obj.get("v")).toreadonly()
    code, shape = a(str, obj.get("f")), a(list, obj.get("n"))
    if code not in VIEW_FORMATS or not all(type(size) is int and size >= 0 for size in shape):
        raise Invalid("not a memoryview")
    if not view.nbytes or len(shape) == 1:  # cast() refuses zeros in a shape
        return view if code == "B" else view.cast(code)
    return view.cast(code, shape)


def _array(decoder: Decoder, obj: dict[str, Any]) -> Any:
    if obj.get("f") not in ARRAY_CODES:
        raise Invalid("not an array")
    out: array[Any] = array(obj["f"])
    out.frombytes(decoder.take(obj.get("v")))
    return out


def _numbers(code: str) -> Builder:
    def build(decoder: Decoder, obj: dict[str, Any]) -> list[Any]:
        view = decoder.take(obj.get("v"))
        if view.nbytes % 8:
            raise Invalid("half a number")
        decoder.charge(view.nbytes // 8, LIST_BYTES)
        return view.cast(code).tolist()  # type: ignore[call-overload,no-any-return]

    return build


def _bytes_list(decoder: Decoder, obj: dict[str, Any]) -> list[bytes]:
    first, second = a(list, obj.get("v"))
    raw, data = decoder.take(first), decoder.take(second)
    if raw.nbytes % 8:
        raise Invalid("half a length")
    decoder.charge(raw.nbytes // 8, LIST_BYTES + 16)
    lengths = raw.cast("Q").tolist()
    if sum(lengths) != data.nbytes:
        raise Invalid("lengths that do not add up")
    out, start = [], 0
    for length in lengths:
        out.append(bytes(data[start : start + length]))
        start += length
    return out


def _complex(decoder: Decoder, obj: dict[str, Any]) -> complex:
    real, imaginary = a(list, obj.get("v"))
    return complex(a(float, real), a(float, imaginary))


def _tuple(decoder: Decoder, obj: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(a(list, obj.get("v")))


def _unique(kind: type) -> Builder:
    def build(decoder: Decoder, obj: dict[str, Any]) -> Any:
        items = a(list, obj.get("v"))
        decoder.check_hashes(items, len(items))
        out = kind(items)
        if len(out) != len(items):
            raise Invalid("a set with equal elements")
        return out

    return build


def _pairs(decoder: Decoder, obj: dict[str, Any]) -> zip[tuple[Any, Any]]:
    keys, values = a(list, obj.get("k")), a(list, obj.get("v"))
    if len(keys) != len(values):
        raise Invalid("a dict with keys but no values")
    decoder.check_hashes(keys, len(keys))
    return zip(keys, values, strict=True)


def _dict_like(kind: type) -> Builder:
    def build(decoder: Decoder, obj: dict[str, Any]) -> Any:
        out = kind()
        dict.update(out, _pairs(decoder, obj)) if kind is Counter else out.update(_pairs(decoder, obj))
        if len(out) != len(obj["k"]):
            raise Invalid("a dict with equal keys")
        return out

    return build


def _defaultdict(decoder: Decoder, obj: dict[str, Any]) -> Any:
    name = obj.get("f")
    if name is not None and (type(name) is not str or name not in FACTORIES):
        raise Invalid("an unknown factory")
    out: defaultdict[Any, Any] = defaultdict(FACTORIES.get(name) if name is not None else None, _pairs(decoder, obj))
    if len(out) != len(obj["k"]):
        raise Invalid("a dict with equal keys")
    return out


def _deque(decoder: Decoder, obj: dict[str, Any]) -> deque[Any]:
    items, longest = a(list, obj.get("v")), obj.get("n")
    if longest is not None and (type(longest) is not int or longest < len(items)):
        raise Invalid("a deque longer than its maximum")
    return deque(items, longest)


def _range(decoder: Decoder, obj: dict[str, Any]) -> range:
    return range(*ints(obj.get("v"), 3))


def _slice(decoder: Decoder, obj: dict[str, Any]) -> slice:
    start, stop, step = a(list, obj.get("v"))
    return slice(start, stop, step)


def _ellipsis(decoder: Decoder, obj: dict[str, Any]) -> Any:
    return ...


BUILDERS: dict[str, Builder] = {
    "i": _hex_int,
    "I": _big_int,
    "s": _text,
    "b": _bytes,
    "ba": _bytearray,
    "mv": _memoryview,
    "ar": _array,
    "lq": _numbers("q"),
    "ld": _numbers("d"),
    "lb": _bytes_list,
    "c": _complex,
    "t": _tuple,
    "set": _unique(set),
    "fs": _unique(frozenset),
    "d": _dict_like(dict),
    "od": _dict_like(OrderedDict),
    "ct": _dict_like(Counter),
    "dd": _defaultdict,
    "dq": _deque,
    "r": _range,
    "sl": _slice,
    "el": _ellipsis,
}
