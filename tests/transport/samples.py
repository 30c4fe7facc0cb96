"""Classes that results may hold; imported by name, as a user's module would be."""

from __future__ import annotations

import collections
import enum
from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

if TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found]


class Color(enum.Enum):
    RED = 1
    GREEN = "g"
    ALSO_RED = 1  # noqa: PIE796 - an alias is the point


class Number(enum.IntEnum):
    ONE = 1


class Word(enum.StrEnum):
    A = "a"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Bits(enum.IntFlag):
    LOW = 1
    HIGH = 128


@dataclass
class Point:
    x: int
    y: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    start: Point
    end: Point
    color: Color = Color.RED


@dataclass
class Checked:
    size: int
    area: int = field(init=False)

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(f"negative size {self.size}")
        self.area = self.size**2


@dataclass
class Leaver:
    how: str

    def __post_init__(self) -> None:
        if self.how == "exit":
            raise SystemExit(3)
        if self.how == "stop":
            raise StopIteration
        if self.how == "unprintable":
            raise Unprintable


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@dataclass
class Scaled:
    value: int
    factor: InitVar[int] = 1


@dataclass
class Partly:
    known: Color
    unknown: Unknown


@dataclass(frozen=True)
class Key:
    name: str


class Subpoint(Point):
    pass


class Pair(NamedTuple):
    left: Any
    right: Any = None


Old = collections.namedtuple("Old", "a b")


@attrs.define
class Box:
    _width: int
    height: int = attrs.field(alias="tall")


@attrs.define
class Positive:
    n: int = attrs.field(validator=attrs.validators.gt(0))


class Plain:
    def __init__(self, value: int) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plain) and self.value == other.value

    __hash__ = None


VALUE_CLASSES = (Point, Color, Number, Word, Access, Bits, Line, Checked, Leaver, Scaled, Key, Pair, Old, Box, Positive)
