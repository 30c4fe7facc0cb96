"""Turn the spawner's lean interpreter into the one that the caller's code expects to run in."""

from __future__ import annotations

import faulthandler
import io
import os
import sys

from isolate_fn._plan.orders import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

_TRACKER = "multiprocessing.resource_tracker"


def prepare(plan: Plan, scratch: str = "", *, tools: bool) -> None:
    """Set paths, streams and environment, and forget what the spawner's view of the host left in caches.

    Args:
        plan: the orders.
        scratch: directory that the writable places lie in; empty where they are mounted.
        tools: this process only starts tools; modules of the caller are not needed.
    """
    work = scratch + plan.cwd
    for name, value in (("HOME", work), ("TMPDIR", f"{scratch}/tmp"), ("PWD", work)):  # update() would ask ABCs first
        if name not in os.environ:  # what is there already is from env=, which has the last word
            os.environ[name] = value
    if tools:
        return
    sys.path[:] = plan.sys_path
    sys.path_importer_cache.clear()
    sys.prefix, sys.exec_prefix = plan.prefixes
    sys.argv[:] = [""]
    if plan.editable:
        from isolate_fn._transport.received import EditableFinder

        EditableFinder.install(dict(plan.editable))
    if plan.entries:
        from isolate_fn._transport.known_entries import install

        install(plan.entries)
    sys.stdout, sys.stderr = _stream(1, "backslashreplace"), _stream(2, "backslashreplace")
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr  # type: ignore[misc,assignment]
    _show_crashes(plan)
    _leave_tracker_out()
    _reseed()


def _show_crashes(plan: Plan) -> None:
    """Let a crash in native code write the stack of every thread to stderr, where the caller looks for it.

    A child that Python forks keeps that. Not under rules that kill for what they deny: the handler's own system calls would
    change the signal that the process dies of.
    """
    if plan.rules is None or plan.open_check:
        faulthandler.enable(2)


def _stream(descriptor: int, errors: str) -> TextIO:
    raw = io.FileIO(descriptor, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", errors, line_buffering=True)


def _leave_tracker_out() -> None:
    """Let multiprocessing.shared_memory work: it starts a process that removes what others forgot.

    Nothing is forgotten here, since memory and files of an isolate end with it, and a program cannot be started.
    """
    loaded = sys.modules.get(_TRACKER)
    if loaded is not None:
        _silence(loaded)
    else:
        sys.meta_path.insert(0, _TrackerFinder())


def _silence(module: Any) -> None:
    module.ResourceTracker._send = lambda *parts: None


class _TrackerFinder:
    """Finds one module, once, and changes it as soon as it is loaded."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """See `importlib.abc.MetaPathFinder.find_spec`."""
        if name != _TRACKER:
            return None
        from importlib.machinery import PathFinder

        sys.meta_path.remove(self)
        spec: Any = PathFinder.find_spec(name, path)
        load = spec.loader.exec_module

        def load_and_silence(module: Any) -> None:
            load(module)
            _silence(module)

        spec.loader.exec_module = load_and_silence
        return spec


def _reseed() -> None:
    """Isolates of one spawner start from one state; equal random numbers in all of them would be a gift.

    ``random`` itself is seeded anew by CPython after every fork, where a preloaded module brought it in.
    """
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
