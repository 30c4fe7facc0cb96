"""The line of every key: hand-written files, and files that hypothesis makes together with the answer."""

from __future__ import annotations

import tomllib
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings

from isolate_fn.policy.toml.locate import lines_of

TEXT = '''# a comment with "quotes" and [brackets]
title = "x # not a comment"  # but this is
dotted."quoted \\" key".'literal' = 1
many = [  # [
    1,
    "two ] , #",
    """three
    lines \\""" still """"",
    \'\'\'[[no.header]]
    \'\'\',
    {inline = true, "in side" = [1, 2]},
    [[1], [
        2]],
]

[a.b]
c = 2020-01-01T00:00:00Z

[[a.list]]
x = -inf

[[a.list]]
y = {z = {w = 1}}

[a.list.deep]
v = 1_000
'''

LINES = {
    ("title",): 2,
    ("dotted",): 3,
    ("dotted", 'quoted " key'): 3,
    ("dotted", 'quoted " key', "literal"): 3,
    ("many",): 4,
    ("many", 0): 5,
    ("many", 1): 6,
    ("many", 2): 7,
    ("many", 3): 9,
    ("many", 4): 11,
    ("many", 4, "inline"): 11,
    ("many", 4, "in side"): 11,
    ("many", 4, "in side", 0): 11,
    ("many", 4, "in side", 1): 11,
    ("many", 5): 12,
    ("many", 5, 0): 12,
    ("many", 5, 0, 0): 12,
    ("many", 5, 1): 12,
    ("many", 5, 1, 0): 13,
    ("a",): 16,
    ("a", "b"): 16,
    ("a", "b", "c"): 17,
    ("a", "list"): 19,
    ("a", "list", 0): 19,
    ("a", "list", 0, "x"): 20,
    ("a", "list", 1): 22,
    ("a", "list", 1, "y"): 23,
    ("a", "list", 1, "y", "z"): 23,
    ("a", "list", 1, "y", "z", "w"): 23,
    ("a", "list", 1, "deep"): 25,
    ("a", "list", 1, "deep", "v"): 26,
}


def test_lines_of_a_written_file() -> None:
    tomllib.loads(TEXT)
    assert lines_of(TEXT) == LINES
    assert lines_of(TEXT.replace("\n", "\r\n")) == LINES


def test_an_empty_file_has_no_lines() -> None:
    for text in ("", "\n", "# x", "  \n\t# x\n"):
        assert lines_of(text) == {}


# --- files and answers made together ------------------------------------------------------------------------------------

KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
BARE = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=12)
SCALARS = st.one_of(st.integers(-9, 99999), st.booleans(), TEXTS, st.floats(allow_nan=False))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=12,
)
TABLES = st.dictionaries(KEYS, VALUES, max_size=4)


def quoted(text: str) -> str:
    return '"' + "".join(f"\\U{ord(c):08x}" if ord(c) < 32 or c in '"\\\x7f' else c for c in text) + '"'


class Layout:
    """Writes a document in a layout that hypothesis draws, and notes the line of everything."""

    def __init__(self, data: st.DataObject) -> None:
        self.data, self.text = data, ""
        self.lines: dict[tuple[Any, ...], int] = {}

    def here(self) -> int:
        return self.text.count("\n") + 1

    def pick(self, *choices: str) -> str:
        return self.data.draw(st.sampled_from(choices))

    def key(self, key: str) -> None:
        if key and set(key) <= BARE and self.data.draw(st.booleans()):
            self.text += key
        elif "'" not in key and key.isprintable() and self.data.draw(st.booleans()):
            self.text += f"'{key}'"
        else:
            self.text += quoted(key)

    def string(self, text: str) -> None:
        kind = self.pick("basic", "literal", "long", "long literal")
        plain = all(c == "\n" or c.isprintable() for c in text)
        if kind == "literal" and text.isprintable() and "'" not in text:
            self.text += f"'{text}'"
        elif kind == "long" and plain:
            self.text += '"""\n' + text.replace("\\", "\\\\").replace('"""', '""\\"').removesuffix('"""') + '"""'
        elif kind == "long literal" and plain and "''" not in text and not text.endswith("'"):
            self.text += f"'''{text}'''"
        else:
            self.text += quoted(text)

    def value(self, value: Any, path: tuple[Any, ...]) -> None:
        if isinstance(value, bool):
            self.text += str(value).lower()
        elif isinstance(value, str):
            self.string(value)
        elif isinstance(value, list):
            self.text += "["
            for index, entry in enumerate(value):
                self.text += self.pick("", " ", "\n", '\n# ] , "\n')
                self.lines[(*path, index)] = self.here()
                self.value(entry, (*path, index))
                self.text += self.pick("", " ", "\n", " # }\n")
                self.text += "," if index < len(value) - 1 else self.pick("", ",")
            self.text += self.pick("", "\n") + "]"
        elif isinstance(value, dict):
            self.text += "{"
            for index, (key, entry) in enumerate(value.items()):
                self.text += (", " if index else "") + self.pick("", " ")
                self.pair(key, entry, path)
            self.text += "}"
        else:
            self.text += repr(value)

    def pair(self, key: str, value: Any, path: tuple[Any, ...]) -> None:
        path = (*path, key)
        self.lines[path] = self.here()
        self.key(key)
        while isinstance(value, dict) and len(value) == 1 and self.data.draw(st.booleans()):
            [(key, value)] = value.items()
            path = (*path, key)
            self.lines[path] = self.here()
            self.text += self.pick(".", " . ")
            self.key(key)
        self.text += self.pick("=", " = ", "\t=\t")
        self.value(value, path)

    def gap(self) -> None:
        self.text += self.pick("", " # x = 1", "\t") + "\n" + self.pick("", "\n", "# [x]\n")

    def table(self, table: dict[str, Any], path: tuple[Any, ...], header: tuple[str, ...]) -> None:
        later = []
        for key, value in table.items():
            tables = isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value)
            if (tables or isinstance(value, dict)) and self.data.draw(st.booleans()):
                later.append((key, value))
                continue
            self.pair(key, value, path)
            self.gap()
        for key, value in later:
            below = (*path, key)
            for index, entry in enumerate(value if isinstance(value, list) else [value]):
                line = self.here()
                where = (*below, index) if isinstance(value, list) else below
                self.lines.setdefault(below, line)
                self.lines.setdefault(where, line)
                self.text += "[[" if isinstance(value, list) else "["
                for position, part in enumerate((*header, key)):
                    self.text += self.pick(".", " . ") if position else ""
                    self.key(part)
                self.text += "]]" if isinstance(value, list) else "]"
                self.gap()
                self.table(entry, where, (*header, key))


@settings(max_examples=150, deadline=None, database=None, derandomize=True)
@given(TABLES, st.data())
def test_lines_of_made_files(table: dict[str, Any], data: st.DataObject) -> None:
    layout = Layout(data)
    layout.table(table, (), ())
    read = tomllib.loads(layout.text)

    assert shape(read) == shape(table), "the layout says something else: a mistake of this test"
    assert lines_of(layout.text) == layout.lines


def shape(value: Any) -> Any:
    """Keys and lengths; texts of several lines may lose a newline at their begin."""
    if isinstance(value, dict):
        return {key: shape(entry) for key, entry in value.items()}
    return [shape(entry) for entry in value] if isinstance(value, list) else type(value)
