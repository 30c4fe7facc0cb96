"""Programs of their own for tests whose subject is what a process has started ahead, which it does once."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = str(Path(__file__).parents[2])
Run = Callable[..., str]

SETUP = """
import os, sys, threading, time
from isolate_fn import Policy, isolated, ro, rw, sandbox
from isolate_fn._api.ahead import LaunchedAhead
from isolate_fn._api.prepare import prepare
from isolate_fn._runtime import call, launch, pool
from isolate_fn._runtime.ends import waiting_in
from isolate_fn.errors import *

def until(condition):
    "Wait until something is true, and return it."
    latest = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < latest, "it never came"
        time.sleep(0.002)
    return found

def waiting(function):
    "Return the isolates that wait for calls of a function."
    return [isolate for key, each in pool._pool().waiting.items() for isolate in each.isolates
            if key[:2] == (id(function._prepared().plan), function._signature(function._prepared()).part)]

def of_session(leader):
    "Return the processes of a session; each launched one leads its own."
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(name))
    return found

def caught(function, *given, **named):
    "Call what must fail, and return how."
    try:
        value = function(*given, **named)
    except Exception as error:
        return error
    raise AssertionError(f"it returned {value!r:.200}")

launched, _launch = [], launch._launch
launch._launch = lambda key: launched.append(_launch(key)) or launched[-1]
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a script with a module ``work`` beside it, and return what it printed; nothing may come on stderr."""
    tmp_path.chmod(0o755)

    def run(script: str, work: str = "def f():\n    return 1\n", env: dict[str, str] | None = None) -> str:
        (tmp_path / "work.py").write_text(textwrap.dedent(work))
        (tmp_path / "main.py").write_text(SETUP + textwrap.dedent(script))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        done = subprocess.run(
            [sys.executable, "-W", "error", str(tmp_path / "main.py")], env={**kept, "PYTHONPATH": ROOT, **(env or {})},
            cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        assert not done.stderr
        return done.stdout

    return run
