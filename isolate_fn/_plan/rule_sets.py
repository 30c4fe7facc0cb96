"""Rule sets in, one answer for every system call out, with who asked for what.

    compiled = compile_rule_sets([SystemIO.nothing().allow_stdout(), "reboot"])
    compiled.policy                     what every call is answered; see seccomp.py
    compiled.filter("x86_64")           the program for seccomp(2)
    compiled.landlock                   paths, ports and scopes; landlock_rights.py makes a rule set of them

What no set permits is denied. `BasicCapabilities` is added by itself, and gives way: where one of the other sets
restricts a call, the restriction holds and nothing that was added by itself voids it, nor what other sets need of that
call. Whoever enables `BasicCapabilities` explicitly means it, and gets the same conflict as with any other set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from isolate_fn._plan.fallbacks import FALLBACKS
from isolate_fn._plan.rule_permissions import (
    LeftOut,
    Permission,
    check_conflicts,
    giving_way,
    permissions_of,
    settle,
)
from isolate_fn._plan.seccomp import (
    ALLOW,
    ENOSYS,
    EPERM,
    Action,
    Entry,
    Rule,
    SyscallPolicy,
    compile_filter,
    filter_size,
    lets_through,
    verdict,
)
from isolate_fn.errors import ConflictingRules, PolicyError
from isolate_fn.policy import actions
from isolate_fn.policy.conditions import Condition, Member
from isolate_fn.policy.landlock_words import LandlockRule
from isolate_fn.policy.rule_sets.base import RuleSet, check_rule_sets
from isolate_fn.policy.rule_sets.basic import BasicCapabilities

#: The owner of permissions that nobody enabled.
_BY_ITSELF = -1
#: Sets that the error about too long a program names.
_NAMED = 3


class PathWish(NamedTuple):
    """One path that a rule set wants usable.

    Attributes:
        path: as the set gives it, cleaned.
        words: what for: words of ``policy/landlock_words.py``.
        origin: name of the rule set.
        optional: leave it out where it does not exist.
    """

    path: str
    words: frozenset[str]
    origin: str
    optional: bool = False


class PortWish(NamedTuple):
    """One port that a rule set wants usable.

    Attributes:
        port: 0 to 65535.
        words: what for.
        origin: name of the rule set.
    """

    port: int
    words: frozenset[str]
    origin: str


class Compiled(NamedTuple):
    """What rule sets come to.

    Attributes:
        policy: the answer to every system call.
        landlock: paths; with none, files are not Landlock's business.
        origins: call -> names of the sets that permit it, `BasicCapabilities` included where it was added.
        ports: ports; with none for a protocol, Landlock leaves that protocol alone.
        scopes: words of ``landlock_words.SCOPES``.
        left_out: permissions that gave way to another set's restriction.
        permissions: what was compiled, one by one.
    """

    policy: SyscallPolicy
    landlock: tuple[PathWish, ...]
    origins: Mapping[str, tuple[str, ...]]
    ports: tuple[PortWish, ...] = ()
    scopes: frozenset[str] = frozenset()
    left_out: tuple[LeftOut, ...] = ()
    permissions: tuple[Permission, ...] = ()

    @property
    def wants_landlock(self) -> bool:
        """Tell whether any set asks for Landlock."""
        return bool(self.landlock or self.ports or self.scopes)

    def filter(self, machine: str) -> bytes:
        """Return the program for seccomp(SECCOMP_SET_MODE_FILTER).

        Args:
            machine: ``"x86_64"`` or ``"aarch64"``.

        Raises:
            PolicyError: more instructions than the kernel takes; names the sets that cost most.
            KeyError: no table for that architecture.
        """
        try:
            return compile_filter(self.policy, machine)
        except PolicyError as error:
            shares = sorted(self.cost(machine).items(), key=lambda share: (-share[1], share[0]))
            dearest = ", ".join(f"{name} ({instructions})" for name, instructions in shares[:_NAMED])
            remedy = "compare fewer values in these sets, or put them into a second context, which is enforced as well"
            raise PolicyError(error.field, f"{error.problem}. Most come from: {dearest}", remedy) from None

    def cost(self, machine: str) -> dict[str, int]:
        """Return for each set how many instructions a filter of it alone has more than an empty one.

        What sets share counts for each, so the sum may be more than the whole.
        """
        empty = filter_size(SyscallPolicy(default=self.policy.default), machine)
        costs = {}
        for name in dict.fromkeys(permission.origin for permission in self.permissions):
            own = [permission for permission in self.permissions if permission.origin == name]
            policy = SyscallPolicy.of(_entries(own), default=self.policy.default)
            costs[name] = filter_size(policy, machine) - empty
        return costs


def compile_rule_sets(
    rule_sets: Iterable[RuleSet | str],
    *,
    default: Action | actions.Action = EPERM,
    unknown: Action | actions.Action = ENOSYS,
    field: str = "rules",
) -> Compiled:
    """Return what rule sets and plain names of system calls come to.

    Args:
        rule_sets: what is permitted; sets are or-ed. With none, `BasicCapabilities` alone.
        default: the answer to calls that no set permits.
        unknown: the answer to numbers beyond the tables. ENOSYS, so that a libc newer than this package falls back.
        field: the option that holds the sets, for errors.

    Raises:
        ConflictingRules: a restriction of one set would be void because of another; two sets speak of one path.
        PolicyError: a system call that no kernel has, with the nearest that one has; a rule that no call can satisfy;
            a default that denies nothing.
    """
    entries = check_rule_sets(field, tuple(rule_sets))
    denial = verdict(default)
    if denial == ALLOW:
        remedy = "use ERRNO(errno.EPERM), or LOG to let everything through and read of it in the audit log"
        raise PolicyError(field, "the default action ALLOW denies nothing", remedy)
    staying, left_out = settle(gather(field, entries))
    check_conflicts(field, staying)
    origins: dict[str, dict[str, None]] = {}
    for permission in staying:
        origins.setdefault(permission.call, {})[permission.origin] = None
    return Compiled(
        policy=SyscallPolicy.of(_with_fallbacks(_entries(staying), denial), default=denial, unknown=verdict(unknown)),
        landlock=_paths(field, entries),
        origins={call: tuple(names) for call, names in sorted(origins.items())},
        ports=_ports(entries),
        scopes=frozenset(word for entry in entries if isinstance(entry, RuleSet) for word in entry.landlock_scopes()),
        left_out=tuple(left_out),
        permissions=tuple(staying),
    )


def gather(field: str, entries: Sequence[RuleSet | str]) -> list[Permission]:
    """Return what all sets permit, BasicCapabilities included, and what of that gives way to what."""
    found = [permission for owner, entry in enumerate(entries) for permission in permissions_of(field, owner, entry)]
    basic = list(permissions_of(field, _BY_ITSELF, BasicCapabilities()))
    owners = {owner for owner, entry in enumerate(entries) if isinstance(entry, BasicCapabilities)}
    found = giving_way(found, {permission.call for permission in basic}, owners)
    if owners:
        return found
    return found + [
        permission._replace(gives_way_to=(*permission.gives_way_to, permission.call)) for permission in basic
    ]


def _entries(permissions: Sequence[Permission]) -> dict[str, Entry]:
    """Turn permissions into answers: without conditions where any set permits the call so, else the rules or-ed."""
    by_call: dict[str, list[Permission]] = {}
    for permission in permissions:
        by_call.setdefault(permission.call, []).append(permission)
    entries = {}
    for call, granted in by_call.items():
        simple = [permission for permission in granted if not permission.conditions]
        reason = "; ".join(dict.fromkeys(map(_reason, simple or granted)))
        rules = (Rule(reason=reason),) if simple else _rules(granted)
        entries[call] = Entry(rules, reason=reason)
    return entries


def _reason(permission: Permission) -> str:
    return f"{permission.origin}: {permission.reason}" if permission.reason else permission.origin


def _rules(granted: Sequence[Permission]) -> tuple[Rule, ...]:
    """Return rules without repeats. Those that compare the same bits with single values become one with all values.

    A comparison with many values is a search, many comparisons are a chain: a set for each of a hundred descriptors
    costs a call seven tests in place of a hundred.
    """
    values: dict[Member, set[int]] = {}  # by the comparison without its values
    reasons: dict[tuple[Condition, ...], dict[str, None]] = {}
    for permission in granted:
        conditions = permission.conditions
        if len(conditions) == 1 and isinstance(conditions[0], Member) and not conditions[0].negated:
            kind = replace(conditions[0], values=())
            values.setdefault(kind, set()).update(conditions[0].values)
            conditions = (kind,)
        reasons.setdefault(conditions, {})[_reason(permission)] = None
    return tuple(
        Rule(tuple(_filled(condition, values) for condition in conditions), reason="; ".join(said))
        for conditions, said in reasons.items()
    )


def _filled(condition: Condition, values: Mapping[Member, set[int]]) -> Condition:
    if isinstance(condition, Member) and condition in values:
        return replace(condition, values=tuple(sorted(values[condition])))
    return condition


def _with_fallbacks(entries: dict[str, Entry], denial: Action) -> dict[str, Entry]:
    """Answer ENOSYS to calls that nobody permits but that have an older form which somebody does."""
    if lets_through(denial):
        return entries
    missing = {
        call: Entry((), ENOSYS, "libc falls back to the older call")
        for call, older in FALLBACKS.items()
        if call not in entries and any(name in entries for name in older.split())
    }
    return entries | missing


def _paths(field: str, entries: Sequence[RuleSet | str]) -> tuple[PathWish, ...]:
    """Return the paths of all sets; those that one set names twice joined.

    Raises:
        ConflictingRules: two sets name one path.
    """
    found: dict[str, tuple[int, PathWish]] = {}
    for owner, entry in enumerate(entries):
        for rule in entry.landlock_rules() if isinstance(entry, RuleSet) else ():
            wish = _wish(field, entry.name, rule)  # type: ignore[union-attr]
            before = found.get(wish.path)
            if before is not None and before[0] != owner:
                raise _duplicate(field, before[1], wish)
            if before is not None:
                words = before[1].words | wish.words
                wish = wish._replace(words=words, optional=before[1].optional and wish.optional)
            found[wish.path] = (owner, wish)
    return tuple(wish for _, wish in found.values())


def _wish(field: str, origin: str, rule: object) -> PathWish:
    if not isinstance(rule, LandlockRule):
        problem = f"rule set {origin!r}: {rule!r} in landlock_rules() is not a LandlockRule"
        raise PolicyError(field, problem, 'write LandlockRule("/data", {"read_file"})')
    return PathWish(rule.path, rule.rights, origin, rule.optional)


def _duplicate(field: str, first: PathWish, second: PathWish) -> ConflictingRules:
    return ConflictingRules(
        field,
        f'The same path ("{second.path}") was used in two different landlock rules. Rulesets {first.origin!r} and '
        f"{second.origin!r}",
        "name the path in one of them only, with all rights that it needs",
        (first.origin, second.origin),
    )


def _ports(entries: Sequence[RuleSet | str]) -> tuple[PortWish, ...]:
    return tuple(
        PortWish(rule.port, rule.rights, entry.name)
        for entry in entries
        if isinstance(entry, RuleSet)
        for rule in entry.landlock_ports()
    )
