"""Programs of their own: how a process logs and warns is a state of the whole process."""

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
import io, logging, os, sys, threading, warnings
from isolate_fn import Limits, isolated, sandbox
from isolate_fn.errors import *
import work

class Kept(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []
    def emit(self, record):
        self.records.append(record)

kept = Kept()
logging.root.addHandler(kept)

def caught(function, *given, **named):
    try:
        value = function(*given, **named)
    except BaseException as error:
        return error
    raise AssertionError(f"it returned {value!r:.200}")
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a script with a module ``work`` beside it and return what it printed; nothing else may come on stderr."""
    tmp_path.chmod(0o755)

    def run(script: str, work: str, *, stdin: str = "", env: dict[str, str] | None = None, stderr: bool = False) -> str:
        (tmp_path / "work.py").write_text(textwrap.dedent(work))
        (tmp_path / "main.py").write_text(SETUP + textwrap.dedent(script))
        known = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        done = subprocess.run(
            [sys.executable, str(tmp_path / "main.py")], env={**known, "PYTHONPATH": ROOT, **(env or {})},
            cwd=tmp_path, input=stdin, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        assert stderr or not done.stderr, done.stderr
        return done.stdout

    return run
