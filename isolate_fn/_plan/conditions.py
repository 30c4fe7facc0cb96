"""What a rule may ask of a system call's arguments: values that compare, print, and know what they mean.

    Arg(0, 32).one_of(Family.INET, Family.INET6)      # an enumeration: whole values
    Arg(0, 32).has_none(CLONE_NAMESPACES)             # a set of flags: bits
    Arg(3).eq(0)                                      # a pointer: all 64 bits

A condition is plain data and imports nothing but the errors; `matchers.py` turns it into instructions.
`matches()` is its meaning, written down once without any BPF, for messages and for tests that hold the
emitted code against it.

Width matters. The kernel truncates an `int` argument (of socket, ioctl, prctl, clone, personality ...) to its
low 32 bits before it looks at it. A filter that compares all 64 is bypassed by setting a high bit
(CVE-2019-10063), one that compares 32 bits of a pointer or a size is bypassed by the same trick the other way
round. So the width is said each time: 32 for ints, 64 for pointers and sizes.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from isolate_fn.errors import PolicyError

_ARGUMENTS = 6


def _limit(bits: int) -> int:
    return (1 << bits) - 1


def _unsigned(value: int, bits: int) -> int:
    """Return what a C program would pass for `value`: negative numbers in two's complement."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise PolicyError("rules", f"{value!r} is not an integer", "compare arguments with integers")
    if not -(1 << (bits - 1)) <= value <= _limit(bits):
        raise PolicyError("rules", f"{value:#x} does not fit into {bits} bits", "use Arg(index, 64) for wider values")
    return int(value) & _limit(bits)


@dataclass(frozen=True, slots=True)
class Member:
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
        outside = {value | (~self.mask & _limit(64)) for value in self.values}
        return tuple(sorted(_spread(near | outside | {0, self.mask})))

    def __str__(self) -> str:
        left = f"arg{self.index}" if self.bits == 64 else f"low32(arg{self.index})"
        if self.mask != _limit(self.bits):
            left = f"{left} & {self.mask:#x}"
        if len(self.values) == 1:
            return f"{left} {'!=' if self.negated else '=='} {self.values[0]:#x}"
        listed = ", ".join(f"{value:#x}" for value in self.values)
        return f"{left} {'not in' if self.negated else 'in'} {{{listed}}}"


@dataclass(frozen=True, slots=True)
class Order:
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
        left = (arguments[self.index] & _limit(self.bits)) ^ flip
        right = self.value ^ flip
        return (left > right or (self.inclusive and left == right)) is not self.negated

    def interesting(self) -> tuple[int, ...]:
        """Return 64-bit values of the argument near which the answer changes, for tests."""
        edge = 1 << (self.bits - 1)
        near = {self.value + step for step in (-1, 0, 1)} | {0, edge - 1, edge, _limit(self.bits)}
        return tuple(sorted(_spread(near)))

    def __str__(self) -> str:
        left = f"arg{self.index}" if self.bits == 64 else f"low32(arg{self.index})"
        sign = {(False, False): ">", (True, False): ">=", (False, True): "<=", (True, True): "<"}
        kind = "signed " if self.signed else ""
        return f"{kind}{left} {sign[self.inclusive, self.negated]} {self.value:#x}"


Condition = Member | Order


def _spread(values: set[int]) -> set[int]:
    """Add the same values with bits above 31 set, which fool a comparison of the wrong width."""
    wrapped = {value & _limit(64) for value in values}
    return wrapped | {value ^ (1 << 32) for value in wrapped} | {value ^ (1 << 63) for value in wrapped}


@dataclass(frozen=True, slots=True)
class Arg:
    """One argument of a system call, from which conditions are made.

    Attributes:
        index: counted from 0.
        bits: 64 for pointers, sizes and offsets; 32 where the kernel's parameter is an int, signed or not.

    Raises:
        PolicyError: index outside 0..5, or bits neither 32 nor 64.
    """

    index: int
    bits: int = 64

    def __post_init__(self) -> None:
        if not 0 <= self.index < _ARGUMENTS:
            raise PolicyError("rules", f"no argument {self.index}", "system calls have arguments 0 to 5")
        if self.bits not in (32, 64):
            raise PolicyError("rules", f"no {self.bits}-bit comparison", "use 32 for ints, 64 for pointers and sizes")

    def _member(self, values: Sequence[int], *, mask: int | None = None, negated: bool = False) -> Member:
        if not values:
            raise PolicyError("rules", "a comparison with no value", "give at least one value")
        bits = _limit(self.bits) if mask is None else _unsigned(mask, self.bits)
        unsigned = {_unsigned(value, self.bits) for value in values}
        for value in unsigned:
            if value & ~bits:
                raise PolicyError(
                    "rules",
                    f"{value:#x} has bits outside the mask {bits:#x}: it could never match",
                    "widen the mask",
                )
        return Member(self.index, self.bits, bits, tuple(sorted(unsigned)), negated)

    def eq(self, value: int) -> Member:
        """The argument is `value`."""
        return self._member((value,))

    def ne(self, value: int) -> Member:
        """The argument is not `value`."""
        return self._member((value,), negated=True)

    def one_of(self, *values: int, mask: int | None = None) -> Member:
        """The argument (after `mask`, where given) is one of `values`; for enumerations.

        Raises:
            TypeError: a value is a bit flag, which is tested with has_none() or masked().
        """
        _refuse(values, flags=True, why="one_of() compares whole values; use has_none() or masked() for bit flags")
        return self._member(values, mask=mask)

    def none_of(self, *values: int, mask: int | None = None) -> Member:
        """The argument (after `mask`, where given) is none of `values`; for enumerations. See one_of()."""
        _refuse(
            values,
            flags=True,
            why="none_of() compares whole values; use has_none() or masked() for bit flags",
        )
        return self._member(values, mask=mask, negated=True)

    def masked(self, mask: int, value: int) -> Member:
        """``argument & mask == value``; for bit flags."""
        _refuse((mask, value), flags=False, why="masked() tests bits; use one_of() for enumerations")
        return self._member((value,), mask=mask)

    def has_none(self, flags: int) -> Member:
        """No bit of `flags` is set; for bit flags.

        Raises:
            TypeError: `flags` is a member of an enumeration, which is compared with one_of().
        """
        return self.masked(flags, 0)

    def has_all(self, flags: int) -> Member:
        """Every bit of `flags` is set; for bit flags. See has_none()."""
        return self.masked(flags, flags)

    def gt(self, value: int, *, signed: bool = False) -> Order:
        """The argument is greater than `value`; unsigned unless said otherwise."""
        return self._order(value, signed=signed)

    def ge(self, value: int, *, signed: bool = False) -> Order:
        """The argument is at least `value`; unsigned unless said otherwise."""
        return self._order(value, inclusive=True, signed=signed)

    def le(self, value: int, *, signed: bool = False) -> Order:
        """The argument is at most `value`; unsigned unless said otherwise."""
        return self._order(value, negated=True, signed=signed)

    def lt(self, value: int, *, signed: bool = False) -> Order:
        """The argument is less than `value`; unsigned unless said otherwise."""
        return self._order(value, inclusive=True, negated=True, signed=signed)

    def _order(self, value: int, *, inclusive: bool = False, negated: bool = False, signed: bool = False) -> Order:
        if value < 0 and not signed:
            # -1 unsigned is the greatest value of all: `< -1` would be nearly always true.
            raise PolicyError("rules", f"{value} in an unsigned comparison", "pass signed=True")
        if signed and value >= 1 << (self.bits - 1):
            raise PolicyError("rules", f"{value:#x} is negative as a signed {self.bits}-bit value", "pass it negative")
        return Order(self.index, self.bits, _unsigned(value, self.bits), inclusive, negated, signed)


def _refuse(values: Sequence[int], *, flags: bool, why: str) -> None:
    """Refuse enum members of the wrong kind: flags where whole values are compared, or the reverse."""
    for value in values:
        if isinstance(value, enum.Enum) and isinstance(value, enum.Flag) is flags:
            raise TypeError(why)
