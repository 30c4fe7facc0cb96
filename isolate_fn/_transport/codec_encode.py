"""The isolate's half of the codec: a value becomes JSON and buffers, or is refused with place and fix.

Types are compared exactly. A subclass of int or dict may hold state and behaviour that the other side knows
nothing of, so it is refused rather than silently cut down.

Speed comes from asking about many elements at once, in C: a list or dict of plain values is handed to the
JSON encoder as it is. What that encoder would get wrong (ints over 64 bits, text with lone surrogates, very
long text) shows in its output; then the value is walked a second time, carefully.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from isolate_fn._transport.codec_encoder import CORE, Encoder, Handler, Refused
from isolate_fn._transport.codec_types import (
    INT_MAX,
    INT_MIN,
    LONG_TEXT,
    RETRY_BYTES,
    ROOT,
    TAG,
    Encoded,
    class_name,
    has_digit_run,
)
from isolate_fn._transport.json_text import dumps
from isolate_fn.errors import ResultRejected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TEXT = frozenset({str})
_new = tuple.__new__


def encode_short(value: object) -> bytes:
    """Return the JSON of a number that fits a register, or of None, as `encode` would; nothing for any other value."""
    if type(value) is int and INT_MIN <= value <= INT_MAX:
        return b"%d" % value
    return b"null" if value is None else b""


def encode(value: object, *, registered: Mapping[type, Callable[[Any], Any]] | None = None) -> Encoded:
    """Encode a value in the closed format.

    Args:
        value: what to send.
        registered: classes with their own encoding: class to function that returns a value of other supported
            types.

    Returns:
        JSON and buffers. The buffers are views of the value where possible: send them before it changes.

    Raises:
        ResultRejected: something in it cannot travel; names the type, the place and the fix.
    """
    text = encode_short(value)
    if text:
        return _new(Encoded, (text, []))  # a third of the time of Encoded(...)
    try:
        return _plain_first(value, registered or {})
    except Refused as refusal:
        raise refusal.rejection() from refusal.__cause__
    except RecursionError:
        raise ResultRejected(class_name(type(value)), "return a flatter value: it nests too deeply", ROOT) from None
    except Exception as failure:  # code of the value's own classes, or another thread changing it
        remedy = f"reading it raised {type(failure).__name__}: return a complete value that no longer changes"
        raise ResultRejected(class_name(type(value)), remedy, ROOT) from failure


def _plain_first(value: object, registered: Mapping[type, Callable[[Any], Any]]) -> Encoded:
    encoder = Encoder(registered)
    try:
        text = dumps(encoder.value(value)).encode()
    except ValueError:  # UnicodeEncodeError: a lone surrogate; ValueError: an int beyond sys.get_int_max_str_digits()
        text = b""
    if text and len(text) <= RETRY_BYTES and not has_digit_run(text):
        return Encoded(text, encoder.buffers)
    encoder = Encoder(registered, careful=True)
    return Encoded(dumps(encoder.value(value)).encode(), encoder.buffers)


def _same(encoder: Encoder, value: Any) -> Any:
    return value


def _int(encoder: Encoder, value: int) -> Any:
    if INT_MIN <= value <= INT_MAX:
        return value
    if value.bit_length() <= 4 * LONG_TEXT:
        return {TAG: "i", "v": f"{value:x}"}
    return {TAG: "I", "v": encoder.buffer(value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))}


def _str(encoder: Encoder, value: str) -> Any:
    if not encoder.careful:
        return value
    if len(value) > LONG_TEXT or not _is_text(value):
        return {TAG: "s", "v": encoder.buffer(value.encode("utf-8", "surrogatepass"))}
    return value


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bytes(encoder: Encoder, value: bytes) -> Any:
    return {TAG: "b", "v": encoder.buffer(value)}


def _bytearray(encoder: Encoder, value: bytearray) -> Any:
    return {TAG: "ba", "v": encoder.buffer(value)}


def _complex(encoder: Encoder, value: complex) -> Any:
    return {TAG: "c", "v": [value.real, value.imag]}


def _list(encoder: Encoder, value: list[Any]) -> Any:
    encoder.enter(value, 1)
    out = encoder.items(value)
    encoder.depth -= 1
    return out


def _sequence(tag: str) -> Handler:
    def handler(encoder: Encoder, value: Any) -> Any:
        encoder.enter(value, 2)
        out = {TAG: tag, "v": encoder.items(value if type(value) is tuple else list(value))}
        encoder.depth -= 2
        return out

    return handler


def _dict(encoder: Encoder, value: dict[Any, Any]) -> Any:
    kinds = set(map(type, value))
    if (kinds == _TEXT or not kinds) and TAG not in value and not (encoder.careful and _odd_keys(value)):
        encoder.enter(value, 1)
        out: Any = encoder.mapping(value)
        encoder.depth -= 1
        return out
    encoder.enter(value, 2)
    keys, values = encoder.pairs(value)
    encoder.depth -= 2
    return {TAG: "d", "k": keys, "v": values}


def _odd_keys(value: dict[str, Any]) -> bool:
    return not all(len(key) <= LONG_TEXT and _is_text(key) for key in value)


_HANDLERS: dict[type, Handler] = {
    type(None): _same,
    bool: _same,
    float: _same,
    int: _int,
    str: _str,
    bytes: _bytes,
    bytearray: _bytearray,
    complex: _complex,
    list: _list,
    dict: _dict,
    tuple: _sequence("t"),
    set: _sequence("set"),
    frozenset: _sequence("fs"),
}

CORE.update(_HANDLERS)
