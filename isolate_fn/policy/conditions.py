"""What a rule may ask of a system call's arguments: values that compare, print, and know what they mean.

    Arg(0, 32).one_of(Family.INET, Family.INET6)      # an enumeration: whole values
    Arg(0, 32).has_none(CLONE_NAMESPACES)             # a set of flags: bits
    Arg(3) == 0                                       # a pointer: all 64 bits
    Arg(1).masked(0xF) == SOCK_STREAM                 # a part of the value; also (Arg(1) & 0xF) == SOCK_STREAM
    Arg(2, 32).signed() < 0                           # two's complement

A condition is plain data (`comparisons.py`) and imports nothing but the errors.

Width matters. The kernel truncates an `int` argument (of socket, ioctl, prctl, clone, personality ...) to its
low 32 bits before it looks at it. A filter that compares all 64 is bypassed by setting a high bit
(CVE-2019-10063), one that compares 32 bits of a pointer or a size is bypassed by the same trick the other way
round. So the width is said each time: 32 for ints, 64 for pointers and sizes. Without a width all 64 bits are
compared, which is exact: ``==`` is then safe for ints as well, while ``!=``, ``>``, ``>=`` and masks that forbid
want ``Arg(index, 32)`` for an int.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from isolate_fn.errors import PolicyError

from .comparisons import Condition as Condition
from .comparisons import Member as Member
from .comparisons import Order as Order
from .comparisons import limit, unsigned

_ARGUMENTS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Arg:
    """One argument of a system call, from which conditions are made.

    ``==``, ``!=``, ``<``, ``<=``, ``>``, ``>=`` with an int give a condition, not a bool; so two `Arg` cannot be
    compared with each other. Negative numbers mean what C would pass, two's complement.

    Attributes:
        index: counted from 0.
        bits: 64 for pointers, sizes and offsets; 32 where the kernel's parameter is an int, signed or not.

    Raises:
        PolicyError: index outside 0..5, or bits neither 32 nor 64.
    """

    index: int
    bits: int = 64

    def __post_init__(self) -> None:
        if isinstance(self.index, bool) or not isinstance(self.index, int) or not 0 <= self.index < _ARGUMENTS:
            raise PolicyError("rules", f"no argument {self.index}", "system calls have arguments 0 to 5")
        if self.bits not in (32, 64):
            raise PolicyError("rules", f"no {self.bits}-bit comparison", "use 32 for ints, 64 for pointers and sizes")

    def __hash__(self) -> int:
        return hash((Arg, self.index, self.bits))

    def __eq__(self, value: object) -> Member:  # type: ignore[override]
        return self._member((value,))

    def __ne__(self, value: object) -> Member:  # type: ignore[override]
        return self._member((value,), negated=True)

    def __lt__(self, value: int) -> Order:
        return self.lt(value)

    def __le__(self, value: int) -> Order:
        return self.le(value)

    def __gt__(self, value: int) -> Order:
        return self.gt(value)

    def __ge__(self, value: int) -> Order:
        return self.ge(value)

    def __and__(self, mask: int) -> Masked:
        return self.masked(mask)

    __rand__ = __and__

    def _member(self, values: Sequence[object], *, mask: int | None = None, negated: bool = False) -> Member:
        if not values:
            raise PolicyError("rules", "a comparison with no value", "give at least one value")
        bits = limit(self.bits) if mask is None else unsigned(mask, self.bits)
        wanted = {unsigned(value, self.bits) for value in values}
        for value in wanted:
            if value & ~bits:
                raise PolicyError(
                    "rules",
                    f"{value:#x} has bits outside the mask {bits:#x}: it could never match",
                    "widen the mask",
                )
        return Member(self.index, self.bits, bits, tuple(sorted(wanted)), negated)

    def eq(self, value: int) -> Member:
        """The argument is `value`; the same as ``==``."""
        return self._member((value,))

    def ne(self, value: int) -> Member:
        """The argument is not `value`; the same as ``!=``."""
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
        _refuse(values, flags=True, why="none_of() compares whole values; use has_none() or masked() for bit flags")
        return self._member(values, mask=mask, negated=True)

    @overload
    def masked(self, mask: int) -> Masked: ...

    @overload
    def masked(self, mask: int, value: int) -> Member: ...

    def masked(self, mask: int, value: int | None = None) -> Masked | Member:
        """``argument & mask == value``; for bit flags.

        Args:
            mask: the bits to look at. ``Arg(i) & mask`` is the same.
            value: what they are to be. Without it, compare the answer: ``Arg(1).masked(0xF) == 1``.

        Raises:
            TypeError: the mask is a member of an enumeration, whose bits mean nothing.
        """
        given = (mask,) if value is None else (mask, value)
        _refuse(given, flags=False, why="masked() tests bits; use one_of() for enumerations")
        return Masked(self, unsigned(mask, self.bits)) if value is None else self._member((value,), mask=mask)

    def has_none(self, flags: int) -> Member:
        """No bit of `flags` is set; for bit flags.

        Raises:
            TypeError: `flags` is a member of an enumeration, which is compared with one_of().
        """
        return self.masked(flags, 0)

    def has_all(self, flags: int) -> Member:
        """Every bit of `flags` is set; for bit flags. See has_none()."""
        return self.masked(flags, flags)

    def signed(self) -> Signed:
        """Return the argument as a signed number of its width: ``Arg(2, 32).signed() < 0``."""
        return Signed(self)

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
        register = unsigned(value, self.bits)
        if value < 0 and not signed:
            # -1 unsigned is the greatest value of all: `< -1` would be nearly always true.
            remedy = "compare the signed argument, Arg(...).signed(), or pass signed=True"
            raise PolicyError("rules", f"{value} in an unsigned comparison", remedy)
        if signed and value >= 1 << (self.bits - 1):
            raise PolicyError("rules", f"{value:#x} is negative as a signed {self.bits}-bit value", "pass it negative")
        return Order(self.index, self.bits, register, inclusive, negated, signed)


@dataclass(frozen=True, slots=True, eq=False)
class Masked:
    """Some bits of an argument, to be compared: ``Arg(1).masked(0xF) == 1``. Made by Arg.masked() and ``&``.

    Attributes:
        arg: the argument.
        mask: the bits that are looked at.
    """

    arg: Arg
    mask: int

    def __hash__(self) -> int:
        return hash((Masked, self.arg, self.mask))

    def __eq__(self, value: object) -> Member:  # type: ignore[override]
        return self.arg._member((value,), mask=self.mask)

    def __ne__(self, value: object) -> Member:  # type: ignore[override]
        return self.arg._member((value,), mask=self.mask, negated=True)

    def one_of(self, *values: int) -> Member:
        """The bits are one of `values`."""
        return self.arg._member(values, mask=self.mask)

    def none_of(self, *values: int) -> Member:
        """The bits are none of `values`."""
        return self.arg._member(values, mask=self.mask, negated=True)


@dataclass(frozen=True, slots=True, eq=False)
class Signed:
    """An argument as a signed number, to be compared. Made by Arg.signed().

    Attributes:
        arg: the argument; its width says where the sign is.
    """

    arg: Arg

    def __hash__(self) -> int:
        return hash((Signed, self.arg))

    def __eq__(self, value: object) -> Member:  # type: ignore[override]
        return self.arg._member((value,))

    def __ne__(self, value: object) -> Member:  # type: ignore[override]
        return self.arg._member((value,), negated=True)

    def __lt__(self, value: int) -> Order:
        return self.arg.lt(value, signed=True)

    def __le__(self, value: int) -> Order:
        return self.arg.le(value, signed=True)

    def __gt__(self, value: int) -> Order:
        return self.arg.gt(value, signed=True)

    def __ge__(self, value: int) -> Order:
        return self.arg.ge(value, signed=True)


def _refuse(values: Sequence[int], *, flags: bool, why: str) -> None:
    """Refuse enum members of the wrong kind: flags where whole values are compared, or the reverse."""
    for value in values:
        if isinstance(value, enum.Enum) and isinstance(value, enum.Flag) is flags:
            raise TypeError(why)
