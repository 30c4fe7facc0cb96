"""What an isolate sees without any grant, and where in it a path of the host's would have to appear."""

from __future__ import annotations

import os
from collections.abc import Iterable

from isolate_fn._diagnose.learn.many import Roots
from isolate_fn._plan.mounts import is_within
from isolate_fn._plan.orders import MountOrder

_MOST_LINKS = 40
_OF_THE_KERNEL = ("/proc", "/dev", "/sys")


class View:
    """The file tree of an isolate, by what is mounted.

    Args:
        orders: its mounts.
        own: directories that it has of its own, empty at first.
    """

    def __init__(self, orders: Iterable[MountOrder], own: Iterable[str]) -> None:
        self.own = tuple(own)
        self._roots: set[str] = set()
        self._files: set[str] = set()
        self._links: dict[str, str] = {}
        self._above: set[str] = {"/"}
        self._forget()
        for order in orders:
            if order.kind == "symlink":
                self._links[order.destination] = order.source
            elif order.kind in ("bind", "tmpfs") and order.is_directory:
                self._roots.add(order.destination)
            else:
                self._files.add(order.destination)
            self._note_above(order.destination)

    def add(self, directory: str) -> None:
        """Note a directory that is granted."""
        self._roots.add(directory)
        self._note_above(directory)
        self._forget()

    def _forget(self) -> None:
        """Forget what was concluded from the mounts that there were."""
        self._covering: Roots | None = None
        self._places: dict[str, tuple[str, int]] = {"/": ("", 0)}

    def _note_above(self, path: str) -> None:
        while path != "/":
            path = os.path.dirname(path)
            self._above.add(path)

    def is_own(self, path: str) -> bool:
        """Tell whether a path lies in what the isolate has of its own, or in what the kernel makes up for it."""
        return any(path == each or is_within(path, each) for each in (*self.own, *_OF_THE_KERNEL))

    def shows(self, path: str) -> bool:
        """Tell whether a path is there."""
        return path in self._files or path in self._links or self._in_a_mount(path)

    def _in_a_mount(self, path: str) -> bool:
        if self._covering is None:
            self._covering = Roots(self._roots)
        return self._covering.cover(path)

    def has_part_of(self, directory: str) -> bool:
        """Tell whether it is a directory that is there with some of its entries."""
        return directory in self._above

    def place(self, path: str) -> str:
        """Return where a path leads inside, by the links that are there; what is not there is taken as it is named."""
        above, last = os.path.split(f"/{path.strip('/')}")
        known = above
        while known not in self._places:
            known = os.path.dirname(known)
        self._places[above] = self._walk(*self._places[known], above[len(known) :])
        return self._walk(*self._places[above], last)[0] or "/"

    def _walk(self, place: str, followed: int, path: str) -> tuple[str, int]:
        """Go on from a place, after so many links; return where that leads, and after how many."""
        pending = path.split("/")[::-1]
        while pending:
            part = pending.pop()
            if part in ("", "."):
                continue
            if part == "..":
                place = os.path.dirname(place) if place else ""
                place = "" if place == "/" else place
                continue
            target = self._link(f"{place}/{part}")
            if target and followed < _MOST_LINKS:
                followed += 1
                place = "" if target.startswith("/") else place
                pending.extend(target.split("/")[::-1])
            else:
                place = f"{place}/{part}"
        return place, followed

    def _link(self, path: str) -> str:
        if path in self._links:
            return self._links[path]
        if self._in_a_mount(path):
            try:
                return os.readlink(path)
            except OSError:
                pass
        return ""
