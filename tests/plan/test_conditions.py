"""Argument conditions: what they refuse, what they mean, and that the emitted code means the same."""

from __future__ import annotations

import enum
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolate_fn._plan.bpf import Graph, assemble
from isolate_fn._plan.emulator import SeccompData, run
from isolate_fn._plan.matchers import emit
from isolate_fn._sys.seccomp_constants import CloneFlag, Family, SockType
from isolate_fn.errors import PolicyError
from isolate_fn.policy.conditions import Arg, Condition, Member, Order

U64 = 2**64 - 1
BIG = 0x1_0000_0000

TABLE = [  # condition, argument, holds: readable as a specification
    (Arg(0).eq(5), 5, True),
    (Arg(0).eq(5), BIG | 5, False),
    (Arg(0, 32).eq(5), BIG | 5, True),
    (Arg(0).eq(-1), U64, True),
    (Arg(0).eq(-1), 0xFFFFFFFF, False),
    (Arg(0, 32).eq(-1), 0xFFFFFFFF, True),
    (Arg(0, 32).eq(-1), U64, True),
    (Arg(0, 32).eq(-100), 0xFFFFFF9C, True),
    (Arg(0).ne(0), BIG, True),
    (Arg(0, 32).ne(0), BIG, False),
    (Arg(0).gt(BIG), BIG, False),
    (Arg(0).gt(BIG), BIG + 1, True),
    (Arg(0).ge(BIG), BIG, True),
    (Arg(0).ge(BIG), BIG - 1, False),
    (Arg(0).lt(BIG + 7), BIG + 6, True),
    (Arg(0).lt(BIG + 7), BIG + 7, False),
    (Arg(0).lt(BIG + 7), 2 * BIG, False),
    (Arg(0).le(BIG + 7), BIG + 7, True),
    (Arg(0).le(BIG + 7), BIG + 8, False),
    (Arg(0, 32).lt(7), BIG | 6, True),
    (Arg(0).lt(0, signed=True), U64, True),
    (Arg(0).lt(0, signed=True), 1 << 63, True),
    (Arg(0).lt(0, signed=True), 0, False),
    (Arg(0).ge(-2, signed=True), U64 - 1, True),
    (Arg(0).ge(-2, signed=True), U64 - 2, False),
    (Arg(0).gt(-BIG, signed=True), U64, True),
    (Arg(0, 32).lt(0, signed=True), 0x80000000, True),
    (Arg(0, 32).lt(0, signed=True), U64, True),
    (Arg(0, 32).gt(-1, signed=True), 0x7FFFFFFF, True),
    (Arg(0).masked(0xF0, 0x50), 0x5A, True),
    (Arg(0).masked(0xF0, 0x50), BIG | 0x5A, True),
    (Arg(0).masked(BIG | 0xF0, 0x50), BIG | 0x5A, False),
    (Arg(0).masked(BIG, BIG), 3 * BIG, True),
    (Arg(0, 32).has_none(CloneFlag.NEWUSER), BIG, True),
    (Arg(0, 32).has_none(CloneFlag.NEWUSER), 0x10000000, False),
    (Arg(0, 32).has_all(CloneFlag.VM | CloneFlag.THREAD), 0x10900, True),
    (Arg(0, 32).has_all(CloneFlag.VM | CloneFlag.THREAD), 0x100, False),
    (Arg(0, 32).one_of(Family.INET, Family.INET6), 2, True),
    (Arg(0, 32).one_of(Family.INET, Family.INET6), 38, False),  # AF_ALG has the bit of AF_INET
    (Arg(0, 32).one_of(Family.INET, Family.INET6), BIG | 10, True),
    (Arg(1, 32).one_of(SockType.STREAM, mask=0xF), 0x80801, True),
    (Arg(1, 32).one_of(SockType.STREAM, mask=0xF), 3, False),  # SOCK_RAW has the bit of SOCK_STREAM
    (Arg(0).one_of(*range(0, 64, 2)), 62, True),
    (Arg(0).one_of(*range(0, 64, 2)), 61, False),
    (Arg(0).one_of(1, BIG | 1, U64), BIG | 1, True),
    (Arg(0).one_of(1, BIG | 1, U64), 2 * BIG | 1, False),
    (Arg(0).none_of(1, BIG | 1), BIG | 1, False),
    (Arg(0).none_of(1, BIG | 1), BIG, True),
    (Arg(0).masked(0, 0), 123, True),
]


def emulate(condition: Condition, value: int) -> bool:
    graph = Graph()
    program = assemble(emit(graph, condition, graph.ret(1), graph.ret(0)))
    arguments = [0xDEAD] * 6
    arguments[condition.index] = value
    return run(program, SeccompData(0, 0, tuple(arguments))).verdict == 1


def matches(condition: Condition, value: int) -> bool:
    arguments = [0xDEAD] * 6
    arguments[condition.index] = value
    return condition.matches(arguments)


@pytest.mark.parametrize(("condition", "value", "holds"), TABLE, ids=str)
def test_meaning(condition: Condition, value: int, holds: bool) -> None:
    assert matches(condition, value) is holds
    assert emulate(condition, value) is holds


@pytest.mark.parametrize("condition", {row[0]: None for row in TABLE}, ids=str)
def test_code_means_the_same_at_every_interesting_value(condition: Condition) -> None:
    for value in condition.interesting():
        assert emulate(condition, value) is matches(condition, value), hex(value)


words = st.sampled_from([0, 1, 5, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]) | st.integers(0, 2**32 - 1)
registers = st.builds(lambda high, low: high << 32 | low, words, words)


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    bits = draw(st.sampled_from([32, 64]))
    arg = Arg(draw(st.integers(0, 5)), bits)
    top = 2**bits - 1
    value = st.integers(-(2 ** (bits - 1)), top) | registers.map(lambda wide: wide & top)
    kind = draw(st.sampled_from(["order", "member", "masked"]))
    if kind == "order":
        name, signed = draw(st.sampled_from(["gt", "ge", "lt", "le"])), draw(st.booleans())
        limit = draw(st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, top))
        made: Condition = getattr(arg, name)(limit, signed=signed)
        return made
    if kind == "member":
        method = draw(st.sampled_from([arg.one_of, arg.none_of]))
        return method(*draw(st.lists(value, min_size=1, max_size=12)))
    mask = draw(registers) & top
    return arg.masked(mask, draw(registers) & mask)


@given(conditions(), registers)
def test_code_means_what_the_condition_says(condition: Condition, value: int) -> None:
    assert emulate(condition, value) is matches(condition, value)
    for near in condition.interesting():
        assert emulate(condition, near) is matches(condition, near)


@given(conditions())
def test_conditions_are_values(condition: Condition) -> None:
    assert pickle.loads(pickle.dumps(condition)) == condition
    assert hash(pickle.loads(pickle.dumps(condition))) == hash(condition)
    assert str(condition)
    with pytest.raises(AttributeError):
        condition.index = 3  # type: ignore[misc]


def test_kinds_do_not_compare_equal_by_accident() -> None:
    assert Arg(0).eq(1) != Arg(0).ne(1)
    assert Arg(0).eq(1) != Arg(0, 32).eq(1)
    assert Arg(0).gt(1) != Arg(0).ge(1)
    assert Arg(0).one_of(2, 1) == Arg(0).one_of(1, 2, 2)


def test_printing() -> None:
    assert str(Arg(1, 32).one_of(SockType.STREAM, mask=0xF)) == "low32(arg1) & 0xf == 0x1"
    assert str(Arg(0).none_of(1, 2)) == "arg0 not in {0x1, 0x2}"
    assert str(Arg(2).lt(16)) == "arg2 < 0x10"
    assert str(Arg(2, 32).le(-1, signed=True)) == "signed low32(arg2) <= 0xffffffff"


class Colour(enum.IntEnum):
    RED = 1


class Bits(enum.IntFlag):
    ONE = 1


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Arg(6), PolicyError, "no argument 6"),
        (lambda: Arg(-1), PolicyError, "no argument -1"),
        (lambda: Arg(0, 16), PolicyError, "16-bit"),
        (lambda: Arg(0).eq(2**64), PolicyError, "64 bits"),
        (lambda: Arg(0, 32).eq(2**32), PolicyError, "Arg(index, 64)"),
        (lambda: Arg(0, 32).eq(-(2**31) - 1), PolicyError, "32 bits"),
        (lambda: Arg(0).eq("1"), PolicyError, "not an integer"),
        (lambda: Arg(0).eq(True), PolicyError, "not an integer"),
        (lambda: Arg(0).one_of(), PolicyError, "no value"),
        (lambda: Arg(0).masked(0xF, 0x10), PolicyError, "never match"),
        (lambda: Arg(0).lt(-1), PolicyError, "signed=True"),
        (lambda: Arg(0, 32).gt(2**31, signed=True), PolicyError, "pass it negative"),
        (lambda: Arg(0).one_of(Bits.ONE), TypeError, "has_none"),
        (lambda: Arg(0).none_of(Bits.ONE), TypeError, "has_none"),
        (lambda: Arg(0).has_none(Colour.RED), TypeError, "one_of"),
        (lambda: Arg(0).masked(0xF, Colour.RED), TypeError, "one_of"),
    ],
)
def test_refusals(make: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as refusal:
        make()  # type: ignore[operator]
    assert message in str(refusal.value)


def test_the_two_kinds_are_all_there_are() -> None:
    assert isinstance(Arg(0).eq(1), Member)
    assert isinstance(Arg(0).lt(1), Order)
