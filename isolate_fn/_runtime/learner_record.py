"""What `learn` has seen, on its way to the caller: each news once, as a line of JSON, within bounds."""

from __future__ import annotations

import os

from isolate_fn._transport.json_text import dump_ascii

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST_PATHS, MOST_ADDRESSES, MOST_BYTES = 20_000, 2_000, 32 << 20


class Record:
    """A file that only the spawner writes.

    Args:
        path: of it; it is there already.

    Raises:
        OSError: it is not.
    """

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._paths: dict[str, set[str]] = {}
        self._addresses: set[tuple[str, int, str]] = set()
        self._said: set[str] = set()
        self._counts: dict[str, int] = {}
        self._peaks: dict[str, int] = {}
        self._left = MOST_BYTES

    def close(self) -> None:
        """Write the counts, and let go of the file."""
        self._left = MOST_BYTES
        self._write({"calls": self._counts, "end": 1})
        os.close(self._file)

    def count(self, name: str) -> None:
        """Count a call by its name."""
        self._counts[name] = self._counts.get(name, 0) + 1
        if self._counts[name] == 1:
            self._write({"calls": {name: 1}})

    def path(self, path: str, what: str, *, real: str = "", kind: str = "", detail: str = "") -> None:
        """Note what was done with a path, the first time that it is.

        Args:
            path: as it was named, absolute.
            what: such as ``"read"``.
            real: without symbolic links.
            kind: ``"file"``, ``"directory"`` or other.
            detail: more of it.
        """
        known = self._paths.get(path)
        if known is None:
            if len(self._paths) >= MOST_PATHS:
                self._once("more")
                return
            known = self._paths[path] = set()
        if what not in known:
            known.add(what)
            self._write({"path": path, "what": what, "real": real, "kind": kind, "detail": detail})

    def address(self, host: str, port: int, how: str, *, reached: bool) -> None:
        """Note an address."""
        key = (host, port, how)
        if key in self._addresses:
            return
        if len(self._addresses) >= MOST_ADDRESSES:
            self._once("more")
            return
        self._addresses.add(key)
        self._write({"host": host, "port": port, "how": how, "reached": reached})

    def peak(self, name: str, value: int) -> None:
        """Note the most of something."""
        if value > self._peaks.get(name, 0):
            self._peaks[name] = value
            self._write({"peak": name, "value": value})

    def forked(self, role: str) -> None:
        """Note that a role process, or a program of it, has started a process."""
        self._once(f"forked {role}")

    def started(self, role: str) -> None:
        """Note that it has executed a program."""
        self._once(f"started {role}")

    def _once(self, what: str) -> None:
        if what not in self._said:
            self._said.add(what)
            self._write({"said": what})

    def _write(self, message: dict[str, Any]) -> None:
        line = dump_ascii(message) + b"\n"
        if len(line) > self._left:
            return
        self._left -= len(line)
        try:
            os.write(self._file, line)
        except OSError:
            pass  # the disk is full; the program goes on
