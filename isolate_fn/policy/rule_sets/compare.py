"""pyextrasafe's spelling of conditions: ``Compare(0, CompareOp.Equal, 3)`` for ``Arg(0) == 3``.

For code and documentation that is written that way; both spellings make the same conditions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import total_ordering
from typing import ClassVar

from isolate_fn.errors import PolicyError
from isolate_fn.policy import checks
from isolate_fn.policy.comparisons import Condition, unsigned
from isolate_fn.policy.conditions import Arg

_RANKS = ("NotEqual", "Less", "LessOrEqual", "Equal", "GreaterEqual", "Greater", "MaskedEqual")
_SIGNS = {
    "!=": "NotEqual",
    "<": "Less",
    "<=": "LessOrEqual",
    "==": "Equal",
    ">=": "GreaterEqual",
    ">": "Greater",
}


@total_ordering
@dataclass(frozen=True, slots=True)
class CompareOp:
    """How an argument is compared; unsigned, all 64 bits. Use the class's attributes.

    ``NotEqual``, ``Less``, ``LessOrEqual``, ``Equal``, ``GreaterEqual``, ``Greater``, ``MaskedEqual(mask)``; the Rust
    spellings ``Ne Lt Le Eq Ge Gt MaskedEq`` are the same values. Ordered by that list, then by mask.

    Attributes:
        word: the name above.
        mask: the bits that MaskedEqual looks at, else None.
    """

    word: str
    mask: int | None = None

    NotEqual: ClassVar[CompareOp]
    Less: ClassVar[CompareOp]
    LessOrEqual: ClassVar[CompareOp]
    Equal: ClassVar[CompareOp]
    GreaterEqual: ClassVar[CompareOp]
    Greater: ClassVar[CompareOp]
    Ne: ClassVar[CompareOp]
    Lt: ClassVar[CompareOp]
    Le: ClassVar[CompareOp]
    Eq: ClassVar[CompareOp]
    Ge: ClassVar[CompareOp]
    Gt: ClassVar[CompareOp]

    def __post_init__(self) -> None:
        if self.word not in _RANKS or (self.mask is None) is (self.word == "MaskedEqual"):
            remedy = f"use CompareOp.{', CompareOp.'.join(_RANKS)}(mask)"
            raise PolicyError("rules", f"unknown comparator: {checks.show(self.word)}", remedy)

    @staticmethod
    def MaskedEqual(mask: int) -> CompareOp:  # noqa: N802 - the name is pyextrasafe's
        """Compare ``argument & mask`` with ``value & mask``."""
        return CompareOp("MaskedEqual", unsigned(mask, 64))

    MaskedEq = MaskedEqual

    @classmethod
    def of(cls, op: object) -> CompareOp:
        """Return `op` itself, the operator of a sign such as ``"<="``, or MaskedEqual of an int.

        Raises:
            PolicyError: an unknown sign.
            TypeError: something else.
        """
        if isinstance(op, cls):
            return op
        if isinstance(op, str):
            if op not in _SIGNS:
                raise PolicyError("rules", f"unknown comparator: {op!r}", f"use one of {' '.join(_SIGNS)}")
            return cls(_SIGNS[op])
        if isinstance(op, int) and not isinstance(op, bool):
            return cls.MaskedEqual(op)
        raise TypeError("expected: CompareOp | str | int")

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, CompareOp):
            return NotImplemented
        return (_RANKS.index(self.word), self.mask or 0) < (_RANKS.index(other.word), other.mask or 0)

    def __repr__(self) -> str:
        return f"CompareOp.{self.word}" + ("" if self.mask is None else f"({self.mask})")


for _word, _short in zip(_RANKS[:-1], ("Ne", "Lt", "Le", "Eq", "Ge", "Gt"), strict=True):
    setattr(CompareOp, _word, CompareOp(_word))
    setattr(CompareOp, _short, getattr(CompareOp, _word))


@dataclass(frozen=True, init=False)
class Compare:
    """One comparison: argument `arg` with `datum`, by `op`.

    Args:
        arg: which argument, from 0 to 5.
        op: a `CompareOp`; also a sign such as ``"<="``, or an int for MaskedEqual of it.
        datum: the value; negative ones in two's complement, for ``==`` and ``!=`` only.

    Raises:
        PolicyError: no such argument or sign, or a datum that does not fit into 64 bits.
        TypeError: `op` is none of these.
    """

    arg: int
    op: CompareOp
    datum: int

    def __init__(self, arg: int, op: CompareOp | str | int, datum: int) -> None:
        object.__setattr__(self, "arg", arg)
        object.__setattr__(self, "op", CompareOp.of(op))
        object.__setattr__(self, "datum", datum)
        _condition(Arg(arg), self.op, datum)  # refuse here what could not become a condition

    @property
    def condition(self) -> Condition:
        """The same as a comparison of `Arg`."""
        return _condition(Arg(self.arg), self.op, self.datum)

    def __repr__(self) -> str:
        return f"Compare({self.arg}, {self.op!r}, {self.datum})"


def _condition(arg: Arg, op: CompareOp, datum: int) -> Condition:
    if op.mask is not None:
        return arg.masked(op.mask) == unsigned(datum, 64) & op.mask
    makers: dict[str, Callable[[int], Condition]] = {
        "NotEqual": arg.ne,
        "Less": arg.lt,
        "LessOrEqual": arg.le,
        "Equal": arg.eq,
        "GreaterEqual": arg.ge,
        "Greater": arg.gt,
    }
    return makers[op.word](datum)


class _Names(Mapping[str, str]):
    """Stands for pyextrasafe's dictionary of numbers: each name is its own value, on every architecture."""

    def __getitem__(self, name: str) -> str:
        from .base import call_name  # base imports this module

        try:
            return call_name(name)
        except PolicyError:
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "sysno"


#: ``sysno["open"]`` is ``"open"``: rules hold names, because numbers differ between architectures.
sysno: Mapping[str, str] = _Names()
