"""Gives the command line as a user runs it: in a process of its own, from a directory that is not the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``isolate-fn selftest`` with arguments; ``path`` is where the package is, ``more`` goes to the environment."""

    def run(*arguments: str, path: Path = ROOT, **more: str) -> subprocess.CompletedProcess[str]:
        program = "import sys; from isolate_fn.cli import main; sys.exit(main())"
        return subprocess.run(
            [sys.executable, "-c", program, "selftest", *arguments],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(path), **more},
            capture_output=True, text=True, timeout=110, check=False,
        )  # fmt: skip

    return run
