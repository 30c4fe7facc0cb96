"""Requests that contradict each other: found where the policy is written, with both named."""

from __future__ import annotations

from isolate_fn.errors import ConflictingRules, PolicyError

from . import checks
from .mounts import Mount, ro
from .tokens import Danger, HostNetwork, NoSeccomp

_EXAMPLE = '["/data", rw("/out")]'
# What each weakening takes away of the properties that require= can name.
_TAKEN = ((NoSeccomp, "syscalls"), (HostNetwork, "network"))


def check_mounts(value: object) -> tuple[Mount, ...]:
    """Turn bare paths into `ro`, and refuse mounts of which one would hide another."""
    mounts = []
    for index, entry in enumerate(checks.items("mounts", value, _EXAMPLE)):
        try:
            mounts.append(entry if isinstance(entry, Mount) else ro(entry))
        except PolicyError as error:
            raise PolicyError(f"mounts[{index}]", error.problem, error.remedy) from None
    for later, mount in enumerate(mounts):
        for earlier, other in enumerate(mounts[:later]):
            _check_pair(earlier, other, later, mount)
    return tuple(mounts)


def _check_pair(earlier: int, first: Mount, later: int, second: Mount) -> None:
    field, sets = f"mounts[{later}]", (repr(first), repr(second))
    if first.destination == second.destination:
        problem = f"{second!r} has the same place inside as mounts[{earlier}] {first!r}"
        raise ConflictingRules(field, problem, "keep one of them, or give one another dst", sets)
    if first.destination.startswith(f"{second.destination}/"):
        problem = f"{second!r} would hide mounts[{earlier}] {first!r}"
        raise ConflictingRules(field, problem, "put the outer mount first, then the inner one", sets)
    if second.destination.startswith(f"{first.destination}/"):
        if first.word in ("file", "dev", "symlink"):
            problem = f"{second!r} lies below mounts[{earlier}] {first!r}, which is not a directory"
            raise ConflictingRules(field, problem, "give one of them another dst", sets)
        if second.word in ("file", "symlink") and first.word in ("ro", "rw", "overlay"):
            problem = f"{second!r} would have to be written into mounts[{earlier}] {first!r}"
            raise ConflictingRules(
                field, problem, "give it a dst outside, or mount the entries one by one", sets
            )


def check_accept(accept: tuple[type[Danger], ...], require: frozenset[str] | None) -> None:
    """Refuse to require a property and to give it up in the same breath."""
    for token, lost in _TAKEN:
        if token in accept and require is not None and lost in require:
            names = (f"accept=({token.__name__},)", f"require={{{lost!r}}}")
            problem = f"{names[0]} gives up what {names[1]} demands"
            raise ConflictingRules("accept", problem, "drop one of them", names)
