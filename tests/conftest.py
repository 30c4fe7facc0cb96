"""What all tests share: skips that name what is missing, and a look for leftovers when the session ends."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

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


# --- what this machine has ------------------------------------------------------------------------------


def _user_namespaces() -> str:
    """Empty where an isolate can be built, else what prevents it."""
    if os.geteuid() == 0 or shutil.which("unshare") is None:
        return ""
    tried = subprocess.run(
        ["unshare", "--user", "--map-root-user", "true"], capture_output=True, text=True, timeout=30
    )
    return tried.stderr.strip()


def _landlock_abi() -> int:
    """The kernel's Landlock ABI, 0 for none."""
    libc = ctypes.CDLL(None, use_errno=True)
    # 444 is landlock_create_ruleset(2) on every architecture; flag 1 asks for the version.
    return max(0, int(libc.syscall(444, None, 0, 1)))


def _cgroup() -> str:
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = next((line[3:] for line in lines if line.startswith("0::")), None)
    if own is None:
        return "no cgroup v2"
    group = Path("/sys/fs/cgroup") / own.lstrip("/")
    if not os.access(group / "cgroup.procs", os.W_OK):
        return f"{group} is not delegated to this user"
    return "" if "memory" in (group / "cgroup.controllers").read_text().split() else "no memory controller"


@functools.cache
def missing(feature: str) -> str:
    """Say what keeps this machine from having a feature; empty where it has it.

    Args:
        feature: ``"namespaces"``, ``"root"``, ``"user"`` (not root), ``"landlock"`` or ``"landlock>=N"``,
            ``"cgroup"``, ``"x86_64"``, ``"aarch64"``, ``"tool:NAME"`` (a program in PATH), ``"module:NAME"``
            (an importable module).
    """
    kind, _, name = feature.partition(":")
    if kind == "tool":
        return "" if shutil.which(name) else f"{name} is not in PATH"
    if kind == "module":
        return "" if importlib.util.find_spec(name) else f"{name} is not installed"
    if feature.startswith("landlock"):
        needed, abi = int(feature.partition(">=")[2] or 1), _landlock_abi()
        return "" if abi >= needed else f"needs Landlock ABI {needed}, this kernel has {abi or 'none'}"
    if feature in ("x86_64", "aarch64"):
        return "" if os.uname().machine == feature else f"this is {os.uname().machine}"
    checks = {
        "namespaces": lambda: (reason := _user_namespaces()) and f"no user namespaces: {reason}",
        "root": lambda: "" if os.geteuid() == 0 else "run as an ordinary user",
        "user": lambda: "" if os.geteuid() != 0 else "run as root",
        "cgroup": _cgroup,
    }
    if feature not in checks:
        raise pytest.UsageError(f"unknown feature {feature!r} in @pytest.mark.needs")
    return checks[feature]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, before any of it starts."""
    for item in items:
        for marker in item.iter_markers("needs"):
            for feature in marker.args:
                if reason := missing(feature):
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
