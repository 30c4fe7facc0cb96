"""What looks on inside an isolate and tells the caller with each answer: coverage, where that is asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable

from isolate_fn._plan.mounts import is_within
from isolate_fn._plan.orders import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_COVERAGE = "isolate_fn.integrations.coverage"


def observer() -> str:
    """Return the settings of what shall look on, nothing for usual calls; takes no time unless coverage.py is there."""
    if "coverage" not in sys.modules:
        return ""
    settings: str = _coverage().settings()
    return settings


def preload() -> tuple[str, ...]:
    """Return the modules that it needs inside."""
    modules: tuple[str, ...] = _coverage().PRELOAD
    return modules


def orders(settings: str) -> tuple[str, str]:
    """Return what the worker is told: a module, and its settings."""
    return (_coverage().INSIDE, settings) if settings else ("", "")


def hearing(plan: Plan) -> Callable[[Any], None]:
    """Return what takes what an isolate of this plan says beside its answers, decoded and otherwise as it came."""

    def outside(path: str) -> str | None:
        return _outside(plan, path)

    return lambda said: _coverage().hear(said, outside)


def _outside(plan: Plan, path: str) -> str | None:
    """Return the host's path of a file that is mounted inside as ``path``, None where none is."""
    if not path.startswith("/") or "\0" in path or any(part in ("", ".", "..") for part in path[1:].split("/")):
        return None
    around = [order for order in plan.mounts if path == order.destination or is_within(path, order.destination)]
    order = max(around, key=lambda order: len(order.destination), default=None)
    if order is None or order.kind not in ("bind", "copy"):
        return None
    return order.source + path.removeprefix(order.destination)


def _coverage() -> Any:
    # By name, because it belongs to a layer above.
    __import__(_COVERAGE)
    return sys.modules[_COVERAGE]


__all__ = ["hearing", "observer", "orders", "preload"]
