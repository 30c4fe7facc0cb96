"""Restricts the running process itself, or one thread of it, for good: Landlock, then seccomp. No way back, no decisions.

The order, and why: the rule set is built first, which restricts nothing and may fail. ``no_new_privs`` is what the other
two need of the unprivileged (prctl(2)). Landlock comes before the filter, which takes the calls away that it needs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from isolate_fn._enforce.locks import build_ruleset
from isolate_fn._plan.orders import LandlockOrders
from isolate_fn._sys import calls
from isolate_fn._sys import this_process_calls as own
from isolate_fn.errors import SetupError


class Orders(NamedTuple):
    """What is to be put in force.

    Attributes:
        program: the filter, empty for none.
        flags: SECCOMP_FILTER_FLAG_* for it.
        rehearsal: a filter that allows everything, to be installed in every thread before Landlock restricts one; empty
            where the filter itself is the only thing that can fail. Where a thread cannot be brought along, this is where
            it shows, while nothing is restricted yet.
        rehearsal_flags: SECCOMP_FILTER_FLAG_* for it.
        landlock: the rule set, None for none.
        beneath: for each of its path rules, in order, a descriptor of the path.
        restrict_flags: LANDLOCK_RESTRICT_SELF_*.
    """

    program: bytes
    flags: int
    rehearsal: bytes
    rehearsal_flags: int
    landlock: LandlockOrders | None
    beneath: tuple[int, ...]
    restrict_flags: int


class Diverged(Exception):
    """A thread could not be brought along; nothing is restricted.

    Args:
        thread: its id, 0 where the kernel does not tell.
    """

    def __init__(self, thread: int) -> None:
        super().__init__(thread)
        self.thread = thread


def restrict(orders: Orders, built: Callable[[], None]) -> int:
    """Carry the orders out.

    Args:
        orders: see there.
        built: called when the descriptors are needed no more, while closing them is certainly allowed.

    Returns:
        The descriptor of the filter's listener, -1 where it has none.

    Raises:
        Diverged: see there.
        SetupError: a step failed; its remedy says what is in force by then.
    """
    ruleset = -1
    landlock = orders.landlock
    if landlock is not None:
        ruleset = _step("Landlock", "landlock_create_ruleset()", lambda: _build(landlock, orders.beneath))
    try:
        built()
        _step("no_new_privs", "prctl(PR_SET_NO_NEW_PRIVS, 1)", own.set_no_new_privs)
        if orders.rehearsal:
            _install(orders.rehearsal, orders.rehearsal_flags)
        if ruleset >= 0:
            _step("Landlock", "landlock_restrict_self()", lambda: calls.landlock_restrict_self(ruleset, orders.restrict_flags))
    finally:
        if ruleset >= 0:
            os.close(ruleset)
    return _install(orders.program, orders.flags, after_landlock=ruleset >= 0) if orders.program else -1


def _build(orders: LandlockOrders, beneath: tuple[int, ...]) -> int:
    """Return a descriptor of the rule set, which restricts nobody yet."""
    opened = dict(zip((path for path, _ in orders.path_rules), beneath, strict=True))
    return build_ruleset(orders, lambda ruleset, path, access: calls.landlock_add_path(ruleset, access, opened[path]))


def _install(program: bytes, flags: int, *, after_landlock: bool = False) -> int:
    done = "Landlock's restrictions are in force by now: end this process" if after_landlock else ""
    result = _step("seccomp", "seccomp(SECCOMP_SET_MODE_FILTER)", lambda: calls.install_filter(program, flags), done)
    if flags & own.NEW_LISTENER:
        return result
    if result > 0:
        raise Diverged(result)
    return -1


def _step(step: str, call: str, action: Callable[[], int | None], remedy: str = "") -> int:
    try:
        return action() or 0
    except OSError as failure:
        if failure.errno == _ESRCH and step == "seccomp":
            raise Diverged(0) from failure
        text = remedy or "nothing is restricted; see what else confines this process: strace -e trace=seccomp,prctl"
        raise SetupError(step, call, failure.errno or 0, text) from failure


_ESRCH = 3
