"""The usual call on its way in, built and taken apart without the general machinery: two small buffers and nothing else."""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence

from isolate_fn._transport.frames import HEADER, MAGIC, Kind

NOT_KEPT = 255
"""Number of a function that the worker shall not keep: it has as many as one byte can count."""

_TWO = struct.Struct("<4sBBHIQQQQ")
_unpack_two = struct.Struct("<5xB2xIQQQ8x").unpack_from


def pack_small(kind: int, json: bytes, first: bytes, second: bytes) -> bytes:
    """Build one frame with two small buffers, as `pack` does and in a third of the time."""
    one, two = len(first), len(second)
    return _TWO.pack(MAGIC, kind, 0, 0, 2, len(json), one + two, one, two) + json + first + second


def before_arguments(words: bytes, number: int, size: int) -> bytes:
    """Return what `pack_small` writes before ``size`` bytes of arguments for a function that the worker has.

    Args:
        words: the JSON of the call.
        number: of the function.
        size: bytes.
    """
    return pack_small(Kind.CALL, words, bytes((number,)), bytes(size))[:-size]


@functools.lru_cache(maxsize=256)
def before_result(length: int) -> bytes:
    """Return what precedes a result of ``length`` bytes of JSON and without buffers."""
    return HEADER.pack(MAGIC, Kind.RESULT, 0, 0, 0, length, 0)


def split_small(data: bytes) -> tuple[bytes, Sequence[bytes]] | None:
    """Return JSON and buffers of what `pack_small` built, None for anything else; for the side that trusts its sender."""
    if len(data) < _TWO.size:
        return None
    flags, count, json_len, inline, one = _unpack_two(data)
    start = _TWO.size + json_len
    if flags or count != 2 or start + inline != len(data):
        return None
    middle = start + one
    return data[_TWO.size : start], (data[start:middle], data[middle:])
