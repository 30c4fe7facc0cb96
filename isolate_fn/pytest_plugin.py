"""The pytest plugin: tests, or all of a run, inside isolates. See docs/pytest.md.

Loaded with every pytest run where the package is installed, so it imports nothing until a test asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MARKER = (
    "isolate_fn(enabled=True, /, **options): run this test's body inside an isolate; options as of "
    "isolate_fn.isolated. With the fixture isolated_sandbox, the options are its, and the body stays outside. "
    "isolate_fn(False): never inside."
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the command line and of the configuration file."""
    group = parser.getgroup("isolate_fn", "isolate_fn: tests inside isolates")
    group.addoption(
        "--isolate-fn",
        action="store_true",
        help="run the body of every test inside an isolate, except those marked isolate_fn(False)",
    )
    group.addoption(
        "--isolate-fn-policy",
        metavar="NAME",
        help="policy that tests inside isolates start from: a preset such as READ_FILES, the name of one in pyproject.toml, "
        "or MODULE:NAME",
    )
    group.addoption(
        "--isolate-fn-coverage",
        action="store_true",
        help="where coverage is measured, measure it inside isolates as well",
    )
    parser.addini("isolate_fn_policy", "the same as --isolate-fn-policy", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, look up the policy, switch on coverage."""
    config.addinivalue_line("markers", _MARKER)
    if config.getoption("--isolate-fn-coverage"):
        import os

        os.environ["ISOLATE_FN_COVERAGE"] = "1"  # also for whatever this run starts
    if config.getoption("--isolate-fn-policy") or config.getini("isolate_fn_policy"):
        from isolate_fn.integrations import pytest_calls

        config.stash[pytest_calls.POLICY] = pytest_calls.named_policy(
            config.getoption("--isolate-fn-policy") or config.getini("isolate_fn_policy"), config.rootpath
        )


def _options(item: pytest.Item) -> dict[str, Any] | None:
    """Return the options that a test's body runs inside an isolate with, None for outside."""
    marked = sorted(item.iter_markers_with_node("isolate_fn"), key=lambda found: _distance(item, *found))
    if not marked and not item.config.getoption("--isolate-fn"):
        return None
    options: dict[str, Any] = {}
    for _, mark in reversed(marked):  # the closest last
        if mark.args not in ((), (True,), (False,)):
            raise pytest.UsageError(f"{item.nodeid}: isolate_fn({mark.args[0]!r:.60}): options are given by name")
        options |= mark.kwargs
    return None if marked and marked[0][1].args == (False,) else options


def _distance(item: pytest.Item, node: Any, mark: pytest.Mark) -> tuple[int, int]:
    """Return how far from a test a mark is, which pytest knows of nodes only: not of base classes, nor of parameters."""
    if any(mark is each for each in getattr(getattr(item, "callspec", None), "marks", ())):
        return -len(item.listchain()), -1
    classes = getattr(getattr(node, "obj", None), "__mro__", ())
    held = (vars(each).get("pytestmark", ()) for each in classes)
    own = (marks if isinstance(marks, (list, tuple)) else (marks,) for marks in held)
    found = (number for number, marks in enumerate(own) if any(mark is getattr(each, "mark", each) for each in marks))
    return -len(node.listchain()), next(found, 0)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object:
    """Run the body inside, where that is asked for."""
    if "isolated_sandbox" in pyfuncitem.fixturenames:
        return None
    options = _options(pyfuncitem)
    if options is None:
        return None
    from isolate_fn.integrations import pytest_calls

    pytest_calls.run(pyfuncitem, options)
    return True


@pytest.hookimpl(hookwrapper=True)  # the older way of wrapping: a plugin that is always loaded shall load everywhere
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Do the same for the methods of a unittest.TestCase, which unittest calls itself; let nothing pass that ran outside."""
    options = None if "isolated_sandbox" in getattr(item, "fixturenames", ()) else _options(item)
    if options is None:
        yield
        return
    from isolate_fn.integrations import pytest_calls

    if hasattr(item, "addSubTest") or type(item).__name__ == "TestCaseFunction":
        with pytest_calls.method_inside(item, options):
            yield
        return
    if not isinstance(item, pytest.Function):
        raise pytest_calls.only_outside(item)
    ended: Any = yield
    if ended.excinfo is None and pytest_calls.ENDED not in item.stash:
        ended.force_exception(pytest_calls.ran_outside(item))


@pytest.hookimpl(hookwrapper=True, trylast=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Put what came from inside into the report: the failure as it is seen there, and what the isolate used."""
    made: Any = yield
    if call.when == "call":
        import sys

        calls = sys.modules.get("isolate_fn.integrations.pytest_calls")
        if calls is not None and calls.ENDED in item.stash:
            calls.complete(made.get_result(), call, item.stash[calls.ENDED])


@pytest.fixture
def isolated_sandbox(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Open an `isolate_fn.sandbox` for one test; it ends with the test.

    Its options come from the marker ``isolate_fn`` of the test, or, with indirect parametrization, from the parameter:
    a mapping of options, or a `Policy`.
    """
    from isolate_fn import Policy, sandbox
    from isolate_fn.integrations import pytest_calls

    options = _options(request.node) or {}
    given = getattr(request, "param", None)
    options |= {"policy": given} if isinstance(given, Policy) else dict(given or {})
    with sandbox(policy=pytest_calls.policy_of(request.node, pytest_calls.with_defaults(request.node, options))) as box:
        yield box
