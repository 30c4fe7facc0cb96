"""The filter of every builtin rule set: against the set's own words on both architectures, and in the kernel here.

The oracle reads `simple_rules()` and `conditional_rules()` and knows nothing of the compiler. The kernel is asked with
arguments that do nothing, and compared with the same calls under a filter that allows everything.
"""

from __future__ import annotations

import itertools
import platform
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from builtin_sets import CLASSES, EVERY, WHOLE
from filter_oracle import holds
from harmless import HARMLESS, OWN_ANSWERS

from isolate_fn._plan.bpf import length
from isolate_fn._plan.emulator import SeccompData, run
from isolate_fn._plan.fallbacks import FALLBACKS, UNSEEN
from isolate_fn._plan.rule_sets import Compiled, compile_rule_sets
from isolate_fn._plan.seccomp import ALLOW, ENOSYS, EPERM, KILL_PROCESS, SyscallPolicy, compile_filter
from isolate_fn._sys import numbers
from isolate_fn._sys.seccomp_constants import (
    AUDIT_ARCH,
    AUDIT_ARCH_ARM,
    AUDIT_ARCH_I386,
    SECCOMP_RET_DATA,
)
from isolate_fn.errors import ConflictingRules
from isolate_fn.policy.conditions import Condition, Member
from isolate_fn.policy.rule_sets.base import Rule, RuleSet
from isolate_fn.policy.rule_sets.basic import BasicCapabilities

MACHINE = platform.machine()
BASIC = BasicCapabilities()


class Said(NamedTuple):
    """What sets say, in their own words: calls permitted simply, and each rule on the others."""

    simple: frozenset[str]
    rules: dict[str, tuple[Rule, ...]]

    def permits(self, call: str, arguments: tuple[int, ...]) -> bool:
        return call in self.simple or any(
            all(holds(condition, arguments) for condition in rule.conditions) for rule in self.rules.get(call, ())
        )

    def edges(self, call: str) -> Iterator[tuple[int, ...]]:
        """Arguments near which the answer changes: for each rule satisfying ones, then one argument at a time off."""
        yield (0,) * 6
        yield (2**64 - 1,) * 6
        for rule in self.rules.get(call, ()):
            satisfying = [0] * 6
            for condition in rule.conditions:
                near = [value for value in condition.interesting() if holds(condition, (value,) * 6)]
                satisfying[condition.index] = near[0]
            yield tuple(satisfying)
            for condition in rule.conditions:
                for value in condition.interesting():
                    yield tuple(value if place == condition.index else satisfying[place] for place in range(6))


def said_by(entry: RuleSet) -> Said:
    sets = [entry] if isinstance(entry, BasicCapabilities) else [entry, BASIC]
    rules: dict[str, tuple[Rule, ...]] = {}
    for one in sets:
        for call, more in one.conditional_rules().items():
            rules[call] = (*rules.get(call, ()), *more)
    return Said(frozenset(call for one in sets for call in one.simple_rules()), rules)


def denial(permitted: set[str], call: str) -> int:
    older = FALLBACKS.get(call, "").split()
    return (ENOSYS if call not in permitted and permitted.intersection(older) else EPERM).verdict


@pytest.mark.parametrize("machine", numbers.MACHINES)
@pytest.mark.parametrize("label", EVERY)
def test_the_filter_says_what_the_set_says(label: str, machine: str) -> None:
    """Every number of the tables and beyond, at every edge of every condition."""
    said = said_by(EVERY[label])
    permitted = {*said.simple, *said.rules}
    program, names = compile_rule_sets([EVERY[label]]).filter(machine), numbers.names(machine)
    for nr in range(601):
        call = names.get(nr)
        for arguments in said.edges(call or ""):
            answer = run(program, SeccompData(nr, AUDIT_ARCH[machine], arguments)).verdict
            if call is None:
                assert answer == ENOSYS.verdict, nr
            else:
                expected = ALLOW.verdict if said.permits(call, arguments) else denial(permitted, call)
                assert answer == expected, (call, arguments)


@pytest.mark.parametrize("machine", numbers.MACHINES)
@pytest.mark.parametrize("label", WHOLE)
def test_other_architectures_and_x32_are_killed(label: str, machine: str) -> None:
    program = compile_rule_sets([WHOLE[label]]).filter(machine)
    foreign = {AUDIT_ARCH_I386, AUDIT_ARCH_ARM, *AUDIT_ARCH.values()} - {AUDIT_ARCH[machine]}
    asked = [SeccompData(nr, arch) for arch in foreign for nr in range(0, 601, 5)]
    if machine == "x86_64":
        asked += [SeccompData(nr | 0x40000000, AUDIT_ARCH[machine]) for nr in range(0, 601, 5)]
    assert {run(program, data).verdict for data in asked} == {KILL_PROCESS.verdict}


# --- properties that hold for all of them -----------------------------------------------------------------------


def compiled(label: str) -> Compiled:
    return compile_rule_sets([EVERY[label]])


@pytest.mark.parametrize("label", EVERY)
def test_no_builtin_set_takes_from_basic_capabilities(label: str) -> None:
    """A restriction of one of its calls would: only a user's own may."""
    if "without_executable_memory" in label:
        return
    assert {entry.origin for entry in compiled(label).left_out} == set()
    for call in (*BASIC.simple_rules(), *BASIC.conditional_rules()):
        assert all(rule.need for rule in EVERY[label].conditional_rules().get(call, ())), call


@pytest.mark.parametrize("label", EVERY)
def test_no_builtin_set_permits_what_no_filter_can_see(label: str) -> None:
    """clone3 carries namespaces, io_uring everything. SystemIO's openat2 opens, and so does what it stands beside."""
    simple = set(EVERY[label].simple_rules())
    assert not simple & (UNSEEN.keys() - {"openat2"})
    if "openat2" in simple:
        assert {"open", "openat"} <= simple


@pytest.mark.parametrize("label", EVERY)
def test_what_an_old_call_permits_a_modern_one_does_too(label: str) -> None:
    """aarch64 has the modern ones only; a set must mean the same there."""
    modern = {
        "access": "faccessat", "chmod": "fchmodat", "chown": "fchownat", "creat": "openat", "dup2": "dup3",
        "epoll_create": "epoll_create1", "epoll_wait": "epoll_pwait", "eventfd": "eventfd2", "fork": "clone",
        "futimesat": "utimensat", "getdents": "getdents64", "getpgrp": "getpgid", "inotify_init": "inotify_init1",
        "lchown": "fchownat", "link": "linkat", "lstat": "newfstatat", "mkdir": "mkdirat", "mknod": "mknodat",
        "open": "openat", "pause": "ppoll", "pipe": "pipe2", "poll": "ppoll", "readlink": "readlinkat",
        "rename": "renameat", "rmdir": "unlinkat", "select": "pselect6", "signalfd": "signalfd4",
        "stat": "newfstatat", "symlink": "symlinkat", "time": "gettimeofday", "unlink": "unlinkat",
        "utime": "utimensat", "utimes": "utimensat", "vfork": "clone", "alarm": "setitimer",
        "arch_prctl": "set_tid_address",
    }  # fmt: skip
    permitted = set(compiled(label).origins)
    only_x86 = permitted & (numbers.table("x86_64").keys() - numbers.table("aarch64").keys())
    assert only_x86 <= modern.keys()
    assert {call: modern[call] for call in only_x86 if modern[call] not in permitted} == {}


def test_flags_and_ints_are_compared_in_32_bits() -> None:
    """A condition on all 64 bits of an int that *forbids* is got round by a high bit that the kernel drops."""
    pointers_and_sizes = {("prlimit64", 2)}
    wrong = set()
    for label, entry in EVERY.items():
        for call, entries in entry.conditional_rules().items():
            for rule in entries:
                wrong |= {
                    (label, call, str(condition))
                    for condition in rule.conditions
                    if condition.bits == 64
                    and _forbids(condition)
                    and (call, condition.index) not in pointers_and_sizes
                }
    assert {(call, text) for _, call, text in wrong} == set()


def _forbids(condition: Condition) -> bool:
    """A high bit alone can turn it from false to true."""
    low = [value for value in condition.interesting() if value < 2**32 and not holds(condition, (value,) * 6)]
    return any(holds(condition, (value | high,) * 6) for value in low for high in (1 << 32, 1 << 63))


#: Pairs that contradict each other even where everything is chosen, with the call; nothing else may.
CONTRADICTIONS: dict[frozenset[str], str] = {}


def test_whole_sets_can_be_enabled_together() -> None:
    """Only what a set promises can be broken by another, and a whole set promises nothing that another breaks."""
    found = {}
    for one, two in itertools.combinations(WHOLE, 2):
        try:
            compile_rule_sets([WHOLE[one], WHOLE[two]])
        except ConflictingRules as conflict:
            found[frozenset((one, two))] = conflict.syscall
    assert found == CONTRADICTIONS


def test_the_filters_stay_small() -> None:
    together = [of.everything() for of in CLASSES]
    for machine in numbers.MACHINES:
        assert all(length(compile_rule_sets([entry]).filter(machine)) < 350 for entry in together)


# --- the kernel -------------------------------------------------------------------------------------------------

Under = Callable[[bytes | None, Callable[[], object]], object]
Native = Callable[[int, tuple[int, ...]], tuple[int, int]]


@pytest.mark.skipif(MACHINE not in numbers.MACHINES, reason="no system call table for this machine")
@pytest.mark.parametrize("label", EVERY)
def test_emulator_and_kernel_agree(label: str, under: Under, native: Native, free: list[tuple[int, int]]) -> None:
    program, table = compiled(label).filter(MACHINE), numbers.table(MACHINE)
    filtered = under(program, lambda: harmless_calls(native))

    assert isinstance(filtered, list), filtered
    for (name, values), answer, control in zip(HARMLESS, filtered, free, strict=True):
        verdict = run(program, SeccompData(table[name], AUDIT_ARCH[MACHINE], values)).verdict
        expected = control if verdict == ALLOW.verdict else (-1, verdict & SECCOMP_RET_DATA)
        assert answer == expected, (name, values)


def harmless_calls(native: Native) -> list[tuple[int, int]]:
    table = numbers.table(MACHINE)
    answers = [native(table[name], (*values, *[0] * (6 - len(values)))) for name, values in HARMLESS]
    return [
        (0, code) if name in OWN_ANSWERS and not code else (result, code)
        for (name, _), (result, code) in zip(HARMLESS, answers, strict=True)
    ]


@pytest.fixture(scope="module")
def free(under: Under, native: Native) -> object:
    """What the kernel answers to the same calls under a filter that allows everything."""
    everything = compile_filter(SyscallPolicy(default=ALLOW, unknown=ALLOW), MACHINE)
    return under(everything, lambda: harmless_calls(native))


def test_interesting_values_are_on_both_sides() -> None:
    """The edges above mean something: most conditions are true at one of them and false at another."""
    sides = [
        {holds(condition, (value,) * 6) for value in condition.interesting()}
        for entry in EVERY.values()
        for entries in entry.conditional_rules().values()
        for rule in entries
        for condition in rule.conditions
        if isinstance(condition, Member)
    ]
    assert sides
    assert all(side == {True, False} for side in sides)
