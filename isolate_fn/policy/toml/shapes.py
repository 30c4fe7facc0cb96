"""Shapes of TOML values. Of one table of them are made the reader's checks and the JSON schema for editors.

A shape says which types, words and keys there may be. What only a whole policy can tell (two mounts at one place, a
preset that does not exist) is for the words themselves to refuse, after the shape has fitted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Self

from isolate_fn.errors import PolicyError
from isolate_fn.policy import checks
from isolate_fn.policy.toml.place import Place, nearest

Schema = dict[str, Any]


class Shape:
    """Base of the shapes.

    Attributes:
        what: how messages call a value of it: ``"a text"``.
        ref: name under which the schema defines it, for shapes that are used in many places.
    """

    what = "a value"
    ref = ""

    def fits(self, value: object) -> bool:
        """Tell whether a value is of this shape's type, so that its own error is the one to show."""
        return self._fits(value)

    def check(self, value: Any, at: Place) -> None:
        """Check a value.

        Raises:
            PolicyError: it does not fit; names file, line and key.
        """
        if not self._fits(value):
            raise at.wrong(f"{shown(value)} is not {self.what}", f"write {self.what}")
        self._check(value, at)

    def schema(self) -> Schema:
        """Return what JSON Schema (draft 7) says of it."""
        return {"$ref": f"#/definitions/{self.ref}"} if self.ref else self._schema()

    def definition(self) -> Schema:
        """Return what the schema defines under ``ref``."""
        return self._schema()

    def as_(self, ref: str) -> Self:
        """Return the shape itself, to be defined once under this name."""
        self.ref = ref
        return self

    def _fits(self, value: object) -> bool:
        raise NotImplementedError

    def _check(self, value: Any, at: Place) -> None:
        """Check a value of the right type further."""

    def _schema(self) -> Schema:
        raise NotImplementedError


class Flag(Shape):
    """True or false."""

    what = "true or false"

    def _fits(self, value: object) -> bool:
        return isinstance(value, bool)

    def _schema(self) -> Schema:
        return {"type": "boolean"}


class Word(Shape):
    """One of a few texts."""

    def __init__(self, *words: str) -> None:
        self.words = words
        self.what = " or ".join(f'"{word}"' for word in words) if len(words) < 7 else "one of its words"

    def _fits(self, value: object) -> bool:
        # Any text, where there is more than one: the nearest word is the better message.
        return isinstance(value, str) and (len(self.words) > 1 or value in self.words)

    def _check(self, value: Any, at: Place) -> None:
        if value not in self.words:
            raise at.wrong(f"{shown(value)} is not one of its words", nearest(value, self.words))

    def _schema(self) -> Schema:
        return {"enum": list(self.words)}


class Text(Shape):
    """A text, of a pattern where there is one."""

    def __init__(self, what: str = "a text", pattern: str = "") -> None:
        self.what, self.pattern = what, pattern

    def _fits(self, value: object) -> bool:
        return isinstance(value, str)

    def _check(self, value: Any, at: Place) -> None:
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise at.wrong(f"{shown(value)} is not {self.what}", f"write {self.what}")

    def _schema(self) -> Schema:
        return {"type": "string", **({"pattern": f"^(?:{self.pattern})$"} if self.pattern else {})}


class Whole(Shape):
    """A whole number within bounds."""

    def __init__(self, lowest: int, highest: int) -> None:
        self.lowest, self.highest = lowest, highest
        self.what = f"a whole number from {lowest} to {highest}"

    def _fits(self, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)

    def _check(self, value: Any, at: Place) -> None:
        if not self.lowest <= value <= self.highest:
            raise at.wrong(f"{shown(value)} is out of range", f"write {self.what}")

    def _schema(self) -> Schema:
        return {"type": "integer", "minimum": self.lowest, "maximum": self.highest}


class Number(Shape):
    """A positive number up to a bound."""

    def __init__(self, highest: float, what: str) -> None:
        self.highest, self.what = highest, what

    def _fits(self, value: object) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool)

    def _check(self, value: Any, at: Place) -> None:
        if not (math.isfinite(value) and 0 < value <= self.highest):
            raise at.wrong(f"{shown(value)} is out of range", f"write {self.what}")

    def _schema(self) -> Schema:
        return {"type": "number", "exclusiveMinimum": 0, "maximum": self.highest}


class Many(Shape):
    """A list."""

    def __init__(self, each: Shape, least: int = 0) -> None:
        self.each, self.least = each, least
        self.what = "a list"

    def _fits(self, value: object) -> bool:
        return isinstance(value, list)

    def _check(self, value: Any, at: Place) -> None:
        if len(value) < self.least:
            raise at.wrong("the list is empty", f"name {self.each.what}")
        for index, entry in enumerate(value):
            self.each.check(entry, at.down(index))

    def _schema(self) -> Schema:
        return {"type": "array", "items": self.each.schema(), **({"minItems": self.least} if self.least else {})}


class Either(Shape):
    """What fits any of several shapes of different types."""

    def __init__(self, *shapes: Shape) -> None:
        self.shapes = shapes
        self.what = ", or ".join(dict.fromkeys(shape.what for shape in shapes))

    def _fits(self, value: object) -> bool:
        return any(shape.fits(value) for shape in self.shapes)

    def _check(self, value: Any, at: Place) -> None:
        next(shape for shape in self.shapes if shape.fits(value)).check(value, at)

    def _schema(self) -> Schema:
        return {"anyOf": [shape.schema() for shape in self.shapes]}


class Table(Shape):
    """A table with known keys."""

    def __init__(
        self,
        keys: Mapping[str, Shape],
        *,
        required: Iterable[str] = (),
        least: int = 0,
        described: Mapping[str, str] | None = None,
    ) -> None:
        self.keys, self.required, self.least = dict(keys), tuple(required), least
        self.described = dict(described or {})
        self.what = f"a table with {self.required[0]} =" if self.required else "a table"

    def _fits(self, value: object) -> bool:
        return isinstance(value, dict)

    def _check(self, value: Any, at: Place) -> None:
        for key, entry in value.items():
            if key not in self.keys:
                raise at.down(key).wrong(f"there is no key {key!r}", nearest(key, self.keys))
            self.keys[key].check(entry, at.down(key))
        for key in self.required:
            if key not in value:
                raise at.wrong(f"{key!r} is missing", f"add {key} = ...")
        if len(value) < self.least:
            raise at.wrong("the table is empty", nearest("", self.keys))

    def _schema(self) -> Schema:
        properties = {}
        for key, shape in self.keys.items():
            described = {"description": self.described[key]} if key in self.described else {}
            properties[key] = {**described, **shape.schema()}
        found: Schema = {"type": "object", "additionalProperties": False, "properties": properties}
        if self.required:
            found["required"] = list(self.required)
        if self.least:
            found["minProperties"] = self.least
        return found


class Names(Shape):
    """A table of free keys whose values are all alike."""

    def __init__(self, key: str, what: str, each: Shape) -> None:
        self.key, self.each, self.key_is = key, each, what
        self.what = "a table"

    def _fits(self, value: object) -> bool:
        return isinstance(value, dict)

    def _check(self, value: Any, at: Place) -> None:
        for key, entry in value.items():
            if not re.fullmatch(self.key, key):
                raise at.down(key).wrong(f"{key!r} is not {self.key_is}", f"write {self.key_is}")
            self.each.check(entry, at.down(key))

    def _schema(self) -> Schema:
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^(?:{self.key})$"},
            "additionalProperties": self.each.schema(),
        }


class Kinds(Shape):
    """A table of one of several kinds, told by the first key of each that it has: ``{ro = ...}``, ``{tmpfs = ...}``."""

    def __init__(self, kinds: Mapping[str, Shape]) -> None:
        self.kinds = dict(kinds)
        self.what = f"a table with {', '.join(self.kinds)}"

    def _fits(self, value: object) -> bool:
        return isinstance(value, dict)

    def _check(self, value: Any, at: Place) -> None:
        present = [kind for kind in self.kinds if kind in value]
        if len(present) > 1:
            raise at.wrong(f"{' and '.join(map(repr, present))} are two kinds", "write a table for each")
        if not present:
            raise self._none_of_them(value, at)
        self.kinds[present[0]].check(value, at)

    def _none_of_them(self, value: dict[str, Any], at: Place) -> PolicyError:
        known = {key for shape in self.kinds.values() for key in getattr(shape, "keys", ())}
        unknown = [key for key in value if key not in known]
        if unknown:
            return at.down(unknown[0]).wrong(f"there is no key {unknown[0]!r}", nearest(unknown[0], self.kinds))
        return at.wrong(f"{' or '.join(map(repr, self.kinds))} is missing", f"write {self.what}")

    def _schema(self) -> Schema:
        return {"anyOf": [shape.schema() for shape in self.kinds.values()]}


def shown(value: object) -> str:
    """Print a value for a message as TOML would, as far as that is short."""
    return str(value).lower() if isinstance(value, bool) else checks.show(value)
