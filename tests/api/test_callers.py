"""Where isolated functions are called from: every kind of program, function, installation and calling process."""

from __future__ import annotations

import errno
import multiprocessing
import os
import py_compile
import subprocess
import sys
import tempfile
import textwrap
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = str(Path(__file__).parents[2])
Run = Callable[..., str]

MODULE = """
import os
from isolate_fn import isolated

STATE = "module"

class AppError(Exception):
    pass

@isolated
def where():
    return __name__, os.getpid() < 20, STATE

@isolated
def fail():
    raise AppError("from the module")

def plain(number):
    return number + 1

class Tool:
    def __init__(self, base):
        self.base = base

    @isolated
    def method(self, number, *, factor=2):
        return self.base + number * factor

    @isolated
    @staticmethod
    def static(number):
        return number - 1

    @staticmethod
    @isolated
    def static_outside(number):
        return number - 2

    @isolated
    @classmethod
    def maker(cls, number):
        return cls.__name__, number

    @classmethod
    @isolated
    def maker_outside(cls, number):
        return cls.__name__, number

    class Inner:
        @isolated
        def deep(self):
            return type(self).__name__
"""

USE = """
tool = Tool(10)
assert where()[1:] == (True, "module"), where()
assert tool.method(1) == 12 and tool.method(1, factor=3) == 13 and Tool.method(tool, 2) == 14
assert Tool.static(5) == 4 and tool.static(5) == 4 and tool.static_outside(5) == 3
assert Tool.maker(1) == ("Tool", 1) and tool.maker(2) == ("Tool", 2) and tool.maker_outside(3) == ("Tool", 3)
assert Tool.Inner().deep() == "Inner"
assert isolated(plain)(1) == 2
try:
    fail()
except AppError as error:
    assert type(error) is AppError and str(error) == "from the module"
print("all right")
"""


@pytest.fixture
def mod(tmp_path: Path) -> Path:
    """A directory with an importable module of isolated functions."""
    directory = tmp_path / "lib"
    directory.mkdir()
    (directory / "shapes.py").write_text(MODULE)
    return directory


# --- where the function is defined --------------------------------------------------------------------


def test_a_script(run_python: Run, tmp_path: Path) -> None:
    script = tmp_path / "program" / "main.py"
    script.parent.mkdir()
    script.write_text(MODULE + 'if __name__ == "__main__":\n' + textwrap.indent(USE, "    "))
    assert run_python("", str(script)) == "all right\n"


def test_a_script_run_as_a_module(run_python: Run, tmp_path: Path) -> None:
    package = tmp_path / "app"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("def triple(n): return n * 3\n")
    (package / "__main__.py").write_text(
        "from isolate_fn import isolated\nfrom .helper import triple\n"
        "@isolated\ndef use(n): return triple(n)\nprint(use(2), isolated(triple)(3))\n"
    )
    assert run_python("", "-m", "app", cwd=tmp_path) == "6 9\n"


def test_an_imported_module(run_python: Run, mod: Path) -> None:
    assert run_python("from isolate_fn import isolated\nfrom shapes import *\n" + USE, path=(str(mod),)) == "all right\n"


def test_python_c_and_cwd_root(run_python: Run) -> None:
    assert run_python(MODULE + USE, cwd="/") == "all right\n"


def test_a_repl(run_python: Run) -> None:
    lines = (
        "from isolate_fn import isolated\n"
        "@isolated\ndef double(n):\n    return n * 2\n\n"
        "double(21)\n"
        "square = isolated(lambda n: n * n)\n"
        "square(5)\n"
        "def fails():\n    raise ValueError('typed here')\n\n"
        "isolated(fails)()\n"
    )
    printed = run_python("", "-i", "-q", input=lines, stderr=True)
    assert printed.split() == ["42", "25"]


def test_standard_input(run_python: Run) -> None:
    assert run_python("", "-", input=MODULE + USE) == "all right\n"


def test_exec_and_types_made_at_run_time(run_python: Run) -> None:
    printed = run_python("""
        from isolate_fn import isolated
        space = {}
        exec("def made(n): return n + 100", space)
        print(isolated(space["made"])(1))
        Type = type("Type", (), {"method": isolated(lambda self: self.value), "value": 7})
        print(Type().method())
    """)
    assert printed == "101\n7\n"


def test_closures_lambdas_partials_recursion_and_defaults(run_python: Run) -> None:
    printed = run_python("""
        import functools
        from isolate_fn import isolated

        def outer(captured):
            count = [captured]
            @isolated
            def inner(more, /, other=5, *rest, key="k", **named):
                count.append(more)
                return count, other, rest, key, named
            return inner, count

        inner, count = outer("c")
        print(inner(1))
        print(inner(1, 2, 3, key="x", extra=4))
        print(count)  # what happens inside stays there

        print(isolated(lambda a, b=2: a * b)(4))
        print(isolated(functools.partial(pow, 2))(5), isolated(len)("abc"), isolated("a-b".split)("-"))

        @isolated
        def factorial(n):
            return 1 if n == 0 else n * factorial(n - 1)
        print(factorial(10))

        @isolated
        def by_name(*, a, b=2):
            return a, b
        print(by_name(a=1), by_name(b=3, a=2), sep="\\n")
    """)
    assert printed.splitlines() == [
        "(['c', 1], 5, (), 'k', {})",
        "(['c', 1], 2, (3,), 'x', {'extra': 4})",
        "['c']",
        "8",
        "32 3 ['a', 'b']",
        "3628800",
        "(1, 2)",
        "(2, 3)",
    ]


def test_recursion_of_a_module_function(run_python: Run, tmp_path: Path) -> None:
    (tmp_path / "rec.py").write_text(
        "from isolate_fn import isolated\n@isolated\ndef fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)\n"
    )
    assert run_python("from rec import fib; print(fib(12))") == "144\n"


def test_decorators_around_and_below(run_python: Run, tmp_path: Path) -> None:
    (tmp_path / "deco.py").write_text(
        textwrap.dedent("""
        import functools
        from isolate_fn import isolated

        def add(amount):
            def decorate(function):
                @functools.wraps(function)
                def wrapper(*args, **kwargs):
                    return function(*args, **kwargs) + amount
                return wrapper
            return decorate

        @add(100)
        @isolated
        @add(10)
        def number(n):
            return n

        @isolated(timeout=30)
        @functools.lru_cache
        def cached(n):
            return n * 2

        @functools.lru_cache
        @isolated
        def remembered(n):
            import os
            return os.urandom(4)
        """)
    )
    printed = run_python("""
        from deco import number, cached, remembered
        print(number(1), cached(4), remembered(1) == remembered(1))
    """)
    assert printed == "111 8 True\n"


def test_the_decorated_function_looks_like_itself(run_python: Run) -> None:
    printed = run_python("""
        import inspect
        from isolate_fn import isolated
        @isolated(name="n", prewarm=0)
        def work(a: int, b: str = "x") -> list[int]:
            "Do the work."
        print(work.__name__, work.__doc__, inspect.signature(work), work.__module__, work.policy.name)
        print(work.options(timeout=3).policy.timeout, work.policy.timeout)
    """)
    assert printed == "work Do the work. (a: int, b: str = 'x') -> list[int] __main__ n\n3 None\n"


def test_options_start_from_another_policy(run_python: Run) -> None:
    printed = run_python("""
        from isolate_fn import Policy, isolated
        @isolated(timeout=3, prewarm=0)
        def work():
            pass
        class Tool:
            work = isolated(timeout=3)(work.__wrapped__)
        for made in (work, Tool().work):
            policy = made.options(policy=Policy(cwd="/tmp"), prewarm=2).policy
            print(policy.cwd, policy.prewarm, policy.timeout, policy.name)
        print(work.options(policy=Policy(name="other")).policy.name, work.options(policy="COMPUTE").policy.name)
    """)
    assert printed == "/tmp 2 None work\n/tmp 2 None work\nother work\n"


def test_a_parameter_called_self_is_passed_by_name_too(run_python: Run) -> None:
    printed = run_python("""
        import asyncio
        from isolate_fn import isolated
        @isolated(prewarm=0)
        def f(self, x):
            return [self, x]
        @isolated(prewarm=0)
        async def waits(self, x):
            return [self, x]
        @isolated(prewarm=0)
        def items(self, x):
            yield self
            yield x
        class Tool:
            @isolated(prewarm=0)
            def method(instance, self, x):
                return [self, x]
        named = {"self": 1, "x": 2}
        print(f(**named), f.submit(**named).result(), asyncio.run(f.call_async(**named)), asyncio.run(waits(**named)))
        print(list(items(**named)), Tool().method(**named), Tool().method.submit(**named).result())
        print(asyncio.run(Tool().method.call_async(**named)))
    """)
    assert printed == "[1, 2] [1, 2] [1, 2] [1, 2]\n[1, 2] [1, 2] [1, 2]\n[1, 2]\n"


# --- big things ---------------------------------------------------------------------------------------


@pytest.mark.needs("module:numpy")
def test_a_hundred_megabytes_in_and_out(run_python: Run) -> None:
    printed = run_python("""
        import numpy as np
        from isolate_fn import isolated
        @isolated
        def twice(array: np.ndarray) -> np.ndarray:
            return array * 2
        given = np.arange(12_500_000, dtype=np.float64)
        result = twice(given)
        print(result.nbytes, result.dtype, np.array_equal(result, given * 2))
        small = twice(np.array([[1, 2], [3, 4]], dtype=">i2", order="F"))
        print(small.tolist(), small.dtype)
        @isolated
        def size(data, *, more):
            return len(data), len(more), data[-1]
        print(size(bytes(30 << 20), more=bytearray(1 << 20)))
    """)
    assert printed.splitlines() == ["100000000 float64 True", "[[2, 4], [6, 8]] int16", "(31457280, 1048576, 0)"]


# --- installations ------------------------------------------------------------------------------------


def project(root: Path) -> Path:
    """Make a small project with a package, its data, and things that are nobody's business."""
    package = root / "src" / "tinypkg"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "import pathlib\nfrom isolate_fn import isolated\n"
        "@isolated\ndef data():\n    return (pathlib.Path(__file__).parent / 'data.txt').read_text()\n"
        "@isolated\ndef seen(path):\n    return pathlib.Path(path).exists()\n"
    )
    (package / "data.txt").write_text("package data")
    (root / ".env").write_text("SECRET=1")
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "tinypkg"\nversion = "1"\n[tool.hatch.build]\ndev-mode-dirs = ["src"]\n'
    )
    return package


CHECK = """
import tinypkg
print(tinypkg.data(), tinypkg.seen({env!r}), tinypkg.seen({package!r}))
"""


def checked(root: Path, package: Path) -> str:
    return CHECK.format(env=str(root / ".env"), package=str(package))


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment whose interpreter sees isolate_fn and its dependency, and nothing else of ours."""
    directory = tmp_path_factory.mktemp("venv") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory)], check=True)
    site = next(directory.glob("lib/python*/site-packages"))
    import cloudpickle

    (site / "needed.pth").write_text(ROOT + "\n")
    (site / "cloudpickle").symlink_to(os.path.dirname(cloudpickle.__file__))
    return directory


def test_a_venv(run_python: Run, venv: Path) -> None:
    site = next(venv.glob("lib/python*/site-packages"))
    (site / "installed.py").write_text("def answer():\n    import sys\n    return 42, sys.prefix\n")
    printed = run_python(
        """
        import sys, installed
        from isolate_fn import isolated
        answer, prefix = isolated(installed.answer)()
        print(answer, prefix == sys.prefix != sys.base_prefix, isolated(lambda: __import__("installed").answer()[0])())
        """,
        interpreter=str(venv / "bin" / "python"),
        env={"PYTHONPATH": ""},
    )
    assert printed == "42 True 42\n"


def test_an_editable_install_by_pth(run_python: Run, venv: Path, tmp_path: Path) -> None:
    package = project(tmp_path / "project")
    site = next(venv.glob("lib/python*/site-packages"))
    (site / "__editable__.tinypkg.pth").write_text(str(package.parent) + "\n")
    try:
        printed = run_python(
            checked(tmp_path / "project", package), interpreter=str(venv / "bin" / "python"), env={"PYTHONPATH": ""}
        )
    finally:
        (site / "__editable__.tinypkg.pth").unlink()
    assert printed == "package data False True\n"


def test_an_editable_install_by_finder(run_python: Run, tmp_path: Path) -> None:
    package = project(tmp_path / "project")
    # As setuptools writes it, for layouts that a line in a .pth file cannot express.
    (tmp_path / "__editable___tinypkg_1_finder.py").write_text(
        textwrap.dedent(f"""
        import sys
        from importlib.machinery import PathFinder
        from importlib.util import spec_from_file_location
        MAPPING = {{"tinypkg": {str(package)!r}}}
        NAMESPACES = {{}}
        class _EditableFinder:
            @classmethod
            def find_spec(cls, fullname, path=None, target=None):
                if fullname in MAPPING:
                    return spec_from_file_location(fullname, MAPPING[fullname] + "/__init__.py")
        def install():
            sys.meta_path.append(_EditableFinder)
        """)
    )
    script = "import __editable___tinypkg_1_finder as finder\nfinder.install()\n" + checked(tmp_path / "project", package)
    assert run_python(script) == "package data False True\n"


@pytest.mark.needs("module:pip", "module:hatchling")
def test_pip_install_editable(run_python: Run, tmp_path: Path) -> None:
    package = project(tmp_path / "project")
    target = tmp_path / "target"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps", "--no-index"]
    options = ["--target", str(target), "--disable-pip-version-check", "-e", str(tmp_path / "project")]
    environment = {**os.environ, "PIP_CONFIG_FILE": os.devnull, "HOME": str(tmp_path)}
    done = subprocess.run([*command, *options], capture_output=True, text=True, env=environment, timeout=100, check=False)
    if done.returncode:
        pytest.skip(f"pip cannot do it here: {done.stderr.strip().splitlines()[-1:]}")
    script = f"import site\nsite.addsitedir({str(target)!r})\n" + checked(tmp_path / "project", package)
    assert run_python(script) == "package data False True\n"


def test_sys_path_changed_at_run_time_and_cwd_changes(run_python: Run, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"late_{name}.py").write_text(f"def work():\n    return {name!r}\n")
    printed = run_python(
        f"""
        import os, sys
        from isolate_fn import isolated
        probe = isolated(lambda name: __import__(name).work())
        try:
            probe("late_one")
        except ModuleNotFoundError as error:
            print(error.name)
        sys.path.append({str(tmp_path / "one")!r})
        import late_one
        print(isolated(late_one.work)(), probe("late_one"))
        os.chdir({str(tmp_path / "two")!r})  # '' on sys.path means another directory from now on
        import late_two
        print(isolated(late_two.work)(), probe("late_two"))
        os.chdir("/")
        print(isolated(late_one.work)())
        """,
    )
    assert printed == "late_one\none one\ntwo two\none\n"


def test_zipimport(run_python: Run, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w") as bundle:
        bundle.writestr("zipped/__init__.py", "from isolate_fn import isolated\n@isolated\ndef f(): return __file__\n")
    printed = run_python("import zipped; print(zipped.f())", path=(str(tmp_path / "bundle.zip"),))
    assert printed.endswith("bundle.zip/zipped/__init__.py\n")


def test_modules_removed_and_replaced_meanwhile(run_python: Run, tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    for name in ("kept", "removed", "replaced"):
        (tmp_path / "lib" / f"{name}.py").write_text("def work():\n    return 'old'\n")
        (tmp_path / "lib" / f"{name}.py").chmod(0o600)
    printed = run_python(
        f"""
        import os, kept
        from isolate_fn import isolated
        work = isolated(kept.work)
        print(work())
        os.unlink({str(tmp_path / "lib" / "removed.py")!r})
        os.rename({str(tmp_path / "lib" / "replaced.py")!r}, {str(tmp_path / "lib" / "moved.py")!r})
        print(work(), work(), isolated(timeout=30)(kept.work)())
        """,
        path=(str(tmp_path / "lib"),),
    )
    assert printed == "old\nold old old\n"


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A directory that is not below /tmp, which every isolate has of its own."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as path:
        yield Path(path)


@pytest.mark.parametrize("how", ["written", "replaced"])
def test_a_module_that_changes_is_seen_anew(run_python: Run, elsewhere: Path, how: str) -> None:
    module = elsewhere / "changing.py"
    module.write_text("def work():\n    return 'old'\n")
    change = {"written": "module.write_text(new)", "replaced": "other.write_text(new); other.rename(module)"}[how]
    printed = run_python(
        f"""
        import time, changing
        from pathlib import Path
        from isolate_fn import isolated
        work = isolated(prewarm=0)(changing.work)
        print(work())
        module, other = Path({str(module)!r}), Path({str(module)!r} + "~")
        new = "def work():\\n    return 'changed'\\n"
        {change}
        latest = time.monotonic() + 30
        while work() == "old" and time.monotonic() < latest:
            pass
        print(work())
        """,
        path=(str(module.parent),),
    )
    assert printed == "old\nchanged\n"


def test_a_module_is_not_compiled_by_every_isolate(run_python: Run, elsewhere: Path) -> None:
    module = elsewhere / "compiled.py"
    module.write_text("import os\ndef work():\n    return os.path.exists(__spec__.cached)\n")
    script = "import compiled; from isolate_fn import isolated; print(isolated(compiled.work)())"
    assert run_python(script, path=(str(module.parent),), options=("-B",)) == "False\n"
    py_compile.compile(str(module))
    assert run_python(script, path=(str(module.parent),)) == "True\n"


# --- the calling process ------------------------------------------------------------------------------


def test_many_threads_short_lived_ones_and_fifty_at_once(run_python: Run) -> None:
    printed = run_python("""
        import threading
        from concurrent.futures import ThreadPoolExecutor
        from isolate_fn import isolated
        @isolated
        def square(n):
            return n * n
        with ThreadPoolExecutor(8) as pool:
            print(list(pool.map(square, range(80))) == [n * n for n in range(80)])
        results = []
        for n in range(5):  # each thread starts what it needs, and is gone before the next call
            thread = threading.Thread(target=lambda: results.append(square(n)))
            thread.start()
            thread.join()
        results.append(square(100))
        print(results)
        barrier = threading.Barrier(50)
        def at_once(n):
            barrier.wait()
            return square(n)
        with ThreadPoolExecutor(50) as pool:
            print(sum(pool.map(at_once, range(50))))
    """)
    assert printed == f"True\n[0, 1, 4, 9, 16, 10000]\n{sum(n * n for n in range(50))}\n"


def test_a_first_call_from_a_thread_that_ends(run_python: Run) -> None:
    printed = run_python("""
        import threading
        from isolate_fn import isolated, sandbox
        f = isolated(lambda n: n + 1)
        opened = []
        def work():
            f(1)
            opened.append(sandbox(output="discard").__enter__())
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        box = opened[0]
        print(f(2), box.call(len, "abc"), box.run(["true"]).returncode)
        box.__exit__(None, None, None)
    """)
    assert printed == "3 3 0\n"


def test_forked_children(run_python: Run) -> None:
    printed = run_python(
        """
        import os, sys
        from isolate_fn import isolated
        f = isolated(lambda n: n + 1)
        print(f(1), flush=True)
        for _ in range(2):
            pid = os.fork()
            if pid == 0:
                print("child", f(10), f(11), flush=True)
                sys.exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        print(f(2))
        """,
    )
    assert printed == "2\nchild 11 12\nchild 11 12\n3\n"


def test_multiprocessing_workers(run_python: Run, tmp_path: Path) -> None:
    try:
        multiprocessing.get_context("spawn").Lock()
    except (OSError, AttributeError) as refused:
        pytest.skip(f"multiprocessing has no semaphores here: {refused}")
    (tmp_path / "prog.py").write_text(
        textwrap.dedent("""
        import multiprocessing, sys
        from isolate_fn import isolated
        @isolated
        def square(n):
            return n * n
        if __name__ == "__main__":
            for method in ("fork", "spawn"):
                with multiprocessing.get_context(method).Pool(2) as pool:
                    print(pool.map(square, range(4)))
                    pool.close()
                    pool.join()
        """)
    )
    assert run_python("", str(tmp_path / "prog.py")) == "[0, 1, 4, 9]\n" * 2


def test_asyncio_to_thread(run_python: Run) -> None:
    printed = run_python("""
        import asyncio
        from isolate_fn import isolated
        f = isolated(lambda n: n + 1)
        async def main():
            print(await asyncio.gather(*(asyncio.to_thread(f, n) for n in range(6))))
            print(f(100))
        asyncio.run(main())
    """)
    assert printed == "[1, 2, 3, 4, 5, 6]\n101\n"


ONCE = "from isolate_fn import isolated\nprint(isolated(lambda n: n + 1)(41))\n"


def test_warnings_as_errors_and_development_mode(run_python: Run) -> None:
    script = ONCE + (
        "from isolate_fn import sandbox\n"
        "with sandbox() as box: print(box.run(['echo', 'x'], capture_output=True, text=True).stdout, end='')\n"
    )
    assert run_python(script, options=("-W", "error", "-X", "dev")) == "42\nx\n"
    assert run_python(script, options=("-W", "error", "-b", "-O")) == "42\nx\n"


@pytest.mark.parametrize(
    "env",
    [{"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONHASHSEED": "0", "TZ": "Asia/Tokyo"},
     {"PATH": ""}, {"HOME": "/nonexistent"}, {"TMPDIR": "/nonexistent"}, {"PYTHONOPTIMIZE": "2"}, {"LD_LIBRARY_PATH": "/x:"}],
    ids=lambda env: next(iter(env)),
)  # fmt: skip
def test_environments(run_python: Run, env: dict[str, str]) -> None:
    assert run_python(ONCE, env=env) == "42\n"


def test_closed_standard_streams(tmp_path: Path) -> None:
    script = (
        "import os\nfrom isolate_fn import isolated, sandbox\n"
        "@isolated\ndef f():\n    print('lost')\n    return sorted(int(n) for n in os.listdir('/proc/self/fd'))[:3]\n"
        f"with sandbox() as box:\n    found = [f(), box.run(['cat'], input=b'x', capture_output=True).stdout]\n"
        f"open({str(tmp_path / 'result')!r}, 'w').write(repr(found))\n"
    )
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        command = ["sh", "-c", f'exec "{sys.executable}" -c "$0" {closed}', script]
        done = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": ROOT}, cwd=tmp_path, timeout=60, check=False, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "result").read_text() == "[[0, 1, 2], b'x']", closed


def test_sigchld_ignored_and_handlers_kept(run_python: Run) -> None:
    printed = run_python("""
        import signal
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        from isolate_fn import isolated, sandbox
        f = isolated(lambda n: n + 1)
        print(f(1), f(2))
        with sandbox() as box:
            print(box.run(["sh", "-c", "exit 3"]).returncode)
        print(signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN)
        caught = []
        signal.signal(signal.SIGCHLD, lambda *parts: caught.append(parts))
        print(f(3))
    """)
    assert printed == "2 3\n3\nTrue\n4\n"


def test_blocked_signals_and_a_signal_during_the_call(run_python: Run) -> None:
    printed = run_python("""
        import signal, time, os
        from isolate_fn import isolated
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
        f = isolated(lambda: sorted(int(s) for s in __import__("signal").pthread_sigmask(0, ())))
        print(f())
        hits = []
        signal.signal(signal.SIGALRM, lambda *parts: hits.append(1))
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        print(isolated(lambda: __import__("time").sleep(0.5) or "slept")())
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(len(hits) > 2)
    """)
    assert printed == "[]\nslept\nTrue\n"


def test_keyboard_interrupt_ends_the_call_and_leaves_the_caller_healthy(run_python: Run) -> None:
    printed = run_python("""
        import os, signal, threading
        from isolate_fn import isolated
        # What Python does at its start, unless it was started in the background, where shells have SIGINT ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        started = threading.Event()
        def hear(stream, data):
            signal.raise_signal(signal.SIGINT)
        @isolated(output=hear)
        def wait():
            import time
            print("started", flush=True)
            time.sleep(60)
        try:
            wait()
        except KeyboardInterrupt:
            print("interrupted")
        print(isolated(lambda: 5)())
    """)
    assert printed == "interrupted\n5\n"


def test_descriptors_above_1024(run_python: Run) -> None:
    printed = run_python("""
        import os, resource
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
        held = [os.open("/dev/null", os.O_RDONLY) for _ in range(1500)]
        for number in held[::7]:
            os.set_inheritable(number, True)
        from isolate_fn import isolated, sandbox
        print(isolated(lambda: len(__import__("os").listdir("/proc/self/fd")) < 8)())
        with sandbox() as box:
            print(box.run(["sh", "-c", "ls /proc/self/fd | wc -l"], capture_output=True, text=True).stdout.strip())
    """)
    assert printed == "True\n4\n"


def test_umask(run_python: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    printed = run_python(
        f"""
        import os
        os.umask(0o077)
        from isolate_fn import isolated, sandbox, rw, file, tmpfs
        mounts = [file("/conf/deep/x", "text"), tmpfs("/scratch"), rw({str(tmp_path / "out")!r}, "/out")]
        @isolated(mounts=mounts)
        def f():
            open("/scratch/a", "w").close()
            open("/out/a", "w").close()
            open("b", "w").close()
            return open("/conf/deep/x").read()
        print(f())
        with sandbox(mounts=mounts) as box:
            print(box.run(["cat", "/conf/deep/x"], capture_output=True, text=True).stdout)
        """
    )
    assert printed == "text\ntext\n"


def test_a_deleted_working_directory(run_python: Run, tmp_path: Path) -> None:
    # Not by -c: with '' on sys.path, CPython 3.13.0 fails in such a directory before anything of ours does.
    (tmp_path / "main.py").write_text(
        "import os\nos.mkdir('gone')\nos.chdir('gone')\nos.rmdir('../gone')\n"
        "from isolate_fn import isolated\nprint(isolated(lambda: os.getcwd())())\n"
    )
    assert run_python("", str(tmp_path / "main.py")) == "/work\n"


@pytest.mark.skipif(sys.version_info[:3] == (3, 13, 0), reason="CPython 3.13.0 itself fails there with '' on sys.path")
def test_a_deleted_working_directory_that_is_imported_from(run_python: Run, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(
        "import os, sys\nos.mkdir('gone')\nos.chdir('gone')\nos.rmdir('../gone')\nsys.path.insert(0, '')\n"
        "from isolate_fn import isolated\nprint(isolated(lambda: os.getcwd())())\n"
    )
    assert run_python("", str(tmp_path / "main.py")) == "/work\n"


@pytest.mark.parametrize("files", [20, 24])
def test_too_few_open_files_are_named(run_python: Run, files: int) -> None:
    printed = run_python(f"""
        import resource
        from isolate_fn import errors, isolated
        resource.setrlimit(resource.RLIMIT_NOFILE, ({files}, {files}))
        try:
            isolated(abs, prewarm=0)(-1)
        except errors.SetupError as error:
            print(error.errno, "ulimit -n" in error.remedy, "sysctl" in error.remedy)
    """)
    assert printed == f"{errno.EMFILE} True False\n"


def test_limits_of_the_caller(run_python: Run) -> None:
    printed = run_python("""
        import resource
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 200))
        resource.setrlimit(resource.RLIMIT_STACK, (4 << 20, 4 << 20))
        from isolate_fn import isolated
        print(isolated(lambda: 1)())
    """)
    assert printed == "1\n"


# --- the end ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("end", ["normal", "exit", "_exit", "kill", "exception", "thread"])
def test_nothing_is_left_when_the_caller_ends(end: str, tmp_path: Path) -> None:
    script = f"""
import os, signal, sys, threading, time
from isolate_fn import isolated, sandbox
from isolate_fn._runtime import lifetime
from isolate_fn._runtime.talk import to_the_end
f = isolated(prewarm=3)(lambda: 1)
f()
f.warm_up(5)
box = sandbox().__enter__()
heard = threading.Event()
g = isolated(output=lambda *parts: heard.set())(lambda: print("runs", flush=True) or __import__("time").sleep(1000))
threading.Thread(target=g, daemon=True).start()
heard.wait()
for isolate in list(lifetime._held):
    if hasattr(isolate, "pidfd"):
        while isolate.pidfd < 0:
            to_the_end(isolate, isolate.step(time.monotonic() + 30))
        os.write(1, open(f"/proc/self/fdinfo/{{isolate.pidfd}}").read().partition("Pid:")[2].split()[0].encode() + b" ")
if {end!r} == "exit": sys.exit(3)
if {end!r} == "_exit": os._exit(0)
if {end!r} == "kill": os.kill(os.getpid(), signal.SIGKILL)
if {end!r} == "exception": raise SystemError
if {end!r} == "thread": threading.Thread(target=lambda: f()).start()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": ROOT}, cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    with process:
        inits = [int(word) for word in process.stdout.read().split()]
    assert len(inits) >= 5
    wait_until_gone(inits)


def wait_until_gone(pids: list[int]) -> None:
    """Wait for processes that were told to end; the isolates' first processes, whose end ends all others."""
    deadline = time.monotonic() + 15
    while left := [pid for pid in pids if is_launched(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def is_launched(pid: int) -> bool:
    try:
        return b"_runtime/launcher.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
