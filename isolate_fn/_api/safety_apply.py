"""Applies a `SafetyContext`: everything that can fail first, then the steps that cannot be undone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from isolate_fn._api import safety_checks as checks
from isolate_fn._enforce import this_process
from isolate_fn._enforce.preload import load_what_comes_later
from isolate_fn._plan.bpf import Graph, assemble
from isolate_fn._plan.landlock_rights import EVERY_FS, downgrade, landlock_orders
from isolate_fn._plan.orders import LandlockOrders
from isolate_fn._plan.rule_sets import Compiled
from isolate_fn._plan.seccomp import Action
from isolate_fn._sys.landlock_constants import RIGHTS, RestrictFlag
from isolate_fn._sys.seccomp_constants import SECCOMP_RET_ALLOW, SECCOMP_RET_USER_NOTIF, FilterFlag
from isolate_fn.policy.landlock_words import PATH_RIGHTS

if TYPE_CHECKING:
    from isolate_fn._api.safety_context import Restrictions, SafetyContext

#: LANDLOCK_RESTRICT_SELF_TSYNC: (ABI, Linux).
_TSYNC_SINCE = (8, "7.0")
_NAME_OF_RIGHT = {f"ACCESS_FS_{name}": word for word, name in PATH_RIGHTS.items()}
#: Required wherever paths are named: what Landlock knew from the start, and truncation.
_USUAL = tuple(
    _NAME_OF_RIGHT[right.name]
    for right in RIGHTS
    if right.name in _NAME_OF_RIGHT and (right.abi == 1 or _NAME_OF_RIGHT[right.name] == "truncate")
)


def apply(
    context: SafetyContext,
    compiled: Compiled,
    *,
    filters: bool,
    landlock: bool,
    required: frozenset[str] | None,
    all_threads: bool,
) -> Restrictions:
    """Put a compiled context in force. See `SafetyContext.apply_to_current_thread` for the errors.

    Args:
        context: to be remembered as in force.
        compiled: what it comes to.
        filters: with a system call filter.
        landlock: with Landlock.
        required: Landlock rights that must be enforced, None for the usual ones.
        all_threads: not only the calling one.
    """
    machine = checks.check_platform()
    checks.check_not_denied(context, machine, filters=filters, landlock=landlock)
    program = compiled.filter(machine) if filters else b""
    if filters:
        checks.check_filters(_answers(compiled))
    if landlock and all_threads:
        checks.check_landlock_of_other_threads()
    abi = _landlock_abi(compiled, required, all_threads=all_threads) if landlock else 0
    load_what_comes_later()
    opened = checks.open_paths(compiled.landlock if landlock else ())
    try:
        wanted, dropped = _landlock_orders(compiled, opened, abi) if landlock else (None, ())
        orders = _orders(compiled, program, wanted, opened, all_threads=all_threads)
        done = _restrictions(compiled, opened, dropped, orders, abi)
        entry = checks.InForce(context, repr(context), compiled.policy if filters else None)
        listener = _restrict(orders, opened)
    finally:
        opened.close()
    checks.remember(entry, all_threads=all_threads, landlock=landlock)
    return replace(done, listener=listener) if listener >= 0 else done


def _answers(compiled: Compiled) -> Iterable[Action]:
    yield compiled.policy.default


def _landlock_abi(compiled: Compiled, required: frozenset[str] | None, *, all_threads: bool) -> int:
    """Return the kernel's Landlock ABI, when it is enough."""
    abi, cause = checks.landlock_here()
    named = {word for wish in compiled.ports for word in wish.words} | set(compiled.scopes)
    if required is None:
        named |= set(_USUAL if compiled.landlock else ())
    checks.check_landlock(abi, cause, sorted(named | (required or frozenset())))
    if all_threads:
        checks.check_landlock_for_all_threads(abi, *_TSYNC_SINCE)
    return abi


def _landlock_orders(compiled: Compiled, opened: checks.Opened, abi: int) -> tuple[LandlockOrders, tuple[str, ...]]:
    there = [wish for wish in compiled.landlock if wish.path in opened.descriptors]
    wanted = landlock_orders(there, ports=compiled.ports, scopes=compiled.scopes, files=opened.files)
    if compiled.landlock and not there:
        # Every path was optional and is missing: files are to be denied all the same.
        wanted = wanted._replace(handled_fs=EVERY_FS)
    return downgrade(wanted, abi)


def _orders(
    compiled: Compiled, program: bytes, landlock: LandlockOrders | None, opened: checks.Opened, *, all_threads: bool
) -> this_process.Orders:
    tsync = FilterFlag.TSYNC if all_threads else FilterFlag(0)
    notifies = compiled.policy.default.verdict == SECCOMP_RET_USER_NOTIF
    listening = FilterFlag.NEW_LISTENER | (FilterFlag.TSYNC_ESRCH if all_threads else FilterFlag(0))
    rehearse = all_threads and landlock is not None and program
    graph = Graph()
    return this_process.Orders(
        program=program,
        flags=int(tsync | (listening if notifies else FilterFlag(0))),
        rehearsal=assemble(graph.ret(SECCOMP_RET_ALLOW)) if rehearse else b"",
        rehearsal_flags=int(tsync),
        landlock=landlock,
        beneath=tuple(opened.descriptors[path] for path, _ in landlock.path_rules) if landlock else (),
        restrict_flags=int(RestrictFlag.TSYNC) if all_threads and landlock else 0,
    )


def _restrictions(
    compiled: Compiled, opened: checks.Opened, dropped: tuple[str, ...], orders: this_process.Orders, abi: int
) -> Restrictions:
    """Make what will be returned: under the filter it may be too late for it."""
    from isolate_fn._api.safety_context import Restrictions

    return Restrictions(
        threads="all" if orders.flags & FilterFlag.TSYNC or orders.restrict_flags else "current",
        seccomp=bool(orders.program),
        landlock_abi=abi,
        dropped=dropped if orders.landlock is not None else _not_enforced(compiled),
        left_out=(*opened.left_out, *(map(str, compiled.left_out) if orders.program else ())),
    )


def _not_enforced(compiled: Compiled) -> tuple[str, ...]:
    """Say what seccomp_only() leaves out."""
    if not compiled.wants_landlock:
        return ()
    origins = [wish.origin for wish in compiled.landlock] + [wish.origin for wish in compiled.ports]
    names = ", ".join(dict.fromkeys(origins)) or "the sets"
    return (f"seccomp_only(): what {names} say of paths, ports and scopes is not enforced",)


def _restrict(orders: this_process.Orders, opened: checks.Opened) -> int:
    try:
        return this_process.restrict(orders, opened.close)
    except this_process.Diverged as divergence:
        raise checks.diverged(divergence.thread) from divergence.__cause__
