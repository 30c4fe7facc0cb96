"""The caller's side of a test inside an isolate: send its body, tell how it ended, complete pytest's report."""

from __future__ import annotations

import contextlib
import copy
import inspect
import os
import unittest
import warnings
from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any

import pytest

from isolate_fn import Policy, presets, rw, sandbox
from isolate_fn.errors import IsolationError, Terminated
from isolate_fn.integrations import pytest_modules as modules
from isolate_fn.integrations import pytest_reports as reports
from isolate_fn.integrations.pytest_inside import run_test
from isolate_fn.integrations.pytest_stand_ins import stand_in
from isolate_fn.policy.toml.find import policy_named

POLICY = pytest.StashKey[Policy]()
ENDED = pytest.StashKey[reports.Ended]()
_INSIDE = "isolate_fn.integrations.pytest_inside"


def named_policy(name: str, near: os.PathLike[str]) -> Policy:
    """Return the policy of this name.

    Args:
        name: a preset, a policy of the nearest pyproject.toml, or ``MODULE:NAME``.
        near: the directory that pytest runs in.

    Raises:
        pytest.UsageError: there is none.
    """
    module, colon, attribute = name.partition(":")
    try:
        found = getattr(__import__(module, fromlist=["*"]), attribute) if colon else _preset_or_named(name, near)
    except (ImportError, AttributeError, ValueError) as error:
        known = ", ".join(presets.__all__)
        raise pytest.UsageError(f"isolate_fn policy {name!r}: {error}; presets: {known}; or MODULE:NAME") from None
    if not isinstance(found, Policy):
        raise pytest.UsageError(f"isolate_fn policy {name!r} is a {type(found).__name__}, not a Policy")
    return found


def _preset_or_named(name: str, near: os.PathLike[str]) -> Policy:
    return getattr(presets, name.upper()) if name.upper() in presets.__all__ else policy_named(name, near)


def with_defaults(item: pytest.Item, options: dict[str, Any]) -> dict[str, Any]:
    """Return a test's options with the policy of the command line where it names none of its own."""
    policy = item.config.stash.get(POLICY, None)
    return options if policy is None or "policy" in options else {"policy": policy, **options}


def policy_of(item: Any, options: dict[str, Any]) -> Policy:
    """Return what a test's options add up to; ``policy`` among them is what they start from.

    A name there is looked up from the test's file, not from this one.

    Raises:
        PolicyError: one of them is wrong.
    """
    others = {name: each for name, each in options.items() if name != "policy"}
    base = options.get("policy")
    return Policy.from_options(policy_named(base, item.path) if isinstance(base, str) else base, **others)


def run(item: pytest.Function, options: dict[str, Any]) -> None:
    """Run a test's body inside an isolate of its own; raise what ends it.

    Args:
        item: the test; its fixtures are there.
        options: of `isolate_fn.sandbox`.
    """
    __tracebackhide__ = True
    arguments = {name: item.funcargs[name] for name in item._fixtureinfo.argnames}
    _run(item, item.obj, arguments, options)


@contextlib.contextmanager
def method_inside(item: Any, options: dict[str, Any]) -> Iterator[None]:
    """Have unittest call, as the test's method, one that runs inside; setUp() and tearDown() stay outside.

    Args:
        item: a test of a `unittest.TestCase`.
        options: of `isolate_fn.sandbox`.
    """
    original = item.obj

    def inside() -> None:
        __tracebackhide__ = True
        case = copy.copy(original.__self__)
        for name in ("_outcome", "_cleanups", item.name):  # unittest's, bound to this process
            case.__dict__.pop(name, None)
        case.__dict__ |= {"_outcome": None, "_cleanups": []}
        _run(item, MethodType(original.__func__, case), {}, options)

    for name in ("__unittest_skip__", "__unittest_skip_why__", "__unittest_expecting_failure__"):
        if hasattr(original, name):
            setattr(inside, name, getattr(original, name))
    item.obj = inside
    try:
        yield
    finally:
        item.obj = original


def only_outside(item: pytest.Item) -> BaseException:
    """Return the failure of an item that would run inside, and is none of pytest's functions: a doctest, a plugin's."""
    return pytest.fail.Exception(
        f"{item.nodeid}: a {type(item).__name__} cannot run inside an isolate; only functions and methods can. It did not "
        "run.\n  try: the marker isolate_fn(False), which item.add_marker() gives in pytest_collection_modifyitems of a "
        "conftest.py",
        pytrace=False,
    )


def ran_outside(item: pytest.Item) -> BaseException:
    """Return the failure of a test whose body another plugin ran before this one was asked."""
    return pytest.fail.Exception(
        f"{item.nodeid}: should run inside an isolate, and another plugin ran it outside, where it passed\n"
        "  try: leave that plugin out (-p no:NAME), or mark the test isolate_fn(False)",
        pytrace=False,
    )


def _run(item: Any, body: Callable[..., Any], arguments: dict[str, Any], options: dict[str, Any]) -> None:
    __tracebackhide__ = True
    ended = item.stash[ENDED] = reports.Ended()
    if inspect.isasyncgenfunction(body):
        raise pytest.fail.Exception("an async generator is no test", pytrace=False)
    if isinstance(getattr(body, "__self__", None), unittest.IsolatedAsyncioTestCase):
        raise pytest.fail.Exception(
            "methods of a unittest.IsolatedAsyncioTestCase cannot run inside an isolate: their event loop is outside; "
            "use a plain async test function, or mark it isolate_fn(False)",
            pytrace=False,
        )
    sent = {name: stand_in(name, value) or value for name, value in arguments.items()}
    try:
        payload = modules.dump(item, body, sent)
        said = _in_isolate(item, payload, options, ended)
    except modules.CannotTravel as problem:
        raise pytest.fail.Exception(str(problem), pytrace=False) from None
    except IsolationError as error:
        ended.isolation = True
        if isinstance(error, Terminated):
            ended.report = error.report
        raise
    item.user_properties.extend(reports.properties(said))
    reports.end(said, ended, item)


def _in_isolate(item: Any, payload: bytes, options: dict[str, Any], ended: reports.Ended) -> Any:
    __tracebackhide__ = True
    policy = policy_of(item, with_defaults(item, options))
    changes: dict[str, Any] = {
        "preload": (*policy.preload, _INSIDE),
        "raises": (*policy.raises, *modules.exceptions(item)),
        "name": policy.name or item.name,
    }
    granted = [item.funcargs[name] for name in ("tmp_path", "tmpdir") if name in getattr(item, "funcargs", ())]
    if granted:
        changes["mounts"] = (*policy.mounts, rw(str(granted[0])))
    box = sandbox(policy=Policy.from_options(policy, **changes))
    try:
        with box:
            return box.call(run_test, payload, _settings(item))
    finally:
        with contextlib.suppress(IsolationError):  # it could not be built
            ended.report = box.report()
            item.user_properties.append(("isolate_fn", reports.summary(ended.report)))


def _settings(item: Any) -> dict[str, Any]:
    file = str(inspect.getsourcefile(item.module) or item.path)
    try:
        with open(file, encoding="utf-8") as source:
            text = source.read()
    except (OSError, UnicodeDecodeError):
        text = ""
    config = item.config
    style = config.getoption("tbstyle", "auto")
    return {
        "file": file,
        "source": text,
        "filters": list(warnings.filters),
        "verbose": config.getoption("verbose", 0),
        "style": "long" if style in ("auto", "no") else style,
        "locals": bool(config.getoption("showlocals", False)),
    }


complete = reports.complete

__all__ = [
    "ENDED", "POLICY", "complete", "method_inside", "named_policy", "only_outside", "policy_of", "ran_outside", "run",
    "with_defaults",
]  # fmt: skip
