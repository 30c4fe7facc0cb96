"""The unprotected side: a function in an ordinary process of its own, bounded so that the demo harms nothing.

The process is not a sandbox: it has the user's rights, files and network, as the application would. Only its
resources are limited, and its working directory is temporary. Run as a module it is that process.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from isolate_fn.cli import victims

MIB = 1024 * 1024

# What the demo itself allows an attack, on whichever machine it runs.
ADDRESS_SPACE = 4096 * MIB
FILE_SIZE = 96 * MIB
CPU_SECONDS = 60


class Ended(NamedTuple):
    """How a call ended.

    Attributes:
        result: what the function returned, or "".
        error: ``"Type: message"`` of its exception, or "".
        signal: what killed the process, or 0.
        timed_out: the demo ended it.
        seconds: spent in the function; of a killed process, until its end.
        peak_memory: bytes, 0 where the process did not live to tell.
    """

    result: str = ""
    error: str = ""
    signal: int = 0
    timed_out: bool = False
    seconds: float = 0.0
    peak_memory: int = 0


def call(name: str, arguments: Sequence[Any], *, directory: str, timeout: float) -> Ended:
    """Call a function of `isolate_fn.cli.victims` in a new process.

    Args:
        name: of the function.
        arguments: plain values.
        directory: its working directory.
        timeout: seconds until its whole process group is killed.
    """
    command = [sys.executable, "-m", __name__, name, json.dumps(list(arguments))]
    # The working directory is not ours, so the way to this package has to be said.
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in map(os.path.abspath, sys.path)),
    }
    started = time.perf_counter()
    with subprocess.Popen(
        command,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            return Ended(timed_out=True, seconds=time.perf_counter() - started)
        finally:
            _kill_group(process.pid)
    if process.returncode < 0:
        return Ended(signal=-process.returncode, seconds=time.perf_counter() - started)
    try:
        return Ended(**json.loads(output.splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        return Ended(error=f"the process ended with status {process.returncode}")


def _kill_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:  # all of them have ended
        pass


def _limit_this_process() -> None:
    for kind, limit in (
        (resource.RLIMIT_AS, ADDRESS_SPACE),
        (resource.RLIMIT_FSIZE, FILE_SIZE),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        # Not 0: a crash handler that core_pattern pipes to runs at 0 all the same, and not at 1 (core(5)).
        (resource.RLIMIT_CORE, 1),
    ):
        _, hard = resource.getrlimit(kind)
        allowed = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (allowed, allowed))


def main() -> None:
    """Be the process: run the named function, print how it ended as the last line."""
    name, arguments = sys.argv[1:]
    _limit_this_process()
    function, values = getattr(victims, name), json.loads(arguments)
    started = time.perf_counter()
    outcome: dict[str, Any] = {}
    try:
        outcome["result"] = str(function(*values))
    except Exception as error:  # the demo's subject
        outcome["error"] = f"{type(error).__name__}: {error}"
    outcome["seconds"] = time.perf_counter() - started
    outcome["peak_memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
