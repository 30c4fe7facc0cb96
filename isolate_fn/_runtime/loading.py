"""What a spawner loads, and when: at its start what it needs itself, then what isolates need, then what programs import.

A module that is loaded here is shared by every isolate; one that is not is imported in each that wants it. But the first
call of a program waits for the spawner, so nothing is loaded before it is needed or there is time for it.
"""

from __future__ import annotations

import gc
import sys

IDLE = 50
"""Milliseconds without a request after which a spawner has time."""

_OFTEN = (
    "contextlib ctypes enum functools importlib.util json linecache pickle re selectors signal socket struct types typing "
    "warnings weakref"
)
"""Modules of the standard library that programs are likely to import, and the rest of this package to rely on."""


class Loading:
    """Knows what is loaded.

    Attributes:
        complete: nothing is left to load.

    Imports go by the interpreter's own paths: the caller's may lead to a file that is called like one of its modules.
    """

    def __init__(self) -> None:
        self._own_path = list(sys.path)
        self._needed = self.complete = False

    def preload(self, names: tuple[str, ...], path: list[str], *, later: bool) -> None:
        """Import modules of the caller's.

        Args:
            names: theirs.
            path: where they are found.
            later: also load everything else, and what CPython imports inside functions: filters will deny opening files.

        Raises:
            Exception: whatever one of them raises.
        """
        if later:
            self.often()
        sys.path[:] = path
        for name in names:
            __import__(name)
        if later:
            from isolate_fn._enforce import preload
            from isolate_fn._transport import lent  # noqa: F401

            preload.load_what_comes_later()
            self.paths()
        sys.path[:] = self._own_path

    def needed(self) -> None:
        """Load what every isolate runs; without effect when it is there."""
        if self._needed:
            return
        self._needed = True
        import faulthandler
        import warnings  # noqa: F401 - what is warned of in an isolate is told to the caller

        from isolate_fn._runtime import init, serve, worker  # noqa: F401
        from isolate_fn._transport import codec_encode, failures_describe  # noqa: F401

        # It keeps the stack that its handlers run on, which every worker would have to make otherwise.
        faulthandler.enable(2)
        faulthandler.disable()
        # By name, because it belongs to a layer above: modules with functions to isolate import it.
        __import__("isolate_fn._api.decorator")
        gc.freeze()

    def paths(self) -> None:
        """Load the class of the paths that a call with grants receives; without effect when it is there."""
        if "pathlib" not in sys.modules:
            __import__("pathlib")

    def often(self) -> None:
        """Load what programs are likely to import; without effect when it is there."""
        self.needed()
        if self.complete:
            return
        self.complete = True
        for name in _OFTEN.split():
            __import__(name)
        # A collection in a fork would touch, and so copy, every page of what is shared.
        gc.collect()
        gc.freeze()
