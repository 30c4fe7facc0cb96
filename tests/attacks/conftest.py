"""Makes native.py importable under that name, here and inside isolates, and support.py here."""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent

if str(HERE) not in sys.path:
    sys.path.append(str(HERE))
if "support" not in sys.modules:
    _spec = importlib.util.spec_from_file_location("support", HERE.parent / "support.py")
    sys.modules["support"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["support"])


@pytest.fixture(scope="module", autouse=True)
def _what_waits_of_earlier_tests() -> None:
    """End it: an isolate or spawner that ends for lack of work in the middle of a test would look like one that was lost."""
    from isolate_fn._runtime import pool

    pool.close_all()


@pytest.fixture
def unharmed() -> Iterator[None]:
    """Hold the caller to be the same before and after."""
    from caller import Health

    health = Health()
    yield
    health.check()


@pytest.fixture
def host() -> Iterator[Path]:
    """Give a directory of the host that every user may enter, in no mount: only walls can keep the isolate out."""
    path = Path(tempfile.mkdtemp(prefix="attack-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    for directory, _, _ in os.walk(path):
        Path(directory).chmod(0o755)
    shutil.rmtree(path)


@pytest.fixture
def secret(host: Path) -> Path:
    """Give a file of the host that everybody may read and write."""
    path = host / "secret"
    path.write_text("the host's secret")
    path.chmod(0o666)
    return path


_WEAK_LAUNCHER = """
import sys
sys.path.append({root!r})
from isolate_fn._enforce import idmap, limits, locks, namespaces, privileges, rootfs, template, trees
from isolate_fn._runtime import init, launcher, spawner, tools
from isolate_fn._sys import calls, first_calls
from isolate_fn._sys import constants as k

{source}

launcher.__file__ = __file__
launcher._start()
"""


def weak_launcher(directory: Path, name: str, source: str) -> str:
    """Write a file to start spawners with, which first changes what they will do, and return its path."""
    path = directory / f"{name}.py"
    path.write_text(_WEAK_LAUNCHER.format(root=str(HERE.parents[1]), source=textwrap.dedent(source)))
    return str(path)


@pytest.fixture
def weaken(host: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Take away a wall that is no step of the sequence: lines of Python that change the spawner before it starts.

    Returns options for `run_without`, which lead to the spawner that was changed.
    """
    from isolate_fn._runtime import launch, pool

    count = itertools.count()
    ours = []

    def weakened(source: str) -> dict[str, Any]:
        name = f"{host.name}-{next(count)}"
        path = weak_launcher(host, name, source)
        ours.append(name)
        plain_spawn = launch._spawn

        def spawn(launched, there):
            if dict(launched.key.environment).get("WEAKENED") != name:
                return plain_spawn(launched, there)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(launch, "LAUNCHER", path)
                return plain_spawn(launched, there)

        monkeypatch.setattr(launch, "_spawn", spawn)
        return {"env": {"WEAKENED": name}}

    yield weakened
    state = pool._pool()
    for key in [key for key in state.spawners if dict(key.environment).get("WEAKENED") in ours]:
        state.spawners.pop(key).end()
