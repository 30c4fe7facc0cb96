"""What the builtin sets share: a value is the permissions that were chosen, less what was tightened.

Each ``allow_...()`` method adds one `Permission` and returns a new value. What a value permits is worked out when it
is asked for: a call that any permission gives simply is simple, whatever conditions another one puts on it; so the
broader of two choices on one value wins, in whatever order they were made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

from isolate_fn.errors import PolicyError
from isolate_fn.policy import checks
from isolate_fn.policy.comparisons import Condition
from isolate_fn.policy.landlock_words import LandlockRule, PortRule

from .base import Rule, RuleSet, by_call, call_name


@dataclass(frozen=True, slots=True)
class Permission:
    """What one method of a set permits.

    Attributes:
        method: the call that chose it, as it prints: ``"allow_file_read(3)"``.
        calls: names of system calls permitted whatever their arguments, separated by spaces.
        rules: permissions with conditions.
        paths: what Landlock is to permit of files.
        ports: what Landlock is to permit of ports.
        scopes: what Landlock is to keep inside.
    """

    method: str
    calls: str = ""
    rules: tuple[Rule, ...] = ()
    paths: tuple[LandlockRule, ...] = ()
    ports: tuple[PortRule, ...] = ()
    scopes: tuple[str, ...] = ()


def rules(
    calls: str, *conditions: Condition, reason: str, need: bool = False, gives_way_to: str = ""
) -> tuple[Rule, ...]:
    """Return one rule for each of the names in `calls`, all with the same conditions."""
    way = gives_way_to.split()
    return tuple(Rule(call, *conditions, reason=reason, need=need, gives_way_to=way) for call in calls.split())


@dataclass(frozen=True, init=False, repr=False)
class Builtin(RuleSet):
    """Base of the builtin sets. Values compare, hash, pickle, and print as the calls that make them."""

    _chosen: tuple[Permission, ...]
    _tightened: tuple[tuple[Rule, ...], ...]
    _removed: tuple[str, ...]

    #: What the constructor permits.
    _ALWAYS: ClassVar[tuple[Permission, ...]] = ()
    #: What everything() adds to that.
    _EVERYTHING: ClassVar[tuple[Permission, ...]] = ()

    def __init__(self) -> None:
        self._keep(self._ALWAYS)

    @classmethod
    def nothing(cls) -> Self:
        """Return the set that permits nothing, to be added to."""
        return cls()._changed(())

    @classmethod
    def everything(cls) -> Self:
        """Return the set with all that its methods could permit."""
        return cls()._changed((*cls._ALWAYS, *cls._EVERYTHING))

    def yes_really(self) -> Self:
        """Return the set itself. For code ported from Rust, where dangerous methods ask to be confirmed."""
        return self

    def without(self, *calls: str) -> Self:
        """Return the set without these system calls, whatever is chosen later.

        Args:
            *calls: names that the set permits.

        Raises:
            PolicyError: it does not permit one of them.
        """
        for call in calls:
            self._check_permitted(call_name(call))
        return self._changed(self._chosen, self._tightened, (*self._removed, *calls))

    def restrict(self, *more: Rule) -> Self:
        """Return the set with further conditions on calls that it permits.

        A call is then permitted where the set did so *and* any one of the rules given here for it holds; a second
        restrict() tightens further. What it says is a promise: a set that permits the call simply is a conflict, and
        one that gives way in it does so. Another set's own conditions on the call still permit what they say.

            BasicCapabilities().restrict(Rule("mprotect", Arg(2, 32).has_none(PROT_EXEC)))

        Args:
            *more: rules for calls that the set permits.

        Raises:
            PolicyError: it does not permit one of them, or a rule has no condition.
        """
        for rule in more:
            if not isinstance(rule, Rule) or not rule.conditions:
                remedy = 'write Rule("mmap", Arg(2, 32).has_none(4)), or without("mmap") to forbid the call'
                raise PolicyError("restrict", f"{checks.show(rule)} is not a rule with conditions", remedy)
            self._check_permitted(rule.syscall)
        return self._changed(self._chosen, (*self._tightened, tuple(more)), self._removed)

    def simple_rules(self) -> tuple[str, ...]:
        """Return the system calls that are permitted whatever their arguments, sorted."""
        return tuple(sorted(call for call, rules in self._permitted().items() if not rules))

    def conditional_rules(self) -> dict[str, tuple[Rule, ...]]:
        """Return name -> rules on that call, sorted by name."""
        return {call: rules for call, rules in sorted(self._permitted().items()) if rules}

    def landlock_rules(self) -> tuple[LandlockRule, ...]:
        """Return the paths that may be used, each once, with all rights that were chosen for it."""
        merged: dict[str, LandlockRule] = {}
        for path in (path for permission in self._chosen for path in permission.paths):
            known = merged.get(path.path, path)
            optional = known.optional and path.optional
            merged[path.path] = LandlockRule(path.path, known.rights | path.rights, optional=optional)
        return tuple(merged.values())

    def landlock_ports(self) -> tuple[PortRule, ...]:
        """Return the ports that may be used, each once."""
        merged: dict[int, PortRule] = {}
        for port in (port for permission in self._chosen for port in permission.ports):
            known = merged.get(port.port, port)
            merged[port.port] = PortRule(port.port, known.rights | port.rights)
        return tuple(merged.values())

    def landlock_scopes(self) -> tuple[str, ...]:
        """Return what is to stay inside."""
        return tuple(sorted({scope for permission in self._chosen for scope in permission.scopes}))

    def __repr__(self) -> str:
        start = f"{type(self).__name__}()"
        hidden: set[str] = set()
        if self._EVERYTHING and set(self._EVERYTHING) <= set(self._chosen):
            start, hidden = f"{type(self).__name__}.everything()", {one.method for one in self._EVERYTHING}
        elif not set(self._ALWAYS) <= set(self._chosen):
            start = f"{type(self).__name__}.nothing()"
        hidden |= {one.method for one in self._ALWAYS}
        words = [permission.method for permission in self._chosen if permission.method not in hidden]
        words += [f"restrict({', '.join(map(repr, rules))})" for rules in self._tightened]
        words += [f"without({', '.join(map(repr, self._removed))})"] if self._removed else []
        return ".".join((start, *words))

    def _with(self, *more: Permission) -> Self:
        """Return the value with these permissions as well; the order of choosing leaves no trace."""
        return self._changed((*self._chosen, *more), self._tightened, self._removed)

    def _changed(
        self,
        chosen: Iterable[Permission],
        tightened: Iterable[tuple[Rule, ...]] = (),
        removed: Iterable[str] = (),
    ) -> Self:
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)  # a user's subclass may have fields of its own
        new._keep(chosen, tightened, removed)
        return new

    def _keep(
        self,
        chosen: Iterable[Permission],
        tightened: Iterable[tuple[Rule, ...]] = (),
        removed: Iterable[str] = (),
    ) -> None:
        object.__setattr__(self, "_chosen", tuple(sorted(set(chosen), key=lambda one: (one.method, one.calls))))
        object.__setattr__(self, "_tightened", tuple(sorted(set(tightened), key=repr)))
        object.__setattr__(self, "_removed", tuple(sorted(set(removed))))

    def _permitted(self) -> dict[str, tuple[Rule, ...]]:
        """Return call -> rules, empty for a call that is permitted whatever its arguments."""
        permitted = by_call(rule for permission in self._chosen for rule in permission.rules)
        permitted |= {call: () for permission in self._chosen for call in permission.calls.split()}
        for tightening in self._tightened:
            for call, entries in by_call(tightening).items():
                if call in permitted:
                    permitted[call] = tuple(_both(old, new) for old in permitted[call] or (None,) for new in entries)
        return {call: entries for call, entries in permitted.items() if call not in self._removed}

    def _check_permitted(self, call: str) -> None:
        permitted = self._permitted()
        if call not in permitted:
            import difflib  # only on the way to an error

            nearest = difflib.get_close_matches(call, permitted, n=1, cutoff=0.6)
            remedy = f"did you mean {nearest[0]!r}?" if nearest else "leave it out: what is not permitted is denied"
            raise PolicyError("rules", f"{self!r} does not permit {call!r}", remedy)


def joined(one: Builtin, other: Builtin) -> Builtin:
    """Return a value with what another one of the same set permits as well; what was tightened stays so."""
    return one._with(*other._chosen)


def _both(old: Rule | None, new: Rule) -> Rule:
    """Return the rule that permits what both permit; a restriction, whatever the old one was."""
    if old is None:
        return Rule(new.syscall, *new.conditions, reason=new.reason)
    reason = "; ".join(filter(None, (old.reason, new.reason)))
    return Rule(new.syscall, *old.conditions, *new.conditions, reason=reason)
