"""What ordinary Python programs need: each works under the smallest list of rule sets, and fails without any of them.

Each of programs.py runs in a throwaway process under its list, and once more for every set of the list without that set.
So no list is longer than it must be. docs/safety-context.md prints the table; a test here keeps the two equal.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isolate_fn._sys.numbers import table

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "safety-context.md"

_spec = importlib.util.spec_from_file_location("programs", HERE / "programs.py")
assert _spec is not None
assert _spec.loader is not None
programs = importlib.util.module_from_spec(_spec)
sys.modules["programs"] = programs
_spec.loader.exec_module(programs)
PROGRAM = programs.PROGRAM


def run_under(locked: Any, name: str, sets: tuple[str, ...]) -> Any:
    for module in PROGRAM[name].modules:
        pytest.importorskip(module)
    before = f"sys.path.append({str(HERE)!r})\nimport programs\nprogram = programs.{name}()\nnext(program)"
    apply = (
        f"SafetyContext().enable(BasicCapabilities(), {''.join(f'{each}, ' for each in sets)}).apply_to_all_threads()"
    )
    return locked(before, f"{apply}\nassert next(program, 'ended') == 'ended'")


@pytest.mark.parametrize("name", PROGRAM)
def test_works_under_its_list(locked: Any, name: str) -> None:
    done = run_under(locked, name, PROGRAM[name].sets)
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.mark.parametrize(
    ("name", "dropped"),
    [pytest.param(name, each, id=f"{name} without {each}") for name, one in PROGRAM.items() for each in one.sets],
)
def test_fails_without_any_of_it(locked: Any, name: str, dropped: str) -> None:
    done = run_under(locked, name, tuple(each for each in PROGRAM[name].sets if each != dropped))
    assert done.returncode != 0, "it works without: the list is longer than it must be"


def test_the_page_has_the_table() -> None:
    listed = PAGE.read_text(encoding="utf-8")
    for one in PROGRAM.values():
        sets = ", ".join(f"`{each}`" for each in one.sets) or "nothing more"
        assert f"| {one.what} | {sets} |" in listed, f"| {one.what} | {sets} |"


# --- SIGSTOP and SIGCONT while something waits with a timeout -------------------------------------------------------

WAITS = {
    # what waits: (imports, wait, the call that the kernel shows, sets); T is how long, in seconds
    "lock": ("", "assert not lock.acquire(timeout=T)", "futex", ""),
    "poll": ("import select", "assert select.poll().poll(T * 1000) == []", "poll", "Pipes()"),
    "sleep": ("import time", "time.sleep(T)", "clock_nanosleep", "Threads().allow_sleep()"),
    "select": ("import select", "assert select.select([], [], [], T) == ([], [], [])", "pselect6", "Pipes()"),
}


def stopped_while_waiting(what: str, seconds: float, basic: str, tmp_path: Path) -> int:
    """Stop a child with SIGSTOP as soon as it waits, let it go on, and return how it ended."""
    imports, wait, call, sets = WAITS[what]
    script = f"""
import os, sys, threading
{imports}
T = {seconds}
from isolate_fn import SafetyContext
from isolate_fn.rules import *
lock = threading.Lock()
lock.acquire()
SafetyContext().enable({basic}, {sets}).apply_to_all_threads()
try:
    {wait}
except PermissionError:
    os._exit(4)
os._exit(3)
"""
    child = subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    process = Path(f"/proc/{child.pid}")
    numbers_of_call = {str(table(os.uname().machine).get(name)) for name in (call, f"p{call}")}
    try:
        wait_until(lambda: process.joinpath("syscall").read_text().split()[0] in numbers_of_call, child)
        child.send_signal(signal.SIGSTOP)
        wait_until(lambda: process.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "T", child)
        child.send_signal(signal.SIGCONT)
        return child.wait(30)
    finally:
        child.kill()
        child.wait()


def wait_until(condition: Callable[[], bool], child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert child.poll() is None, f"ended with {child.returncode} before it waited"
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("what", WAITS)
def test_a_timed_wait_survives_stop_and_continue(what: str, tmp_path: Path) -> None:
    assert stopped_while_waiting(what, 0.5, "BasicCapabilities()", tmp_path) == 3


@pytest.mark.parametrize("what", ["lock", "poll"])
def test_and_does_not_without_restart_syscall(what: str, tmp_path: Path) -> None:
    """A timed lock aborts the process then: glibc does not know what to make of futex(2) failing with EPERM."""
    status = stopped_while_waiting(what, 60, "BasicCapabilities().without('restart_syscall')", tmp_path)
    assert status < 0 if what == "lock" else status == 4  # without tgkill(2) abort(3) ends in SIGSEGV
