"""Fresh interpreters: what is tested here cannot be undone, or lasts until the process ends."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PRELUDE = """
import errno, fcntl, os, resource, signal, subprocess, sys, threading, time
from pathlib import Path
from isolate_fn import lock_pid_file, restrict_privileges
from isolate_fn.errors import PolicyError, SetupError, Unsupported

def refused(error, action):
    try:
        action()
    except error as caught:
        return caught
    raise SystemExit(f"{error.__name__} was not raised")

def status(field, task="self"):
    text = Path(f"/proc/{task}/status").read_text()
    return next(line.split()[1] for line in text.splitlines() if line.startswith(field + ":"))
"""


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    """Run a script in an interpreter of its own, in an empty directory; it must end well, without a word on stderr."""

    def run(text: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", PRELUDE + textwrap.dedent(text)],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), done.stderr + done.stdout
        return done.stdout

    return run
