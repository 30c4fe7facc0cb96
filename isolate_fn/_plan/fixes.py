"""Which option would have permitted a denied system call: found by asking the policies and rule sets themselves."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Sequence

from isolate_fn._plan.seccomp import lets_through
from isolate_fn._plan.seccomp_base import worker_policy
from isolate_fn.policy.rule_sets.base import RuleSet
from isolate_fn.policy.rule_sets.basic import BasicCapabilities, Memory
from isolate_fn.policy.rule_sets.builtin import Builtin
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


def fix(machine: str, name: str, arguments: Sequence[int], *, network: bool, rules: bool) -> str:
    """Return options that permit a call, as they are written in a policy; empty where none does.

    A list among them is to be added to what the policy has already.

    Args:
        machine: the architecture.
        name: of the call.
        arguments: as unsigned 64-bit values.
        network: the policy has ``network=True``.
        rules: it has ``rules=``.
    """
    six = (*arguments, *(0,) * (6 - len(arguments)))

    def permitted(*, network: bool, programs: bool) -> bool:
        policy = worker_policy(network=network, exec=programs)
        return lets_through(policy.decide(machine, name, six))

    parts = []
    if not permitted(network=network, programs=True):
        if not permitted(network=True, programs=True):
            return ""
        parts, network = ["network=True"], True
    if rules:
        smallest = _smallest(name, six)
        if not smallest:
            return ""
        parts.append(f"rules=[{smallest}]")
    elif not permitted(network=network, programs=False):
        parts.append(PROGRAMS)
    return ", ".join(parts)


def _smallest(name: str, arguments: tuple[int, ...]) -> str:
    """Return the rule set that permits the call and least beside."""
    found = [each for each in _choices() if _permits(each, name, arguments)]
    return repr(min(found, key=_order)) if found else ""


def _permits(rule_set: RuleSet, name: str, arguments: tuple[int, ...]) -> bool:
    if name in rule_set.simple_rules():
        return True
    return any(rule.matches(arguments) for rule in rule_set.conditional_rules().get(name, ()))


def _order(rule_set: RuleSet) -> tuple[bool, int, int]:
    """Files first: others read and write as well, but that is not what they are named for."""
    calls = len(set(rule_set.simple_rules())) + len(rule_set.conditional_rules())
    return not isinstance(rule_set, (SystemIO, FileChanges)), calls, len(repr(rule_set))


@functools.cache
def _choices() -> tuple[Builtin, ...]:
    """Return every value that a builtin set makes by one word."""
    return tuple(each for kind in _SETS for each in _values(kind))


def _values(kind: type[Builtin]) -> Iterator[Builtin]:
    yield kind()
    for word in sorted(vars(kind)):
        method = getattr(kind, word)
        if word.startswith("allow_") and callable(method):
            needed = [each for each in inspect.signature(method).parameters.values() if each.default is each.empty]
            if len(needed) == 1:  # the set itself
                yield getattr(kind.nothing(), word)()


__all__ = ["PROGRAMS", "fix"]
