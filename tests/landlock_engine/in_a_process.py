"""Runs programs of this directory in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PATHS = os.pathsep.join(map(str, (ROOT, HERE, HERE.parent, HERE.parent / "attacks")))


def script(program: Path, *words: str, pretend: str = "", timeout: float = 120) -> str:
    """Run a program of this directory in a process of its own, and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": PATHS, "PYTHONDONTWRITEBYTECODE": "1"}
    environment["ISOLATE_FN_PRETEND"] = pretend
    ran = subprocess.run(
        [sys.executable, str(program), *words], capture_output=True, text=True, timeout=timeout, env=environment,
        cwd="/", check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout
