"""Stop a call from another thread: the conversation hears of it as of any other event."""

from __future__ import annotations

import os
import threading


class Cancel:
    """A switch that can be thrown once, from any thread.

    Attributes:
        thrown: it was.
    """

    def __init__(self) -> None:
        self.thrown = False
        self._lock = threading.RLock()
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def fileno(self) -> int:
        """Return a descriptor that can be read once the switch is thrown, -1 when it is closed."""
        return self._event

    def throw(self) -> None:
        """End the call, wherever it is; it tells so by `Cancelled`."""
        with self._lock:
            self.thrown = True
            if self._event >= 0:
                os.eventfd_write(self._event, 1)

    def close(self) -> None:
        """Close the descriptor."""
        with self._lock:
            event, self._event = self._event, -1
        if event >= 0:
            os.close(event)
