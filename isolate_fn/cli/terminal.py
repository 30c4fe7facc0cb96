"""What a stream can show: colours, rich, and how wide."""

from __future__ import annotations

import io
import os
import shutil
import sys
from typing import TextIO

# Narrower, and wrapped texts are no longer readable; wider, and the eye loses the line.
_LEAST_WIDTH, _MOST_WIDTH = 80, 140


def colours(stream: TextIO) -> bool:
    """Tell whether a stream is a terminal that shows colours, and nobody said that it shall not (NO_COLOR)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width() -> int:
    """Return how many columns a table may take."""
    return min(max(shutil.get_terminal_size((110, 24)).columns, _LEAST_WIDTH), _MOST_WIDTH)


def harmless(text: str) -> str:
    """Return text of strangers without what could steer a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def replace_what_cannot_be_shown() -> None:
    """Have stdout print ``?`` for what its encoding lacks, in place of failing."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
