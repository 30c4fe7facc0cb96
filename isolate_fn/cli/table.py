"""Tables for people: with rich where it is installed, else plain text. Colours only on a terminal."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from isolate_fn.cli import terminal

_HEADINGS = ("case", "what the file tries", "unprotected", "isolated")

# SGR colour of a status, and rich's name for it.
_COLOURS = {
    "harm": ("31", "red"),
    "held": ("32", "green"),
    "works": ("32", "green"),
    "failed": ("31", "red"),
    "unavailable": ("33", "yellow"),
}
_WORDS = {"harm": "HARM", "held": "held", "works": "works", "failed": "FAILED", "unavailable": "not tried"}


class Line(NamedTuple):
    """One line of the table; a side is (status, text, seconds)."""

    name: str
    title: str
    unprotected: tuple[str, str, float]
    isolated: tuple[str, str, float]


def show(lines: Sequence[Line], summary: str) -> None:
    """Print the table and a closing sentence to stdout."""
    # Texts come from files of strangers and may hold what this terminal's encoding does not.
    terminal.replace_what_cannot_be_shown()
    if terminal.colours(sys.stdout) and _show_with_rich(lines):
        print(summary)
        return
    for text in plain(lines, width=terminal.width(), colours=terminal.colours(sys.stdout)):
        print(text)
    print(textwrap.fill(summary, terminal.width()))


def plain(lines: Sequence[Line], *, width: int, colours: bool) -> Iterator[str]:
    """Lay the table out as lines of text.

    Args:
        lines: the rows.
        width: columns of the whole table.
        colours: mark the statuses with terminal colours.
    """
    name = max(len(_HEADINGS[0]), *(len(line.name) for line in lines)) if lines else len(_HEADINGS[0])
    # The title gets a quarter of the rest, the two sides share what remains.
    rest = width - name - 3 * 2
    widths = (name, rest // 4, (rest - rest // 4) // 2, (rest - rest // 4) // 2)
    yield "  ".join(heading.ljust(size) for heading, size in zip(_HEADINGS, widths, strict=True)).rstrip()
    yield "  ".join("-" * size for size in widths)
    for line in lines:
        cells = (line.name, line.title, _sentence(line.unprotected), _sentence(line.isolated))
        wrapped = [textwrap.wrap(cell, size) or [""] for cell, size in zip(cells, widths, strict=True)]
        for index in range(max(map(len, wrapped))):
            row = [part[index].replace("\xa0", " ") if index < len(part) else "" for part in wrapped]
            padded = [cell.ljust(size) for cell, size in zip(row, widths, strict=True)]
            if colours and index == 0:
                padded[2] = _coloured(padded[2], line.unprotected[0])
                padded[3] = _coloured(padded[3], line.isolated[0])
            yield "  ".join(padded).rstrip()


def _sentence(side: tuple[str, str, float]) -> str:
    status, text, seconds = side
    # What came back from a hostile file is printed: nothing but printable characters, and not much of it.
    safe = terminal.harmless(text)
    # textwrap does not break at this space, so that a number keeps its unit.
    time = f" [{seconds:.2f}\xa0s]" if seconds else ""
    return f"{_WORDS[status]}: {textwrap.shorten(safe, 160)}{time}"


def _coloured(text: str, status: str) -> str:
    word = _WORDS[status]
    return text.replace(word, f"\x1b[{_COLOURS[status][0]}m{word}\x1b[0m", 1)


def _show_with_rich(lines: Sequence[Line]) -> bool:
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    table = Table(*_HEADINGS, show_lines=True)
    for line in lines:
        sides = [Text(_sentence(side), style=_COLOURS[side[0]][1]) for side in (line.unprotected, line.isolated)]
        table.add_row(line.name, line.title, *sides)
    Console().print(table)
    return True
