"""What runs inside isolates: it calls attacks one after the other."""

from __future__ import annotations

import importlib
from typing import Any

from isolate_fn._diagnose.selftest.attack import Action, Facts, Found


def name_of(act: Action) -> str:
    """Return the name by which `play` finds a function again."""
    return f"{act.__module__}:{act.__qualname__}"


def find(name: str) -> Action:
    """Return the function of a name."""
    module, _, function = name.partition(":")
    found: Action = getattr(importlib.import_module(module), function)
    return found


def play(names: list[str], facts: Facts) -> dict[str, Any]:
    """Make attacks, and return what each found. What an attack raises is not what it was made for, and is told as found."""
    results: dict[str, Any] = {}
    for name in names:
        try:
            results[name] = find(name)(facts)
        except Exception as error:
            results[name] = unexpected(error)
    return results


def play_one(name: str, facts: Facts) -> Found:
    """Make one attack; its errors are the call's."""
    return find(name)(facts)


def unexpected(error: BaseException) -> Found:
    """Return what an attack found that ended in a way nobody thought of."""
    return {"ended unexpectedly": f"{type(error).__name__}: {error}"}
