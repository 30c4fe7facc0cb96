"""Arguments of a sandbox block's methods: paths inside, words of a command line, contents of files."""

from __future__ import annotations

import io
import os
from typing import IO

from isolate_fn.errors import PolicyError


def word(field: str, text: str | bytes | os.PathLike[str]) -> str:
    """Return one word of a command line.

    Raises:
        PolicyError: it holds a NUL character.
    """
    decoded = os.fsdecode(text)
    if "\0" in decoded:
        raise PolicyError(field, f"{decoded!r:.60} holds a NUL character", "leave it out: the kernel ends there")
    return decoded


def inside(field: str, path: str | os.PathLike[str]) -> str:
    """Return a path of the isolate's own.

    Raises:
        PolicyError: it is no text, empty, or holds a NUL character.
    """
    text = os.fspath(path)
    if not isinstance(text, str) or not text or "\0" in text:
        raise PolicyError(field, f"{path!r:.60} is not a path", "pass a path inside, such as 'input.png'")
    return text


def content_of(
    content: bytes | bytearray | memoryview | os.PathLike[str] | IO[bytes],
) -> bytes | bytearray | memoryview:
    """Return the bytes that were given, or those of the file that was given.

    Raises:
        PolicyError: it is neither.
        OSError: the file cannot be read.
    """
    if isinstance(content, str):
        raise PolicyError("put", "content is a str", "pass bytes, or pathlib.Path(...) for a file to copy")
    if isinstance(content, (bytes, bytearray, memoryview)):
        return content
    if isinstance(content, os.PathLike):
        with open(content, "rb") as file:
            return file.read()
    if isinstance(content, io.TextIOBase):
        raise PolicyError("put", "the file is open as text", "open it with mode 'rb'")
    if not hasattr(content, "read"):
        raise PolicyError("put", f"{content!r:.60} has no content", "pass bytes, a pathlib.Path or an open file")
    return content.read()
