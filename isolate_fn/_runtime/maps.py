"""Deleted files that processes of an isolate have mapped, read by a thread of init's.

Who reads a process's mappings waits for a lock (mmap_lock) that its threads can hold nearly all the time. The thread waits;
whoever watches memory does not.
"""

from __future__ import annotations

import _thread
import os
import time

from isolate_fn._enforce import scratch
from isolate_fn._runtime.watch import other_threads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 1 << 16
_MOST = 1 << 26
"""Bytes to read of all processes: the kernel lets one have some 65,000 mappings, of a hundred bytes each, but for long paths."""
_PATIENCE = 30.0  # seconds for all of that
_WAIT = 0.002  # seconds


class Maps:
    """Asks, and takes the answer when it is there.

    Attributes:
        found: (inode -> bytes mapped) of deleted files, from the last answer.
    """

    def __init__(self) -> None:
        self.found: dict[int, int] = {}
        self._asked = _thread.allocate_lock()
        self._done = _thread.allocate_lock()
        self._asked.acquire()
        self._pids: list[str] = []
        self._since = 0.0  # when it was asked; 0 when it was answered
        self._too_long = False

    def start(self) -> None:
        """Start the thread. Before the filter, which comes to every thread, and after the last fork."""
        self._done.acquire()
        _thread.start_new_thread(self._run, ())
        self._done.acquire()

    def ask(self, pids: list[str]) -> None:
        """Have these processes read, unless the last ones still are."""
        if not self._since:
            self._pids, self._since = pids, time.monotonic()
            self._asked.release()

    def answered(self) -> bool:
        """Tell whether the answer is there, which a moment is waited for."""
        if self._since and self._done.acquire(timeout=_WAIT):
            self._since = 0.0
        return not self._since

    def hidden(self) -> bool:
        """Tell whether somebody makes it long."""
        return self._too_long or bool(self._since and time.monotonic() - self._since > _PATIENCE)

    def _run(self) -> None:
        self._done.release()
        while self._asked.acquire():
            self.found = self._read()
            self._done.release()

    def _read(self) -> dict[int, int]:
        found: dict[int, int] = {}
        left = _MOST
        for pid in self._pids:
            try:
                for text in _parts_of(f"{with_files(pid)}/maps"):
                    found.update(_deleted_in(text))
                    left -= len(text)
                    if left < 0:
                        self._too_long = True
                        return found
            except OSError:
                continue  # ended
        return found


def with_files(pid: str) -> str:
    """Return the directory of /proc that tells of a process's files: of another thread where the first has ended.

    The threads of a process have one table of descriptors: the filter lets none be made that has another.
    """
    for directory in (f"/proc/{pid}", *other_threads(pid)):
        try:
            if os.listdir(f"{directory}/fd"):
                return directory
        except OSError:
            continue  # ended: a first thread that has is root's
    return f"/proc/{pid}"


def _parts_of(path: str) -> Iterator[bytes]:
    """Yield a file of /proc in parts that end with a line, as the kernel gives them."""
    rest = b""
    with open(path, "rb", buffering=0) as maps:
        while part := maps.read(_CHUNK):
            whole, end, begun = part.rpartition(b"\n")
            yield rest + whole + end
            rest = begun if end else rest + begun


def _deleted_in(maps: bytes) -> list[tuple[int, int]]:
    """Return (inode, bytes mapped) of deleted files of private directories in lines of proc_pid_maps(5)."""
    found: list[tuple[int, int]] = []
    if b" (deleted)\n" not in maps:
        return found
    for line in maps.split(b"\n"):
        if line.endswith(b" (deleted)") and scratch.PREFIX.encode() in line:
            span, _, _, _, inode, _ = line.split(None, 5)
            first, last = span.split(b"-")
            found.append((int(inode), int(last, 16) - int(first, 16)))
    return found
