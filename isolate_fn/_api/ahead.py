"""Start the process that becomes the spawner before anything else is done, or even imported, for a first call."""

from __future__ import annotations

import os

from isolate_fn._plan.engine import SPAWNER_NAMESPACES, own_namespaces
from isolate_fn._runtime import launch
from isolate_fn._runtime.executable import find_interpreter
from isolate_fn._sys.features import PRETEND
from isolate_fn._sys.privileges import can_build
from isolate_fn.policy.policy import Policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

_CATEGORIES = "ALL CTYPE NUMERIC TIME COLLATE MONETARY MESSAGES PAPER NAME ADDRESS TELEPHONE MEASUREMENT IDENTIFICATION"
INHERITED = ("LANG", "LANGUAGE", "TZ", *(f"LC_{category}" for category in _CATEGORIES.split()))  # locale(7)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class LaunchedAhead:
    """A block in which a first call is made ready while its spawner boots; where that fails, the process is ended.

    Args:
        policy: what the call may do.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.key: launch.LaunchKey | None = None

    def __enter__(self) -> LaunchedAhead:
        # Rules may contradict each other, and a pretended machine may be one that cannot isolate.
        if self.policy.rules is None and PRETEND not in os.environ:
            key = launch.LaunchKey(
                find_interpreter(),
                environment(self.policy),
                launch.mode_of("namespaces", privileged=can_build()),
                own_namespaces(self.policy) & SPAWNER_NAMESPACES,
            )
            if launch.ahead(key):
                self.key = key
        return self

    def by_value(self) -> None:
        """Have it import at once what functions that travel by value need, as this process is about to."""
        if self.key is not None:
            launch.hint(self.key, "cloudpickle")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None and self.key is not None:
            launch.drop(self.key)


def environment(policy: Policy) -> tuple[tuple[str, str], ...]:
    """Return the variables that an isolate has, sorted by name."""
    values: dict[str, Any] = {"PATH": _PATH, "LANG": "C.UTF-8", **dict(_inherited()), **dict(policy.env)}
    library = _library_path()
    if library:  # what the caller gives comes first, but the interpreter has to start
        values["LD_LIBRARY_PATH"] = ":".join(filter(None, (values.get("LD_LIBRARY_PATH", ""), library)))
    return tuple(sorted(values.items()))


def _inherited() -> tuple[tuple[str, str], ...]:
    """Return the few variables that say how text and time look; none of them holds a secret."""
    values = zip(INHERITED, map(os.environ.get, INHERITED), strict=True)
    return tuple((name, value) for name, value in values if value is not None)


def _library_path() -> str:
    """Return where libpython lies, for an interpreter that is only found to work by LD_LIBRARY_PATH (ld.so(8)); or ""."""
    directories = list(filter(os.path.isabs, os.environ.get("LD_LIBRARY_PATH", "").split(":")))
    if not directories:
        return ""
    import sysconfig

    library = str(sysconfig.get_config_var("INSTSONAME"))
    for directory in directories:
        if os.path.isfile(os.path.join(directory, library)):
            return directory
    return ""
