"""Mounts for what was seen: as few and as narrow as they can be."""

from __future__ import annotations

import functools
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping

from isolate_fn._diagnose.learn.findings import Flag, Touched
from isolate_fn._diagnose.learn.many import Roots, Standing
from isolate_fn._diagnose.learn.secrets import secret_below, secret_in
from isolate_fn._diagnose.learn.view import View
from isolate_fn._plan.mounts import code_reason, is_within
from isolate_fn._plan.sensitive import is_broad
from isolate_fn._runtime.sources import code_roots, resolve_source
from isolate_fn._transport.text import visible
from isolate_fn.errors import PolicyError
from isolate_fn.policy.mounts import Mount, ro, rw, symlink

FOLD_FILES, FOLD_SHARE = 4, 0.5
"""A directory is granted in place of single files of it where at least so many, and this share of its files, were used."""

MOST_MOUNTS = 500
_MOST_LINKS = 8
_BYTE_CODE = "/__pycache__/"
"""What Python keeps there, it does without; the source beside it is granted for being looked at."""
_USED = {"read", "run", "secret read"}
_SHOWN = 300


class Places:
    """Finds the mounts.

    Args:
        paths: what was touched, by absolute path as it was named.
        view: what an isolate sees anyway.
        shown: host files in places that isolates have of their own, which were shown there.

    Attributes:
        flags: what is not granted, and why.
    """

    def __init__(self, paths: Mapping[str, Touched], view: View, shown: frozenset[str]) -> None:
        self.paths, self.view, self.shown = paths, view, shown
        self.flags: list[Flag] = []
        self.links: dict[str, str] = {}
        self._below = functools.cache(secret_below)  # thousands of names may lie in one directory

    def mounts(self) -> tuple[Mount, ...]:
        """Return the mounts, read-only ones first, each group by path."""
        writable = self._writable()
        for place in writable:
            if os.path.isdir(place):
                self.view.add(place)
        listed = self._listed()
        for place in listed:
            self.view.add(place)
        files = self._files()
        folded = set(self._folded(files))
        for place in folded:
            self.view.add(place)
        # Links in what is granted now may lead to what was hidden behind their names.
        self.links.clear()
        files = {place for place in self._files() if place not in writable}
        readable = sorted(Roots((*listed, *folded, *files)).outermost)
        if len(readable) > MOST_MOUNTS:
            self._flag("more", "", f"{len(readable)} mounts would be needed, and {MOST_MOUNTS} are given: grant directories")
            del readable[MOST_MOUNTS:]
        links = (symlink(place, target) for place, target in sorted(self.links.items()))
        return (*map(ro, readable), *map(rw, sorted(writable)), *links)

    def _host(self, path: str) -> bool:
        """Tell whether a path is one of the host's, and not of the isolate's own."""
        return not self.view.is_own(path) or any(path == each or is_within(path, each) for each in self.shown)

    def _files(self) -> set[str]:
        found = set()
        for path, touched in self.paths.items():
            used = touched.what & _USED or ("looked" in touched.what and touched.kind == "file")
            if not used or "secret" in touched.what or touched.kind == "directory" or not self._host(path):
                continue
            if _BYTE_CODE in path:
                continue
            place = self._program(path) if "run" in touched.what else self.view.place(path)
            if self._host(place) and not self.view.shows(place) and os.path.exists(place) and self._can_be_said(place):
                if "secret read" not in touched.what and secret_in(place):
                    self._flag("secret", place, f"looked at, holds {secret_in(place)}: not granted")
                    continue
                found.add(place)
        return found - set(self.links)

    def _program(self, path: str) -> str:
        """Return where a program is. A link to one stays a link: many look beside the file that they are of."""
        place = self.view.place(path)
        for _ in range(_MOST_LINKS):
            if not os.path.islink(place) or self.view.shows(place) or not self._can_be_said(place):
                break
            target = os.readlink(place)
            self.links[place] = target
            place = self.view.place(os.path.join(os.path.dirname(place), target))
        return place

    def _listed(self) -> set[str]:
        found = set()
        for path, touched in sorted(self.paths.items()):
            if "listed" not in touched.what or not self._host(path):
                continue
            place = self.view.place(path)
            if self.view.shows(place) or not os.path.isdir(place) or not self._can_be_said(place):
                continue
            if self.view.has_part_of(place):
                if place not in _imported_from():
                    self._flag("broad", place, "listed; an isolate sees of it only what every isolate sees, and what is granted")
                continue
            secret = self._below(place)
            if is_broad(place):
                self._flag("broad", place, "listed, and too much lies in it to be granted for that")
            elif secret:
                self._flag("secret", place, f"listed, and not granted as a whole: {visible(secret, _SHOWN)} lies in it")
            else:
                found.add(place)
        return Roots(found).outermost

    def _folded(self, files: set[str]) -> Iterator[str]:
        by_directory = defaultdict(list)
        for place in files:
            by_directory[os.path.dirname(place)].append(place)
        for directory, inside in by_directory.items():
            if len(inside) < FOLD_FILES or is_broad(directory) or self.view.has_part_of(directory):
                continue
            try:
                with os.scandir(directory) as entries:
                    count = sum(not entry.is_dir() for entry in entries)
            except OSError:
                continue
            if len(inside) >= FOLD_SHARE * count and not self._below(directory):
                yield directory

    def _writable(self) -> set[str]:
        found, standing = set(), Standing(os.path.exists)
        for path, touched in sorted(self.paths.items()):
            if not touched.what & {"written", "changed"} or "secret" in touched.what or not self._host(path):
                continue
            place = self.view.place(path)
            if "changed" in touched.what:
                place = os.path.dirname(place)
            place = standing.above(place)
            if place in found or _BYTE_CODE in f"{path}/":
                continue
            if self._can_be_said(place) and self._may_be_written(place):
                found.add(place)
        return Roots(found).outermost

    def _can_be_said(self, place: str) -> bool:
        try:
            place.encode()
        except UnicodeEncodeError:
            self._flag("odd", place, "used, and not granted: its name is no text, which a policy is")
            return False
        return True

    def _may_be_written(self, place: str) -> bool:
        if is_broad(place):
            self._flag("broad", place, "written to, and too much lies in it to be granted for that")
            return False
        secret = self._below(place) if os.path.isdir(place) else secret_in(place)
        if secret:
            self._flag("secret", place, f"written to, and not granted: {visible(secret, _SHOWN)}")
            return False
        word = rw(place)
        try:
            source = resolve_source("mounts", word)
        except PolicyError as wrong:
            self._flag("code", place, f"written to, and not granted: {wrong.problem}")
            return False
        reason = code_reason(source, code_roots()) if source is not None else "it is gone"
        if reason or self.view.shows(place):
            self._flag("code", place, f"written to, and not granted: {reason or 'it is part of the runtime'}")
            return False
        return True

    def _flag(self, kind: str, subject: str, text: str) -> None:
        flag = Flag(kind, visible(subject, _SHOWN), text)
        if flag not in self.flags:
            self.flags.append(flag)


def _imported_from() -> set[str]:
    """Return the directories that Python lists when it imports."""
    return {os.path.realpath(entry or ".") for entry in sys.path}
