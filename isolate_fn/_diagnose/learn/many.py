"""Questions about thousands of paths, which hostile code chooses so that they take long: none asks about each pair."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator


class Roots:
    """Files and directories, and what lies in them.

    Args:
        paths: absolute and normalised.

    Attributes:
        outermost: those of them that lie in no other.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self.outermost: set[str] = set()
        self._starts: list[str] = []
        for start in sorted({f"{path.rstrip('/')}/" for path in paths}):  # what lies in one follows it
            if not (self._starts and start.startswith(self._starts[-1])):
                self._starts.append(start)
                self.outermost.add(start[:-1] or "/")

    def cover(self, path: str) -> bool:
        """Tell whether a path is one of them or lies in one."""
        start = f"{path.rstrip('/')}/"
        index = bisect_right(self._starts, start)
        return index > 0 and start.startswith(self._starts[index - 1])


class Standing:
    """Finds what is there of paths that are not; each directory is looked at once.

    Args:
        is_there: tells whether a path is; the root directory is always.
    """

    def __init__(self, is_there: Callable[[str], bool]) -> None:
        self._is_there = is_there
        self._known: dict[str, str] = {"/": "/"}

    def above(self, path: str) -> str:
        """Return a path, or the nearest directory above it that is there."""
        missing = []
        while path not in self._known and not self._is_there(path):
            missing.append(path)
            path = os.path.dirname(path)
        found = self._known.setdefault(path, path)
        self._known.update(dict.fromkeys(missing, found))
        return found


def tree(directory: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield what `os.walk` yields, of a tree of any depth: that of Python 3.11 calls itself for each level."""
    waiting = [directory]
    while waiting:
        above = waiting.pop()
        directories: list[str] = []
        files: list[str] = []
        try:
            with os.scandir(above) as found:
                for entry in found:
                    (directories if entry.is_dir() else files).append(entry.name)
        except OSError:
            continue  # nobody may read it, or its path has grown too long
        yield above, directories, files
        waiting += [f"{above}/{name}" for name in directories if not os.path.islink(f"{above}/{name}")]
