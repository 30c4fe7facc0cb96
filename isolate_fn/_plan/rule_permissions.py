"""What rule sets permit, call by call, before anything is decided: gathered, checked, and settled between the sets.

A set's `simple_rules()` and `conditional_rules()` become `Permission` values, each with the name of its set. Wrong
ones are refused here: names that no kernel has, conditions that no call can satisfy. Then permissions that give way
are left out where another set restricts the call, and what still contradicts each other is an error that names both
sets.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from isolate_fn._plan.fallbacks import UNSEEN
from isolate_fn._plan.satisfiable import is_always_true, witness
from isolate_fn._sys import numbers
from isolate_fn.errors import ConflictingRules, PolicyError
from isolate_fn.policy.conditions import Condition
from isolate_fn.policy.rule_sets.base import Rule, RuleSet


class Permission(NamedTuple):
    """One permission of one rule set.

    Attributes:
        owner: which of the enabled sets, by position; -1 for the one that is added by itself.
        origin: its name.
        call: the system call.
        conditions: all must hold; none means always. Conditions that every call satisfies are left out.
        restricts: it is a promise that no other set may break by permitting the call whatever its arguments.
        need: the least that the set cannot do without.
        gives_way_to: calls of which a restriction in another set takes this permission away.
        reason: for listings.
    """

    owner: int
    origin: str
    call: str
    conditions: tuple[Condition, ...] = ()
    restricts: bool = False
    need: bool = False
    gives_way_to: tuple[str, ...] = ()
    reason: str = ""

    @property
    def firm(self) -> bool:
        """Permits the call whatever its arguments, and gives way to nothing."""
        return not self.conditions and not self.gives_way_to


class LeftOut(NamedTuple):
    """A permission that gave way.

    Attributes:
        origin: the set that had it.
        call: the system call that it permitted.
        to: the set that restricts `because_of`.
        because_of: the restricted call.
    """

    origin: str
    call: str
    to: str
    because_of: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.call} left out, because {self.to} restricts {self.because_of}"


def permissions_of(field: str, owner: int, entry: RuleSet | str) -> Iterator[Permission]:
    """Yield what one set, or a plain name, permits.

    Args:
        field: the option, for errors.
        owner: see Permission.
        entry: the set; a name stands for a set of that name that permits that call.

    Raises:
        PolicyError: a name that no architecture knows, a rule under another call's name, a rule that can never match.
    """
    if isinstance(entry, str):
        _check_name(field, entry, entry)
        yield Permission(owner, entry, entry)
        return
    for call, rules in entry.conditional_rules().items():
        for rule in rules:
            yield _from_rule(field, owner, entry.name, call, rule)
    simple = entry.simple_rules()
    if isinstance(simple, str):
        problem = f"rule set {entry.name!r}: simple_rules() returned the text {simple!r}"
        raise PolicyError(field, problem, f"return a list: [{simple!r}]")
    for name in dict.fromkeys(simple):
        _check_name(field, entry.name, name)
        yield Permission(owner, entry.name, name)


def _check_name(field: str, origin: str, name: object) -> None:
    if not isinstance(name, str):
        problem = f"rule set {origin!r}: {name!r} is not the name of a system call"
        raise PolicyError(field, problem, 'use names, such as "write"')
    if not numbers.is_known(name):
        problem = f"rule set {origin!r}: no system call is named {name!r}"
        raise PolicyError(field, problem, numbers.hint(name))


def _from_rule(field: str, owner: int, origin: str, call: str, rule: object) -> Permission:
    if not isinstance(rule, Rule):
        problem = f"rule set {origin!r}: {rule!r} in conditional_rules() is not a Rule"
        raise PolicyError(field, problem, f"write Rule({call!r}, Arg(0) == 1)")
    if rule.syscall != call:
        problem = f"rule set {origin!r}: conditional_rules() has a rule on {rule.syscall!r} under {call!r}"
        raise PolicyError(field, problem, "list each rule under its own call")
    _check_name(field, origin, call)
    if witness(rule.conditions) is None:
        problem = f"rule set {origin!r}: no call can satisfy the rule on {call!r}: {_text(rule.conditions)}"
        raise PolicyError(field, problem, "conditions of one Rule are and-ed; write two Rules, or one_of(), for 'or'")
    conditions = tuple(condition for condition in rule.conditions if not is_always_true(condition))
    restricts = bool(conditions) and not rule.need
    return Permission(owner, origin, call, conditions, restricts, rule.need, rule.gives_way_to, rule.reason)


def _text(conditions: Iterable[Condition]) -> str:
    return " and ".join(map(str, conditions))


def settle(permissions: Sequence[Permission]) -> tuple[list[Permission], list[LeftOut]]:
    """Leave out what gives way.

    A permission gives way where another set restricts one of the calls that it names, and no set permits that call
    whatever its arguments without giving way itself.

    Returns:
        What stays, in order, and what does not.
    """
    firm = {permission.call for permission in permissions if permission.firm}
    restricting: dict[str, list[Permission]] = {}
    for permission in permissions:
        if permission.restricts and permission.call not in firm:
            restricting.setdefault(permission.call, []).append(permission)
    staying, left_out = [], []
    for permission in permissions:
        stronger = _stronger(permission, restricting)
        if stronger is None:
            staying.append(permission)
        else:
            left_out.append(LeftOut(permission.origin, permission.call, stronger.origin, stronger.call))
    return staying, list(dict.fromkeys(left_out))


def _stronger(permission: Permission, restricting: dict[str, list[Permission]]) -> Permission | None:
    for call in permission.gives_way_to:
        for other in restricting.get(call, ()):
            if other.owner != permission.owner:
                return other
    return None


def giving_way(permissions: Iterable[Permission], basic: Collection[str], owners: Collection[int]) -> list[Permission]:
    """Make needs of the calls in BasicCapabilities give way to restrictions of them.

    A restriction of a call that every process has anyway can only be meant to take something away: "mmap, but nothing
    executable". It would be void if the private mappings that reading files needs stayed beside it.

    Args:
        permissions: of all sets.
        basic: the calls that BasicCapabilities permits.
        owners: which sets are BasicCapabilities themselves. What one of these has been tightened to binds that set
            alone.
    """
    tightened = {one.call for one in permissions if one.restricts and one.owner not in owners}
    return [
        permission._replace(gives_way_to=(*permission.gives_way_to, permission.call))
        if permission.need and permission.call in basic and permission.call in tightened
        else permission
        for permission in permissions
    ]


def check_conflicts(field: str, permissions: Sequence[Permission]) -> None:
    """Refuse permissions of which one would silently void another.

    Raises:
        ConflictingRules: naming both sets and the call; the first in alphabetical order where there are several.
    """
    restricting = {permission.call: permission for permission in reversed(permissions) if permission.restricts}
    found: dict[str, tuple[Permission, Permission]] = {}
    for permission in permissions:
        if permission.conditions:
            continue
        for call in (permission.call, *UNSEEN.get(permission.call, "").split()):
            if call in restricting:
                found.setdefault(call, (restricting[call], permission))
    if not found:
        return
    call = min(found)
    restricted, simple = found[call]
    also = f" (and likewise {', '.join(sorted(found.keys() - {call}))})" if len(found) > 1 else ""
    how = "" if simple.call == call else f" on `{simple.call}`, which does the same with arguments that no filter sees"
    raise ConflictingRules(
        field,
        f"A conditional rule on syscall `{call}` from RuleSet `{restricted.origin}` would be overridden by a simple "
        f"rule{how} from RuleSet `{simple.origin}`{also}",
        _remedy(restricted, simple),
        (restricted.origin, simple.origin),
        call,
    )


def _remedy(restricted: Permission, simple: Permission) -> str:
    if simple.call != restricted.call:
        return f"drop {simple.call!r}: libc falls back to {restricted.call!r}, whose arguments can be checked"
    condition = _text(restricted.conditions)
    if simple.origin == "BasicCapabilities" and restricted.origin != simple.origin:
        return "leave BasicCapabilities() out: it is added by itself, and gives way to your rules"
    return (
        f"permit {restricted.call!r} in one of them only: without conditions, or where {condition}; for a rule that "
        "is not meant as a restriction write Rule(..., need=True)"
    )
