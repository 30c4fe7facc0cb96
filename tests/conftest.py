"""What all tests share: skips that name what is missing, and a look for leftovers when the session ends."""

from __future__ import annotations

import importlib.util
import os
import pty
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from isolate_fn.testing import missing

# What a shell starts in the background ignores Ctrl-C, and so would every program that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parents[1]
LAUNCHER = ROOT / "isolate_fn" / "_runtime" / "launcher.py"

# --- throwaway processes --------------------------------------------------------------------------------


def _template_class() -> Any:
    """Return `Template` of template.py beside this file, which is in no package."""
    spec = importlib.util.spec_from_file_location("template", Path(__file__).with_name("template.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Template


@pytest.fixture(scope="module")
def template() -> Iterator[Callable[[str], Any]]:
    """Give the interpreter that has run a prelude, one for each prelude and module of tests. See template.py."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment = {**kept, "PYTHONPATH": str(ROOT)}
    made: dict[str, Any] = {}

    def give(prelude: str) -> Any:
        if prelude in made and not made[prelude].alive():  # by the test before, which failed for that
            made.pop(prelude).close()
        if prelude not in made:
            made[prelude] = _template_class()(prelude, environment)
        return made[prelude]

    yield give
    for one in made.values():
        one.close()


@pytest.fixture
def without_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that this machine makes no namespaces, so that the other engine is chosen."""
    monkeypatch.setenv("ISOLATE_FN_PRETEND", "userns=0,privileged=0")


@pytest.fixture
def terminal() -> Callable[..., tuple[int, bytes]]:
    """Run a program on a terminal of its own; return its exit status, and all that it wrote there."""

    def run(command: list[str], environment: dict[str, str], typed: bytes = b"") -> tuple[int, bytes]:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        os.write(ours, typed)
        said = b""
        try:
            while part := os.read(ours, 65536):
                said += part
        except OSError:  # EIO: the last process has closed its side
            pass
        os.close(ours)
        return process.wait(timeout=100), said

    return run


# --- what this machine has ------------------------------------------------------------------------------


SHARED = (
    "api", "asynchronous", "attacks", "callers", "cli", "deaths", "denials", "diagnose", "examples", "executor", "grants",
    "integrations", "landlock_engine", "learn", "plan", "safety_context", "selftest", "streams", "test_docs.py",
)  # fmt: skip
"""Directories and files of slow tests that a leg of a bigger run may share with others, by ISOLATE_FN_TEST_SHARE=NUMBER/LEGS."""


def _share_of(items: list[pytest.Item], share: str) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """Divide tests into those of this leg and those of others; which is which depends on a test's name alone."""
    number, _, legs = share.partition("/")
    ours: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        shared = item.path.relative_to(ROOT / "tests").parts[0] in SHARED
        mine = not shared or zlib.crc32(item.nodeid.encode("utf-8", "replace")) % int(legs) == int(number)
        (ours if mine else others).append(item)
    return ours, others


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what other legs run, and skip what this machine cannot run, before any of it starts."""
    share = os.environ.get("ISOLATE_FN_TEST_SHARE")
    if share:
        items[:], others = _share_of(items, share)
        config.hook.pytest_deselected(items=others)
    for item in items:
        for marker in item.iter_markers("needs"):
            for feature in marker.args:
                try:
                    reason = missing(feature)
                except ValueError as unknown:
                    raise pytest.UsageError(f"{item.nodeid}: {unknown}") from None
                if reason:
                    item.add_marker(pytest.mark.skip(reason=f"{feature}: {reason}"))


# --- nothing may be left over ---------------------------------------------------------------------------

GRACE = 10.0  # seconds that killed processes get to disappear
_before: dict[str, set[str]] = {}
_leftovers: list[str] = []


def _temporary_entries() -> set[str]:
    return {
        name for name in os.listdir(tempfile.gettempdir()) if name.startswith(("isolate_fn", "isolate-fn"))
    }


def _processes() -> set[str]:
    """Spawners of this checkout and everything forked from them: a fork keeps the command line."""
    found = set()
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            command = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            started = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        if os.fsencode(LAUNCHER) in command and started[0] != b"Z":
            # With its start time: process ids are used again.
            found.add(f"process {name} started at {int(started[19])}")
    return found


def _other_sessions() -> bool:
    """Whether another pytest runs in this checkout; its processes cannot be told from ours."""
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in (os.getpid(), os.getppid()):
            continue
        try:
            command = Path(f"/proc/{name}/cmdline").read_bytes()
            directory = os.readlink(f"/proc/{name}/cwd")
        except OSError:
            continue
        if b"pytest" in command and b"python" in command and directory.startswith(str(ROOT)):
            return True
    return False


def pytest_sessionstart() -> None:
    """Note what was there before."""
    _before.update(processes=_processes(), temporary=_temporary_entries(), mounts=_mounts())


def _mounts() -> set[str]:
    return set(Path("/proc/self/mountinfo").read_text().splitlines())


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End what the session still holds ready, then look for processes, mounts and directories that remain."""
    if hasattr(session.config, "workerinput") or _other_sessions():
        return
    lifetime = sys.modules.get("isolate_fn._runtime.lifetime")
    if lifetime is not None:
        lifetime._at_exit()
    deadline = time.monotonic() + GRACE
    while (left := _processes() - _before["processes"]) and time.monotonic() < deadline:
        time.sleep(0.05)
    _leftovers.extend(sorted(left))
    _leftovers.extend(f"mount {line}" for line in sorted(_mounts() - _before["mounts"]))
    temporary = tempfile.gettempdir()
    _leftovers.extend(f"{temporary}/{name}" for name in sorted(_temporary_entries() - _before["temporary"]))
    if _leftovers and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name each leftover; they fail the session."""
    if _leftovers:
        terminalreporter.section("left over after the last test", red=True)
        for entry in _leftovers:
            terminalreporter.line(entry)
