"""What the legs of a bigger run share out is run by one of them each, and nothing else is left out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def _collected(share: str, directory: str) -> list[str]:
    words = ["-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", f"tests/{directory}"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "ISOLATE_FN_TEST"))}
    environment = {**kept, **({"ISOLATE_FN_TEST_SHARE": share} if share else {})}
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if "::" in line]


@pytest.mark.parametrize(("directory", "shared"), [("executor", True), ("hardening", False)])
def test_every_test_is_in_one_share(directory: str, shared: bool) -> None:
    every = _collected("", directory)
    shares = [_collected(f"{number}/3", directory) for number in range(3)]
    if shared:
        assert sorted(name for share in shares for name in share) == sorted(every)
        assert all(len(share) < len(every) / 2 for share in shares)
    else:
        assert shares == [every] * 3
