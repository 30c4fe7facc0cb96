"""Every way to start a program: what is defined in it can be isolated."""

from __future__ import annotations

import sys
import textwrap
import zipapp
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., str]
pytestmark = pytest.mark.needs("namespaces")

# One function, class and constant of the program itself, and a module beside it.
PROGRAM = """
import dataclasses
from isolate_fn import isolated
import beside

OFFSET = 100

@dataclasses.dataclass
class Point:
    x: int

@isolated
def move(point: Point) -> Point:
    return Point(point.x + OFFSET + beside.more())

print(move(Point(1)), isolated(beside.more)(), isolated(lambda: OFFSET)())
"""
PRINTED = "Point(x=111) 10 100\n"


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """The directory of a program and of a module that it imports."""
    directory = tmp_path / "program"
    directory.mkdir()
    (directory / "beside.py").write_text("def more(): return 10\n")
    (directory / "main.py").write_text(PROGRAM)
    return directory


def test_a_script_beside_its_module(run: Run, beside: Path) -> None:
    assert run("", "program/main.py") == PRINTED


def test_python_c_and_standard_input(run: Run, beside: Path) -> None:
    assert run(PROGRAM, env={"PYTHONPATH": f"{beside}:{Path(__file__).parents[2]}"}) == PRINTED
    assert run("", "-", typed=f"import sys; sys.path.insert(0, {str(beside)!r})\n{PROGRAM}") == PRINTED


@pytest.mark.parametrize("options", [("-I",), ("-P",), ("-E",), ("-B",), ("-OO",), ("-X", "frozen_modules=off")], ids="".join)
def test_options_of_the_interpreter(run: Run, beside: Path, options: tuple[str, ...]) -> None:
    paths = f"import sys; sys.path[:0] = [{str(beside)!r}, {str(Path(__file__).parents[2])!r}]\n"
    if options[0] == "-I":  # nor does it see packages of the user's or of PYTHONPATH
        paths += f"sys.path += {[path for path in sys.path if 'site-packages' in path]!r}\n"
    (beside / "main.py").write_text(paths + PROGRAM)
    assert run("", *options, "program/main.py") == PRINTED


def test_a_package_run_by_name(run: Run, tmp_path: Path) -> None:
    package = tmp_path / "app"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "beside.py").write_text("def more(): return 10\n")
    (package / "__main__.py").write_text(PROGRAM.replace("import beside", "from . import beside"))
    (package / "tool.py").write_text(PROGRAM.replace("import beside", "from app import beside"))
    assert run("", "-m", "app") == PRINTED
    assert run("", "-m", "app.tool") == PRINTED


def test_runpy(run: Run, beside: Path) -> None:
    printed = run(f"""
        import runpy, sys
        sys.path.insert(0, {str(beside)!r})
        runpy.run_path({str(beside / "main.py")!r})
        runpy.run_path({str(beside / "main.py")!r}, run_name="__main__")
        runpy.run_module("main", run_name="__main__", alter_sys=True)
    """)
    assert printed == PRINTED * 3


def test_a_zip_application(run: Run, beside: Path, tmp_path: Path) -> None:
    (beside / "main.py").rename(beside / "__main__.py")
    zipapp.create_archive(beside, tmp_path / "tool.pyz", compressed=True)
    for file in beside.iterdir():
        file.unlink()
    assert run("", "tool.pyz") == PRINTED


def test_doctest(run: Run, tmp_path: Path) -> None:
    (tmp_path / "documented.py").write_text(
        textwrap.dedent('''
        from isolate_fn import isolated

        @isolated
        def double(n):
            """Double it.

            >>> double(21)
            42
            >>> isolated(lambda text: text.upper())("a")
            'A'
            >>> print_inside = isolated(lambda: print("seen"))
            >>> print_inside()
            seen
            >>> @isolated
            ... def defined_here(n):
            ...     return double.__wrapped__(n) + 1
            >>> defined_here(1)
            3
            >>> double("x", "y")
            Traceback (most recent call last):
            TypeError: double() takes 1 positional argument but 2 were given
            """
            return n * 2
        ''')
    )
    assert "7 passed" in run("", "-m", "doctest", "-v", "documented.py")
    assert run("", "-m", "doctest", "documented.py") == ""


@pytest.mark.parametrize("mode", ["prepend", "append", "importlib"])
def test_pytest(run: Run, tmp_path: Path, mode: str) -> None:
    """pytest rewrites the asserts of test modules, and need not have their directory on sys.path."""
    tests = tmp_path / "project" / "tests"
    tests.mkdir(parents=True)
    (tests / "helping.py").write_text("def three(): return 3\n")
    (tests / "conftest.py").write_text("import pytest\n@pytest.fixture\ndef five(): return 5\n")
    (tests / "test_it.py").write_text(
        textwrap.dedent("""
        import pytest
        from isolate_fn import isolated
        OFFSET = 10
        class Wrong(Exception): pass
        @isolated
        def add(n):
            print("inside")
            assert n != 7, "seven"
            if n == 8:
                raise Wrong(n)
            return n + OFFSET
        def test_value(five, capsys):
            assert add(five) == 15
            assert capsys.readouterr().out == "inside\\n"
        def test_errors():
            with pytest.raises(Wrong):
                add(8)
            with pytest.raises(AssertionError, match="seven"):
                add(7)
        def test_local(tmp_path, five):
            assert isolated(lambda: five + OFFSET)() == 15
        """)
    )
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", f"--import-mode={mode}", "--rootdir=project", "project/tests")
    assert "3 passed" in run("", *words)


def test_modules_that_are_gone_from_disk_or_from_memory(run: Run, tmp_path: Path) -> None:
    for name in ("deleted", "forgotten", "reloaded", "kept"):
        (tmp_path / f"{name}.py").write_text("VALUE = 1\ndef work():\n    return VALUE\n")
    printed = run("""
        import importlib, os, sys, time
        from isolate_fn import isolated
        from isolate_fn.errors import CallRejected
        import deleted, forgotten, reloaded, kept
        functions = {m.__name__: isolated(prewarm=0)(m.work) for m in (deleted, forgotten, reloaded, kept)}
        print(*(f() for f in functions.values()))
        os.unlink("deleted.py")
        os.unlink(deleted.__cached__)
        del sys.modules["forgotten"]
        with open("reloaded.py", "w") as file:
            file.write("VALUE = 22\\ndef work():\\n    return VALUE\\n")
        os.unlink(reloaded.__cached__)
        importlib.reload(reloaded)
        deadline = time.monotonic() + 30
        while functions["reloaded"]() == 1 and time.monotonic() < deadline:
            time.sleep(0.05)  # files are looked at again after a second
        print(functions["kept"](), functions["forgotten"](), isolated(reloaded.work)(), functions["reloaded"]())
        try:
            while time.monotonic() < deadline:
                functions["deleted"]()
        except CallRejected as error:
            print("deleted" in str(error), error.ran)
        print(isolated(lambda: 5)())
    """)
    assert printed == "1 1 1 1\n1 1 22 22\nTrue False\n5\n"


def test_the_working_directory_between_warm_calls(run: Run, tmp_path: Path) -> None:
    """With '' on sys.path, as under ``python -c``, another directory means other modules; the short way of a call sees it."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "finding.py").write_text(
        "from importlib.machinery import PathFinder\n"
        "def find(name):\n    found = PathFinder.find_spec(name)\n    return found and found.origin\n"
    )
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "which.py").write_text("")
    printed = run(
        f"""
        import os, sys
        from isolate_fn import isolated
        from isolate_fn._runtime import warm
        from finding import find
        assert sys.path[0] == ""
        missed, call = [], warm.WarmCalls.call
        def watched(self, args):
            value = call(self, args)
            missed.append(value is self.MISSED)
            return value
        warm.WarmCalls.call = watched
        find = isolated(reuse=True)(find)
        for directory in ("one", "two", "one", "."):
            os.chdir(os.path.join({str(tmp_path)!r}, directory))
            found = [find("which") for _ in range(3)]
            print(directory, len(set(found)), os.path.basename(os.path.dirname(found[0] or "")), missed)
            missed.clear()
        """,
        env={"PYTHONPATH": f"{Path(__file__).parents[2]}:{tmp_path / 'lib'}"},
    )
    assert printed.splitlines() == [
        "one 1 one [False, False]",  # the first call had no short way yet
        "two 1 two [True, False, False]",
        "one 1 one [True, False, False]",
        ". 1  [True, False, False]",
    ]


REFUSED = """
from isolate_fn import isolated
from isolate_fn.errors import Unsupported
try:
    print(isolated(len)("abc"))
except Unsupported as error:
    print(error.ran, error.needs, "|", "installed Python" in error.remedy)
"""
WHAT_IT_NEEDS = "False an interpreter and this package's files on disk | True\n"


@pytest.mark.needs("module:PyInstaller")
@pytest.mark.timeout(600)
def test_a_frozen_program(run: Run, tmp_path: Path) -> None:
    (tmp_path / "frozen.py").write_text(REFUSED)
    run("", "-m", "PyInstaller", "--onedir", "--log-level", "ERROR", "frozen.py", stderr=None, patience=500)
    assert run("", interpreter=str(tmp_path / "dist" / "frozen" / "frozen")) == WHAT_IT_NEEDS


def test_a_program_that_says_it_is_frozen(run: Run) -> None:
    """What PyInstaller, cx_Freeze and py2app set."""
    printed = run(f"import sys\nsys.frozen = True\n{REFUSED}\n")
    assert printed == WHAT_IT_NEEDS


def test_a_zip_application_that_holds_the_package_itself(run: Run, tmp_path: Path) -> None:
    source = Path(__file__).parents[2] / "isolate_fn"
    with zipfile.ZipFile(tmp_path / "all.pyz", "w") as archive:
        for file in source.rglob("*.py"):
            archive.write(file, file.relative_to(source.parent))
        archive.writestr("__main__.py", REFUSED)
    assert run("", "all.pyz", env={"PYTHONPATH": ""}) == WHAT_IT_NEEDS
