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
