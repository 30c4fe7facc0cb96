"""System call numbers by architecture.

The tables beside this file are generated; see tools/generate_syscall_numbers.py. A table is imported when it
is first asked for: a process needs its own architecture's only, except to tell a call that exists elsewhere
from a misspelt one.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: Architectures with a table, by the name that uname(2) gives.
MACHINES = ("x86_64", "aarch64")

_tables: dict[str, Mapping[str, int]] = {}
_names: dict[str, Mapping[int, str]] = {}


def table(machine: str) -> Mapping[str, int]:
    """Return name -> number.

    Args:
        machine: one of MACHINES.

    Raises:
        KeyError: there is no table for that architecture.
    """
    if machine not in _tables:
        if machine == "x86_64":
            from isolate_fn._sys.numbers.x86_64 import NUMBERS
        elif machine == "aarch64":
            from isolate_fn._sys.numbers.aarch64 import NUMBERS
        else:
            raise KeyError(machine)
        _tables[machine] = MappingProxyType(NUMBERS)
    return _tables[machine]


def names(machine: str) -> Mapping[int, str]:
    """Return number -> name. See table() for the argument and the error."""
    if machine not in _names:
        _names[machine] = MappingProxyType({number: name for name, number in table(machine).items()})
    return _names[machine]


def is_known(name: str) -> bool:
    """Tell whether any architecture has a call of that name."""
    return any(name in table(machine) for machine in MACHINES)


def nearest(name: str) -> tuple[str, ...]:
    """Return up to three names that any architecture has and that a misspelt one may have meant, best first."""
    import difflib  # here: only mistakes need it

    known = {known for machine in MACHINES for known in table(machine)}
    return tuple(difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.6))


def hint(name: str) -> str:
    """Return what to do about a name that no architecture has."""
    near = " or ".join(map(repr, nearest(name)))
    return f"did you mean {near}?" if near else "check the spelling in syscalls(2)"
