"""Fresh interpreters for tests whose subject is the calling process itself."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

Run = Callable[..., str]


@pytest.fixture
def run_python(tmp_path: Path) -> Run:
    """Run a script in an interpreter of its own, in an empty directory, and return what it printed.

    The script must end with status 0 and without a word on stderr.
    """

    def run(
        script: str,
        *words: str,
        options: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        path: tuple[str, ...] = (),
        interpreter: str = sys.executable,
        stderr: bool = False,
        **more: Any,
    ) -> str:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment = {**kept, "PYTHONPATH": os.pathsep.join((*path, str(ROOT))), **(env or {})}
        result = subprocess.run(
            [interpreter, *options, *(words or ("-c", textwrap.dedent(script)))],
            capture_output=True,
            text=True,
            timeout=100,
            env=environment,
            cwd=more.pop("cwd", tmp_path),
            check=False,
            **more,
        )
        assert result.returncode == 0, result.stderr + result.stdout
        assert stderr or not result.stderr, result.stderr
        return result.stdout

    return run


TOOLS = """
import os, sys, time

calls = 0

def echo(value=None, *more, **named):
    return value

def count(*values):
    global calls
    calls += 1
    return calls

def sleep(seconds):
    time.sleep(seconds)
    return "slept"

def text(length):
    return "x" * length

def end(how):
    {"abort": os.abort, "exit": lambda: os._exit(7), "kill": lambda: os.kill(os.getpid(), 9)}[how]()
"""

WATCHED = """
import os, sys
from isolate_fn import Limits, isolated, sandbox
from isolate_fn._runtime import call, pool
from isolate_fn.errors import *
import tools

_run, _go_on, _ways = call.run, call.go_on, ["short"]
call.run = lambda *given: _ways.append("long") or _run(*given)
call.go_on = lambda *given: _ways.append("handed over") or _go_on(*given)

def way():
    "Tell how the last call went, and forget it."
    last = _ways[-1]
    _ways[:] = ["short"]
    return last

def waiting():
    "Return the isolates that wait for calls."
    return [isolate for each in pool._pool().waiting.values() for isolate in each.isolates]

def caught(function, *given, **named):
    "Call what must fail, and return how."
    try:
        value = function(*given, **named)
    except Exception as error:
        return error
    raise AssertionError(f"it returned {value!r:.200}")

def reused(function, *given, **options):
    "Return a function whose calls share a worker, after one call."
    made = isolated(reuse=True, **options)(function)
    made(*given)
    assert way() == "long"
    return made
"""


@pytest.fixture
def run_warm(run_python: Run, tmp_path: Path) -> Run:
    """Run a script like `run_python`, as a file: ``python -c`` has '' on sys.path, and then no call takes the short way.

    The script finds a module ``tools`` to isolate functions of, and ``way()``, which tells how the last call went:
    ``"short"``, ``"handed over"`` (sent the short way, answered the long way) or ``"long"``.
    """
    directory = tmp_path / "program"
    directory.mkdir()
    directory.chmod(0o755)

    def run(script: str, tools: str = "", **more: Any) -> str:
        (directory / "tools.py").write_text(TOOLS + textwrap.dedent(tools))
        (directory / "main.py").write_text(WATCHED + textwrap.dedent(script))
        return run_python("", str(directory / "main.py"), **more)

    return run
