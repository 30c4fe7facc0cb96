"""How much of its isolates' logs this process wants to hear.

Apart from what hears them (`isolate_fn._runtime.notices`): it is asked for each call of a program that has imported
``logging``, and loads nothing else.
"""

from __future__ import annotations

import sys
import time

from isolate_fn._runtime import lifetime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MOST_LOGGERS = 500
_LOOK_AGAIN = 1.0  # seconds for which levels of loggers below the root count as unchanged


class _Levels:
    """How much this process wants to hear, looked at not too often."""

    def __init__(self) -> None:
        self.key: object = None
        self.until = 0.0
        self.found: dict[str, Any] | None = None


_known = _Levels()


def levels() -> dict[str, Any] | None:
    """Return the levels that this process has set, for its isolates to keep to; None where all are as Python starts.

    Returns:
        ``root``, ``disable`` and ``loggers``, name to level.
    """
    logging: Any = sys.modules.get("logging")
    root = getattr(logging, "root", None)
    if root is None or not hasattr(root.manager, "loggerDict"):  # not imported, or just being so
        return None
    named = root.manager.loggerDict
    key = (root.level, root.manager.disable, len(named))
    now = time.monotonic()
    with lifetime.making:
        if key != _known.key or now > _known.until:
            own = {name: each.level for name, each in list(named.items()) if getattr(each, "level", 0)}
            found = {"root": root.level, "disable": root.manager.disable, "loggers": dict(list(own.items())[:_MOST_LOGGERS])}
            plain = (found["root"], found["disable"], own) == (logging.WARNING, 0, {})
            _known.key, _known.until, _known.found = key, now + _LOOK_AGAIN, None if plain else found
        return _known.found
