"""Conditions on arguments as text, in the form in which they print: ``"arg0 == 2"``, ``"low32(arg1) & 0xf in {1, 2}"``."""

from __future__ import annotations

import re

from isolate_fn.errors import PolicyError
from isolate_fn.policy.comparisons import Condition, Order
from isolate_fn.policy.conditions import Arg

_INT = r"-?(?:0x[0-9a-fA-F]+|0o[0-7]+|0b[01]+|[0-9]+)"
_FORM = re.compile(
    rf"(?P<signed>signed\s+)?(?:low32\(\s*arg(?P<low>[0-5])\s*\)|arg(?P<whole>[0-5]))"
    rf"(?:\s*&\s*(?P<mask>{_INT}))?"
    rf"\s*(?:(?P<sign>==|!=|<=|>=|<|>)\s*(?P<value>{_INT})"
    rf"|(?P<member>not\s+in|in)\s*\{{\s*(?P<values>{_INT}(?:\s*,\s*{_INT})*)\s*\}})"
)
_REMEDY = 'write "arg0 == 2", "low32(arg1) & 0xf == 1", "arg2 in {1, 2}", "signed low32(arg0) > -1" or the like'


def read_condition(text: str) -> Condition:
    """Return the condition that a text says.

    Args:
        text: ``argN`` is an argument of 64 bits, ``low32(argN)`` its lower half, which is what the kernel takes of an int.

    Raises:
        PolicyError: it says none, or one that no call can satisfy.
    """
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise PolicyError("rules", f"{text!r} is not a condition", _REMEDY)
    low = found["low"] is not None
    arg = Arg(int(found["low"] if low else found["whole"]), 32 if low else 64)
    signed = found["signed"] is not None
    mask = None if found["mask"] is None else int(found["mask"], 0)
    if found["member"] or found["sign"] in ("==", "!="):
        values = [int(value, 0) for value in (found["values"] or found["value"]).split(",")]
        if signed and mask is None:
            signed = False  # equal is equal, whatever the sign
        if signed:
            raise PolicyError("rules", f"{text!r}: bits have no sign", _REMEDY)
        negated = (found["member"] or found["sign"])[0] in "n!"
        return arg._member(values, mask=mask, negated=negated)
    if mask is not None:
        raise PolicyError("rules", f"{text!r}: bits are compared by == and in only", _REMEDY)
    value = int(found["value"], 0)
    if signed and value >= 1 << (arg.bits - 1):
        value -= 1 << arg.bits  # as it prints: what stands in the register
    compare = {"<": arg.lt, "<=": arg.le, ">": arg.gt, ">=": arg.ge}[found["sign"]]
    return compare(value, signed=signed)


def write_condition(condition: Condition) -> str:
    """Return the text that `read_condition` makes the same condition of."""
    text = str(condition)
    if isinstance(condition, Order) and condition.signed and condition.value >= 1 << (condition.bits - 1):
        return text.replace(f"{condition.value:#x}", str(condition.value - (1 << condition.bits)))
    return text
