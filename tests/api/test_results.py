"""What comes back: values, the function's own exceptions, and refusals whose advice works."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import fractions
import functools
import math
import pathlib
import traceback
import uuid
from typing import Any, NamedTuple

import pytest

from isolate_fn import isolated as _isolated
from isolate_fn import sandbox
from isolate_fn.dangerous import TrustResult
from isolate_fn.errors import IsolationError, RemoteError, ResultRejected

isolated: Any = functools.partial(_isolated, prewarm=0)


class Mishap(Exception):
    """Visible from the functions' module."""


class Detailed(Mishap):
    def __init__(self, code: int, *, hint: str) -> None:
        super().__init__(code)
        self.code, self.hint = code, hint


@dataclasses.dataclass
class Point:
    x: int
    y: int


class Opaque:
    def __init__(self, value: int) -> None:
        self.value = value


class Temperature:
    def __init__(self, degrees: float) -> None:
        self.degrees = degrees


@isolated
def give(value: Any) -> Any:
    return value


@isolated
def give_point(x: int) -> Point:
    return Point(x, x + 1)


@isolated
def give_points(count: int) -> list[Point]:
    return [Point(n, n) for n in range(count)]


@isolated
def raise_mishap(text: str) -> None:
    raise Mishap(text)  # the line that the report must show


@isolated
def raise_detailed() -> None:
    raise Detailed(7, hint="look there")


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -(2**200), 1.5, -0.0, math.inf, 2 + 3j, "", "ä\0\ud800", b"\0\xff", bytearray(b"x"),
        [], [1, [2, [3]]], (), (1,), {1, 2}, frozenset({3}), {"a": {"b": (1, 2)}, (1, 2): None},
        collections.deque([1, 2], 5), collections.OrderedDict(b=1, a=2), collections.Counter("aab"),
        range(1, 9, 2), slice(1, None), decimal.Decimal("1.10"), fractions.Fraction(1, 3), uuid.UUID(int=5),
        datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC), datetime.timedelta(days=-1),
        pathlib.PurePosixPath("/a/b"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_builtin_values_come_back_equal_and_of_their_type(value: Any) -> None:
    result = give(value)
    assert type(result) is type(value)
    assert result == value
    assert repr(result) == repr(value)


def test_classes_of_the_annotation_come_back() -> None:
    assert give_point(3) == Point(3, 4)
    assert give_points(2) == [Point(0, 0), Point(1, 1)]


def test_a_class_nobody_named_is_refused_with_advice_that_works() -> None:
    def make(x: int):  # type: ignore[no-untyped-def]
        return {"points": [Point(x, x)]}

    with pytest.raises(ResultRejected) as caught:
        isolated(make)(1)
    error = caught.value
    assert error.ran is True
    assert error.type_name.endswith("Point")
    assert error.where.startswith("result")
    assert "returns=(" in error.remedy
    assert "Point" in error.remedy
    assert isolated(returns=(Point,))(make)(1) == {"points": [Point(1, 1)]}


def test_a_class_without_fields_needs_a_triple() -> None:
    def make():  # type: ignore[no-untyped-def]
        return Temperature(21.5)

    with pytest.raises(ResultRejected) as caught:
        isolated(make)()
    assert caught.value.type_name.endswith("Temperature")
    assert "encode" in caught.value.remedy or "returns=" in caught.value.remedy
    triple = (Temperature, lambda value: value.degrees, lambda data: Temperature(data))
    result = isolated(returns=(triple,))(make)()
    assert type(result) is Temperature
    assert result.degrees == 21.5


@pytest.mark.parametrize("kind", ["function", "lambda", "module", "generator", "lock", "file", "class"])
def test_live_objects_are_refused(kind: str) -> None:
    def make(kind: str):  # type: ignore[no-untyped-def]
        import threading

        return {
            "function": make, "lambda": lambda: 1, "module": threading, "generator": (n for n in ()),
            "lock": threading.Lock(), "file": open("/dev/null"), "class": Opaque,
        }[kind]  # fmt: skip

    with pytest.raises(ResultRejected) as caught:
        isolated(make)(kind)
    assert caught.value.remedy
    assert str(caught.value).rstrip().endswith(caught.value.remedy)


def test_trust_result_returns_anything_that_pickles() -> None:
    def make(value: int):  # type: ignore[no-untyped-def]
        return Opaque(value)

    with pytest.raises(ResultRejected):
        isolated(make)(3)
    trusted = isolated(accept=(TrustResult,))(make)
    assert trusted(3).value == 3
    assert trusted.enforcement().accepted == ("TrustResult",)


def test_trust_result_still_names_what_cannot_be_pickled() -> None:
    def make():  # type: ignore[no-untyped-def]
        import threading

        return threading.Lock()

    with pytest.raises((ResultRejected, TypeError)) as caught:
        isolated(accept=(TrustResult,))(make)()
    assert "lock" in str(caught.value)


def test_trust_result_is_for_results_and_not_for_exceptions() -> None:
    def fail() -> None:
        import configparser

        raise configparser.NoSectionError("colours")

    import configparser

    with pytest.raises(RemoteError, match="NoSectionError"):
        isolated(accept=(TrustResult,))(fail)()
    with pytest.raises(configparser.NoSectionError):
        isolated(accept=(TrustResult,), raises=(configparser.NoSectionError,))(fail)()


# --- exceptions ------------------------------------------------------------------------------------------------------


def test_the_functions_own_exception_comes_through_as_itself() -> None:
    with pytest.raises(Mishap, match=r"^went wrong$") as caught:
        raise_mishap("went wrong")
    assert type(caught.value) is Mishap
    text = "".join(traceback.format_exception(caught.value))
    assert "raise Mishap(text)  # the line that the report must show" in text
    assert "in raise_mishap" in text
    assert 'raise_mishap("went wrong")' in text  # the caller's own line
    assert text.index("the line that the report must show") < text.index('raise_mishap("went wrong")')


def test_attributes_and_arguments_survive_without_running_the_constructor() -> None:
    with pytest.raises(Detailed) as caught:
        raise_detailed()
    assert caught.value.args == (7,)
    assert (caught.value.code, caught.value.hint) == (7, "look there")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: 1 / 0, ZeroDivisionError),
        (lambda: {}["missing"], KeyError),
        (lambda: [][1], IndexError),
        (lambda: int("x"), ValueError),
        (lambda: None.nothing, AttributeError),  # type: ignore[attr-defined]
        (lambda: b"\xff".decode(), UnicodeDecodeError),
        (lambda: open("/does/not/exist"), FileNotFoundError),
        (lambda: __import__("no_such_module_anywhere"), ModuleNotFoundError),
        (lambda: (_ for _ in ()).throw(NotImplementedError("n")), NotImplementedError),
        (lambda: exec("("), SyntaxError),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_builtin_exceptions(make: Any, expected: type[Exception]) -> None:
    with pytest.raises(expected) as inside:
        isolated(make)()
    with pytest.raises(expected) as outside:
        make()
    assert type(inside.value) is type(outside.value)
    assert str(inside.value) == str(outside.value)
    for name in ("errno", "filename", "name", "start", "end"):
        assert getattr(inside.value, name, None) == getattr(outside.value, name, None)


def test_a_class_nobody_knows_becomes_remote_error_and_raises_makes_it_itself() -> None:
    def fail() -> None:
        import configparser

        raise configparser.NoSectionError("colours")

    with pytest.raises(RemoteError) as caught:
        isolated(fail)()
    assert caught.value.type_name.endswith("NoSectionError")
    assert "colours" in caught.value.message
    assert "raise configparser.NoSectionError" in caught.value.traceback
    assert "raises=" in caught.value.remedy

    import configparser

    with pytest.raises(configparser.NoSectionError) as known:
        isolated(raises=(configparser.NoSectionError,))(fail)()
    assert known.value.section == "colours"


def _local() -> dict[str, Any]:
    class Loc(Exception):
        pass

    @dataclasses.dataclass
    class Outer:
        @dataclasses.dataclass
        class Inner:
            x: int

        inner: Inner

    class Tuple(NamedTuple):
        x: int

    def fail() -> None:
        raise Loc(3)

    def hidden() -> None:
        class Loc(Exception):
            pass

        raise Loc(3)

    def value() -> Any:
        return [Outer(Outer.Inner(1)), Tuple(2)]

    def annotated() -> Outer:
        return Outer(Outer.Inner(1))

    return {**locals(), "expected": value()}


def test_classes_defined_inside_a_function_come_back_where_they_are_named() -> None:
    local = _local()
    with pytest.raises(local["Loc"]) as caught:
        isolated(raises=(local["Loc"],))(local["fail"])()
    assert caught.value.args == (3,)
    assert isolated(returns=(local["Outer"], local["Tuple"]))(local["value"])() == local["expected"]
    assert isolated(local["annotated"])() == local["expected"][0]
    with sandbox(raises=(local["Loc"],), returns=(local["Outer"], local["Tuple"])) as box:
        assert box.call(local["value"]) == local["expected"]
        with pytest.raises(local["Loc"]):
            box.call(local["fail"])


def test_a_class_of_the_same_short_name_is_another_one() -> None:
    local = _local()
    other = type("Loc", (Exception,), {"__module__": __name__})
    for named, function, name in (
        (local["Loc"], local["hidden"], "_local.<locals>.hidden.<locals>.Loc"),
        (other, local["fail"], "_local.<locals>.Loc"),
    ):
        with pytest.raises(RemoteError) as caught:
            isolated(raises=(named,))(function)()
        assert caught.value.type_name == f"{__name__}.{name}"
        assert "module level" in caught.value.remedy


def test_a_class_defined_inside_a_function_that_nobody_named_is_refused_with_advice() -> None:
    with pytest.raises(ResultRejected, match=r"_local\.<locals>\.Outer\.Inner") as refused:
        isolated(_local()["value"])()
    assert "returns=(Inner,)" in refused.value.remedy
    assert "module level" in refused.value.remedy


def test_notes_and_causes_are_kept() -> None:
    def fail() -> None:
        try:
            {}["key"]
        except KeyError as reason:
            error = Mishap("outer")
            error.add_note("a note")
            raise error from reason

    with pytest.raises(Mishap) as caught:
        isolated(fail)()
    assert "a note" in caught.value.__notes__
    text = "".join(traceback.format_exception(caught.value))
    assert "KeyError: 'key'" in text
    assert "direct cause" in text


def test_exception_groups() -> None:
    def fail() -> None:
        raise ExceptionGroup("several", [ValueError("one"), Mishap("two")])

    with pytest.raises((ExceptionGroup, RemoteError)) as caught:
        isolated(fail)()
    text = "".join(traceback.format_exception(caught.value))
    assert "several" in text
    assert "one" in text
    assert "two" in text


@pytest.mark.parametrize("name", ["SystemExit", "KeyboardInterrupt", "GeneratorExit", "StopIteration"])
def test_control_flow_never_reaches_the_caller(name: str) -> None:
    def fail(name: str) -> None:
        import builtins

        raise getattr(builtins, name)(3)

    with pytest.raises(IsolationError) as caught:
        isolated(fail)(name)
    assert caught.value.ran is True
    assert name in str(caught.value)


def test_the_caller_is_healthy_after_each_kind_of_end() -> None:
    with pytest.raises(Mishap):
        raise_mishap("once")
    with pytest.raises(ResultRejected):
        isolated(lambda: Opaque(1))()
    assert give(1) == 1
