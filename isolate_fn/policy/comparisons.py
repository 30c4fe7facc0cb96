"""The two kinds of condition on an argument of a system call, as plain data.

Made by `conditions.Arg`; turned into instructions by the compiler. `matches()` is their meaning, written down once
without any BPF, for messages and for tests that hold the emitted code against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from isolate_fn.errors import PolicyError


def limit(bits: int) -> int:
    """Return the greatest unsigned value of that width."""
    return (1 << bits) - 1


def unsigned(value: object, bits: int) -> int:
    """Return what a C program would pass for `value`: negative numbers in two's complement.

    Raises:
        PolicyError: not an int, or one that does not fit.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise PolicyError("rules", f"{value!r} is not an integer", "compare arguments with integers")
    if not -(1 << (bits - 1)) <= value <= limit(bits):
        raise PolicyError("rules", f"{value:#x} does not fit into {bits} bits", "use Arg(index, 64) for wider values")
    return int(value) & limit(bits)


class NoTruth:
    """Base of conditions: refuses to be asked whether it is true.

    Without this ``2 <= Arg(0) <= 5`` and ``Arg(0) == 1 or Arg(0) == 2`` would silently mean one of their halves.
    """

    __slots__ = ()

    def __bool__(self) -> NoReturn:
        raise PolicyError(
            "rules",
            f"the condition {self} is neither true nor false until a call is made",
            "give Rule() both halves for 'and', write two Rules or one_of() for 'or', none_of() or != for 'not'",
        )


@dataclass(frozen=True, slots=True)
class Member(NoTruth):
    """True where ``(argument & mask)`` is one of `values`, or with `negated` where it is none of them.

    Attributes:
        index: which argument, from 0.
        bits: 32 (low word only) or 64.
        mask: bits that are looked at.
        values: sorted, without repeats, each inside the mask.
        negated: turn the answer round.
    """

    index: int
    bits: int
    mask: int
    values: tuple[int, ...]
    negated: bool = False

    def matches(self, arguments: Sequence[int]) -> bool:
        """Tell whether a call with these six 64-bit arguments satisfies the condition."""
        return (arguments[self.index] & self.mask in self.values) is not self.negated

    def interesting(self) -> tuple[int, ...]:
        """Return 64-bit values of the argument near which the answer changes, for tests."""
        near = {value + step for value in self.values for step in (-1, 0, 1)}
        outside = {value | (~self.mask & limit(64)) for value in self.values}
        return tuple(sorted(_spread(near | outside | {0, self.mask})))

    def __str__(self) -> str:
        left = f"arg{self.index}" if self.bits == 64 else f"low32(arg{self.index})"
        if self.mask != limit(self.bits):
            left = f"{left} & {self.mask:#x}"
        if len(self.values) == 1:
            return f"{left} {'!=' if self.negated else '=='} {self.values[0]:#x}"
        listed = ", ".join(f"{value:#x}" for value in self.values)
        return f"{left} {'not in' if self.negated else 'in'} {{{listed}}}"


@dataclass(frozen=True, slots=True)
class Order(NoTruth):
    """True where the argument is greater than `value`.

    Attributes:
        index: which argument, from 0.
        bits: 32 (low word only) or 64.
        value: unsigned, as it stands in the register.
        inclusive: or equal: ``>=``.
        negated: turn the answer round: ``<=`` for ``>`` and ``<`` for ``>=``.
        signed: compare in two's complement.
    """

    index: int
    bits: int
    value: int
    inclusive: bool = False
    negated: bool = False
    signed: bool = False

    def matches(self, arguments: Sequence[int]) -> bool:
        """Tell whether a call with these six 64-bit arguments satisfies the condition."""
        # Adding 2**(bits-1) maps the signed order on the unsigned one.
        flip = 1 << (self.bits - 1) if self.signed else 0
        left = (arguments[self.index] & limit(self.bits)) ^ flip
        right = self.value ^ flip
        return (left > right or (self.inclusive and left == right)) is not self.negated

    def interesting(self) -> tuple[int, ...]:
        """Return 64-bit values of the argument near which the answer changes, for tests."""
        edge = 1 << (self.bits - 1)
        near = {self.value + step for step in (-1, 0, 1)} | {0, edge - 1, edge, limit(self.bits)}
        return tuple(sorted(_spread(near)))

    def __str__(self) -> str:
        left = f"arg{self.index}" if self.bits == 64 else f"low32(arg{self.index})"
        sign = {(False, False): ">", (True, False): ">=", (False, True): "<=", (True, True): "<"}
        kind = "signed " if self.signed else ""
        return f"{kind}{left} {sign[self.inclusive, self.negated]} {self.value:#x}"


Condition = Member | Order


def _spread(values: set[int]) -> set[int]:
    """Add the same values with bits above 31 set, which fool a comparison of the wrong width."""
    wrapped = {value & limit(64) for value in values}
    return wrapped | {value ^ (1 << 32) for value in wrapped} | {value ^ (1 << 63) for value in wrapped}
