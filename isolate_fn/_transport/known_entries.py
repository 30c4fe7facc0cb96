"""Importing from directories that may not be listed: what can be imported from each was found out by the caller.

Python's own finder lists a directory before it opens anything in it. Without mounts, the right to list one would show the
names of everything below it. Light on purpose: the worker imports this.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from isolate_fn._transport.importing import EditableFinder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class KnownEntries:
    """Finds what is known to be in one directory (an `importlib.abc.PathEntryFinder`).

    Args:
        names: module name -> its file, or its directory.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = dict(names)

    def find_spec(self, name: str, target: Any = None) -> Any:
        """Answer the import system (PEP 451)."""
        location = self._names.get(name.rpartition(".")[2])
        return None if location is None else EditableFinder({name: location}).find_spec(name)

    def invalidate_caches(self) -> None:
        """Nothing is found that was not known."""


def install(entries: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> None:
    """Let imports from these directories find what is known of them, in their place on ``sys.path``.

    Args:
        entries: real path of a directory, and (module name, path) of what is in it.
    """
    known = {path: KnownEntries(dict(names)) for path, names in entries}

    def hook(path: str) -> KnownEntries:
        found = known.get(path) or known.get(os.path.realpath(path))
        if found is None:
            raise ImportError("not one of these")
        return found

    sys.path_hooks.insert(0, hook)
    sys.path_importer_cache.clear()
