"""The examples of docs/pytest.md as a reader would try them: each in a file of the name in its first line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.needs("namespaces")
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "pytest.md").read_text()
EXAMPLES = {found[1]: found[0] for found in re.finditer(r"(?<=^```python\n)# (\w+\.py)\n.*?(?=^```$)", PAGE, re.M | re.S)}


@pytest.mark.parametrize(
    ("name", "passed", "options"),
    [
        ("test_inside.py", 4, []), ("test_inside.py", 4, ["--isolate-fn"]), ("test_sandbox.py", 4, []),
        ("test_helpers.py", 3, []),
    ],
)  # fmt: skip
def test_example(
    pytester: pytest.Pytester, run: Callable[..., pytest.RunResult], name: str, passed: int, options: list[str]
) -> None:
    pytester.path.joinpath(name).write_text(EXAMPLES[name])
    run(*options).assert_outcomes(passed=passed)


def test_example_of_unittest_without_pytest(tmp_path: Path) -> None:
    (tmp_path / "test_helpers.py").write_text(EXAMPLES["test_helpers.py"])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-m", "unittest", "test_helpers"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    assert "Ran 3 tests" in done.stderr


def test_settings_of_the_page_are_read(pytester: pytest.Pytester, run: Callable[..., pytest.RunResult]) -> None:
    """The lines of the pyproject.toml shown, and the option: each makes lines inside count."""
    settings = re.search(r"```toml\n(.*?)```", PAGE, re.S)
    assert settings is not None
    pytester.path.joinpath("test_it.py").write_text(
        "import isolate_fn\n@isolate_fn.isolated(prewarm=0)\ndef inside():\n    return 1\n"
        "def test_it():\n    assert inside() == 1\n"
    )
    for text, option, reached in ((settings[1], [], True), ("", ["--isolate-fn-coverage"], True), ("", [], False)):
        pytester.path.joinpath("pyproject.toml").write_text(text)
        measured = [sys.executable, "-m", "coverage", "run", "-m", "pytest", "-p", "isolate_fn.pytest_plugin", *option]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        environment.pop("ISOLATE_FN_COVERAGE", None)
        subprocess.run(measured, check=True, cwd=pytester.path, env=environment, timeout=110, capture_output=True)
        reported = subprocess.run(
            [sys.executable, "-m", "coverage", "report", "-m", "--include=test_it.py"],
            check=True, cwd=pytester.path, env=environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert ("100%" in reported.stdout) is reached, (option, reported.stdout)
