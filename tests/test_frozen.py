"""Frozen values behave as the dataclasses that type checkers take them for."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from isolate_fn import Enforcement, Report
from isolate_fn import _frozen as frozen


@frozen.dataclass(frozen=True)
class Point:
    """Two numbers."""

    x: int
    y: int = 2


@frozen.dataclass(frozen=True, kw_only=True)
class Named:
    name: str
    notes: Mapping[str, float] = frozen.field(default_factory=dict)


@frozen.dataclass(frozen=True, kw_only=True, eq=False)
class Same:
    name: str


@dataclasses.dataclass(frozen=True)
class RealPoint:
    """Two numbers."""

    x: int
    y: int = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class RealNamed:
    name: str
    notes: Mapping[str, float] = dataclasses.field(default_factory=dict)


PAIRS = [
    (Point, RealPoint, (), {}),
    (Point, RealPoint, (1,), {}),
    (Point, RealPoint, (1, 3), {}),
    (Point, RealPoint, (1,), {"y": 4}),
    (Point, RealPoint, (), {"y": 4}),
    (Point, RealPoint, (), {"y": 4, "x": 5}),
    (Point, RealPoint, (1, 2, 3), {}),
    (Point, RealPoint, (1,), {"x": 4}),
    (Point, RealPoint, (1,), {"z": 4}),
    (Named, RealNamed, (), {}),
    (Named, RealNamed, ("text",), {}),
    (Named, RealNamed, (), {"name": "text"}),
    (Named, RealNamed, (), {"name": "text", "notes": {"a": 1.0}}),
    (Named, RealNamed, (), {"notes": {}}),
]


def _made(cls: Any, args: tuple[Any, ...], named: dict[str, Any]) -> str:
    try:
        return repr(cls(*args, **named))
    except TypeError as error:
        return str(error)


@pytest.mark.parametrize(("ours", "real", "args", "named"), PAIRS)
def test_values_are_made_and_refused_alike(ours: Any, real: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
    assert _made(ours, args, named) == _made(real, args, named).replace("Real", "")


@pytest.mark.parametrize(("ours", "real"), [(Point, RealPoint), (Named, RealNamed)])
def test_a_class_tells_the_same_about_itself(ours: Any, real: Any) -> None:
    assert inspect.signature(ours) == inspect.signature(real)
    assert [field.name for field in dataclasses.fields(ours)] == [field.name for field in dataclasses.fields(real)]
    assert ours.__match_args__ == real.__match_args__
    assert dataclasses.is_dataclass(ours)
    assert ours.__doc__ in (real.__doc__, None)
    assert hasattr(ours, "notes") == hasattr(real, "notes")
    assert getattr(ours, "y", None) == getattr(real, "y", None)


def test_equal_fields_make_equal_values() -> None:
    assert Point(1) == Point(x=1, y=2)
    assert hash(Point(1)) == hash(Point(1, 2))
    assert Point(1) != Point(2)
    assert Point(1) != RealPoint(1)
    assert Point(1) != (1, 2)


def test_values_without_equality_are_their_own() -> None:
    first, second = Same(name="a"), Same(name="a")
    assert first != second
    assert len({first, second, first}) == 2


@pytest.mark.parametrize("value", [Point(1), Named(name="a"), Same(name="a")], ids=repr)
def test_values_cannot_be_changed(value: Any) -> None:
    field = dataclasses.fields(value)[0].name
    before = getattr(value, field)
    with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot assign to field '{field}'"):
        setattr(value, field, None)
    with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot delete field '{field}'"):
        delattr(value, field)
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.other = 1
    assert getattr(value, field) == before


def test_default_is_made_anew_for_each_value() -> None:
    assert Named(name="a").notes == {}
    assert Named(name="a").notes is not Named(name="a").notes


def test_values_are_changed_by_making_others() -> None:
    assert dataclasses.replace(Point(1), y=5) == Point(1, 5)
    assert dataclasses.asdict(Point(1)) == {"x": 1, "y": 2}
    if sys.version_info >= (3, 13):
        assert copy.replace(Point(1), x=7) == Point(7)
        with pytest.raises(TypeError):
            copy.replace(Point(1), z=7)


@pytest.mark.parametrize("value", [Point(1, 3), Named(name="a", notes={"b": 1.0})], ids=repr)
def test_values_are_copied_and_pickled(value: Any) -> None:
    assert pickle.loads(pickle.dumps(value)) == value
    assert copy.copy(value) == value == copy.deepcopy(value)


def test_a_real_dataclass_can_inherit() -> None:
    @dataclasses.dataclass(frozen=True)
    class Further(Point):  # type: ignore[misc, unused-ignore]
        z: int = 3

    assert dataclasses.astuple(Further(1)) == (1, 2, 3)


def test_reports_are_such_values() -> None:
    report = Report(enforcement=Enforcement(engine="namespaces", layers=(), landlock_abi=1, uid=0))
    assert dataclasses.asdict(report)["enforcement"]["engine"] == "namespaces"
    assert dataclasses.replace(report, disk=4).disk == 4
    assert str(inspect.signature(Report)).startswith("(*, enforcement: ")
