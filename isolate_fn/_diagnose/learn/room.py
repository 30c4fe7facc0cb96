"""How much of a disk a run may take by writing to temporary copies: never all that the host has."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import TracebackType

from isolate_fn.errors import LimitExceeded

LEFT = 0.5
"""Share of what was free that stays free."""

_EVERY = 0.02  # seconds: a fast disk takes some hundred megabytes meanwhile


class Room:
    """Ends a run once it has taken its share of a file system.

    What is free is asked, not what the copies have: a deleted file that is still open takes room, and nobody finds it.

    Args:
        place: a directory there; empty where there are no copies.
        end: ends the run; called by a thread.
    """

    def __init__(self, place: str, end: Callable[[], None]) -> None:
        self._place, self._end = place, end
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="isolate-fn-learn-room", daemon=True)
        self._taken: tuple[int, int] | None = None

    def __enter__(self) -> None:
        """Begin to look."""
        if self._place:
            self._free = _free(self._place)
            self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Look no longer.

        Raises:
            LimitExceeded: the run was ended.
        """
        self._over.set()
        if self._place:
            self._thread.join()
        if self._taken is None:
            return
        allowed, used = self._taken
        exceeded = LimitExceeded("room for temporary copies", allowed, used)
        exceeded.remedy = "name a directory with more room by TMPDIR, or let it really write to one of yours with --rw DIR (rw=)"
        raise exceeded from error

    def _watch(self) -> None:
        while not self._over.wait(_EVERY):
            for before, now in zip(self._free, _free(self._place), strict=True):
                if now < before * LEFT:
                    self._taken = int(before * (1 - LEFT)), before - now
            if self._taken is not None:
                self._end()
                return


def _free(place: str) -> tuple[int, int]:
    """Return bytes and inodes that this user can still have."""
    state = os.statvfs(place)
    return state.f_bavail * state.f_frsize, state.f_favail
