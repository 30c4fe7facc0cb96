"""Nothing survives without a pid namespace: whoever is killed, and however the program inside forks."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.needs("landlock>=6", "interpreter")

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DEADLINE = 30.0
PLACES = ["pretend", "docker", pytest.param("root", marks=pytest.mark.needs("root"))]


@pytest.fixture
def marker() -> Iterator[str]:
    """Give a name for processes, and end what still has it."""
    made = f"atk{secrets.token_hex(5)}"
    yield made
    left = named(made)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert not left


def named(name: str) -> list[int]:
    """Return processes that live and have a name."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            state = Path(f"/proc/{entry}/stat").read_text()
            if f"({name})" in state and ") Z " not in state:
                found.append(int(entry))
    return found


def wait_until(true: Any) -> bool:
    """Wait until something is true, and tell whether it came to be."""
    end = time.monotonic() + DEADLINE
    while not (came := true()) and time.monotonic() < end:
        time.sleep(0.01)
    return bool(came)


def gone(marker: str) -> bool:
    """Tell whether nobody has a name, looked at often enough to see one that is another process all the time."""
    return not any(named(marker) for _ in range(5))


@contextlib.contextmanager
def started(place: str, marker: str, seconds: str, timeout: str, scratch: Path) -> Iterator[subprocess.Popen[str]]:
    """Run `killed.py`; its private directories lie in ``scratch``."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{HERE}", "TMPDIR": str(scratch)}
    argv = [sys.executable, str(HERE / "killed.py"), place, marker, seconds, timeout]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment, cwd="/") as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a directory that every user may write in, and that must be empty at the end."""
    import tempfile

    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        path = Path(name)
        path.chmod(0o1777)
        yield path
        assert wait_until(lambda: not list(path.iterdir())), list(path.iterdir())


@pytest.mark.parametrize("place", PLACES)
def test_what_a_program_leaves_is_gone_when_it_ends(place, marker, scratch):
    with started(place, marker, "0.3", "60", scratch) as process:
        assert process.stdout.readline() == "0\n"
        assert gone(marker)  # and the block goes on
        assert process.stdout.readline() == "4\n"


@pytest.mark.parametrize("place", PLACES)
def test_what_a_program_leaves_is_gone_after_its_timeout(place, marker, scratch):
    with started(place, marker, "60", "1", scratch) as process:
        assert process.stdout.readline() == "TimeoutExpired\n"
        assert wait_until(lambda: gone(marker))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("victim", ["caller", "spawner", "init"])
def test_everything_is_gone_when_one_of_us_is_killed(place, victim, marker, scratch):
    with started(place, marker, "60", "60", scratch) as process:
        assert wait_until(lambda: named(marker))
        init = init_of(scratch)
        pid = {"caller": process.pid, "spawner": parent(init), "init": init}[victim]
        os.kill(pid, signal.SIGKILL)
        assert wait_until(lambda: gone(marker))
        if victim != "caller":
            assert process.stdout.readline() == "Crashed\n"


def init_of(scratch: Path) -> int:
    """Return the init whose isolate's private directory lies here: the parent of who works in it."""
    (directory,) = scratch.iterdir()
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{entry}/cwd").startswith(str(directory)) and b"launcher" in command(int(parent(int(entry)))):
                above = parent(int(entry))
                if not os.readlink(f"/proc/{above}/cwd").startswith(str(directory)):
                    return above
    raise AssertionError("no init")


def parent(pid: int) -> int:
    """Return the parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def command(pid: int) -> bytes:
    """Return the command line of a process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()
