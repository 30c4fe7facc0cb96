"""A place in a file of policies, and the errors that name it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from isolate_fn.errors import PolicyError
from isolate_fn.policy.toml.locate import Path

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STEP = re.compile(r"\.?([A-Za-z_]\w*)|\[(\d+)\]|\['([^']*)'\]")


class File(NamedTuple):
    """What was read.

    Attributes:
        name: of the file, as errors show it.
        document: as `tomllib` returns it.
        lines: as `lines_of` returns them.
    """

    name: str
    document: Mapping[str, Any]
    lines: Mapping[Path, int]


class Place(NamedTuple):
    """A key or an element of a file."""

    file: File
    path: Path = ()

    @classmethod
    def nowhere(cls) -> Place:
        """Return a place in no file, for what is only tried."""
        return cls(File("", {}, {}))

    def down(self, *steps: str | int) -> Place:
        """Return a place below this one."""
        return self._replace(path=(*self.path, *steps))

    @property
    def line(self) -> int:
        """The line on which it stands; that of what it stands in, where it is not written down itself."""
        for length in range(len(self.path), 0, -1):
            if self.path[:length] in self.file.lines:
                return self.file.lines[self.path[:length]]
        return 1

    @property
    def key(self) -> str:
        """The key path, as TOML would write it, with the index of elements: ``mounts[2].ro``."""
        text = ""
        for step in self.path:
            if isinstance(step, int):
                text += f"[{step}]"
            else:
                text += ("." if text else "") + (step if _BARE.fullmatch(step) else f'"{step}"')
        return text or "the file"

    def wrong(self, problem: str, remedy: str) -> PolicyError:
        """Make the error that says what is wrong here."""
        return self.tell(PolicyError(self.key, problem, remedy))

    def tell(self, error: PolicyError) -> PolicyError:
        """Return an error that knows no file with the file, the line and the key path of this place."""
        error.file, error.line = self.file.name, self.line
        error.field = self.key
        return error

    def tell_option(self, error: PolicyError) -> PolicyError:
        """Do the same for an error that names an option of the policy which stands here: ``limits.memory``."""
        steps = [int(index) if index else name or key for name, index, key in _STEP.findall(error.field)]
        return self.down(*steps).tell(error)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return what to do about a word that does not exist: the one that was probably meant, else all there are."""
    listed = list(known)
    folded = {each.lower(): each for each in reversed(listed)}
    near = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.5)
    if near:
        return f"did you mean {folded[near[0]]!r}?"
    return f"there are: {', '.join(listed)}" if listed else "leave it out"
