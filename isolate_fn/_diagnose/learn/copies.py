"""Temporary copies of directories that a learned program wants to change: it changes those, and nothing of the host's."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Mapping

from isolate_fn._diagnose.learn.findings import Touched
from isolate_fn._diagnose.learn.many import Roots, Standing, tree
from isolate_fn._diagnose.learn.secrets import secret_in
from isolate_fn._diagnose.learn.temporary import Temporary
from isolate_fn._enforce import scratch

MOST_BYTES, MOST_FILES = 256 << 20, 10_000


class Copies:
    """Copies by the path of what they are of.

    Attributes:
        copies: path -> its copy.
        why: why the last one could not be made.
    """

    def __init__(self) -> None:
        self.copies: dict[str, str] = {}
        self.why = ""
        self._temporary: Temporary | None = None
        self._sizes: dict[str, int] = {}
        self._refused: set[str] = set()
        self._left = (MOST_BYTES, MOST_FILES)

    @property
    def place(self) -> str:
        """Directory in which they are; empty while there are none."""
        return self._temporary.path if self._temporary is not None and self.copies else ""

    def close(self) -> None:
        """Take all of them away."""
        if self._temporary is not None:
            self._temporary.close()

    def wanted(self, paths: Mapping[str, Touched], writable: Callable[[str], bool]) -> list[str]:
        """Return directories and files to copy, for what was to be changed, the outermost ones.

        Args:
            paths: what was to be changed.
            writable: tells whether a path can be written as it is.
        """
        found, standing = set(), Standing(os.path.isdir)
        for path, touched in paths.items():
            place = touched.real or path
            if "/__pycache__" not in path:
                found.add(standing.above(os.path.dirname(place) if "changed" in touched.what else place))
        known = Roots((*self.copies, *self._refused))
        found = {each for each in found if each.count("/") > 1 and not writable(each)}
        return sorted(Roots(each for each in found if not known.cover(each)).outermost)

    def make(self, place: str, *, named: bool = False) -> bool:
        """Copy a directory, without what is secret, links kept as they are; tell whether there is a copy now.

        One that is too big, or cannot be read, is not copied; nor are more than so much and so many files together.

        Args:
            place: of which directory or file.
            named: the caller has asked for it, so it counts by itself.
        """
        if place in self.copies:
            return True
        left = (MOST_BYTES, MOST_FILES) if named else self._left
        size, count = _measured(place, *left)
        if size > left[0] or count > left[1]:
            self.why = f"there are more than {MOST_BYTES >> 20} MiB or {MOST_FILES} files in it"
            self.why += "" if left == (MOST_BYTES, MOST_FILES) else ", with those that are copied already"
            self._refused.add(place)
            return False
        if self._temporary is None:
            self._temporary = Temporary("copies")
        target = os.path.join(self._temporary.path, str(len(self._sizes)))
        self._sizes[place] = 0
        try:
            _copy(place, target)
        except (OSError, shutil.Error, RecursionError) as failure:
            self.why = str(failure)
            self._refused.add(place)
            return False
        if not named:
            self._left = (left[0] - size, left[1] - count)
        self.copies[place] = target
        self._sizes[place] = _size(target)
        return True

    def renew(self) -> None:
        """Make all copies as what they are of."""
        for place, copy in self.copies.items():
            _remove(copy)
            _copy(place, copy)
            self._sizes[place] = _size(copy)

    def grown(self) -> int:
        """Return by how many bytes the copies have grown."""
        return sum(max(0, _size(copy) - self._sizes[place]) for place, copy in self.copies.items())


def _remove(place: str) -> None:
    """Take a copy away, which hostile code may have written: closed directories, a million one in another."""
    if os.path.isdir(place) and not os.path.islink(place):
        os.chmod(place, 0o700)
        scratch.remove(place)
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(place)


def _copy(place: str, target: str) -> None:
    if os.path.isdir(place):
        shutil.copytree(place, target, symlinks=True, ignore=_ignored)
    else:
        shutil.copy2(place, target)


def _ignored(directory: str, names: list[str]) -> set[str]:
    left_out = set()
    for name in names:
        path = f"{directory}/{name}"
        try:
            mode = os.lstat(path).st_mode
        except OSError:
            mode = 0
        if secret_in(path) or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
            left_out.add(name)
    return left_out


def _measured(place: str, most_bytes: int, most_files: int) -> tuple[int, int]:
    """Return the bytes and the number of files of a copy; of one that has more than these, as far as it was looked at."""
    size, count = (0, 0) if os.path.isdir(place) else (_length(place), 1)
    for above, directories, files in tree(place):
        count += len(directories) + len(files)
        size += sum(_length(f"{above}/{name}") for name in files)
        if size > most_bytes or count > most_files:
            break
    return size, count


def _size(place: str) -> int:
    if not os.path.isdir(place):
        return _length(place)
    return sum(_length(f"{above}/{name}") for above, _, files in tree(place) for name in files)


def _length(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0
