"""coverage.py inside an isolate: it measures into memory, and says with each answer what is new.

Loaded once in the spawner, with coverage.py itself, so that no isolate has to import either.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import coverage

_QUIET = ["no-data-collected", "module-not-measured", "module-not-imported", "module-not-python", "already-imported"]


def begin(settings: str) -> Callable[[], Any]:
    """Measure from now on.

    Args:
        settings: JSON: ``branch``, ``core`` (empty for coverage.py's choice), ``include`` and ``omit`` (patterns).

    Returns:
        A function that returns what was counted since it was called last, as plain data; None for nothing.
    """
    told = json.loads(settings)
    branch = told["branch"]
    measuring = coverage.Coverage(
        data_file=None, config_file=False, branch=branch, include=told["include"] or None, omit=told["omit"] or None
    )
    measuring.set_option("run:disable_warnings", _QUIET)
    if told["core"]:
        os.environ["COVERAGE_CORE"] = told["core"]  # the one way that all versions know
    try:
        measuring.start()
    finally:
        if told["core"]:
            del os.environ["COVERAGE_CORE"]  # the function shall not see it
    measuring.get_data()  # opens its memory now: later a filter may deny what that needs
    seen: dict[str, set[Any]] = {}

    def new() -> Any:
        data = measuring.get_data()
        counted: dict[str, list[Any]] = {}
        for file in data.measured_files():
            found: set[Any] = set((data.arcs(file) if branch else data.lines(file)) or ())
            fresh = found - seen.setdefault(file, set())
            if fresh:
                seen[file] |= fresh
                counted[file] = [list(arc) for arc in fresh] if branch else sorted(fresh)
        return {"arcs" if branch else "lines": counted} if counted else None

    return new


__all__ = ["begin"]
