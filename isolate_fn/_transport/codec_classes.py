"""Encoding of the user's own value types: enumerations, dataclasses, named tuples, attrs classes.

The wire carries their name and their fields. Whether the receiver knows a class of that name is the
receiver's decision (registry.py).
"""

from __future__ import annotations

import sys
from typing import Any

from isolate_fn._transport.codec_encoder import Encoder, Handler, Refused
from isolate_fn._transport.codec_types import TAG, class_name

_BUILTIN_BASES = (bool, int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict)


def handler_of(kind: type) -> Handler:
    """The handler of a class by what it is; a handler that refuses, where it is nothing of the kind."""
    enum = sys.modules["enum"]
    if issubclass(kind, enum.Flag):
        return _flag
    if issubclass(kind, enum.Enum):
        return _enum
    if issubclass(kind, BaseException):
        return _exception
    if issubclass(kind, tuple) and is_namedtuple(kind):
        return _namedtuple
    if "__dataclass_fields__" in kind.__dict__:
        return _fields_handler(dataclass_fields(kind), "k")
    if "__attrs_attrs__" in kind.__dict__:
        return _fields_handler(attrs_fields(kind), "at")
    return _refuse


def is_namedtuple(kind: type) -> bool:
    """Whether collections.namedtuple or typing.NamedTuple made this class."""
    fields = getattr(kind, "_fields", None)
    return isinstance(fields, tuple) and all(type(name) is str for name in fields)


def dataclass_fields(kind: type) -> tuple[tuple[str, str], ...]:
    """``(attribute, constructor argument)`` of each field that the constructor takes."""
    import dataclasses

    return tuple((field.name, field.name) for field in dataclasses.fields(kind) if field.init)


def attrs_fields(kind: type) -> tuple[tuple[str, str], ...]:
    """``(attribute, constructor argument)`` of each field that the constructor takes."""
    fields = kind.__dict__["__attrs_attrs__"]
    return tuple(
        (field.name, getattr(field, "alias", None) or field.name.lstrip("_")) for field in fields if field.init
    )


def _fields_handler(fields: tuple[tuple[str, str], ...], tag: str) -> Handler:
    def handler(encoder: Encoder, value: Any) -> Any:
        encoder.enter(value, 2)
        out = {}
        for attribute, argument in fields:
            out[argument] = encoder.at(f".{attribute}", _read(value, attribute))
        encoder.depth -= 2
        return {TAG: tag, "c": class_name(type(value)), "v": out}

    return handler


def _read(value: object, attribute: str) -> Any:
    try:
        return getattr(value, attribute)
    except Exception as failure:
        raise Refused(
            f"{class_name(type(value))}, whose field {attribute!r} cannot be read ({type(failure).__name__})",
            "set every field before returning it",
        ) from failure


def _enum(encoder: Encoder, value: Any) -> Any:
    return {TAG: "E", "c": class_name(type(value)), "v": value.name}


def _flag(encoder: Encoder, value: Any) -> Any:
    if type(value.value) is not int:
        raise Refused(class_name(type(value)), "return its .value")
    return {TAG: "Fl", "c": class_name(type(value)), "v": encoder.value(value.value)}


def _namedtuple(encoder: Encoder, value: Any) -> Any:
    encoder.enter(value, 2)
    out = []
    for name, item in zip(type(value)._fields, tuple(value), strict=True):
        out.append(encoder.at(f".{name}", item))
    encoder.depth -= 2
    return {TAG: "nt", "c": class_name(type(value)), "v": out}


def _exception(encoder: Encoder, value: BaseException) -> Any:
    from isolate_fn._transport.failures_describe import describe

    encoder.enter(value, 2)
    out = {TAG: "x", "v": encoder.value(describe(value))}
    encoder.depth -= 2
    return out


def _refuse(encoder: Encoder, value: object) -> Any:
    kind = type(value)
    name = class_name(kind)
    for base in _BUILTIN_BASES:
        if issubclass(kind, base):
            raise Refused(name, f"return {base.__name__}(value): a subclass of {base.__name__} does not travel")
    if "__dataclass_fields__" in dir(kind) or "__attrs_attrs__" in dir(kind):
        raise Refused(name, "decorate this subclass itself with @dataclass or @attrs.define")
    numpy_like = kind.__module__.partition(".")[0]
    if numpy_like in ("numpy", "pandas", "pyarrow", "PIL"):
        raise Refused(name, "return a plain array, frame or image of builtin dtypes")
    raise Refused(
        name,
        f"return plain data instead (dict, list, dataclass), or register it: "
        f"returns=(({kind.__qualname__}, encode, decode),)",
    )
