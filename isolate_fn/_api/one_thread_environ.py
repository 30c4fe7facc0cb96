"""An ``os.environ`` that only one thread sees, for as long as a function takes."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

_swapping = threading.RLock()


class _OneThread(MutableMapping[str, str]):
    """Shows one thread its own variables and every other thread those of the process."""

    def __init__(self, mine: Mapping[str, str], everybody: Any) -> None:
        self._owner: int | None = threading.get_ident()
        self._mine, self._everybody = dict(mine), everybody

    def _seen(self) -> Any:
        return self._mine if threading.get_ident() == self._owner else self._everybody

    def end(self) -> None:
        """Show everybody the same again: somebody may have kept the object."""
        self._owner = None

    def __getitem__(self, name: str) -> str:
        value: str = self._seen()[name]
        return value

    def __setitem__(self, name: str, value: str) -> None:
        self._seen()[name] = value

    def __delitem__(self, name: str) -> None:
        del self._seen()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._seen())

    def __len__(self) -> int:
        return len(self._seen())

    def __getattr__(self, name: str) -> Any:  # copy(), encodekey() and the like
        return getattr(self._seen(), name)


@contextlib.contextmanager
def environ_of_this_thread(variables: Mapping[str, str]) -> Iterator[None]:
    """Replace ``os.environ`` for this thread; for all others, and for C code, it stays.

    Putting the variables into the real environment for a while would show them to every thread, and setenv(3) is not
    safe beside getenv(3) of another one.

    Args:
        variables: all that this thread sees.
    """
    with _swapping:
        before: Any = os.environ
        swapped = _OneThread(variables, before)
        os.environ = swapped  # type: ignore[assignment]  # noqa: B003 - C code is not meant to see it
        try:
            yield
        finally:
            os.environ = before  # noqa: B003 - the very object that was there
            swapped.end()
