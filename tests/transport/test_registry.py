"""Which classes a function's annotation makes known."""

from __future__ import annotations

import collections.abc
import enum
import subprocess
import typing
from dataclasses import dataclass
from typing import Annotated, Any, ForwardRef, Generic, Literal, NewType, Optional, TypedDict, TypeVar, Union

import pytest
import transport_errors as errors
import transport_samples as samples

from isolate_fn._transport.codec import ClassTable, decode, encode
from isolate_fn.errors import PolicyError

Bound = TypeVar("Bound", bound=samples.Point)
Constrained = TypeVar("Constrained", samples.Color, samples.Box)
New = NewType("New", samples.Point)
Item = TypeVar("Item")


@dataclass
class Holder(Generic[Item]):
    item: Item
    color: samples.Color


@dataclass
class Tree:
    children: list[Tree]
    line: samples.Line


class Typed(TypedDict):
    point: samples.Point
    more: dict[str, samples.Box]


def names(table) -> set[str]:
    return {entry.cls.__name__ for entry in table.entries.values()}


CASES = [
    (samples.Point, {"Point"}),
    (samples.Line, {"Line", "Point", "Color"}),
    (list[samples.Point], {"Point"}),
    (dict[str, tuple[samples.Point, ...]], {"Point"}),
    (Optional[samples.Point], {"Point"}),  # noqa: UP045 - the old spelling
    (samples.Point | None, {"Point"}),
    (Union[samples.Point, list[samples.Color]], {"Point", "Color"}),  # noqa: UP007 - the old spelling
    (Annotated[samples.Point, samples.Color], {"Point", "Color"}),
    (Literal[samples.Color.RED, 1], {"Color"}),
    (collections.abc.Iterator[samples.Point], {"Point"}),
    (collections.abc.Generator[samples.Point, None, samples.Color], {"Point", "Color"}),
    (collections.abc.Callable[[samples.Point], samples.Color], {"Point", "Color"}),
    (Bound, {"Point"}),
    (Constrained, {"Color", "Box"}),
    (New, {"Point"}),
    (Holder[samples.Point], {"Holder", "Point", "Color"}),
    (Tree, {"Tree", "Line", "Point", "Color"}),
    (Typed, {"Point", "Box"}),
    (samples.Partly, {"Partly", "Color"}),
    (samples.Pair, {"Pair"}),
    (samples.Box, {"Box"}),
    (samples.Access, {"Access"}),
    *(
        (plain, set())
        for plain in (None, int, Any, list, "Point", ForwardRef("Point"), subprocess.Popen, object, 5, ...)
    ),
    *((kind, set()) for kind in (enum.Enum, samples.Plain, samples.Subpoint, typing.Iterator, Exception)),
]


@pytest.mark.parametrize(("annotation", "expected"), CASES, ids=[str(case[0])[-50:] for case in CASES])
def test_annotations_make_classes_known(annotation, expected):
    known = names(ClassTable.from_annotation(annotation))
    assert known - {"Enum"} == expected


def test_functions_are_asked_for_their_return_annotation_only():
    def function(argument: samples.Color) -> list[samples.Point]:
        raise NotImplementedError

    assert names(ClassTable.for_function(function)) == {"Point"}


def test_an_annotation_may_name_a_class_of_the_enclosing_function():
    @dataclass
    class Local:
        x: int

    def function() -> Local:
        return Local(1)

    def annotated() -> NoSuchName:  # type: ignore[name-defined]  # noqa: F821
        raise NotImplementedError

    encoded = encode(function())
    table = ClassTable.for_function(function)
    assert decode(encoded.json, classes=table) == Local(1)
    assert names(ClassTable.for_function(annotated)) == set()
    assert names(ClassTable.for_function(len)) == set()


def test_returns_adds_classes_and_what_their_fields_hold():
    table = ClassTable.from_annotation(samples.Point).with_classes([samples.Line, list[samples.Box], int])
    assert names(table) == {"Point", "Line", "Color", "Box"}
    assert names(ClassTable.from_annotation(samples.Point)) == {"Point"}


@pytest.mark.parametrize(
    "item", [samples.Plain, subprocess.Popen, (samples.Plain,), (samples.Plain, 1, 2), (1, len, len)]
)
def test_returns_refuses_what_nobody_could_rebuild(item):
    with pytest.raises(PolicyError, match="returns"):
        ClassTable().with_classes([item])


def test_a_triple_wins_over_the_class_itself():
    triple = (samples.Point, lambda point: point.x, lambda x: samples.Point(x, 7))
    table = ClassTable.from_annotation(samples.Point).with_classes([triple])
    encoded = encode(samples.Point(1, 2), registered=table.encoders())
    assert decode(encoded.json, classes=table) == samples.Point(1, 7)
    again = table.with_classes([samples.Point])
    assert decode(encoded.json, classes=again) == samples.Point(1, 7)


def test_the_table_is_closed_and_cannot_be_changed():
    table = ClassTable().with_classes([samples.Point])
    with pytest.raises(TypeError):
        table.entries["x"] = 1  # type: ignore[index]
    with pytest.raises(AttributeError):
        table.other = 1  # type: ignore[attr-defined]
    assert table == ClassTable.from_annotation(samples.Point)
    assert table != ClassTable()
    assert "transport_samples:Point" in repr(table)


def test_exceptions_in_returns_may_be_part_of_results():
    table = ClassTable().with_classes([errors.Simple])
    assert table.exceptions.find("transport_errors:Simple") is errors.Simple
    assert ClassTable.from_annotation(errors.Simple | int).exceptions is not None
    assert ClassTable.from_annotation(errors.Hidden).exceptions is None
