"""The caller's half of the codec: hostile JSON and buffers become values of fixed types, or an error.

Nothing on the wire names code. A tag selects an entry of a table of builders (codec_decode_std.py, or one of
four fixed modules of this package), a class name selects an entry of the caller's own table. Bounds come
before anything is built: size, nesting, number of values, length of numbers; while building, each buffer is
given out once and colliding hash keys are counted. Whatever a constructor raises becomes an error of this
package.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from itertools import accumulate

from isolate_fn._transport.codec_types import DEFAULT_LIMITS, INT_DIGITS, DecodeLimits, has_digit_run
from isolate_fn._transport.invalid import Invalid
from isolate_fn._transport.registry import EMPTY, ClassTable
from isolate_fn._transport.text import visible
from isolate_fn.errors import TransportError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from isolate_fn._transport.codec_decoder import Builder

_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
_SMALL = 200
_TAG_TEXT = b'"$"'
_ZERO = ord("0")

# A string, without backtracking and matching unterminated ones too, so that the time is linear for any input. Compiled
# (and kept by re) when an answer is large or deep enough to be looked at.
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?'
_NESTING = bytes({91: 1, 123: 1, 93: 255, 125: 255}.get(byte, 0) for byte in range(256))
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


def decode(
    data: bytes,
    buffers: Sequence[memoryview | bytes] = (),
    *,
    classes: ClassTable = EMPTY,
    limits: DecodeLimits = DEFAULT_LIMITS,
) -> Any:
    """Build the value that an isolate sent.

    Args:
        data: JSON text in UTF-8, as it arrived.
        buffers: the raw buffers, as they arrived; arrays are built on them without a copy.
        classes: which classes of the user may be built.
        limits: bounds on the input.

    Returns:
        The value. Its types are those of the fixed table and of ``classes``.

    Raises:
        ResultRejected: it names a class that is not in ``classes``, or a constructor refused its values.
        TransportError: it is not a value of this format, or exceeds a limit.
    """
    try:
        # Shorter than every limit, and without long numbers: nothing can be exceeded.
        small = len(data) <= _SMALL <= limits.depth and limits.nodes >= _SMALL <= limits.total
        if buffers or not small or has_digit_run(data):
            check_bounds(data, buffers, limits)
        text = data.decode()
        if buffers or _TAG_TEXT in data:
            from isolate_fn._transport.codec_decoder import (
                Decoder,  # not for what JSON itself has, most scripts' one answer
            )

            return Decoder(buffers, classes, limits, builders()).run(text)
        value, end = _scan(text, 0)
        if end != len(text):
            raise Invalid("text after the value")
        return value
    except TransportError:
        raise
    except Invalid as problem:
        raise TransportError(f"the isolate's answer is not valid: {problem}") from None
    except RecursionError:
        raise TransportError("the isolate's answer nests too deeply for this thread's stack") from None
    except MemoryError:
        raise TransportError("no memory for the isolate's answer", "return less") from None
    except Exception as problem:
        raise TransportError(f"the isolate's answer is not valid: {_short(problem)}") from None


@functools.cache
def builders() -> dict[str, Builder]:
    """Return tag -> builder, of the values that need no library."""
    from isolate_fn._transport import codec_decode_classes, codec_decode_std, codec_decode_values

    return {**codec_decode_std.BUILDERS, **codec_decode_values.BUILDERS, **codec_decode_classes.BUILDERS}


LONG = object()
"""What `decode_short` returns for anything but short and plain text."""


def decode_short(data: bytes) -> Any:
    """Return the value of text that is too short to exceed a limit and holds no tag; the answer of most calls.

    Args:
        data: JSON text in UTF-8, as it arrived.

    Returns:
        The value, or `LONG` for everything that `decode` shall look at, valid or not.
    """
    if len(data) > INT_DIGITS or _TAG_TEXT in data:
        return LONG
    if data.isdigit() and (data[0] != _ZERO or len(data) == 1):  # JSON knows no 007
        return int(data)
    try:
        text = data.decode()
        value, end = _scan(text, 0)
    except (ValueError, StopIteration):
        return LONG
    return value if end == len(text) else LONG


def check_bounds(data: bytes, buffers: Sequence[memoryview | bytes], limits: DecodeLimits) -> None:
    """Refuse text that is too big or too deep, has too many values or too long numbers.

    Linear in its length, and nearly free when small.

    Raises:
        Invalid: a bound is exceeded.
    """
    total = len(data)
    if buffers:
        total += sum(len(buffer) if isinstance(buffer, bytes) else buffer.nbytes for buffer in buffers)
    if total > limits.total:
        raise Invalid(f"{total} bytes; {limits.total} are allowed")
    if len(data) > limits.json:
        raise Invalid(f"{len(data)} bytes of structure; {limits.json} are allowed")
    # Every bracket opened in a string or not: a cheap upper bound, and usually enough.
    brackets = data.count(b"[") + data.count(b"{")
    deep = brackets > limits.depth
    many = len(data) > limits.nodes and brackets + data.count(b",") + data.count(b":") >= limits.nodes
    long = has_digit_run(data)
    if deep or many or long:
        _check_structure(re.sub(_STRING, b"", data, flags=re.DOTALL), limits)


def _check_structure(bare: bytes, limits: DecodeLimits) -> None:
    if has_digit_run(bare):
        raise Invalid(f"a number of more than {INT_DIGITS} digits")
    opened = bare.count(b"[") + bare.count(b"{")
    # Each value but the first follows a comma, a colon or an opening bracket.
    if opened + bare.count(b",") + bare.count(b":") >= limits.nodes:
        raise Invalid(f"more than {limits.nodes} values")
    if opened > limits.depth:
        steps = memoryview(bare.translate(_NESTING, _NOT_BRACKETS)).cast("b")
        if max(accumulate(steps)) > limits.depth:
            raise Invalid(f"nested more than {limits.depth} levels deep")


def _short(problem: BaseException) -> str:
    try:
        return visible(f"{type(problem).__name__}: {problem}", 300)
    except Exception:
        return type(problem).__name__
