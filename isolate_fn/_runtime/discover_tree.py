"""A set of host paths that shall be seen inside at the same place, and the fewest mounts that show them.

Every path is walked component by component, as the kernel would. Each symbolic link on the way is recreated
as it is, and only what it finally leads to is mounted; so a path means inside exactly what it means outside,
however it is written (``/lib``, a venv's ``bin/python``, a home directory that is a link).
"""

from __future__ import annotations

import os
import stat

from isolate_fn._plan.orders import MountOrder
from isolate_fn.errors import SetupError

# More than any sane project has; each mount costs time in every isolate. fs.mount-max is 100000.
MOST_MOUNTS = 1000
# Modules up to this size (bytes) are copied, as long as all of them stay below the second: a mount of each would cost
# time in every isolate, a copy only once.
_COPIED_UP_TO = 1 << 18
_COPIED_IN_ALL = 32 << 20
# The kernel's own limit of links in one path (MAXSYMLINKS, path_resolution(7)).
_MOST_LINKS = 40


def _only_ours(mode: int) -> bool:
    """True where not every user may read what root may: a root caller's isolates run under an id of their own."""
    needed = 0o005 if stat.S_ISDIR(mode) else 0o004
    return os.geteuid() == 0 and mode & needed != needed


class Tree:
    """Collects paths and turns them into orders; all are read-only and at the same place as outside."""

    def __init__(self) -> None:
        self._binds: dict[str, MountOrder] = {}
        self._copied = 0
        self._links: dict[str, str] = {}
        self._files: dict[str, MountOrder] = {}
        self._known_links: dict[str, str | None] = {}

    def add(self, path: str, origin: str, *, may_copy: bool = False) -> bool:
        """Show a file or directory, by the path given and by its real one.

        Args:
            path: absolute path outside.
            origin: what it is, for error messages.
            may_copy: show a small file by a copy of it, which everybody inside may read.

        Returns:
            Whether it exists; nothing is added otherwise.

        Raises:
            SetupError: there are too many single files and directories.
        """
        links: list[tuple[str, str]] = []
        real = self.resolve(path, links)
        state = _state(real)
        mode = state.st_mode if state else 0  # what cannot be reached Python could not import either
        if real == "/" or not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            return False
        self._links.update(links)
        if not self.covers(real):
            directory = stat.S_ISDIR(mode)
            size = state.st_size if state else 0
            copy = may_copy and not directory and size <= _COPIED_UP_TO and self._copied + size <= _COPIED_IN_ALL
            self._binds[real] = MountOrder(
                "bind", real, real, is_directory=directory, origin=f"runtime: {origin}", remap=_only_ours(mode)
            )
            if copy:
                self._copied += size
                self._binds[real] = self._binds[real]._replace(kind="copy", size=size)
            else:
                self._check_count(path)
        return True

    def add_link(self, path: str) -> bool:
        """Recreate a symbolic link, whether or not its target is shown; False if it is none."""
        links: list[tuple[str, str]] = []
        self.resolve(path, links)
        self._links.update(links)
        return bool(links)

    def add_file(self, path: str, data: bytes, origin: str) -> None:
        """Make a file with the given content."""
        self._files[path] = MountOrder("file", path, data=data, origin=f"runtime: {origin}")

    def covers(self, real: str) -> bool:
        """Tell whether a real path is shown already, by itself or within a directory."""
        return real in self._binds or self._within_bind(real)

    def shows_below(self, real: str) -> bool:
        """Tell whether anything at or below a real path is shown."""
        return self.covers(real) or any(path.startswith(f"{real}/") for path in self._binds)

    def resolve(self, path: str, links: list[tuple[str, str]] | None = None) -> str:
        """Return the real path, and append each symbolic link on the way with its text to ``links``."""
        real, pending, seen = "", path.split("/")[::-1], 0
        while pending:
            part = pending.pop()
            if part in ("", "."):
                continue
            if part == "..":
                real = os.path.dirname(real).rstrip("/")
                continue
            text = self._link(f"{real}/{part}")
            if text is None:
                real = f"{real}/{part}"
                continue
            seen += 1
            if seen > _MOST_LINKS:
                return path
            if links is not None:
                links.append((f"{real}/{part}", text))
            if text.startswith("/"):
                real = ""
            pending.extend(text.split("/")[::-1])
        return real or "/"

    def orders(self) -> tuple[MountOrder, ...]:
        """Return the orders: none lies within another, so that their sequence does not matter."""
        binds = [self._binds[path] for path in sorted(self._binds) if not self._within_bind(path)]
        files = [self._files[path] for path in sorted(self._files) if not self._within_bind(path)]
        links = [
            MountOrder("symlink", path, self._links[path], origin="runtime: a symbolic link of the host")
            for path in sorted(self._links)
            if not self._within_bind(path)
        ]
        return (*binds, *files, *links)

    def _within_bind(self, real: str) -> bool:
        parent = os.path.dirname(real)
        while parent != "/":
            if parent in self._binds:
                return True
            parent = os.path.dirname(parent)
        return False

    def _link(self, path: str) -> str | None:
        """Return the text of a symbolic link, None for anything else."""
        if path not in self._known_links:
            try:
                self._known_links[path] = os.readlink(path)
            except OSError:
                self._known_links[path] = None
        return self._known_links[path]

    def _check_count(self, path: str) -> None:
        if sum(order.kind == "bind" for order in self._binds.values()) > MOST_MOUNTS:
            raise SetupError(
                "find the program's modules",
                f"mount {path!r} as one of more than {MOST_MOUNTS} single files and directories",
                0,
                "put the modules into a package (a directory with __init__.py), which is mounted as a whole, "
                "or start the program from its own directory",
            )


def _state(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None
