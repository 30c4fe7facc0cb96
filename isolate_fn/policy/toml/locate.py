"""Where in a TOML file each key and each element stands: `tomllib` reads values and forgets their lines.

Not a second parser: the text is known to be TOML, because `tomllib` has read it before. What is left to do is to walk it
and to tell keys, strings, lists and tables apart.
"""

from __future__ import annotations

import re
import tomllib

Path = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
# One line; then those of three quotation marks, whose closing three may follow one or two that belong to the text.
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]*")


def lines_of(text: str) -> dict[Path, int]:
    """Return the line, from 1, on which each key, table and element is first named.

    Args:
        text: a TOML document that `tomllib.loads` accepts.

    Returns:
        Path of keys and indices -> line; ``("limits", "memory")``, ``("mounts", 2, "ro")``.
    """
    walk = _Walk(text.replace("\r\n", "\n"))
    walk.document()
    return walk.lines


class _Walk:
    """One pass over a document."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.lines: dict[Path, int] = {}
        self._counted, self._line = 0, 1
        self._arrays: dict[Path, int] = {}  # arrays of tables, and how many tables they have by now

    def document(self) -> None:
        """Walk all of it."""
        table: Path = ()
        while self._skip(_BLANK) < len(self.text):
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> Path:
        array = self.text.startswith("[[", self.at)
        line = self._here()
        self.at += 2 if array else 1
        keys = self._keys()
        self.at += 2 if array else 1
        path: Path = ()
        for position, key in enumerate(keys):
            path = (*path, key)
            self.lines.setdefault(path, line)
            if array and position == len(keys) - 1:
                self._arrays[path] = self._arrays.get(path, 0) + 1
            if path in self._arrays:
                path = (*path, self._arrays[path] - 1)
                self.lines.setdefault(path, line)
        return path

    def _pair(self, table: Path) -> None:
        line = self._here()
        for key in self._keys():
            table = (*table, key)
            self.lines.setdefault(table, line)
        self.at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(table)

    def _keys(self) -> list[str]:
        """Read a key, dotted or not, up to what follows it."""
        keys = []
        while True:
            self._skip(_SPACE)
            quoted = self.text[self.at] in "\"'"
            found = (_STRING if quoted else _BARE_KEY).match(self.text, self.at)
            assert found is not None
            keys.append(tomllib.loads(f"k={found[0]}")["k"] if quoted else found[0])
            self.at = found.end()
            self._skip(_SPACE)
            if self.text[self.at] != ".":
                return keys
            self.at += 1

    def _value(self, path: Path) -> None:
        first = self.text[self.at]
        if first == "[":
            self._list(path)
        elif first == "{":
            self._inline_table(path)
        else:
            self._skip(_STRING if first in "\"'" else _SCALAR)

    def _list(self, path: Path) -> None:
        self.at += 1
        index = 0
        while True:
            self._skip(_BLANK)
            if self.text[self.at] == "]":
                break
            self.lines[(*path, index)] = self._here()
            self._value((*path, index))
            index += 1
            self._skip(_BLANK)
            if self.text[self.at] == ",":
                self.at += 1
        self.at += 1

    def _inline_table(self, path: Path) -> None:
        self.at += 1
        while True:
            self._skip(_BLANK)
            if self.text[self.at] == "}":
                break
            if self.text[self.at] == ",":
                self.at += 1
                continue
            self._pair(path)
        self.at += 1

    def _skip(self, what: re.Pattern[str]) -> int:
        found = what.match(self.text, self.at)
        assert found is not None
        self.at = found.end()
        return self.at

    def _here(self) -> int:
        """Return the line of the present position; positions are asked for in ascending order."""
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line
