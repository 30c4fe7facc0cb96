"""The closed format that results, exceptions and items come back in: the names that others use.

The isolate only encodes, so it should import codec_encode directly; this module loads both halves.
"""

from __future__ import annotations

from isolate_fn._transport.codec_decode import decode
from isolate_fn._transport.codec_encode import encode
from isolate_fn._transport.codec_types import DEFAULT_LIMITS, DecodeLimits, Encoded
from isolate_fn._transport.registry import EMPTY, ClassTable

__all__ = ["DEFAULT_LIMITS", "EMPTY", "ClassTable", "DecodeLimits", "Encoded", "decode", "encode"]
