"""What a type checker makes of the public names: right calls pass, wrong ones do not (pyextrasafe's stubs had it both ways)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def test_usage_is_typed() -> None:
    pytest.importorskip("mypy")
    words = ["--follow-imports=silent", "--no-error-summary", "--cache-dir=/dev/null", str(HERE / "usage.py")]
    done = subprocess.run([sys.executable, "-m", "mypy", *words], cwd=HERE.parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
