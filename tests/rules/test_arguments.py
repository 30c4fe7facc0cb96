"""Comparisons of arguments: operators, widths, signs, masks, and what is refused with a hint."""

from __future__ import annotations

import dataclasses
import operator
import os
import pickle
import signal
import socket
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isolate_fn.errors import PolicyError
from isolate_fn.policy.conditions import Condition, Masked, Member, Order, Signed
from isolate_fn.rules import Arg, Rule

settings.register_profile("rules", database=None, deadline=None)
settings.load_profile("rules")

U64 = 2**64
OPERATORS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
each_operator = pytest.mark.parametrize("sign", OPERATORS)
registers = st.integers(0, U64 - 1) | st.sampled_from([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63, U64 - 1])


def holds(condition: Condition, register: int) -> bool:
    arguments = [0xDEAD] * 6
    arguments[condition.index] = register
    return condition.matches(arguments)


def signed(value: int, bits: int) -> int:
    value %= 2**bits
    return value - 2**bits if value >= 2 ** (bits - 1) else value


@each_operator
@given(register=registers, value=registers)
def test_64_bits_are_compared_exactly(sign: str, register: int, value: int) -> None:
    made = OPERATORS[sign](Arg(3), value)
    assert made.index == 3
    assert holds(made, register) is OPERATORS[sign](register, value)
    assert holds(made, value) is OPERATORS[sign](value, value)


@each_operator
@given(register=registers, value=registers.map(lambda wide: wide % 2**32))
def test_32_bits_are_the_low_word(sign: str, register: int, value: int) -> None:
    made = OPERATORS[sign](Arg(0, 32), value)
    assert holds(made, register) is OPERATORS[sign](register % 2**32, value)


@each_operator
@pytest.mark.parametrize("bits", [32, 64])
@given(register=registers, value=registers)
def test_signed(sign: str, bits: int, register: int, value: int) -> None:
    number = signed(value, bits)
    made = OPERATORS[sign](Arg(0, bits).signed(), number)
    assert holds(made, register) is OPERATORS[sign](signed(register, bits), number)


@each_operator
def test_the_other_way_round(sign: str) -> None:
    turned = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(sign, sign)
    assert OPERATORS[sign](5, Arg(0)) == OPERATORS[turned](Arg(0), 5)


def test_negative_numbers_are_twos_complement() -> None:
    assert (Arg(0) == -1) == (Arg(0) == U64 - 1)
    assert (Arg(0, 32) == -100) == (Arg(0, 32) == 0xFFFFFF9C)
    assert holds(Arg(0, 32) == -100, U64 - 100)  # AT_FDCWD, sign-extended or not
    assert holds(Arg(0, 32) == -100, 2**32 - 100)
    assert not holds(Arg(0) == -100, 2**32 - 100)
    assert (Arg(0) != -1) == (Arg(0) != U64 - 1)
    assert Arg(0, 32).one_of(-1, -2) == Arg(0, 32).one_of(0xFFFFFFFF, 0xFFFFFFFE)


def test_the_case_of_two_libcs() -> None:
    """ioctl(fd, 0x80000000): one libc extends the sign, the other does not; 32 bits see the same request."""
    for made, extended in ((Arg(1) == 0x80000000, False), (Arg(1, 32) == 0x80000000, True)):
        assert holds(made, 0x80000000)
        assert holds(made, 0xFFFFFFFF80000000) is extended


@given(register=registers, mask=registers, value=registers)
def test_masks(register: int, mask: int, value: int) -> None:
    value &= mask
    for made in (Arg(1).masked(mask) == value, (Arg(1) & mask) == value, Arg(1).masked(mask, value)):
        assert holds(made, register) is (register & mask == value)
    assert holds((Arg(1) & mask) != value, register) is (register & mask != value)


def test_masks_bind_like_in_python() -> None:
    assert (Arg(2) & 0x1337 == 0x37) == Arg(2).masked(0x1337, 0x37)
    assert (0x1337 & Arg(2) == 0x37) == Arg(2).masked(0x1337, 0x37)
    assert Arg(1, 32).masked(0xF).one_of(1, 2) == Arg(1, 32).one_of(1, 2, mask=0xF)
    assert Arg(1, 32).masked(0xF).none_of(1, 2) == Arg(1, 32).none_of(1, 2, mask=0xF)


def test_types_of_sockets() -> None:
    """SOCK_CLOEXEC and SOCK_NONBLOCK are masked away, and nothing else passes for a stream."""
    stream = Arg(1, 32).masked(0xF) == socket.SOCK_STREAM
    for more in (0, socket.SOCK_CLOEXEC, socket.SOCK_NONBLOCK, socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK):
        assert holds(stream, socket.SOCK_STREAM | more)
        assert not holds(stream, socket.SOCK_RAW | more)
        assert not holds(stream, socket.SOCK_SEQPACKET | more)


def test_families_are_whole_values() -> None:
    for made in (Arg(0) == socket.AF_INET, Arg(0).one_of(socket.AF_INET, socket.AF_INET6)):
        assert holds(made, socket.AF_INET)
        assert not holds(made, socket.AF_ALG)  # 38 has the bit of 2
    with pytest.raises(TypeError, match="one_of"):
        Arg(0) & socket.AF_INET
    with pytest.raises(TypeError, match="has_none"):
        Arg(0).one_of(os.O_CREAT, signal.Sigmasks.SIG_BLOCK, socket.MsgFlag.MSG_OOB)


def test_operators_and_methods_make_equal_values() -> None:
    assert (Arg(0) == 1) == Arg(0).eq(1)
    assert (Arg(0) != 1) == Arg(0).ne(1)
    assert (Arg(0) < 1) == Arg(0).lt(1)
    assert (Arg(0) <= 1) == Arg(0).le(1)
    assert (Arg(0) > 1) == Arg(0).gt(1)
    assert (Arg(0) >= 1) == Arg(0).ge(1)
    assert (Arg(0).signed() < -1) == Arg(0).lt(-1, signed=True)
    assert (Arg(0) & 6).one_of(2, 4) != (Arg(0) & 7).one_of(2, 4)
    assert isinstance(Arg(0) == 1, Member)
    assert isinstance(Arg(0) < 1, Order)


def test_arguments_are_hashable_values() -> None:
    for value in (Arg(0), Arg(0, 32), Arg(0).signed(), Arg(0) & 3):
        again = pickle.loads(pickle.dumps(value))
        assert type(again) is type(value)
        assert hash(again) == hash(value)
        assert repr(again) == repr(value)
        with pytest.raises(AttributeError):
            setattr(value, dataclasses.fields(value)[0].name, 1)
    assert len({hash(Arg(0)), hash(Arg(1)), hash(Arg(0, 32)), hash(Signed(Arg(0))), hash(Masked(Arg(0), 3))}) == 5


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: 2 <= Arg(0) <= 5,
        lambda: (Arg(0) == 1) or (Arg(0) == 2),
        lambda: (Arg(0) == 1) and (Arg(1) == 2),
        lambda: operator.not_(Arg(0) == 1),
        lambda: bool(Arg(0) < 1),
    ],
)
def test_a_condition_has_no_truth(mistake: Callable[[], object]) -> None:
    with pytest.raises(PolicyError) as caught:
        mistake()
    assert "neither true nor false" in caught.value.problem
    assert "Rule" in caught.value.remedy


@pytest.mark.parametrize(
    ("mistake", "problem", "remedy"),
    [
        (lambda: Arg(6), "no argument 6", "0 to 5"),
        (lambda: Arg(True), "no argument True", "0 to 5"),
        (lambda: Arg("0"), "no argument 0", "0 to 5"),  # type: ignore[arg-type]
        (lambda: Arg(0, 16), "no 16-bit", "32 for ints"),
        (lambda: Arg(0) == "1", "not an integer", "integers"),
        (lambda: Arg(0) == Arg(1), "not an integer", "integers"),
        (lambda: Arg(0) == None, "not an integer", "integers"),  # noqa: E711
        (lambda: Arg(0) == True, "not an integer", "integers"),  # noqa: E712
        (lambda: Arg(0) < 1.5, "not an integer", "integers"),  # type: ignore[operator]
        (lambda: Arg(0) == 2**64, "does not fit into 64 bits", "64"),
        (lambda: Arg(0) == -(2**63) - 1, "does not fit into 64 bits", "64"),
        (lambda: Arg(0, 32) > 2**32, "does not fit into 32 bits", "Arg(index, 64)"),
        (lambda: Arg(0) < -1, "-1 in an unsigned comparison", "signed()"),
        (lambda: Arg(0, 32).signed() < 2**31, "is negative as a signed 32-bit value", "pass it negative"),
        (lambda: Arg(0).masked(0xF) == 0x10, "could never match", "widen the mask"),
        (lambda: (Arg(0) & 0xF).one_of(1, 0x10), "could never match", "widen the mask"),
        (lambda: Arg(0) & -(2**64), "does not fit", "64"),
        (lambda: Arg(0).one_of(), "no value", "at least one"),
        (lambda: (Arg(0) & 1).none_of(), "no value", "at least one"),
    ],
)
def test_refusals(mistake: Callable[[], object], problem: str, remedy: str) -> None:
    with pytest.raises(PolicyError) as caught:
        mistake()
    assert problem in caught.value.problem
    assert remedy in caught.value.remedy


def test_a_typical_rule() -> None:
    """What the guide of extrasafe meant to write: TCP over IPv4 and nothing else."""
    rule = Rule("socket", Arg(0) == socket.AF_INET, (Arg(1) & 0xF) == socket.SOCK_STREAM)
    for family, kind, expected in (
        (socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC, True),
        (socket.AF_PACKET, socket.SOCK_RAW, False),
        (socket.AF_INET, socket.SOCK_RAW, False),
        (socket.AF_INET6, socket.SOCK_STREAM, False),
    ):
        assert rule.matches((family, kind, 0, 0, 0, 0)) is expected
