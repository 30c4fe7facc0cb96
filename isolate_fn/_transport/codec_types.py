"""What the encoder and the decoder of the closed format must agree on: limits, tags, names.

The format is JSON for structure plus numbered raw buffers. None, bool, 64-bit int, float, str, list and
dict[str, ...] are plain JSON. Everything else is an object with the key ``"$"`` that names its kind::

    {"$": "t", "v": [1, 2]}                                a tuple
    {"$": "k", "c": "app.geometry:Point", "v": {"x": 1}}   of a class the receiver knows already
    {"$": "b", "v": 0}                                     bytes, in buffer 0

A dict that itself has the key ``"$"`` travels as a general dict. Each buffer is referred to exactly once, so
a small message cannot become a big value.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple
else:
    from isolate_fn._records import NamedTuple


TAG = "$"
ROOT = "result"
"""How paths in error messages begin: ``result['a'][3]``."""

DEPTH = 200
"""Levels of brackets in JSON that the decoder accepts."""

VALUE_DEPTH = DEPTH - 8
"""Levels that the encoder gives to containers; a date with a zone, or an array in a list, takes some more."""

EQUAL_HASHES = 64
NODES = 5_000_000
LIST_BYTES = 32
"""Bytes that one number of a list costs the receiver, beyond the 8 in the buffer: an object and its
pointer."""

INT_DIGITS = 21
"""Longest run of decimal digits in the JSON. 2**64 has 20; text to number is quadratic in CPython."""

INT_MIN, INT_MAX = -(1 << 63), (1 << 63) - 1

SMALL_BUFFER = 256
"""Bytes up to which raw memory stands in the JSON itself, as base64: a buffer of its own costs more."""

LONG_TEXT = 4096
"""Characters (of text) or hexadecimal digits (of ints) from which a value moves to a buffer."""

MANY = 256
"""Elements from which a list of only ints or only floats becomes one buffer."""

RETRY_BYTES = 1 << 20
"""Bytes of JSON from which the encoder goes through it again and moves long text to buffers."""

DECIMAL_DIGITS = 1 << 20
FRACTION_BYTES = 4096
"""Bytes of each part of a Fraction: its constructor's gcd is quadratic."""

_DIGITS_TO_0 = bytes(48 if 48 <= byte <= 57 else byte for byte in range(256))
_TOO_MANY_DIGITS = b"0" * (INT_DIGITS + 1)


def json_limit(total: int) -> int:
    """How many of ``total`` bytes may be JSON."""
    return min(total, max(total // 4, 1 << 20))


class DecodeLimits(NamedTuple):
    """Bounds that hold before anything is built.

    Attributes:
        total: bytes of JSON and buffers together.
        nodes: values in the JSON.
        depth: nesting of brackets in the JSON; a tuple counts twice, because it is an object with a list in
            it.
        exceptions: whether the value may hold exceptions.
        equal_hashes: keys of one set or dict that may share a hash value (except text and bytes, whose hashes
            are randomised).
    """

    total: int = 256 << 20
    nodes: int = NODES
    depth: int = DEPTH
    equal_hashes: int = EQUAL_HASHES
    exceptions: bool = True

    @property
    def json(self) -> int:
        """Bytes of JSON: text grows when it is parsed, and what is big should be in buffers."""
        return json_limit(self.total)


DEFAULT_LIMITS = DecodeLimits()


class Encoded(NamedTuple):
    """A value on the wire: JSON text in UTF-8, and the buffers it refers to by position.

    Buffers are memory of the value itself where possible.
    """

    json: bytes
    buffers: list[Any]


def class_name(kind: type) -> str:
    """The name of a class on the wire, ``module:qualname``."""
    return f"{kind.__module__}:{kind.__qualname__}"


def has_digit_run(text: bytes) -> bool:
    """Whether more than INT_DIGITS decimal digits follow each other anywhere, inside strings too."""
    return len(text) > INT_DIGITS and _TOO_MANY_DIGITS in text.translate(_DIGITS_TO_0)
