"""What the engine without namespaces does not promise: attacks that get through there by what docs/engines.md says.

Each is named with the parts of it that may get through, and why; whatever else gets through is broken, here as anywhere.
"""

from __future__ import annotations

from isolate_fn._diagnose.selftest.attack import Found, through

_EXISTS = "names, sizes and times of the host's files can be asked for, though not what they hold"
_NUMBERS = "without a pid namespace it can be asked which process numbers are in use"
_EVERY = ("",)

UNPROMISED: dict[str, tuple[tuple[str, ...], str]] = {
    "files.well-known": (_EVERY, _EXISTS),
    "files.sysfs": (_EVERY, _EXISTS),
    "files.map-executable": (("../tmp",), "Landlock keeps files from being executed, and not from being mapped executable"),
    "processes.list": (("the caller", "the victim"), _NUMBERS),
    "processes.kill-all": (("all",), "kill(-1) says that it has done something; the victim lives"),
    "processes.schedule": (("getsid", "sched_getaffinity"), f"{_NUMBERS}, and some of their numbers"),
    "processes.core-dump": (("dumpable",), "init must see its files; the limit alone keeps the host's handler from it"),
    "leaks.names": (("machine",), "without a UTS namespace the host's name can be asked for"),
    "limits.inodes": (("made",), "files are counted at looks some milliseconds apart, and more can be made in between"),
}
"""Id of an attack -> parts that may get through (the empty name: all of them), and why."""


def unpromised(attack: str, found: Found | None) -> str:
    """Return why nobody promised that an attack fails; empty where somebody did.

    Args:
        attack: its id.
        found: what it found; None where it did not come to an end of its own.
    """
    parts, why = UNPROMISED.get(attack, ((), ""))
    got = through(found) if found is not None else None
    return why if got and (parts == _EVERY or set(got) <= set(parts)) else ""
