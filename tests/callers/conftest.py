"""Real programs, each watched until it and everything that it started are gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
Run = Callable[..., str]

# Runs a command as its child, in a session of its own. What the program leaves behind becomes a child of this process
# (PR_SET_CHILD_SUBREAPER, Linux 3.4), which then waits until none is left; an alarm ends it if that takes too long.
WATCHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(36, 1)
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, setsid=True)
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
signal.alarm(20)
try:
    while True:
        os.waitpid(-1, 0)
except ChildProcessError:
    sys.exit(status if status >= 0 else 128 - status)
"""

# For scripts: what this process has beside itself.
INSIDE = """
import gc, os, signal, sys, threading

def children():
    "Whether there is a child of ours, dead or alive."
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True

def descriptors():
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass
    return found

def nothing_left(before, where=None):
    "Fail where there is a child or a descriptor that was not there before."
    assert not children(), where
    assert descriptors().items() <= before.items(), (where, descriptors().items() - before.items())
"""


def command(script: str, *words: str, interpreter: str = sys.executable, options: tuple[str, ...] = ()) -> list[str]:
    """Return the words that run a script, or what `words` say, under the watcher."""
    program = [interpreter, *options, *(words or (("-c", textwrap.dedent(script)) if script else ()))]
    return [sys.executable, "-I", "-S", "-c", WATCHER, *program]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Variables for a program that finds isolate_fn; its home is a directory of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    home = tmp_path / "home"
    home.mkdir()
    return {**kept, "PYTHONPATH": str(ROOT), "HOME": str(home)}


@pytest.fixture
def run(tmp_path: Path, environment: dict[str, str]) -> Run:
    """Run a script, or a command of Python's, and return what it printed, once nothing of it is left.

    It must end with ``status``, and without a word on stderr, unless ``stderr`` is True for having it in what is
    returned, or None for leaving it out.
    """

    def run(
        script: str, *words: str, status: int = 0, stderr: bool | None = False, typed: str | None = None,
        env: dict[str, str] | None = None, patience: float = 100, **more: object,
    ) -> str:  # fmt: skip
        done = subprocess.run(
            command(script, *words, **more), capture_output=True, text=True, timeout=patience, input=typed,  # type: ignore[arg-type]
            env={**environment, **(env or {})}, cwd=tmp_path, check=False,
        )  # fmt: skip
        assert done.returncode != -signal.SIGALRM, f"processes are left over\n{done.stdout}{done.stderr}"
        assert done.returncode == status, done.stdout + done.stderr
        assert stderr is not False or not done.stderr, done.stderr
        return done.stdout + (done.stderr if stderr else "")

    return run


@pytest.fixture
def watched() -> Callable[..., list[str]]:
    """Return `command`."""
    return command


@pytest.fixture
def inside() -> str:
    """Return the source of what scripts look at themselves with."""
    return INSIDE
