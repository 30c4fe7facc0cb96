"""Which option would have permitted a denied system call: found by asking the policies and rule sets themselves."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Sequence

from isolate_fn._plan.rule_permissions import check_conflicts, settle
from isolate_fn._plan.rule_sets import gather
from isolate_fn._plan.seccomp import lets_through
from isolate_fn._plan.seccomp_base import worker_policy
from isolate_fn.errors import ConflictingRules
from isolate_fn.policy.rule_sets.base import RuleSet
from isolate_fn.policy.rule_sets.basic import BasicCapabilities, Memory
from isolate_fn.policy.rule_sets.builtin import Builtin, joined
from isolate_fn.policy.rule_sets.file_changes import FileChanges
from isolate_fn.policy.rule_sets.networking import Networking
from isolate_fn.policy.rule_sets.processes import ForkAndExec, Pipes
from isolate_fn.policy.rule_sets.signals import Signals
from isolate_fn.policy.rule_sets.system_io import SystemIO
from isolate_fn.policy.rule_sets.threads import Threads, Time
from isolate_fn.policy.rule_sets.user_id import UserId

_SETS: tuple[type[Builtin], ...] = (
    SystemIO, FileChanges, Threads, Time, Pipes, Networking, ForkAndExec, Signals, Memory, UserId, BasicCapabilities,
)  # fmt: skip

PROGRAMS = (
    "rules=[SystemIO.everything(), FileChanges.everything(), Threads.everything(), Time.everything(), "
    "Signals.everything(), Memory.everything(), UserId(), Pipes(), ForkAndExec()]"
)
"""For a policy without rules of its own, whose first would take away what is not listed: programs, beside what is usual."""


Call = tuple[str, Sequence[int]]
"""Name and arguments, as unsigned 64-bit values."""
Entries = tuple[RuleSet | str, ...]


def fixes(machine: str, calls: Sequence[Call], *, network: bool, rules: Entries | None) -> list[str]:
    """Return for each call options that permit it, as they are written in a policy; empty where none does.

    A list among them is to be added to what the policy has already, and can be, all together: no set of rules that is named
    conflicts with those of the policy. Where one would, what has to give way is named: ``in place of A: B``.

    Args:
        machine: the architecture.
        calls: that were denied.
        network: the policy has ``network=True``.
        rules: its ``rules=``; None where it has none.
    """
    calls = [(name, (*arguments, *(0,) * (6 - len(arguments)))) for name, arguments in calls]
    options = [_options(machine, call, network=network, rules=rules is not None) for call in calls]
    words = [""] * len(calls) if rules is None else _advised(calls, rules)
    return [
        ", ".join((*parts, *filter(None, [word]))) if parts is not None and (word or rules is None) else ""
        for parts, word in zip(options, words, strict=True)
    ]


def _options(machine: str, call: Call, *, network: bool, rules: bool) -> list[str] | None:
    """Return options beside rules that are wanting, None where no option permits the call."""

    def permitted(*, network: bool, programs: bool) -> bool:
        policy = worker_policy(network=network, exec=programs)
        return lets_through(policy.decide(machine, *call))

    parts = []
    if not permitted(network=network, programs=True):
        if not permitted(network=True, programs=True):
            return None
        parts, network = ["network=True"], True
    if not rules and not permitted(network=network, programs=False):
        parts.append(PROGRAMS)
    return parts


def _advised(calls: Sequence[Call], rules: Entries) -> list[str]:
    """Return what to write for each call: the smallest sets, or where these would conflict with each other, common ones."""
    chosen = [next((each for each in _permitting(call) if _works(call, (*rules, each))), None) for call in calls]
    distinct = tuple(dict.fromkeys(each for each in chosen if each is not None))
    if _conflict((*rules, *distinct)) is not None:
        widest = sorted(distinct, key=_order, reverse=True)
        chosen = [
            each and next((other for other in widest if type(other) is type(each) and _permits(other, *call)), each)
            for call, each in zip(calls, chosen, strict=True)
        ]
    return [
        _instead(call, rules) if each is None else f"rules=[{each!r}]" for call, each in zip(calls, chosen, strict=True)
    ]


def _instead(call: Call, rules: Entries) -> str:
    """Return which of the policy's rules has to give way to which, so that a call is permitted; empty where none would do."""
    for wanted in _permitting(call):
        for index, entry in enumerate(rules):
            if isinstance(entry, Builtin) and type(entry) is type(wanted):
                wider = joined(entry, wanted)
                if _works(call, (*rules[:index], wider, *rules[index + 1 :])):
                    return f"in place of {entry!r}: {wider!r}"
    for wanted in _permitting(call):
        found = _conflict((*rules, wanted))
        if found is not None:
            return f"in place of what {found.sets[0]} says of {found.syscall}: {wanted!r}"
        for left in settle(gather("rules", (*rules, wanted)))[1]:
            if left.call == call[0]:
                return f"in place of what {left.to} says of {left.because_of}: {wanted!r}"
    return ""


def _works(call: Call, rules: Entries) -> bool:
    """Tell whether rules go together and permit a call."""
    name, arguments = call
    staying, _ = settle(gather("rules", rules))
    permitted = any(one.call == name and all(each.matches(arguments) for each in one.conditions) for one in staying)
    return permitted and _conflict(rules) is None


def _conflict(rules: Entries) -> ConflictingRules | None:
    try:
        check_conflicts("rules", settle(gather("rules", rules))[0])
    except ConflictingRules as conflict:
        return conflict
    return None


def _permitting(call: Call) -> list[Builtin]:
    """Return the rule sets that permit a call, that which permits least beside first."""
    return [each for each in _choices() if _permits(each, *call)]


def _permits(rule_set: RuleSet, name: str, arguments: Sequence[int]) -> bool:
    if name in rule_set.simple_rules():
        return True
    return any(rule.matches(arguments) for rule in rule_set.conditional_rules().get(name, ()))


def _order(rule_set: RuleSet) -> tuple[bool, int, int]:
    """Files first: others read and write as well, but that is not what they are named for."""
    calls = len(set(rule_set.simple_rules())) + len(rule_set.conditional_rules())
    return not isinstance(rule_set, (SystemIO, FileChanges)), calls, len(repr(rule_set))


@functools.cache
def _choices() -> tuple[Builtin, ...]:
    """Return every value that a builtin set makes by one word, and last all of each."""
    words = sorted((each for kind in _SETS for each in _values(kind)), key=_order)
    return tuple(dict.fromkeys((*words, *sorted((kind.everything() for kind in _SETS), key=_order))))


def _values(kind: type[Builtin]) -> Iterator[Builtin]:
    yield kind()
    for word in sorted(vars(kind)):
        method = getattr(kind, word)
        if word.startswith("allow_") and callable(method):
            needed = [each for each in inspect.signature(method).parameters.values() if each.default is each.empty]
            if len(needed) == 1:  # the set itself
                yield getattr(kind.nothing(), word)()


__all__ = ["PROGRAMS", "fixes"]
