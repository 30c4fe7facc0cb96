"""Builders of the caller's own classes. The wire names them; the caller's table decides which there are."""

from __future__ import annotations

import enum
import functools
import operator

from isolate_fn._transport.codec_decoder import Builder, Decoder, Invalid, a
from isolate_fn._transport.codec_types import ROOT
from isolate_fn._transport.text import visible
from isolate_fn.errors import ResultRejected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FLAG_BITS = 64
_OTHER_VERSION = "the isolate has another version of this class: its fields differ"


def call(entry_name: object, constructor: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a constructor of the caller's own; whatever it raises becomes a rejection.

    Raises:
        ResultRejected: it raised.
    """
    try:
        return constructor(*args, **kwargs)
    except KeyboardInterrupt:  # the user's own Ctrl-C
        raise
    except BaseException as problem:
        name = visible(str(entry_name), 200)
        try:
            text = visible(f"{type(problem).__name__}: {problem}", 300)
        except Exception:
            text = type(problem).__name__
        raise ResultRejected(name, f"its constructor refused the fields ({text})", ROOT) from None


def _enum(decoder: Decoder, obj: dict[str, Any]) -> Any:
    members = decoder.entry(obj.get("c"), "E").cls.__members__  # type: ignore[attr-defined]
    name = obj.get("v")
    if type(name) is not str or name not in members:
        raise ResultRejected(
            visible(str(obj["c"]), 200), "the isolate named a member that the class here does not have", ROOT
        )
    return members[name]


def _flag(decoder: Decoder, obj: dict[str, Any]) -> Any:
    value = a(int, obj.get("v"))
    if value.bit_length() > _FLAG_BITS:  # an enum class remembers every combination it was asked for
        raise Invalid("a Flag of too many bits")
    cls: Any = decoder.entry(obj.get("c"), "Fl").cls
    # Looked at here: the default boundary, STRICT by now, was CONFORM in early 3.11, which drops such bits silently.
    known = functools.reduce(operator.or_, (member.value for member in cls.__members__.values()), 0)
    if cls._boundary_ is not enum.KEEP and value & ~known:
        raise Invalid("a Flag with bits that no member has")
    return call(obj.get("c"), cls, value)


def _instance(tag: str) -> Builder:
    def build(decoder: Decoder, obj: dict[str, Any]) -> Any:
        entry = decoder.entry(obj.get("c"), tag)
        fields = a(dict, obj.get("v"))
        if fields.keys() != entry.fields:
            raise ResultRejected(
                visible(obj["c"], 200),
                _OTHER_VERSION,
                ROOT,
            )
        return call(obj["c"], entry.cls, **fields)

    return build


def _namedtuple(decoder: Decoder, obj: dict[str, Any]) -> Any:
    entry, values = decoder.entry(obj.get("c"), "nt"), a(list, obj.get("v"))
    if len(values) != len(entry.fields):
        raise ResultRejected(
            visible(obj["c"], 200), "the isolate has another version of this class: its fields differ", ROOT
        )
    return call(obj["c"], entry.cls, *values)


def _registered(decoder: Decoder, obj: dict[str, Any]) -> Any:
    entry = decoder.entry(obj.get("c"), "reg")
    value = call(obj["c"], entry.decode, obj.get("v"))
    if not isinstance(value, entry.cls):
        raise ResultRejected(visible(obj["c"], 200), "its decode function must return an instance of the class", ROOT)
    return value


def _exception(decoder: Decoder, obj: dict[str, Any]) -> BaseException:
    from isolate_fn._transport.failures_rebuild import rebuild

    if not decoder.limits.exceptions:
        raise Invalid("an exception in an exception's arguments")
    return rebuild(obj.get("v"), decoder.classes.exceptions)


BUILDERS: dict[str, Builder] = {
    "E": _enum,
    "Fl": _flag,
    "k": _instance("k"),
    "at": _instance("at"),
    "nt": _namedtuple,
    "reg": _registered,
    "x": _exception,
}
