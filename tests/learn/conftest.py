"""A directory of the host in no mount, and tries of what `learn` says."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from isolate_fn import Policy, isolated

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]

if str(HERE) not in sys.path:  # lessons.py is imported under that name, here and inside isolates
    sys.path.append(str(HERE))


@pytest.fixture
def host() -> Iterator[Path]:
    """Give a directory of the host that every user may enter, in no mount and on no import path."""
    path = Path(tempfile.mkdtemp(prefix="learning-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """Give one outside of the directories that isolates have of their own, /tmp among them."""
    for above in ("/var/tmp", "/srv"):
        try:
            path = Path(tempfile.mkdtemp(prefix="learning-", dir=above))
        except OSError:
            continue
        path.chmod(0o755)
        yield path
        shutil.rmtree(path)
        return
    raise AssertionError("there is no place to write to beside /tmp")


@pytest.fixture
def under() -> Callable[..., Any]:
    """Give a function that calls another under a policy, as an ordinary call."""
    return _under


def _under(policy: Policy, function: Callable[..., Any], *args: Any) -> Any:
    return isolated(policy=Policy.from_options(policy, prewarm=0, output="discard"))(function)(*args)


@pytest.fixture
def as_toml(tmp_path: Path) -> Callable[[Policy, str], Policy]:
    """Give a function that reads what was printed as TOML, by the loader."""

    def as_toml(policy: Policy, text: str) -> Policy:
        path = tmp_path / "learned.toml"
        path.write_text(text, encoding="utf-8")
        read = Policy.from_toml(path)
        assert read == policy
        return read

    return as_toml


@pytest.fixture
def command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Give a function that runs ``isolate-fn``."""

    def command(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        code = "import sys; from isolate_fn.cli import main; sys.exit(main())"
        argv = [sys.executable, "-c", code, *map(str, words)]
        env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(argv, capture_output=True, text=True, cwd=cwd, env=env, timeout=100, check=False)

    return command
