"""What of pytest runs inside an isolate: one test's body, told as plain data.

The body comes by value, because only so its assertions are the rewritten ones. Stand-ins for pytest's own fixtures are
opened here, and a failure is described here, where its frames are.

Loaded once in the spawner (``preload``), so that no isolate has to import pytest.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import linecache
import os
import unittest
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from isolate_fn.errors import PolicyError
from isolate_fn.integrations import pytest_stand_ins as stand_ins


class Nested:
    """Stands for a decorated function of the test's module: isolates do not nest.

    Args:
        function: the one behind it.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__wrapped__ = function
        self.__name__ = getattr(function, "__name__", "function")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse."""
        raise PolicyError(
            "pytest",
            f"{self.__name__}() is isolated itself and was called by a test that runs inside an isolate",
            f"call {self.__name__}.__wrapped__(...), or let this test run outside: @pytest.mark.isolate_fn(False)",
        )

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind like a function."""
        from types import MethodType

        return self if instance is None else MethodType(self, instance)


def _config() -> Any:
    """Return a configuration with pytest's own plugins and no settings, for its explanations of assertions."""
    from _pytest.config import get_config

    before = os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    try:
        arguments = ["-c", os.devnull, "--rootdir=/", "--noconftest", "-p", "no:cacheprovider"]
        config = get_config(arguments)
        config.parse(arguments)
    finally:
        if before is None:
            del os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"]
        else:
            os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = before
    return config


try:
    _CONFIG = _config()
except Exception:  # of a pytest that is made otherwise: explanations are shorter then
    _CONFIG = None


def run_test(payload: bytes, settings: dict[str, Any]) -> dict[str, Any]:
    """Run the body of a test.

    Args:
        payload: cloudpickle's of ``(function, keyword arguments)``.
        settings: ``file`` and ``source`` of the test's module, ``filters`` of warnings, ``verbose``, ``style`` and
            ``locals`` of tracebacks.

    Returns:
        ``outcome`` (``"passed"``, ``"skipped"``, ``"xfailed"`` or ``"failed"``), what belongs to it (see `_told`), and
        ``properties``.
    """
    import pickle

    # So that tracebacks show the lines, where the file is not mounted.
    lines = settings["source"].splitlines(keepends=True)
    linecache.cache[settings["file"]] = (len(settings["source"]), None, lines, settings["file"])
    said: dict[str, Any] = {"outcome": "passed", "properties": []}
    with (
        _warnings(settings["filters"]),
        contextlib.ExitStack() as opened,
        _explanations(settings["verbose"]),
    ):
        try:
            function, arguments = pickle.loads(payload)  # noqa: S301 - the caller's own
            for name, value in arguments.items():
                if isinstance(value, stand_ins.StandIn):
                    arguments[name] = value.open(opened, said["properties"])
            _call(function, arguments)
        except BaseException as error:
            said |= _told(error, settings)
    return said


def _call(function: Callable[..., Any], arguments: dict[str, Any]) -> None:
    if inspect.iscoroutinefunction(function):
        asyncio.run(function(**arguments))
        return
    case = getattr(function, "__self__", None)
    if not isinstance(case, unittest.TestCase):
        function(**arguments)
        return
    try:
        function()
    finally:
        case.doCleanups()  # those that the body has added; tearDown() runs outside


# --- how it ended ----------------------------------------------------------------------------------------------------


def _told(error: BaseException, settings: dict[str, Any]) -> dict[str, Any]:
    """Describe how a test ended: an outcome that it has chosen, or a failure."""
    if isinstance(error, (pytest.skip.Exception, unittest.SkipTest)):
        return {"outcome": "skipped", "message": str(error), "line": _line(error, settings["file"])}
    if isinstance(error, pytest.xfail.Exception):
        return {"outcome": "xfailed", "message": str(error)}
    told: dict[str, Any] = {"outcome": "failed", "type": f"{type(error).__module__}.{type(error).__qualname__}"}
    told["message"] = _text(error)
    if isinstance(error, pytest.fail.Exception):
        told["outcome"], told["trace"] = "fail", bool(error.pytrace)
    elif isinstance(error, Exception):
        told["error"] = _bare(error)
    told["report"] = _described(error, settings)
    return told


def _bare(error: Exception) -> Any:
    """Return an exception without those behind it: its report has them already."""
    error.__cause__ = error.__context__ = None
    return error


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as problem:  # its own code
        return f"a text that cannot be had: {type(problem).__name__}"


def _line(error: BaseException, file: str) -> int:
    """Return the last line of the test's file that the exception has passed."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _described(error: BaseException, settings: dict[str, Any]) -> Any:
    """Return pytest's description of a failure as it travels between processes; text if it cannot be had so."""
    excinfo = pytest.ExceptionInfo.from_exception(error)
    style: Any = "value" if isinstance(error, pytest.fail.Exception) and not error.pytrace else settings["style"]
    try:
        description = excinfo.getrepr(
            showlocals=settings["locals"], style=style, funcargs=True, abspath=True, tbfilter=_without_ours
        )
        report = pytest.TestReport(
            nodeid="", location=("", 0, ""), keywords={}, outcome="failed", longrepr=description, when="call"
        )
        return report._to_json()["longrepr"]
    except Exception:
        import traceback

        return "".join(traceback.format_exception(error))


def _without_ours(excinfo: Any) -> Any:
    """Leave out the frames of this file at the top of a traceback, and those that hide themselves."""
    entries = list(excinfo.traceback)
    while len(entries) > 1 and str(entries[0].path) == __file__:
        entries.pop(0)
    of_test = [entry for entry in entries if "__unittest" not in entry.frame.f_globals]  # as pytest leaves those out
    return type(excinfo.traceback)(of_test or entries).filter(excinfo)


@contextlib.contextmanager
def _explanations(verbose: int) -> Iterator[None]:
    """Have comparisons that fail explained in full, as `pytest_runtest_protocol` of pytest's assertion plugin does."""
    if _CONFIG is None:
        yield
        return
    from _pytest import assertion

    _CONFIG.option.verbose = verbose
    item: Any = SimpleNamespace(ihook=_CONFIG.hook, config=_CONFIG)
    steps: Any = assertion.pytest_runtest_protocol(item)
    next(steps)
    try:
        yield
    finally:
        with contextlib.suppress(StopIteration):
            next(steps)


@contextlib.contextmanager
def _warnings(filters: list[Any]) -> Iterator[None]:
    """Filter warnings as outside: those that are errors there are errors here. The others are told to the caller."""
    with warnings.catch_warnings():
        warnings.filters[:] = filters  # type: ignore[index]
        if hasattr(warnings, "_filters_mutated"):
            warnings._filters_mutated()
        yield


__all__ = ["Nested", "run_test"]
