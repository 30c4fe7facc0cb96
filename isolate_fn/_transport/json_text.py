"""Writing JSON without the ``json`` package, of which a worker needs the C function alone.

The package brings its decoder, and with that ``re`` and ``enum``: more than everything else that a spawner imports. What
it would be asked for is the same here, by the same function.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

try:
    from _json import encode_basestring, encode_basestring_ascii, make_encoder
except ImportError:  # not CPython, or built without it
    make_encoder = None  # type: ignore[assignment,misc]


def _refuse(value: object) -> Any:
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _plain_writer() -> Any:
    """Return a function from a value to pieces of text; no spaces, and text as it is."""
    if make_encoder is None:
        import json

        encoder = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"))
        return lambda value, indent: encoder.iterencode(value)
    return make_encoder(None, _refuse, encode_basestring, None, ":", ",", False, False, True)


def _ascii_writer() -> Any:
    if make_encoder is None:
        import json

        encoder = json.JSONEncoder()
        return lambda value, indent: encoder.iterencode(value)
    return make_encoder(None, _refuse, encode_basestring_ascii, None, ": ", ", ", False, False, True)


_plain, _ascii = _plain_writer(), _ascii_writer()


def dumps(value: object) -> str:
    """Write a value shortly, text as it is.

    Raises:
        ValueError: an int of more digits than ``sys.get_int_max_str_digits()``.
        TypeError: it holds something that JSON does not have.
    """
    return "".join(_plain(value, 0))


def dump_ascii(value: object) -> bytes:
    """Write a value as ``json.dumps`` does, in ASCII: whatever text there is, file names of odd bytes included, has a form."""
    return "".join(_ascii(value, 0)).encode("ascii")
