"""Checks of single option values: each returns the normalised value or raises `PolicyError`."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType, MethodType

from isolate_fn.errors import PolicyError

from .values import FrozenDict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .host import Host

YEAR = 365 * 24 * 3600.0  # seconds: the longest wait that is surely meant
HIGHEST_SIZE = (1 << 63) - 1  # off_t and rlim_t as the kernel takes them
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def show(value: object) -> str:
    """Print a value for a message, shortened, so that a huge argument makes no huge error."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def boolean(field: str, value: object) -> bool:
    """Accept True or False only: 0, 1 and "no" are mistakes more often than not."""
    if not isinstance(value, bool):
        raise PolicyError(field, f"{show(value)} is not a bool", "use True or False")
    return value


def number_of(field: str, value: object, *, minimum: int = 1, maximum: int = (1 << 31) - 1) -> int:
    """Accept an integer within bounds; bools are refused."""
    wanted = f"use an int from {minimum} to {maximum}"
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise PolicyError(field, f"{show(value)} is not an int", wanted)
    count = operator.index(value)
    if not minimum <= count <= maximum:
        raise PolicyError(field, f"{show(count)} is out of range", wanted)
    return count


def seconds(field: str, value: object) -> float:
    """Accept a positive, finite number of seconds, at most a year."""
    wanted = "use a positive number of seconds, at most a year, or leave it out"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise PolicyError(field, f"{show(value)} is not a number of seconds", wanted)
    if not math.isfinite(value) or not 0 < value <= YEAR:
        raise PolicyError(field, f"{show(value)} is not a positive, finite time", wanted)
    return value


def size(field: str, value: object, *, minimum: int = 1, maximum: int = HIGHEST_SIZE) -> int:
    """Accept bytes as an int, or as text with a binary unit: ``"64K"``, ``"512M"``, ``"1G"``, ``"2T"``."""
    wanted = 'use an int of bytes or a text such as "64K", "512M", "1G"'
    if isinstance(value, str):
        amount = _parse_size(value)
        if amount is None:
            raise PolicyError(field, f"{show(value)} is not a size", wanted)
    elif isinstance(value, bool) or not hasattr(value, "__index__"):
        raise PolicyError(field, f"{show(value)} is not a size", wanted)
    else:
        amount = operator.index(value)
    if not minimum <= amount <= maximum:
        bounds = f"from {show_size(minimum)} to {show_size(maximum)}"
        raise PolicyError(field, f"{show(value)} is out of range", f"use a size {bounds}")
    return amount


def _parse_size(text: str) -> int | None:
    digits, unit = (text[:-1], UNITS.get(text[-1:].upper())) if text[-1:].isalpha() else (text, 1)
    # 20 digits are more than any size; int() of an endless text would take its time.
    if unit is None or not digits.isascii() or not digits.isdigit() or len(digits) > 20:
        return None
    return int(digits) * unit


def show_size(amount: int) -> str:
    """Print bytes as the shortest exact text that `size` reads."""
    for unit, factor in reversed(UNITS.items()):
        if amount and amount % factor == 0:
            return f"{amount // factor}{unit}"
    return str(amount)


def one_of(field: str, value: object, *choices: str) -> str:
    """Accept one of a few words."""
    if not isinstance(value, str) or value not in choices:
        raise PolicyError(
            field, f"{show(value)} is not one of its values", f"use {' or '.join(map(repr, choices))}"
        )
    return value


def items(field: str, value: object, example: str) -> tuple[Any, ...]:
    """Accept an iterable of several values; a single text or value is refused, since text is iterable too."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise PolicyError(field, f"{show(value)} is not a list or tuple", f"write {field}={example}")
    return tuple(value)


def text_pairs(field: str, value: object) -> FrozenDict[str, str]:
    """Accept environment variables: text to text, names without ``=``, and no NUL anywhere."""
    if not isinstance(value, Mapping):
        raise PolicyError(field, f"{show(value)} is not a dictionary", f'write {field}={{"NAME": "value"}}')
    for name, content in value.items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            remedy = "use a non-empty str without '=' and NUL"
            raise PolicyError(field, f"{show(name)} is not a name of a variable", remedy)
        if not isinstance(content, str):
            raise PolicyError(
                f"{field}[{name!r}]", f"{show(content)} is not a str", f"use str({show(content)})"
            )
        if "\0" in content:
            raise PolicyError(
                f"{field}[{name!r}]", "holds a NUL character", "leave it out: the kernel ends there"
            )
    return FrozenDict(value)


def functions(field: str, value: object) -> FrozenDict[str, Callable[..., Any] | Host] | None:
    """Accept None or host functions by the name that the isolate will use."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise PolicyError(field, f"{show(value)} is not a dictionary", f'write {field}={{"lookup": lookup}}')
    from .host import Host

    for name, function in value.items():
        if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
            raise PolicyError(
                field, f"{show(name)} is not a public name", "use an identifier without a leading _"
            )
        if not callable(function) and not isinstance(function, Host):
            raise PolicyError(f"{field}[{name!r}]", f"{show(function)} is not callable", "pass a function")
    return FrozenDict({name: _by_identity(function) for name, function in value.items()})


def _by_identity(function: Any) -> Any:
    """Return what is equal to nothing but the same function: policies that are equal share their isolates."""
    from .host import Host

    return function if isinstance(function, (Host, FunctionType, MethodType)) else Host(function)
