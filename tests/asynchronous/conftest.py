"""Scripts with an event loop, each in an interpreter of its own, whose whole state can be looked at."""

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

TOOLS = """
import asyncio, os, sys, time

def add(a, b=1):
    return a + b

def sleep(seconds):
    time.sleep(seconds)
    return "slept"

def say_and_sleep(seconds):
    print("running", flush=True)
    time.sleep(seconds)

def text(length):
    return "x" * length

def loaded(name):
    return name in sys.modules

def end(how):
    os._exit(how)

async def double(number):
    await asyncio.sleep(0)
    return number * 2

async def nap(seconds):
    await asyncio.sleep(seconds)
    return "slept"
"""

PRELUDE = """
import asyncio, ctypes, gc, inspect, os, signal, sys, threading, time
from isolate_fn import Limits, isolated, sandbox
from isolate_fn._runtime import asynchronous, call, pool
from isolate_fn._runtime.isolate import Isolate
from isolate_fn.errors import *
import tools

ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: spawners become our children

def descendants():
    "Return the processes below this one that are alive, by their distance."
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    fields = file.read().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(name)] = int(fields[1])
    found, layer = [], {os.getpid()}
    while layer:
        layer = {pid for pid, parent in parents.items() if parent in layer}
        found.append(layer)
    return found

def inside():
    "Return the processes of isolates: what spawners have started, but for builders of file trees, which none has entered."
    return {pid for pid in set().union(*descendants()[1:]) if levels(pid) > levels(os.getpid()) + 1}

def levels(pid):
    "Return in how many pid namespaces, each within the other, a process has a number (NSpid of proc_pid_status(5))."
    try:
        with open(f"/proc/{pid}/status") as file:
            return len(next(line for line in file if line.startswith("NSpid:")).split()) - 1
    except OSError:
        return 0  # it is gone

def nothing_inside():
    "Wait for the isolates of calls that returned: those are killed and not waited for."
    deadline = time.monotonic() + 20
    while inside():
        assert time.monotonic() < deadline, inside()
        time.sleep(0.01)

def state():
    gc.collect()
    return {"descriptors": len(os.listdir("/proc/self/fd")), "threads": len(os.listdir("/proc/self/task"))}

async def caught(awaitable, *kinds):
    "Await what must fail, and return how."
    try:
        value = await awaitable
    except kinds or Exception as error:
        return error
    raise AssertionError(f"it returned {value!r:.200}")

def alone(function, **options):
    "Isolate a function so that no isolate is kept ready."
    return isolated(prewarm=0, **options)(function)
"""


@pytest.fixture
def run_loop(tmp_path: Path) -> Run:
    """Run a script in an interpreter of its own and return what it printed; it must end well and say nothing on stderr.

    The script finds a module ``tools`` of functions to isolate, and what `PRELUDE` has. Its ``main()`` is run by
    asyncio.run where it has one.
    """
    directory = tmp_path / "program"
    directory.mkdir()
    directory.chmod(0o755)

    def run(script: str, *, tools: str = "", stderr: bool = False, status: int = 0, **env: Any) -> str:
        (directory / "tools.py").write_text(TOOLS + textwrap.dedent(tools))
        script = PRELUDE + textwrap.dedent(script)
        if "async def main()" in script and "run(main())" not in script:
            script += "\nasyncio.run(main())\n"
        (directory / "main.py").write_text(script)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        done = subprocess.run(
            [sys.executable, "-W", "error::ResourceWarning", str(directory / "main.py")],
            capture_output=True,
            text=True,
            timeout=100,
            env={**kept, "PYTHONPATH": str(ROOT), **env},
            cwd=tmp_path,
            check=False,
        )
        assert done.returncode == status, done.stderr + done.stdout
        assert stderr or not done.stderr, done.stderr
        return done.stdout + (done.stderr if stderr else "")

    return run
