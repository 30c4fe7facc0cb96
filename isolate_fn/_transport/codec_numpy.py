"""numpy arrays and scalars: a dtype by a strict grammar, a shape, and the raw buffer.

The grammar has no word for object dtypes, so no number from the wire ever becomes a pointer. What numpy
itself would believe unchecked is checked here: the size against the buffer, booleans other than 0 and 1,
characters beyond Unicode, and malformed 80-bit floats.
"""

from __future__ import annotations

import re
import sys
from itertools import pairwise
from math import prod
from typing import Any

from isolate_fn._transport.codec_decoder import Builder, Decoder, Invalid, need
from isolate_fn._transport.codec_encoder import Encoder, Handler, Refused
from isolate_fn._transport.codec_types import TAG

_SIMPLE = re.compile(
    r"(?:\|b1|\|[iu]1|[<>][iu][248]|[<>]f(?:2|4|8|16)|[<>]c(?:8|16|32)|\|[SV][0-9]{1,9}|[<>]U[0-9]{1,9}|q|Q)\Z"
)
_TIME = re.compile(r"[<>][mM]8(?:\[[0-9]{0,9}(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?\Z")
_MAX_DIMENSIONS = 32
_MAX_FIELDS = 1000
_MAX_UNICODE = 0x10FFFF


def handler_of(kind: type) -> Handler | None:
    """The handler of numpy's own array and scalar types; one that refuses for masked arrays and the like."""
    numpy = sys.modules["numpy"]
    if kind is numpy.ndarray:
        return _array
    if issubclass(kind, numpy.generic):
        return _text_scalar if kind in (numpy.str_, numpy.bytes_) else _scalar
    if issubclass(kind, numpy.dtype):
        return _dtype
    if issubclass(kind, numpy.ndarray):
        return _subclass
    return None


def _subclass(encoder: Encoder, value: Any) -> Any:
    kind = type(value)
    remedy = (
        "return array.filled(...) and array.mask" if kind.__name__ == "MaskedArray" else "return numpy.array(value)"
    )
    raise Refused(f"{kind.__module__}:{kind.__qualname__}", remedy)


def _array(encoder: Encoder, value: Any) -> Any:
    numpy = sys.modules["numpy"]
    if value.dtype.kind == "O":
        raise Refused("numpy.ndarray of dtype object", "return value.tolist(), or convert it with astype()")
    dtype = dtype_to_wire(value.dtype)
    order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
    flat = value.T if order == "F" else numpy.ascontiguousarray(value)
    # As bytes: the buffer protocol has no formats for dates, and none that all readers agree on for
    # structures.
    raw = memoryview(flat.reshape(-1).view(numpy.uint8)) if value.size else b""
    out = {TAG: "nd", "d": dtype, "n": list(value.shape), "v": encoder.buffer(raw)}
    if order == "F":
        out["o"] = "F"
    if not value.flags.writeable:
        out["w"] = False
    return out


def _scalar(encoder: Encoder, value: Any) -> Any:
    numpy = sys.modules["numpy"]
    if type(value) is numpy.void and value.dtype.itemsize == 0:
        raise Refused("an empty numpy.void", "return None")
    return {TAG: "ns", "d": dtype_to_wire(value.dtype), "v": encoder.buffer(value.tobytes())}


def _text_scalar(encoder: Encoder, value: Any) -> Any:
    plain = str(value) if isinstance(value, str) else bytes(value)
    return {TAG: "nx", "v": encoder.value(plain)}


def _dtype(encoder: Encoder, value: Any) -> Any:
    return {TAG: "no", "v": dtype_to_wire(value)}


def dtype_to_wire(dtype: Any) -> Any:
    """A dtype as text, or as a list.

    Structures are ``["s", itemsize, aligned, [[name, dtype, offset]]]``, subarrays ``["a", dtype, shape]``.

    Raises:
        Refused: it holds objects or is of a kind that the format has no word for.
    """
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return ["a", dtype_to_wire(base), list(shape)]
    if dtype.names is not None:
        fields = []
        for name in dtype.names:
            inner, offset, *title = dtype.fields[name]
            if title:
                raise Refused("numpy dtype with titles", "use field names without titles")
            fields.append([name, dtype_to_wire(inner), offset])
        return ["s", dtype.itemsize, bool(dtype.isalignedstruct), fields]
    text = (
        str(dtype.char) if dtype.char in "qQ" and dtype.isnative and dtype.str[1:] in ("i8", "u8") else str(dtype.str)
    )
    if text in "qQ" and type(dtype) is type(sys.modules["numpy"].dtype(dtype.str)):
        text = dtype.str
    if not (_SIMPLE.match(text) or _TIME.match(text)) or dtype.itemsize == 0:
        raise Refused(f"numpy dtype {dtype!s:.80}", "convert it with astype() to numbers, dates or fixed-length text")
    return text


def dtype_from_wire(numpy: Any, wire: Any) -> Any:
    """Build a dtype.

    Raises:
        Invalid: it is not of the grammar.
    """
    if type(wire) is str:
        if not (_SIMPLE.match(wire) or _TIME.match(wire)):
            raise Invalid("not a dtype")
        dtype = numpy.dtype(wire)
    elif type(wire) is list and len(wire) == 3 and wire[0] == "a":
        dtype = numpy.dtype((dtype_from_wire(numpy, wire[1]), _shape(wire[2])))
    elif type(wire) is list and len(wire) == 4 and wire[0] == "s":
        dtype = _structure(numpy, wire[1], wire[2], wire[3])
    else:
        raise Invalid("not a dtype")
    if dtype.hasobject or dtype.itemsize <= 0:
        raise Invalid("not a dtype")
    return dtype


def _structure(numpy: Any, size: Any, aligned: Any, fields: Any) -> Any:
    if (
        type(size) is not int
        or not 0 < size < 1 << 31
        or type(fields) is not list
        or not 0 < len(fields) <= _MAX_FIELDS
    ):
        raise Invalid("not a structure")
    names, formats, offsets = [], [], []
    taken: list[tuple[int, int]] = []
    for name, wire, offset in fields:
        dtype = dtype_from_wire(numpy, wire)
        if type(name) is not str or type(offset) is not int or not 0 <= offset <= size - dtype.itemsize:
            raise Invalid("a field outside of its structure")
        names.append(name)
        formats.append(dtype)
        offsets.append(offset)
        taken.append((offset, offset + dtype.itemsize))
    taken.sort()
    if any(end > start for (_, end), (start, _) in pairwise(taken)):
        raise Invalid("fields that overlap")
    return numpy.dtype(
        {"names": names, "formats": formats, "offsets": offsets, "itemsize": size}, align=aligned is True
    )


def _shape(wire: Any) -> tuple[int, ...]:
    if type(wire) is not list or len(wire) > _MAX_DIMENSIONS:
        raise Invalid("not a shape")
    if any(type(size) is not int or not 0 <= size < 1 << 62 for size in wire):
        raise Invalid("not a shape")
    return tuple(wire)


def _build_array(decoder: Decoder, obj: dict[str, Any]) -> Any:
    numpy: Any = need("numpy")
    dtype, shape = dtype_from_wire(numpy, obj.get("d")), _shape(obj.get("n"))
    view = decoder.take(obj.get("v"))
    order = "F" if obj.get("o") == "F" else "C"
    if dtype.subdtype is not None or prod(shape) * dtype.itemsize != view.nbytes:
        raise Invalid("an array whose shape does not fit its buffer")
    if not view.nbytes:
        return numpy.zeros(shape, dtype, order)
    flat = numpy.frombuffer(view, dtype)
    if not flat.flags.aligned or view.readonly:
        flat = numpy.frombuffer(bytearray(view), dtype)  # not flat.copy(), which leaves padding uninitialised
    check_content(numpy, flat)
    array = flat.reshape(shape, order=order)
    if obj.get("w") is False:
        array.flags.writeable = False
    return array


def check_content(numpy: Any, array: Any) -> None:
    """Refuse bit patterns that no operation of numpy makes.

    Raises:
        Invalid: booleans other than 0 and 1, characters beyond Unicode, malformed extended floats.
    """
    dtype = array.dtype
    if dtype.names is not None:
        for name in dtype.names:
            check_content(numpy, array[name])
        return
    if dtype.kind not in "bU" and dtype.str[1:] not in ("f16", "c32"):
        return
    plain = numpy.ascontiguousarray(array).reshape(-1)
    if dtype.kind == "b":
        bad = bool((plain.view(numpy.uint8) > 1).any())
    elif dtype.kind == "U":
        bad = bool((plain.view(dtype.str[0] + "u4") > _MAX_UNICODE).any())
    else:
        bad = _malformed_floats(numpy, plain)
    if bad:
        raise Invalid(f"impossible values of dtype {dtype.str}")


def _malformed_floats(numpy: Any, plain: Any) -> bool:
    # x87 numbers have an explicit leading bit. Where it contradicts the exponent, C libraries have overflowed
    # buffers when printing them (CVE-2020-29573).
    if numpy.finfo(numpy.longdouble).nmant != 63:
        return False
    if not plain.dtype.isnative:
        return True
    parts = plain.view(numpy.uint8).reshape(-1, 16)
    exponent = parts[:, 8].astype(numpy.uint16) | (parts[:, 9].astype(numpy.uint16) & 0x7F) << 8
    return bool(((exponent != 0) != (parts[:, 7] >= 0x80)).any())


def _build_scalar(decoder: Decoder, obj: dict[str, Any]) -> Any:
    numpy: Any = need("numpy")
    dtype, view = dtype_from_wire(numpy, obj.get("d")), decoder.take(obj.get("v"))
    if view.nbytes != dtype.itemsize or dtype.subdtype is not None or dtype.kind in "SU":
        raise Invalid("not a numpy scalar")
    array = numpy.frombuffer(bytearray(view), dtype)
    check_content(numpy, array)
    return array[0]


def _build_text(decoder: Decoder, obj: dict[str, Any]) -> Any:
    numpy: Any = need("numpy")
    value = obj.get("v")
    if type(value) is str:
        return numpy.str_(value)
    if type(value) is bytes:
        return numpy.bytes_(value)
    raise Invalid("not a numpy scalar")


def _build_dtype(decoder: Decoder, obj: dict[str, Any]) -> Any:
    return dtype_from_wire(need("numpy"), obj.get("v"))


BUILDERS: dict[str, Builder] = {
    "nd": _build_array,
    "ns": _build_scalar,
    "nx": _build_text,
    "no": _build_dtype,
}
