"""A policy in words as plain text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from isolate_fn._diagnose.effective import Effective
from isolate_fn._diagnose.tree import tree_lines

_WIDTH = 110
_ORIGIN_FROM = 78


def visible(text: str) -> str:
    """Return a text without characters that a terminal or a page could take for more than text."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def text_lines(said: Effective) -> Iterator[str]:
    """Yield the lines: the sections, then the tree."""
    subject = "programs of " if said.about == "program" else ""
    yield f"What {subject}{visible(said.name)} may do"
    for title, lines in said.sections.items():
        yield ""
        yield f"{title}:"
        for line in lines:
            origin = f"  [{visible(line.origin)}]" if line.origin else ""
            yield from textwrap.wrap(
                visible(line.text) + origin,
                _WIDTH,
                initial_indent="  ",
                subsequent_indent="      ",
                break_long_words=False,
                break_on_hyphens=False,
            )
    yield ""
    yield "Its file tree (ro: read-only, rw: the host's own, own: writable and gone afterwards):"
    drawn = [(visible(name), access, visible(note)) for name, access, note in tree_lines(said.tree)]
    width = min(max(len(name) for name, _, _ in drawn), _ORIGIN_FROM)
    for name, access, note in drawn:
        yield f"  {name:{width}}  {access:6}  {note}".rstrip()
