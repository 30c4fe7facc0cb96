"""Whether namespaces work where only a try can tell: behind a container's system call filter, or a unit's.

Sysctls can be read, and AppArmor's switch. What a filter answers can only be asked, and one that kills must not be asked by
this process. So the first spawner is started at once there, which is needed anyway, and what it meets is remembered: filters
are never taken away again.
"""

from __future__ import annotations

import os

from isolate_fn._plan.engine import missing
from isolate_fn._runtime.prepared import Prepared
from isolate_fn._sys.features import PRETEND, Features
from isolate_fn.errors import Unsupported

_refused: dict[str, tuple[str, str]] = {}  # what is pretended -> cause and remedy
_works: set[str] = set()


def known(features: Features) -> Features:
    """Return features with what was learned before."""
    return _without(features, *_refused[_pretended()]) if _refused and _pretended() in _refused else features


def must_be_tried() -> bool:
    """Tell whether there is something to learn, which is so once."""
    return _pretended() not in _works


def tried(prepared: Prepared) -> Features:
    """Start the spawner; return the features that it was started with, or those of a machine without namespaces.

    Args:
        prepared: for the engine that needs namespaces.

    Raises:
        Unsupported: they are refused, and there is no other engine; or they are refused for now.
        SetupError: the spawner could not be started for another reason.
    """
    from isolate_fn._runtime import pool

    try:
        pool.start_spawner(prepared)
    except Unsupported as refused:
        cause, fix = getattr(refused, "cause", refused.found), getattr(refused, "fix", "")
        found = _without(prepared.features, cause, fix)
        if not getattr(refused, "lasting", False) or missing(found) is not None:
            raise
        _refused[_pretended()] = cause, fix
        return found
    _works.add(_pretended())
    return prepared.features


def _without(features: Features, cause: str, remedy: str) -> Features:
    from dataclasses import replace

    return replace(features, userns=False, userns_cause=cause, userns_remedy=remedy)


def _pretended() -> str:
    return os.environ.get(PRETEND, "")
