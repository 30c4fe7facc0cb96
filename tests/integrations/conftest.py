"""Programs of their own: local clusters (see clusters.py), and runs of pytest and coverage.py with this checkout's package."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
if str(HERE) not in sys.path:
    sys.path.append(str(HERE))

from clusters import Program, run_program  # noqa: E402


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Give `run_program` in a directory of the test's own."""

    def run(script: str, **more: str) -> Any:
        return run_program(tmp_path, script, **more)

    return run


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., pytest.RunResult]:
    """Run pytest on the files of ``pytester``, in a process of its own."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("ISOLATE_FN_COVERAGE", "PYTEST_ADDOPTS", "CI", "BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)
    # No other plugin, and this one also where the package is not installed.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    plugins = ("-p", "isolate_fn.pytest_plugin", "-p", "no:cacheprovider")

    def run(*arguments: str) -> pytest.RunResult:
        return pytester.runpytest_subprocess(*plugins, *arguments, timeout=110)

    return run
