"""How a test's body travels: by value, with its module's functions and classes, for their rewritten assertions."""

from __future__ import annotations

import asyncio
import functools
import io
import sys
from collections.abc import Callable, Iterator
from concurrent import futures
from types import FunctionType, ModuleType
from typing import Any

import cloudpickle
import pytest

from isolate_fn.errors import IsolationError
from isolate_fn.integrations.pytest_inside import Nested

_STEERING = (StopIteration, StopAsyncIteration, pytest.exit.Exception, asyncio.CancelledError, futures.CancelledError)


class CannotTravel(Exception):
    """A fixture, or a name that the test uses, cannot be sent to an isolate; the text says which and what to do."""


def dump(item: Any, body: Callable[..., Any], arguments: dict[str, Any]) -> bytes:
    """Pickle a test's body and its fixtures' values, in one piece, so that what they share stays shared.

    Raises:
        CannotTravel: something refuses.
    """
    known = _Modules(item)
    case = getattr(body, "__self__", None)
    try:
        return _dump((body, arguments), known)
    except Exception as error:
        for name, value in arguments.items():
            if problem := _problem(value, known):
                raise CannotTravel(_fixture(item, name, value, problem)) from error
        for name, value in vars(case).items() if hasattr(case, "__dict__") else ():
            if problem := _problem(value, known):
                raise CannotTravel(
                    f"{item.name}: the attribute self.{name}, a {_kind(value)}, cannot be sent into an isolate: "
                    f"{problem}\n  try: make it in the test itself, or mark the test isolate_fn(False)"
                ) from error
        for name, value in _names(body):
            if problem := _problem(value, known):
                raise CannotTravel(
                    f"{item.name}: {name!r}, a {_kind(value)} that the test uses, cannot be sent into an isolate: "
                    f"{problem}\n  try: make it in the test itself, or put it into a module that the test imports"
                ) from error
        raise CannotTravel(f"{item.name}: the test cannot be sent into an isolate: {_reason(error)}") from error


def exceptions(item: Any) -> Iterator[type[Exception]]:
    """Return the exception classes that a test's module knows, which its failures may be."""
    seen = set()
    for value in vars(item.module).values():
        ours = isinstance(value, type) and issubclass(value, Exception) and not issubclass(value, IsolationError)
        steering = isinstance(value, type) and issubclass(value, _STEERING)
        if ours and not steering and value not in seen and value.__module__ != "builtins":
            seen.add(value)
            yield value


def _fixture(item: Any, name: str, value: Any, problem: str) -> str:
    reason = f"{item.name}: the fixture {name!r} cannot be sent into an isolate: its value, a {_kind(value)}, {problem}"
    if name in ("request", "pytestconfig") or name.endswith("_factory") or name == "isolated_sandbox":
        return f"{reason}\n  try: a fixture that uses {name!r} outside and returns plain data"
    return (
        f"{reason}\n  try: return plain data from {name!r}, make the object inside the test, or mark the test "
        "isolate_fn(False)"
    )


def _names(body: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """Return what a function uses of its module and of the functions around it."""
    function = getattr(body, "__func__", body)
    if isinstance(function, FunctionType):
        for name in function.__code__.co_names:
            if name in function.__globals__:
                yield name, function.__globals__[name]
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            yield name, cell.cell_contents


def _kind(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _problem(value: Any, known: _Modules) -> str:
    try:
        _dump(value, known)
    except Exception as error:
        return f"cannot be pickled ({_reason(error)})"
    return ""


class _Modules:
    """Which modules nobody could import inside: the test's own, and those that only pytest's way of importing finds.

    Args:
        item: the test.
    """

    def __init__(self, item: Any) -> None:
        self.of_test: ModuleType = item.module
        self._root = str(item.config.rootpath) + "/"

    def by_value(self, name: str) -> ModuleType | None:
        """Return the module of this name where its functions and classes must travel by value."""
        module = sys.modules.get(name)
        if module is None or module is self.of_test:
            return self.of_test if name == self.of_test.__name__ else None
        file = getattr(module, "__file__", None) or ""
        return module if file.startswith(self._root) and not _found_again(name, file) else None


@functools.lru_cache(maxsize=4096)
def _found_again(name: str, file: str) -> bool:
    """Tell whether importing a module by name, in another process with this ``sys.path``, leads to the same file."""
    path: Any = None
    spec: Any = None
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        found = (finder.find_spec(".".join(parts[:count]), path) for finder in sys.meta_path)
        spec = next((one for one in found if one is not None), None)
        if spec is None:
            return False
        path = spec.submodule_search_locations
    return bool(spec.origin == file)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle, by value for modules that are no modules inside.

    Args:
        stream: where to write.
        known: which those are.
    """

    def __init__(self, stream: io.BytesIO, known: _Modules) -> None:
        super().__init__(stream, 5)
        self._known = known

    def reducer_override(self, value: Any) -> Any:
        """See `pickle.Pickler.reducer_override`."""
        if getattr(type(value), "__isolate_fn__", False) is True:
            return Nested, (value.__wrapped__,)
        if not isinstance(value, (FunctionType, type)):
            return super().reducer_override(value)
        module = self._known.by_value(getattr(value, "__module__", None) or "")
        if module is None or module.__name__ not in sys.modules:
            return super().reducer_override(value)
        cloudpickle.register_pickle_by_value(module)
        try:
            return super().reducer_override(value)
        finally:
            cloudpickle.unregister_pickle_by_value(module)


def _dump(value: Any, known: _Modules) -> bytes:
    stream = io.BytesIO()
    _Pickler(stream, known).dump(value)
    return stream.getvalue()


__all__ = ["CannotTravel", "dump", "exceptions"]
