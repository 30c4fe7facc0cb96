"""Whether conditions can hold together: a table, and random conjunctions on short words against all their values."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isolate_fn._plan.satisfiable import is_always_true, witness
from isolate_fn.policy.conditions import Arg, Condition

U64 = 2**64 - 1
BIG = 1 << 32

IMPOSSIBLE = [
    [Arg(0).eq(1), Arg(0).eq(2)],
    [Arg(0).eq(1), Arg(0).ne(1)],
    [Arg(0).lt(0)],
    [Arg(0).gt(U64)],
    [Arg(0, 32).gt(0xFFFFFFFF)],
    [Arg(0).lt(5), Arg(0).gt(4)],
    [Arg(0).lt(5), Arg(0).gt(3), Arg(0).ne(4)],
    [Arg(0).one_of(1, 2, 3), Arg(0).none_of(1, 2, 3)],
    [Arg(0).masked(0xF0, 0x50), Arg(0).masked(0x30, 0x20)],
    [Arg(0).masked(1, 1), Arg(0).one_of(2, 4, 6)],
    [Arg(0, 32).eq(5), Arg(0).eq(BIG | 6)],
    [Arg(0, 32).lt(5), Arg(0).one_of(7, BIG | 9)],
    [Arg(0).lt(0, signed=True), Arg(0).lt(1 << 63)],
    [Arg(0, 32).lt(0, signed=True), Arg(0, 32).lt(0x80000000)],
    [Arg(0, 32).lt(-5, signed=True), Arg(0, 32).ge(-5, signed=True)],
    [Arg(3).eq(1), Arg(2).eq(1), Arg(2).eq(2)],
    [Arg(0).masked(1, 0), Arg(0).masked(2, 0), Arg(0).masked(4, 0), Arg(0).one_of(1, 2, 3, 4, 5, 6, 7)],
    [Arg(0).none_of(0, 1, mask=1)],
]

POSSIBLE = [
    [],
    [Arg(0).eq(1), Arg(1).eq(2)],
    [Arg(0).gt(3), Arg(0).lt(5)],
    [Arg(0, 32).eq(5), Arg(0).eq(BIG | 5)],
    [Arg(0, 32).eq(5), Arg(0).gt(BIG)],
    [Arg(0).lt(0, signed=True), Arg(0).gt(1 << 63)],
    [Arg(0, 32).lt(0, signed=True), Arg(0).lt(BIG)],
    [Arg(0).masked(0xF0, 0x50), Arg(0).masked(0x0F, 0x03), Arg(0).gt(BIG)],
    [Arg(0).ne(0), Arg(0).ne(1), Arg(0).le(2)],
    [Arg(0).one_of(*range(0, 3000, 2)), Arg(0).gt(2997)],
]

ALWAYS = [
    Arg(0).ge(0),
    Arg(0).le(U64),
    Arg(0, 32).le(0xFFFFFFFF),
    Arg(0).masked(0, 0),
    Arg(0).has_none(0),
    Arg(0).one_of(0, 1, mask=1),
    Arg(0, 32).ge(-(2**31), signed=True),
]
NOT_ALWAYS = [
    Arg(0).ge(1),
    Arg(0).le(U64 - 1),
    Arg(0).le(0xFFFFFFFF),
    Arg(0).ne(7),
    Arg(0).one_of(0, 1, 2, mask=3),
    Arg(0).ge(0, signed=True),
]


@pytest.mark.parametrize("conditions", IMPOSSIBLE, ids=lambda row: " & ".join(map(str, row)))
def test_what_no_call_can_satisfy(conditions: list[Condition]) -> None:
    for order in itertools.permutations(conditions):
        assert witness(order) is None


@pytest.mark.parametrize("conditions", POSSIBLE, ids=lambda row: " & ".join(map(str, row))[:60])
def test_what_a_call_can_satisfy(conditions: list[Condition]) -> None:
    arguments = witness(conditions)

    assert arguments is not None
    assert all(condition.matches(arguments) for condition in conditions)


@pytest.mark.parametrize("condition", ALWAYS, ids=str)
def test_what_every_call_satisfies(condition: Condition) -> None:
    assert is_always_true(condition)


@pytest.mark.parametrize("condition", NOT_ALWAYS, ids=str)
def test_what_not_every_call_satisfies(condition: Condition) -> None:
    assert not is_always_true(condition)


#: Values whose interesting bits are few: at both ends of both words.
BITS = (0, 1, 2, 30, 31, 32, 33, 62, 63)
VALUES = [
    sum(1 << bit for bit, one in zip(BITS, ones, strict=True) if one) for ones in itertools.product((0, 1), repeat=9)
]
few = st.sampled_from(VALUES)


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    """A condition whose masks, values and limits lie in the few bits."""
    bits = draw(st.sampled_from([32, 64]))
    cut = sum(1 << bit for bit in BITS if bit < bits)
    arg = Arg(0, bits)
    if draw(st.booleans()):
        mask = draw(few) & cut
        listed = draw(st.lists(few, min_size=1, max_size=5))
        method = draw(st.sampled_from([arg.one_of, arg.none_of]))
        return method(*(value & mask for value in listed), mask=mask)
    limit = draw(few) & cut
    name, signed = draw(st.sampled_from(["gt", "ge", "lt", "le"])), draw(st.booleans())
    if signed and limit >> (bits - 1):
        limit -= 1 << bits
    made: Condition = getattr(arg, name)(limit, signed=signed)
    return made


@settings(max_examples=300)
@given(st.lists(conditions(), min_size=1, max_size=4))
def test_random_conjunctions(made: list[Condition]) -> None:
    """A witness must satisfy all; where there is none, none of the values may."""
    arguments = witness(made)
    if arguments is None:
        assert not any(all(one.matches((value,) * 6) for one in made) for value in VALUES)
    else:
        assert all(condition.matches(arguments) for condition in made)


@settings(max_examples=150)
@given(conditions())
def test_random_tautologies(condition: Condition) -> None:
    counterexample = witness([replace(condition, negated=not condition.negated)])
    if is_always_true(condition):
        assert all(condition.matches((value,) * 6) for value in (*VALUES, *condition.interesting()))
    else:
        assert counterexample is not None
        assert not condition.matches(counterexample)
