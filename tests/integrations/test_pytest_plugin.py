"""Tests inside isolates: each run here is a pytest of its own on files written for it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.needs("namespaces")
ROOT = Path(__file__).parents[2]
Run = Callable[..., pytest.RunResult]

# A file that is there outside, and never inside.
HEAD = f"""
    import logging, os, sys, unittest, warnings
    import pytest
    OUTSIDE = {str(ROOT / 'LICENSE')!r}
    inside = pytest.mark.isolate_fn

    def is_inside():
        return not os.path.exists(OUTSIDE)
"""


def write(pytester: pytest.Pytester, text: str, name: str = "test_it.py") -> None:
    import textwrap

    pytester.path.joinpath(name).write_text(textwrap.dedent(HEAD) + textwrap.dedent(text))


def test_a_marked_test_runs_inside_and_others_do_not(pytester: pytest.Pytester, run: Run) -> None:
    write(pytester, """
        @inside
        def test_inside():
            assert is_inside()
            with pytest.raises(OSError):
                open("/etc/shadow")

        @inside(mounts=[OUTSIDE])
        def test_with_a_grant():
            assert not is_inside()

        def test_outside():
            assert not is_inside()
    """)  # fmt: skip
    run().assert_outcomes(passed=3)


def test_without_the_mark_the_same_action_succeeds(pytester: pytest.Pytester, run: Run) -> None:
    write(pytester, """
        def test_write(tmp_path_factory):
            (tmp_path_factory.mktemp("host") / "file").write_text("x")

        @pytest.fixture
        def place(tmp_path_factory):
            return tmp_path_factory.mktemp("host")

        @inside
        def test_denied(place):
            with pytest.raises(OSError):
                (place / "file").write_text("x")
    """)  # fmt: skip
    run().assert_outcomes(passed=2)


def test_option_runs_everything_but_what_is_marked_otherwise(pytester: pytest.Pytester, run: Run) -> None:
    write(pytester, """
        def test_inside():
            assert is_inside()

        @inside(False)
        def test_outside():
            assert not is_inside()

        def test_box(isolated_sandbox):
            assert not is_inside()
            assert isolated_sandbox.call(is_inside)
    """)  # fmt: skip
    run("--isolate-fn").assert_outcomes(passed=3)
    run().assert_outcomes(passed=2, failed=1)


def test_the_nearest_mark_says_whether(pytester: pytest.Pytester, run: Run) -> None:
    write(pytester, """
        pytestmark = inside(False, env={"FAR": "module"})

        @inside(env={"FAR": "function"})
        def test_function():
            assert is_inside() and os.environ["FAR"] == "function"

        @inside(timeout=20)
        def test_other_options_of_the_module():
            assert is_inside() and os.environ["FAR"] == "module"

        def test_module():
            assert not is_inside()

        @inside(False)
        class TestOutside:
            @inside(timeout=5)
            def test_method(self):
                assert is_inside()

            @pytest.mark.parametrize("wanted", [False, pytest.param(True, marks=inside)])
            def test_parameter(self, wanted):
                assert is_inside() is wanted

        @inside
        class TestDerived(TestOutside):
            def test_own(self):
                assert is_inside()

            @inside(False)
            def test_off_again(self):
                assert not is_inside()

            @pytest.mark.parametrize("wanted", [True, pytest.param(False, marks=inside(False))])
            def test_parameter(self, wanted):
                assert is_inside() is wanted

        @inside(False)
        class TestCase(unittest.TestCase):
            @inside
            def test_method(self):
                self.assertTrue(is_inside())
    """)  # fmt: skip
    run().assert_outcomes(passed=12)
    run("--isolate-fn").assert_outcomes(passed=12)


def test_what_cannot_run_inside_does_not_run(pytester: pytest.Pytester, run: Run) -> None:
    """Doctests, and items of other plugins."""
    pytester.makeconftest("""
        import pathlib, pytest

        class Item(pytest.Item):
            def runtest(self):
                pathlib.Path("ran").write_text("")

        class File(pytest.File):
            def collect(self):
                yield Item.from_parent(self, name="item")

        def pytest_collect_file(file_path, parent):
            return File.from_parent(parent, path=file_path) if file_path.suffix == ".own" else None

        def pytest_collection_modifyitems(items):
            for item in items:
                if item.path.stem == "let":
                    item.add_marker(pytest.mark.isolate_fn(False))
    """)
    pytester.path.joinpath("test_it.py").write_text("def function():\n    \"\"\">>> open('ran', 'w').close()\"\"\"\n")
    pytester.path.joinpath("page.txt").write_text(">>> open('ran', 'w').close()\n")
    pytester.path.joinpath("file.own").touch()
    pytester.path.joinpath("let.txt").write_text(">>> 1 + 1\n2\n")
    arguments = ("--doctest-modules", "--doctest-glob=*.txt")
    result = run("--isolate-fn", *arguments)
    result.assert_outcomes(passed=1, failed=3)
    result.stdout.fnmatch_lines(["*page.txt*DoctestItem cannot run inside*", "*add_marker*"])
    assert not pytester.path.joinpath("ran").exists()
    run(*arguments).assert_outcomes(passed=4)
    assert pytester.path.joinpath("ran").exists()


def test_what_another_plugin_runs_outside_fails(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makeconftest("""
        import pytest

        @pytest.hookimpl(tryfirst=True)
        def pytest_pyfunc_call(pyfuncitem):
            if "theirs" in pyfuncitem.name:
                pyfuncitem.obj()
                return True
    """)
    write(pytester, """
        def test_theirs():
            assert not is_inside()

        @inside(False)
        def test_theirs_allowed():
            assert not is_inside()

        def test_ours():
            assert is_inside()
    """)  # fmt: skip
    result = run("--isolate-fn")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*test_theirs: should run inside an isolate, and another plugin ran it outside*"])


def test_policies_by_name(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(policies="from isolate_fn import Policy\nMINE = Policy(env={'WHOSE': 'mine'})\n")
    write(pytester, """
        @inside
        def test_policy():
            assert os.environ.get("WHOSE") == "mine"

        @inside(env={"WHOSE": "its own"})
        def test_own_options_win():
            assert os.environ["WHOSE"] == "its own"
    """)  # fmt: skip
    pytester.syspathinsert()
    run("--isolate-fn-policy", "policies:MINE").assert_outcomes(passed=2)
    run("-o", "isolate_fn_policy=policies:MINE").assert_outcomes(passed=2)
    run("--isolate-fn-policy", "compute").assert_outcomes(passed=1, failed=1)
    wrong = run("--isolate-fn-policy", "policies:YOURS")
    assert wrong.ret == pytest.ExitCode.USAGE_ERROR
    wrong.stderr.fnmatch_lines(["*policies:YOURS*COMPUTE*"])


def test_failures_look_as_they_do_outside(pytester: pytest.Pytester, run: Run) -> None:
    """The rewritten assertion of the test, and of a helper in its module, with pytest's explanation."""
    body = """
        def helper(numbers):
            assert numbers == [1, 2, 4]

        MARK
        def test_fails():
            numbers = [1, 2, 3]
            helper(numbers)

        MARK
        def test_operands():
            assert len("four") == 3
    """
    shown = []
    for mark in ("@inside", ""):
        write(pytester, body.replace("MARK", mark))
        result = run("-q")
        result.assert_outcomes(failed=2)
        shown.append({line for line in result.outlines if line.startswith(("E ", ">"))})
    assert shown[0] == shown[1]
    assert "E         At index 2 diff: 3 != 4" in shown[0]
    assert "E        +  where 4 = len('four')" in shown[0]
    result.stdout.fnmatch_lines(["FAILED test_it.py::test_fails - assert [[]1, 2, 3] == [[]1, 2, 4]"])


@pytest.mark.parametrize("style", ["short", "native", "line", "no"])
def test_styles_of_tracebacks(pytester: pytest.Pytester, run: Run, style: str) -> None:
    write(pytester, """
        @inside
        def test_fails():
            local = "seen"
            assert local == "other"
    """)  # fmt: skip
    result = run(f"--tb={style}", "--showlocals")
    result.assert_outcomes(failed=1)
    shown = result.stdout.str()
    # In the list of failures at the end, and before it where tracebacks are shown.
    assert (shown.count("assert 'seen' == 'other'") > 1) is (style != "no")
    assert ("local      = 'seen'" in shown) is (style == "short")


def test_outcomes_that_a_test_chooses(pytester: pytest.Pytester, run: Run) -> None:
    write(pytester, """
        class OwnError(Exception):
            pass

        @inside
        def test_skip():
            pytest.skip("not today")

        @inside
        def test_unittest_skip():
            raise unittest.SkipTest("nor then")

        @inside
        def test_xfail():
            pytest.xfail("known")

        @inside
        def test_fail():
            pytest.fail("on purpose", pytrace=False)

        @inside
        @pytest.mark.xfail(raises=OwnError, strict=True)
        def test_expected():
            raise OwnError("as expected")

        @inside
        @pytest.mark.xfail(raises=KeyError, strict=True)
        def test_another():
            raise OwnError("not as expected")

        @inside
        def test_exit():
            sys.exit(3)

        from _pytest.outcomes import Exit

        @inside
        def test_end_of_the_run():
            pytest.exit("not from inside")

        @inside
        def test_last():
            pass
    """)  # fmt: skip
    result = run("-rsxf")
    result.assert_outcomes(passed=1, skipped=2, xfailed=2, failed=4)
    result.stdout.fnmatch_lines([
        "on purpose",
        "SKIPPED [[]1[]] *test_it.py:*: not today",
        "XFAIL test_it.py::test_xfail - *known",
        "FAILED test_it.py::test_fail - Failed: on purpose",
        "FAILED test_it.py::test_exit - SystemExit: 3",
    ], consecutive=False)  # fmt: skip


def test_fixtures_parameters_and_classes(pytester: pytest.Pytester, run: Run) -> None:
    write(pytester, """
        class Thing:
            def __init__(self, name):
                self.name = name

        @pytest.fixture(scope="module")
        def thing():
            assert not is_inside()
            return Thing("made outside")

        @pytest.fixture
        def both(thing):
            return [thing, thing]

        @inside
        @pytest.mark.parametrize("number", [1, 2], ids=["one", "two"])
        class TestThings:
            kind = Thing

            @pytest.fixture(autouse=True)
            def state(self):
                self.state = "set outside"

            def test_it(self, number, thing, both):
                assert is_inside()
                assert self.state == "set outside"
                assert number in (1, 2)
                assert type(thing) is Thing is self.kind
                assert both[0] is both[1] is thing

            @staticmethod
            def test_static(number):
                assert is_inside()
    """)  # fmt: skip
    run().assert_outcomes(passed=4)


@pytest.mark.parametrize(
    ("fixture", "told"),
    [
        ("lock", "the fixture 'lock' cannot be sent*_thread.lock*"),
        ("request", "the fixture 'request' cannot be sent*"),
        ("pytestconfig", "the fixture 'pytestconfig' cannot be sent*"),
    ],
)
def test_what_cannot_travel_is_named(pytester: pytest.Pytester, run: Run, fixture: str, told: str) -> None:
    write(pytester, f"""
        import threading

        @pytest.fixture
        def lock():
            return threading.Lock()

        @inside
        def test_it({fixture}):
            pass
    """)  # fmt: skip
    result = run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"test_it: {told}", "  try: *"])


def test_a_global_that_cannot_travel_is_named(pytester: pytest.Pytester, run: Run) -> None:
    write(pytester, """
        import threading
        LOCK = threading.Lock()

        @inside
        def test_it():
            assert LOCK.acquire()
    """)  # fmt: skip
    result = run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["test_it: 'LOCK', a _thread.lock that the test uses, cannot be sent*"])


def test_fixtures_of_pytests_own(pytester: pytest.Pytester, run: Run) -> None:
    write(pytester, """
        @inside
        def test_streams(capsys):
            print("out")
            assert capsys.readouterr() == ("out\\n", "")
            with capsys.disabled():
                print("shown")

        @inside
        def test_descriptors(capfd):
            os.write(1, b"raw")
            assert capfd.readouterr().out == "raw"

        @inside
        def test_patches(monkeypatch, tmp_path):
            monkeypatch.setenv("NAME", "value")
            assert os.environ["NAME"] == "value"
            (tmp_path / "file").write_text("kept")

        @inside
        def test_log(caplog):
            with caplog.at_level(logging.DEBUG):
                logging.getLogger("mine").debug("careful")
            assert caplog.record_tuples == [("mine", logging.DEBUG, "careful")]

        @inside
        def test_warned(recwarn, record_property):
            warnings.warn("careful")
            assert len(recwarn) == 1
            record_property("answer", 42)
    """)  # fmt: skip
    result = run("--junitxml=report.xml")
    result.assert_outcomes(passed=5)
    tree = ElementTree.parse(pytester.path / "report.xml")
    found = {node.get("name"): node.get("value") for node in tree.iter("property")}
    assert found["answer"] == "42"
    assert found["isolate_fn"] is not None
    assert found["isolate_fn"].startswith("namespaces, ")


def test_output_log_and_warnings_are_in_the_report(pytester: pytest.Pytester, run: Run) -> None:
    write(pytester, """
        @inside
        def test_says():
            print("to stdout")
            print("to stderr", file=sys.stderr)
            logging.getLogger("mine").warning("to the log")
            logging.getLogger("mine").debug("to nobody")
            warnings.warn("to whom it concerns")
            assert False
    """)  # fmt: skip
    result = run()
    result.assert_outcomes(failed=1, warnings=1)
    result.stdout.fnmatch_lines([
        "*Captured stdout call*", "to stdout", "*Captured stderr call*", "to stderr", "*Captured log call*",
        "WARNING  mine:test_it.py:* to the log", "*Isolate*", "engine namespaces; *", "peak memory *",
        "*test_it.py:*UserWarning: to whom it concerns",
    ])  # fmt: skip
    assert "DEBUG    mine" not in result.stdout.str()


def test_warnings_that_are_errors_are_errors_inside(pytester: pytest.Pytester, run: Run) -> None:
    write(pytester, """
        @inside
        def test_warns():
            warnings.warn("once")
    """)  # fmt: skip
    result = run("-W", "error")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*UserWarning: once"])


def test_ends_by_walls_and_limits_name_their_cause(pytester: pytest.Pytester, run: Run) -> None:
    write(pytester, """
        from isolate_fn import Limits

        @inside(timeout=0.3)
        def test_too_long():
            while True:
                pass

        @inside(limits=Limits(output="4K"))
        def test_too_loud():
            print("x" * 100_000)

        @inside
        def test_crash():
            os.abort()

        @inside(mounts=["/does/not/exist"])
        def test_wrong_option():
            pass
    """)  # fmt: skip
    result = run()
    result.assert_outcomes(failed=4)
    result.stdout.fnmatch_lines([
        "the test's isolate: TimedOut: *0.3 seconds*",
        "the test's isolate: LimitExceeded: *output*",
        "the test's isolate: Crashed: *SIGABRT*",
        "the test's isolate: PolicyError: *'/does/not/exist'*",
    ])  # fmt: skip


def test_methods_of_a_testcase(pytester: pytest.Pytester, run: Run) -> None:
    write(pytester, """
        class TestIt(unittest.TestCase):
            def setUp(self):
                self.state = "set outside"
                self.outside = not is_inside()

            def tearDown(self):
                assert not is_inside()

            @inside
            def test_inside(self):
                self.addCleanup(lambda: None)
                self.assertTrue(is_inside())
                self.assertEqual(self.state, "set outside")

            @inside
            def test_fails(self):
                with self.subTest("part"):
                    self.assertEqual(self.state, "something else")

            @inside
            def test_skips(self):
                self.skipTest("not today")

            @inside
            @unittest.expectedFailure
            def test_expected(self):
                self.fail()

            def test_outside(self):
                self.assertFalse(is_inside())

        class TestAsync(unittest.IsolatedAsyncioTestCase):
            @inside
            async def test_async(self):
                pass
    """)  # fmt: skip
    result = run()
    result.assert_outcomes(passed=2, failed=2, skipped=1, xfailed=1)
    result.stdout.fnmatch_lines(["E*AssertionError: 'set outside' != 'something else'"])
    assert "IsolatedAsyncioTestCase cannot run inside" in result.stdout.str()


def test_coroutines(pytester: pytest.Pytester, run: Run) -> None:
    write(pytester, """
        @inside
        async def test_async():
            assert is_inside()
            assert False, "reached"
    """)  # fmt: skip
    result = run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*AssertionError: reached"])


def test_isolates_do_not_nest(pytester: pytest.Pytester, run: Run) -> None:
    write(pytester, """
        from isolate_fn import isolated

        @isolated
        def decorated():
            return 1

        @inside
        def test_nested():
            decorated()

        @inside
        def test_wrapped():
            assert decorated.__wrapped__() == 1
    """)  # fmt: skip
    result = run()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*decorated() is isolated itself*"])


@pytest.mark.parametrize("mode", ["prepend", "importlib"])
def test_import_modes_and_conftest(pytester: pytest.Pytester, run: Run, mode: str) -> None:
    package = pytester.mkpydir("suite")
    package.joinpath("conftest.py").write_text(
        "import pytest\nclass Thing:\n    name = 'of conftest'\n@pytest.fixture\ndef thing():\n    return Thing()\n"
    )
    package.joinpath("helpers.py").write_text("def check(value):\n    assert value == 'of conftest'\n")
    write(pytester, """
        from suite.helpers import check

        @inside
        def test_it(thing):
            assert is_inside()
            check(thing.name)
    """, "suite/test_it.py")  # fmt: skip
    pytester.syspathinsert()
    run(f"--import-mode={mode}").assert_outcomes(passed=1)


def test_sandbox_fixture(pytester: pytest.Pytester, run: Run) -> None:
    write(pytester, """
        from isolate_fn import Policy

        @inside(env={"NAME": "marked"})
        def test_marked(isolated_sandbox):
            assert not is_inside()
            assert isolated_sandbox.call(os.getenv, "NAME") == "marked"

        @pytest.mark.parametrize("isolated_sandbox", [{"env": {"NAME": "x"}}, Policy(env={"NAME": "x"})], indirect=True)
        def test_parametrized(isolated_sandbox):
            assert isolated_sandbox.call(os.getenv, "NAME") == "x"
            isolated_sandbox.put("/tmp/left", b"by the first")

        def test_each_test_has_its_own(isolated_sandbox):
            assert not isolated_sandbox.call(os.path.exists, "/tmp/left")
    """)  # fmt: skip
    run().assert_outcomes(passed=4)


@pytest.mark.needs("module:xdist")
def test_under_xdist(pytester: pytest.Pytester, run: Run) -> None:
    write(pytester, """
        @inside
        @pytest.mark.parametrize("number", range(4))
        def test_it(number):
            print("said inside")
            assert is_inside()
            assert number != 3
    """)  # fmt: skip
    result = run("-p", "xdist", "-n", "2")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["E*assert 3 != 3", "*said inside*", "*engine namespaces*"])


def test_hostile_answers_break_nothing(pytester: pytest.Pytester, run: Run) -> None:
    """Code inside that answers for the test can lie about the test, and not upset pytest."""
    write(pytester, """
        LIES = [
            None, [], {"outcome": "failed", "report": {"reprcrash": 1, "chain": [[[[]]]]}, "error": 5},
            {"outcome": "failed", "message": "\\x1b[2J", "logs": [[1]], "warnings": [None], "properties": [[{}, {}]]},
            {"outcome": "skipped", "message": 7, "line": "x"}, {"outcome": ["x"]},
        ]

        @inside
        @pytest.mark.parametrize("number", range(len(LIES)))
        def test_lies(number):
            from isolate_fn.integrations import pytest_inside
            from isolate_fn._runtime import serve
            lie = LIES[number]
            serve.encode = (lambda encode: lambda value, **options: encode(lie))(serve.encode)
    """)  # fmt: skip
    result = run()
    result.assert_outcomes(failed=5, skipped=1)
    assert "INTERNALERROR" not in result.stdout.str()
    assert "\x1b[2J" not in result.stdout.str()


def test_options_are_given_by_name(pytester: pytest.Pytester, run: Run) -> None:
    write(pytester, """
        @inside("READ_FILES")
        def test_it():
            pass
    """)  # fmt: skip
    result = run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*options are given by name*"])


def test_loading_the_plugin_imports_next_to_nothing() -> None:
    code = (
        "import sys, pytest; before = set(sys.modules); import isolate_fn.pytest_plugin;"
        "print(sorted(name for name in set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "['isolate_fn', 'isolate_fn.pytest_plugin']"


def test_pytest_finds_the_plugin_where_the_package_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"isolate_fn": "isolate_fn.pytest_plugin"}
