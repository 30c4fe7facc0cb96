"""What every rule set is made of: rules, and the class to inherit from.

A rule set says what it *permits*; what no set permits is denied. It does so in two ways, and may ask for Landlock:

    simple_rules()        names of system calls, permitted whatever their arguments
    conditional_rules()   name -> rules; the call is permitted where all conditions of any one rule hold
    landlock_rules()      paths and what may be done with them (Linux 5.13); landlock_ports(), landlock_scopes()

Sets are or-ed: enabling one more permits more. A conditional rule is also a promise ("writes go to stdout only"),
and a simple rule on the same call in another set would silently break it. How that is settled depends on what the
rule says of itself:

    Rule(...)                       a restriction. A simple rule of another set on the same call raises
                                    ConflictingRules naming both sets and the call.
    Rule(..., need=True)            the least that the set cannot do without, such as ioctl(FIONBIO) for sockets.
                                    Nothing is broken when another set permits more: no conflict, the broader wins.
                                    A need of a call that BasicCapabilities has (mmap, prlimit64) gives way to a
                                    restriction of it: that can only be meant to take something away.
    Rule(..., gives_way_to=(...))   something the set can do without. It is left out where another set restricts one of
                                    these calls (has a conditional rule on it that is neither a need nor giving way,
                                    while no set permits the call simply): Networking's write() gives way to SystemIO's
                                    stdout(), because sockets have sendto(). Giving way implies `need`.

Inside one value of a builtin set there is no conflict: what the user chose last or first does not matter, the
broader allowance wins, and the value's rules on a call are either simple or conditional.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from isolate_fn.errors import PolicyError
from isolate_fn.policy import checks
from isolate_fn.policy.comparisons import Condition, Member, Order
from isolate_fn.policy.landlock_words import LandlockRule, PortRule

from .compare import Compare

_NAME = re.compile(r"[a-z_][a-z0-9_]*")


@dataclass(frozen=True, init=False, repr=False)
class Rule:
    """Permission for one system call where all conditions hold; with none, always.

    Args:
        syscall: its name, as in syscalls(2). Numbers are refused: they differ between architectures.
        *conditions: comparisons of `Arg`, and-ed. A `Compare`, a tuple ``(0, "==", 3)`` and lists of these are taken
            as well.
        reason: what the rule is for, for listings; not part of its value.
        need: the least that the set cannot do without; see the module's text.
        gives_way_to: calls of which a restriction in another set takes this rule away; see the module's text.

    Raises:
        PolicyError: not a name, or not a condition.
    """

    syscall: str
    conditions: tuple[Condition, ...]
    need: bool
    gives_way_to: tuple[str, ...]
    reason: str = field(compare=False)

    def __init__(
        self,
        syscall: str,
        *conditions: object,
        reason: str = "",
        need: bool = False,
        gives_way_to: Iterable[str] = (),
    ) -> None:
        yields = tuple(sorted({call_name(name) for name in checks.items("gives_way_to", gives_way_to, '("write",)')}))
        object.__setattr__(self, "syscall", call_name(syscall))
        object.__setattr__(self, "conditions", tuple(_conditions(conditions)))
        object.__setattr__(self, "need", checks.boolean("need", need) or bool(yields))
        object.__setattr__(self, "gives_way_to", yields)
        object.__setattr__(self, "reason", reason)

    def and_condition(self, condition: object) -> Rule:
        """Return the rule with one more condition that must hold."""
        return Rule(
            self.syscall,
            *self.conditions,
            condition,
            reason=self.reason,
            need=self.need,
            gives_way_to=self.gives_way_to,
        )

    def matches(self, arguments: Sequence[int]) -> bool:
        """Tell whether a call with these six arguments, as unsigned 64-bit values, is permitted."""
        return all(condition.matches(arguments) for condition in self.conditions)

    def __str__(self) -> str:
        return f"{self.syscall}: {' and '.join(map(str, self.conditions)) or 'always'}"

    def __repr__(self) -> str:
        weight = f"gives_way_to={self.gives_way_to}" if self.gives_way_to else "need=True" if self.need else ""
        parts = (repr(self.syscall), *map(str, self.conditions), weight)
        return f"Rule({', '.join(filter(None, parts))})"


def call_name(name: object) -> str:
    """Check the form of a system call's name; the compiler checks that there is such a call.

    Raises:
        PolicyError: not a str, or not the form of a name.
    """
    if isinstance(name, int):
        remedy = 'use its name, such as "write"'
        raise PolicyError("rules", f"system call {name!r} is a number, which differs between machines", remedy)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        remedy = 'use a name of syscalls(2) without prefix, such as "write"'
        raise PolicyError("rules", f"{checks.show(name)} is not the name of a system call", remedy)
    return name


def _conditions(given: Iterable[object]) -> Iterable[Condition]:
    for entry in given:
        if isinstance(entry, (Member, Order)):
            yield entry
        elif isinstance(entry, Compare):
            yield entry.condition
        elif isinstance(entry, tuple) and len(entry) == 3 and isinstance(entry[0], int):
            yield Compare(*entry).condition
        elif isinstance(entry, (list, tuple)):
            yield from _conditions(entry)
        else:
            remedy = "write a comparison such as Arg(0) == 1"
            raise PolicyError("rules", f"{checks.show(entry)} is not a condition", remedy)


class RuleSet:
    """A named set of permissions. Inherit from it to write your own; every method has a default that permits nothing.

        class Reboot(RuleSet):
            def simple_rules(self):
                return ["reboot"]

            def conditional_rules(self):
                return {"socket": [Rule("socket", Arg(0) == AF_INET, (Arg(1) & 0xF) == SOCK_STREAM)]}

    Names are those of all architectures together: one that this machine does not have is left out, and a name that no
    machine has is refused. Name the modern call beside an old one (``open`` and ``openat``), so that the set means the
    same on x86_64 and aarch64. Instances should not change once they are in use.
    """

    @property
    def name(self) -> str:
        """What messages call the set: the name of its class, unless overridden."""
        return type(self).__name__

    def simple_rules(self) -> Iterable[str]:
        """Return the system calls that are permitted whatever their arguments."""
        return ()

    def conditional_rules(self) -> Mapping[str, Sequence[Rule]]:
        """Return name -> rules on that call, of which any one permits it."""
        return {}

    def landlock_rules(self) -> Iterable[LandlockRule]:
        """Return the paths that may be used. With any, all other paths are denied (Linux 5.13)."""
        return ()

    def landlock_ports(self) -> Iterable[PortRule]:
        """Return the ports that may be used. With any, all others are denied for the same rights (Linux 6.7)."""
        return ()

    def landlock_scopes(self) -> Iterable[str]:
        """Return what is to stay inside: words of ``landlock_words.SCOPES`` (Linux 6.12)."""
        return ()

    def yes_really(self) -> RuleSet:
        """Return the set itself. For code ported from Rust, where dangerous methods ask to be confirmed."""
        return self


@dataclass(frozen=True, init=False, repr=False)
class Custom(RuleSet):
    """A rule set made in place.

        Custom("reboot", "reboot", Rule("socket", Arg(0) == AF_INET), LandlockRule("/etc", {"list_dir"}))

    Args:
        name: what messages call it.
        *parts: names of system calls, `Rule`, `LandlockRule` and `PortRule` values, in any order.

    Raises:
        PolicyError: the name is not a text, or a part is none of these.
    """

    _name: str
    parts: tuple[str | Rule | LandlockRule | PortRule, ...]

    def __init__(self, name: str = "custom", *parts: str | Rule | LandlockRule | PortRule) -> None:
        if not isinstance(name, str) or not name.strip():
            remedy = 'put the name first: Custom("mine", "reboot", Rule(...))'
            raise PolicyError("Custom", f"{checks.show(name)} is not a name for a rule set", remedy)
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "parts", tuple(dict.fromkeys(map(_part, parts))))

    @property
    def name(self) -> str:
        """The name that it was given."""
        return self._name

    def simple_rules(self) -> tuple[str, ...]:
        """Return the plain names."""
        return tuple(part for part in self.parts if isinstance(part, str))

    def conditional_rules(self) -> dict[str, tuple[Rule, ...]]:
        """Return the rules by system call."""
        return by_call(part for part in self.parts if isinstance(part, Rule))

    def landlock_rules(self) -> tuple[LandlockRule, ...]:
        """Return the paths."""
        return tuple(part for part in self.parts if isinstance(part, LandlockRule))

    def landlock_ports(self) -> tuple[PortRule, ...]:
        """Return the ports."""
        return tuple(part for part in self.parts if isinstance(part, PortRule))

    def add_simple(self, *calls: str) -> Custom:
        """Return the set with these system calls permitted whatever their arguments."""
        return Custom(self._name, *self.parts, *map(call_name, calls))

    def add_conditional(self, *rules: Rule | tuple[object, ...]) -> Custom:
        """Return the set with these rules; a tuple ``("open", [(1, "==", 0)])`` is taken as `Rule` of its parts."""
        made = [Rule(*rule) if isinstance(rule, tuple) else rule for rule in rules]  # type: ignore[arg-type]
        return Custom(self._name, *self.parts, *made)

    def __repr__(self) -> str:
        return f"Custom({', '.join(map(repr, (self._name, *self.parts)))})"


def by_call(rules: Iterable[Rule]) -> dict[str, tuple[Rule, ...]]:
    """Return name -> the rules on that call, each once, in the order given."""
    found: dict[str, tuple[Rule, ...]] = {}
    for rule in dict.fromkeys(rules):
        found[rule.syscall] = (*found.get(rule.syscall, ()), rule)
    return found


def _part(part: object) -> str | Rule | LandlockRule | PortRule:
    if isinstance(part, (Rule, LandlockRule, PortRule)):
        return part
    if isinstance(part, RuleSet):
        raise PolicyError("Custom", f"{part!r} is a rule set of its own", "enable both, side by side")
    return call_name(part)


def check_rule_sets(field: str, value: object) -> tuple[RuleSet | str, ...]:
    """Accept rule sets and plain names of system calls; a single one stands for itself.

    Raises:
        PolicyError: something else; for a class, with the hint to call it.
    """
    single = isinstance(value, (RuleSet, str, type)) or not isinstance(value, Iterable) or isinstance(value, Mapping)
    entries: tuple[Any, ...] = (value,) if single else tuple(value)  # type: ignore[arg-type]
    for index, entry in enumerate(entries):
        where = field if single else f"{field}[{index}]"
        if isinstance(entry, type) and issubclass(entry, RuleSet):
            raise PolicyError(where, f"{entry.__name__} is a class", f"write {entry.__name__}()")
        if isinstance(entry, Rule):
            raise PolicyError(where, "a Rule stands in a set", f'write Custom("name", Rule({entry.syscall!r}, ...))')
        if not isinstance(entry, (RuleSet, str)):
            remedy = 'use values of isolate_fn.rules such as SystemIO.everything(), or names such as "reboot"'
            raise PolicyError(where, f"{checks.show(entry)} is not a rule set", remedy)
        if isinstance(entry, str):
            try:
                call_name(entry)
            except PolicyError as error:
                raise PolicyError(where, error.problem, error.remedy) from None
    return entries
