"""Random rule sets and random calls: the compiled filter against sets of plain values, on both architectures and here.

The oracle below is the specification once more, written with dictionaries and Python's own comparisons: what is
permitted, what contradicts, what gives way. It shares nothing with the compiler but the table of fallbacks.
"""

from __future__ import annotations

import errno
import functools
import itertools
import platform
from collections.abc import Callable, Iterator, Sequence

import pytest
from filter_oracle import holds
from hypothesis import event, given, settings
from hypothesis import strategies as st

from isolate_fn._plan.emulator import SeccompData, run
from isolate_fn._plan.fallbacks import FALLBACKS
from isolate_fn._plan.rule_sets import compile_rule_sets
from isolate_fn._sys import numbers
from isolate_fn._sys.seccomp_constants import AUDIT_ARCH, SECCOMP_RET_ALLOW, SECCOMP_RET_DATA
from isolate_fn.errors import ConflictingRules
from isolate_fn.policy import actions
from isolate_fn.policy.conditions import Arg
from isolate_fn.policy.rule_sets.base import Custom, Rule
from isolate_fn.policy.rule_sets.basic import BasicCapabilities

MACHINE = platform.machine()
UNSEEN = {"clone3": {"clone"}, "openat2": {"open", "openat", "creat"}}
EPERM, ENOSYS = 0x00050001, 0x00050026

# --- the oracle -------------------------------------------------------------------------------------------------


def rules_of(entry: Custom) -> list[Rule]:
    """Every permission of a set as a rule, simple ones without conditions."""
    return [
        *map(Rule, entry.simple_rules()),
        *(rule for listed in entry.conditional_rules().values() for rule in listed),
    ]


def is_restriction(rule: Rule) -> bool:
    return bool(rule.conditions) and not rule.need


class Oracle:
    """What rule sets come to."""

    def __init__(self, sets: Sequence[Custom | BasicCapabilities]) -> None:
        self.basic = rules_of(BasicCapabilities())  # type: ignore[arg-type]
        basic_calls = {rule.syscall for rule in self.basic}
        explicit = [entry for entry in sets if isinstance(entry, BasicCapabilities)]
        said = [(place, rule) for place, entry in enumerate(sets) for rule in rules_of(entry)]  # type: ignore[arg-type]
        if not explicit:
            said += [(-1, rule) for rule in self.basic]
        firm = {
            rule.syscall
            for place, rule in said
            if place >= 0
            and not rule.conditions
            and not rule.gives_way_to
            and not self._yields_basic(rule, basic_calls, said)
        }

        def restricted(call: str, place: int) -> bool:
            return call not in firm and any(
                is_restriction(rule) and rule.syscall == call and where not in (place, -1) for where, rule in said
            )

        self.kept: list[Rule] = []
        self.owners: list[int] = []
        for place, rule in said:
            ways = set(rule.gives_way_to)
            if place == -1 or self._yields_basic(rule, basic_calls, said):
                ways.add(rule.syscall)
            if not any(restricted(call, place) for call in ways):
                self.kept.append(rule)
                self.owners.append(place)

    @staticmethod
    def _yields_basic(rule: Rule, basic_calls: set[str], said: list[tuple[int, Rule]]) -> bool:
        """A need of a call that everybody has, where somebody takes something of that call away."""
        return (
            rule.need
            and rule.syscall in basic_calls
            and any(is_restriction(other) and other.syscall == rule.syscall for _, other in said)
        )

    def contradictions(self) -> set[str]:
        restricted = {rule.syscall for rule in self.kept if is_restriction(rule)}
        simple = {rule.syscall for rule in self.kept if not rule.conditions}
        return (restricted & simple) | {call for name in simple for call in UNSEEN.get(name, ()) if call in restricted}

    def permits(self, call: str, arguments: tuple[int, ...]) -> bool:
        return any(
            rule.syscall == call and all(holds(condition, arguments) for condition in rule.conditions)
            for rule in self.kept
        )

    def verdict(self, machine: str, number: int, arguments: tuple[int, ...]) -> int:
        names = numbers.names(machine)
        if number not in names:
            return ENOSYS
        permitted = {rule.syscall for rule in self.kept}
        if self.permits(names[number], arguments):
            return SECCOMP_RET_ALLOW
        older = set(FALLBACKS.get(names[number], "").split())
        return ENOSYS if names[number] not in permitted and older & permitted else EPERM


# --- what is drawn ----------------------------------------------------------------------------------------------

CALLS = (
    "write", "openat", "openat2", "clone", "clone3", "mmap", "mprotect", "close", "getppid", "newfstatat", "statx",
    "epoll_wait",
)  # fmt: skip

small = st.integers(0, 5)
conditions = st.one_of(
    st.builds(
        lambda arg, value: arg == value, st.builds(Arg, small.filter(lambda i: i < 3), st.sampled_from([32, 64])), small
    ),
    st.builds(lambda index, value: Arg(index, 32) != value, st.integers(0, 2), small),
    st.builds(lambda index, value: Arg(index) > value, st.integers(0, 2), small),
    st.builds(lambda index, value: Arg(index).signed() <= value, st.integers(0, 2), st.integers(-3, 3)),
    st.builds(
        lambda index, values: Arg(index, 32).one_of(*values), st.integers(0, 2), st.lists(small, min_size=1, max_size=4)
    ),
    st.builds(lambda index, mask: Arg(index, 32).has_none(mask), st.integers(0, 2), st.integers(1, 7)),
)


EDGES = (0, 1, 2, 4, 5, 2**32 | 3, 2**64 - 1)


def satisfying(rule: Rule) -> Iterator[tuple[int, ...]]:
    """Arguments this small with which the rule permits its call, some with each of them."""
    for one in itertools.product(EDGES, repeat=3):
        arguments = (*one, 0x20, 0, 0)  # MAP_ANONYMOUS, which BasicCapabilities asks of mmap
        if all(holds(condition, arguments) for condition in rule.conditions):
            yield arguments


def satisfiable(rule: Rule) -> bool:
    """What needs greater arguments is drawn again."""
    return next(satisfying(rule), None) is not None


#: Few, so that several sets speak of one call.
DISPUTED = ("mmap", "close", "write", "clone")
rules = st.builds(
    lambda call, wanted, need, way: Rule(call, *wanted, need=need, gives_way_to=way),
    st.sampled_from(DISPUTED),
    st.lists(conditions, min_size=1, max_size=2),
    st.booleans(),
    st.one_of(st.just(()), st.just(()), st.tuples(st.sampled_from(DISPUTED))),
).filter(satisfiable)
parts = st.lists(st.one_of(rules, rules, rules, rules, st.sampled_from(CALLS)), min_size=1, max_size=4)
customs = st.builds(lambda name, listed: Custom(name, *listed), st.sampled_from(["A", "B", "C"]), parts)
rule_sets = st.lists(
    st.one_of(customs, customs, customs, customs, st.just(BasicCapabilities())), min_size=2, max_size=4
)
values = st.integers(0, 6) | st.sampled_from([2**32, 2**32 | 1, 2**63, 2**64 - 1])
arguments = st.tuples(values, values, values, values, values, st.just(0))


@functools.cache
def edges_of(rule: Rule) -> tuple[tuple[int, ...], ...]:
    """A few arguments, far apart, with which the rule permits its call; most rules are of every second example."""
    return tuple(itertools.islice(satisfying(rule), 0, 300, 60))


# --- the properties ---------------------------------------------------------------------------------------------


@settings(max_examples=250)
@given(sets=rule_sets, asked=st.lists(arguments, min_size=3, max_size=6))
def test_random_rule_sets(sets: list[Custom], asked: list[tuple[int, ...]]) -> None:
    oracle = Oracle(sets)
    contradictions = oracle.contradictions()
    if contradictions:
        event("contradiction")
        with pytest.raises(ConflictingRules) as refusal:
            compile_rule_sets(sets)
        assert refusal.value.syscall == min(contradictions)
        return
    event("compiles")
    compiled = compile_rule_sets(sets)
    edges = {one for entry in sets for rule in rules_of(entry) for one in edges_of(rule)}
    for machine in numbers.MACHINES:
        program, table = compiled.filter(machine), numbers.table(machine)
        for number in {*(table[call] for call in CALLS if call in table), 1000}:
            for call in (*asked, *edges):
                data = SeccompData(number, AUDIT_ARCH[machine], call)
                assert run(program, data).verdict == oracle.verdict(machine, number, call), (number, call)


@settings(max_examples=100)
@given(sets=rule_sets)
def test_what_is_kept_is_named(sets: list[Custom]) -> None:
    oracle = Oracle(sets)
    if oracle.contradictions():
        return
    names = {place: entry.name for place, entry in enumerate(sets)} | {-1: "BasicCapabilities"}
    expected: dict[str, set[str]] = {}
    for rule, place in zip(oracle.kept, oracle.owners, strict=True):
        expected.setdefault(rule.syscall, set()).add(names[place])
    assert {call: set(origins) for call, origins in compile_rule_sets(sets).origins.items()} == expected


#: Calls that do the same whatever is in their arguments, so that any rule on them can be tried for real.
IGNORING = ("getppid", "getuid", "geteuid", "getgid", "getegid", "gettid", "sched_yield")
restrictions = st.builds(
    lambda call, wanted: Rule(call, *wanted),
    st.sampled_from(IGNORING),
    st.lists(conditions, min_size=1, max_size=2),
).filter(satisfiable)


@pytest.mark.skipif(MACHINE not in numbers.MACHINES, reason="no system call table for this machine")
@settings(max_examples=25)
@given(
    sets=st.lists(
        st.builds(lambda listed: Custom("Mine", *listed), st.lists(restrictions, min_size=1, max_size=4)),
        min_size=1,
        max_size=3,
    ),
    code=st.sampled_from([errno.EACCES, errno.EXDEV, 4095]),
    asked=st.lists(arguments, min_size=5, max_size=12),
)
def test_a_sample_in_the_kernel(
    under: Callable[[bytes | None, Callable[[], object]], object],
    native: Callable[[int, tuple[int, ...]], tuple[int, int]],
    sets: list[Custom],
    code: int,
    asked: list[tuple[int, ...]],
) -> None:
    """Each of these calls is in BasicCapabilities, which gives way, so that what remains is the random rules."""
    oracle, table = Oracle(sets), numbers.table(MACHINE)
    program = compile_rule_sets(sets, default=actions.ERRNO(code)).filter(MACHINE)
    answers = under(
        program, lambda: {(call, one): native(table[call], one)[1] for call in IGNORING for one in (*asked, (0,) * 6)}
    )

    assert isinstance(answers, dict), answers
    for (call, one), found in answers.items():
        assert found == (0 if oracle.permits(call, one) else code), (call, one)
        data = SeccompData(table[call], AUDIT_ARCH[MACHINE], one)
        assert run(program, data).verdict & SECCOMP_RET_DATA == found
