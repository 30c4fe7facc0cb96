"""What looks on in a worker, where the caller asked for that: it is started before any code of the user's is imported."""

from __future__ import annotations

import sys
from collections.abc import Callable

from isolate_fn._transport.codec_encode import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def begin(module: str, settings: str) -> Callable[[], tuple[bytes, list[Any]]]:
    """Start it; what fails is told to the caller, and keeps no function from running.

    Args:
        module: which.
        settings: its own.

    Returns:
        A function that returns what there is to say, encoded.
    """
    try:
        __import__(module)
        look: Callable[[], Any] = sys.modules[module].begin(settings)
    except Exception as error:
        problem = {"problem": f"{type(error).__name__}: {error}"}
        return lambda: _encoded(problem)

    def said() -> tuple[bytes, list[Any]]:
        try:
            return _encoded(look())
        except Exception as error:  # such as what a narrower filter denies
            return _encoded({"problem": f"{type(error).__name__}: {error}"})

    return said


def _encoded(value: Any) -> tuple[bytes, list[Any]]:
    encoded = encode(value)
    return encoded.json, encoded.buffers


__all__ = ["begin"]
