"""Explanations on a terminal: by rich where it is installed, else with a few colours of our own; elsewhere plain text."""

from __future__ import annotations

import io
import os
import re
import sys

# Parts of lines and how they look: name of the rich style, SGR code.
_LOOKS = (
    (re.compile(r"^\S[^:]*:$"), "bold", "1"),  # headings
    (re.compile(r"(?<=  )\[[^\]]*\].*$"), "dim", "2"),  # where a statement comes from
    (re.compile(r"(?<=  )rw {4,}.*$"), "yellow", "33"),  # the host's own files
    (re.compile(r"(?<=  )own {3,}.*$"), "green", "32"),  # the isolate's own
    (re.compile(r"-> (?:errno|kill).*$"), "red", "31"),
)


def show(text: str, *, plain: bool = False) -> None:
    """Print a text to stdout.

    Args:
        text: of lines.
        plain: it is a document, not for people.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # trees are drawn with what this terminal's encoding may not hold
    if plain or not _on_terminal():
        print(text, end="" if text.endswith("\n") else "\n")
        return
    if not _show_with_rich(text):
        print("\n".join(map(_coloured, text.splitlines())))


def _on_terminal() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _coloured(line: str) -> str:
    for look, _, code in _LOOKS:
        found = look.search(line)
        if found:
            return f"{line[: found.start()]}\x1b[{code}m{found[0]}\x1b[0m{line[found.end() :]}"
    return line


def _show_with_rich(text: str) -> bool:
    try:
        from rich.console import Console
        from rich.text import Text
    except ImportError:
        return False
    drawn = []
    for line in text.splitlines():
        painted = Text(line)
        for look, style, _ in _LOOKS:
            found = look.search(line)
            if found:
                painted.stylize(style, found.start(), found.end())
                break
        drawn.append(painted)
    Console(highlight=False, soft_wrap=True).print(Text("\n").join(drawn))
    return True
