"""Turn the spawner's lean interpreter into the one that the caller's code expects to run in."""

from __future__ import annotations

import io
import os
import random
import sys
from typing import TextIO

from isolate_fn._plan.orders import Plan


def prepare(plan: Plan, *, tools: bool) -> None:
    """Set paths, streams and environment, and forget what the spawner's view of the host left in caches.

    Args:
        plan: the orders.
        tools: this process only starts tools; modules of the caller are not needed.
    """
    os.environ.update(HOME=plan.cwd, TMPDIR="/tmp", PWD=plan.cwd)  # noqa: S108 - the isolate's own /tmp
    if tools:
        return
    sys.path[:] = plan.sys_path
    sys.path_importer_cache.clear()
    sys.prefix, sys.exec_prefix = plan.prefixes
    sys.argv[:] = [""]
    if plan.editable:
        from isolate_fn._transport.received import EditableFinder

        EditableFinder.install(dict(plan.editable))
    sys.stdout, sys.stderr = _stream(1, "backslashreplace"), _stream(2, "backslashreplace")
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr  # type: ignore[misc,assignment]
    _reseed()


def _stream(descriptor: int, errors: str) -> TextIO:
    raw = io.FileIO(descriptor, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", errors, line_buffering=True)


def _reseed() -> None:
    """Isolates of one spawner start from one state; equal random numbers in all of them would be a gift."""
    random.seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
