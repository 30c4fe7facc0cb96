"""The plain table: it fits, it wraps, and hostile text stays text."""

from __future__ import annotations

import io
import sys

import pytest

from isolate_fn.cli import table

LINE = table.Line(
    "pickle",
    "a pickle that runs Python code when it is loaded",
    ("harm", "code ran, and copied the secret", 0.01),
    ("held", "nothing got out: FileNotFoundError: no such file", 0.123),
)


@pytest.mark.parametrize("width", [80, 110, 140])
def test_fits(width: int) -> None:
    lines = list(table.plain([LINE, LINE], width=width, colours=False))
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    assert "HARM: code ran" in text
    assert "[0.12 s]" in text
    assert "\x1b" not in text


def test_every_word_survives_wrapping() -> None:
    lines = list(table.plain([LINE], width=80, colours=False))[2:]
    words = set(" ".join(lines).split())
    assert set(LINE.title.split()) <= words
    assert {"FileNotFoundError:", "copied"} <= words


def test_colours_do_not_move_columns() -> None:
    import re

    with_colours = list(table.plain([LINE], width=100, colours=True))
    assert any("\x1b[31mHARM\x1b[0m" in line for line in with_colours)
    bare = [re.sub(r"\x1b\[\d+m", "", line) for line in with_colours]
    assert bare == list(table.plain([LINE], width=100, colours=False))


def test_text_from_a_file_cannot_steer_the_terminal() -> None:
    hostile = LINE._replace(unprotected=("harm", "\x1b]0;owned\x07\x9b2J\r\u202eevil\n" + "x " * 500, 0.0))
    lines = list(table.plain([hostile], width=100, colours=False))
    assert all(character.isprintable() for line in lines for character in line)
    assert len(lines) < 20


def test_empty_table() -> None:
    assert len(list(table.plain([], width=80, colours=False))) == 2


@pytest.mark.parametrize("variable", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colours_where_not_wanted(variable: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    for name, value in variable.items():
        monkeypatch.setenv(name, value)
    table.show([LINE], "done")
    assert "\x1b" not in terminal.getvalue()
    assert "HARM" in terminal.getvalue()


def test_not_a_terminal_means_no_colours_and_no_rich(capsys: pytest.CaptureFixture[str]) -> None:
    table.show([LINE], "done")
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out
    assert "─" not in shown.out
