"""Programs that run a whole local cluster, as a user would write them: bounded in time, and nothing may be left of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SECONDS = 200  # for one program; the slowest takes a tenth on an idle machine
GRACE = 10.0  # seconds in which killed processes disappear

Program = Callable[..., Any]


def environment(**more: str) -> dict[str, str]:
    """Return what programs get: no variable of Python's but the way to this checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


def alive_in_session(session: int) -> list[int]:
    """Return the processes of a session, zombies aside."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(name))
    return found


def nothing_left(session: int) -> None:
    """Wait until a session has no process any more; end those that stay and fail."""
    deadline = time.monotonic() + GRACE
    while left := alive_in_session(session):
        if time.monotonic() > deadline:
            commands = [Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ") for pid in left]
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"left over: {commands}")
        time.sleep(0.02)


def run_program(directory: Path, script: str, *, name: str = "main.py", python: str = sys.executable, **more: str) -> Any:
    """Run a script in a directory and return the JSON of the last line that it printed.

    Args:
        directory: where it is written and run.
        script: its text, indented or not.
        name: of the file.
        python: the interpreter.
        **more: environment variables.
    """
    (directory / name).write_text(textwrap.dedent(script))
    process = subprocess.Popen(
        [python, name],
        cwd=directory, env=environment(**more), start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError(f"no end after {SECONDS} s:\n{''.join(process.communicate())}") from None
    assert process.returncode == 0, out + err
    nothing_left(process.pid)
    return json.loads(out.splitlines()[-1])
