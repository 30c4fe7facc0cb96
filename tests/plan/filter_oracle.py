"""What a policy means, from dictionaries and plain integers: nothing of BPF, and nothing of the code under test."""

from __future__ import annotations

import functools

from isolate_fn._plan.emulator import SeccompData
from isolate_fn._plan.seccomp import Entry, SyscallPolicy
from isolate_fn._sys import numbers
from isolate_fn._sys.seccomp_constants import AUDIT_ARCH
from isolate_fn.policy.conditions import Condition, Member


def holds(condition: Condition, arguments: tuple[int, ...]) -> bool:
    """The oracle's own reading of a condition."""
    value = arguments[condition.index] % 2**condition.bits
    if isinstance(condition, Member):
        return (value & condition.mask in set(condition.values)) != condition.negated
    limit = condition.value
    if condition.signed:
        half, whole = 2 ** (condition.bits - 1), 2**condition.bits
        value, limit = (number - whole if number >= half else number for number in (value, limit))
    return (value >= limit if condition.inclusive else value > limit) != condition.negated


@functools.cache
def _names(machine: str) -> dict[int, str]:
    return {number: name for name, number in numbers.table(machine).items()}


def answer(policy: SyscallPolicy, machine: str, data: SeccompData) -> int:
    """What the filter must say, from dictionaries and plain integers."""
    if data.arch != AUDIT_ARCH[machine] or (machine == "x86_64" and data.nr >= 0x40000000):
        return policy.foreign.verdict
    name = _names(machine).get(data.nr)
    if name is None:
        return policy.unknown.verdict
    entry = dict(policy.entries).get(name, Entry())
    arguments = (*data.args, *[0] * (6 - len(data.args)))
    for rule in entry.rules:
        if all(holds(condition, arguments) for condition in rule.conditions):
            return rule.action.verdict
    return (entry.otherwise or policy.default).verdict
