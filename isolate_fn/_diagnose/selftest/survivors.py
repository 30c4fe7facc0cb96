"""Promise 3, continued: attempts to outlive the call, its timeout, and the caller."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from isolate_fn._diagnose.selftest.attack import Facts, Found
from isolate_fn._diagnose.selftest.native import call, fork, leave, stay
from isolate_fn._diagnose.selftest.processes import PROCESSES
from isolate_fn._diagnose.selftest.world import World, child_environment

_DEADLINE = 10.0  # seconds that killed processes get to disappear
_NAME = 15  # PR_SET_NAME


@PROCESSES.attack("fork", "leave a process behind: forked twice, in its own session", held="a function may not fork")
def leave_process(facts: Facts) -> Found:
    """It closes what it has, and takes a name by which it can be found."""
    first = fork()
    if first == 0:
        call("setsid")
        if fork() == 0:
            call("close_range", 0, 0xFFFFFFFF, 0)
            call("prctl", _NAME, "isolate-attack")
            stay()
        leave()
    if first > 0:
        call("wait4", first, 0, 0, 0)
    return {"fork": first}


_DAEMON = """
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        os.closerange(0, 64)
        time.sleep(60)
    os._exit(0)
os.wait()
print('started', flush=True)
"""


def _with_word(word: str) -> list[int]:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as line:
            if word.encode() in line.read():
                found.append(int(name))
    return found


def gone(look: Callable[[], list[int]], seconds: float = _DEADLINE) -> list[int]:
    """Return who is still there after everybody had time to end."""
    deadline = time.monotonic() + seconds
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return found


def _daemon(word: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", _DAEMON, word]


@PROCESSES.led(
    "daemon", "leave a daemon behind from a program that `box.run` starts", held="it ends with the program or the block",
    control=lambda world: _daemon_outside(world),
)  # fmt: skip
def daemon(world: World) -> Found:
    """Two forks, a session of its own, every signal blocked. Looked for from outside, by its command line."""
    from isolate_fn._api.context import sandbox

    word = f"daemon-{world.token}"
    with sandbox(**world.options()) as box:
        done = box.run(_daemon(word), capture_output=True, timeout=30)
    if b"started" not in done.stdout:
        return {"it did not run": done.stderr[-80:]}
    return {f"process {pid}": "alive" for pid in gone(lambda: _with_word(word))}


def _daemon_outside(world: World) -> Found:
    word = f"control-{world.token}"
    subprocess.run(_daemon(word), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False, timeout=30)
    left = _with_word(word)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return {f"process {pid}": "alive" for pid in left}


def deaf(name: str) -> None:
    """Hear no signal that can be missed, and never return; under a name that can be found from outside."""
    call("prctl", _NAME, name)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    stay()


def named(name: str) -> list[int]:
    """Return the processes that gave themselves a name (15 letters at most) and have not ended."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            text = stat.read()
            if f"({name})" in text and ") Z " not in text:
                found.append(int(pid))
    return found


@PROCESSES.led(
    "timeout", "outlive the timeout, deaf to every signal", held="the whole process tree is killed in time",
    control=lambda world: _deaf_outside(),
)  # fmt: skip
def timeout(world: World) -> Found:
    """Looked for from outside, by the name it gave itself."""
    name = f"t{world.token[:12]}"
    ended = world.call(deaf, name, timeout=0.3)
    if type(ended.error).__name__ != "TimedOut":
        return {"it ended otherwise": f"{ended.error!r}"}
    if ended.seconds > _DEADLINE:
        return {"it took": f"{ended.seconds:.1f} s"}
    return {f"process {pid}": "alive" for pid in gone(lambda: named(name))}


_DEAF = """
import signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
print('deaf', flush=True)
time.sleep(60)
"""


def _deaf_outside() -> Found:
    """A process that is asked to end, as `Process.terminate` asks."""
    with _child([sys.executable, "-I", "-S", "-c", _DEAF]) as process:
        process.stdout.readline()
        process.terminate()
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            return {"it": "lives on"}
    return {"it": -1}


@contextlib.contextmanager
def _child(argv: list[str], **options: Any) -> Any:
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, **options) as process:
        try:
            yield process
        finally:
            process.kill()


@PROCESSES.led(
    "caller-killed", "outlive the caller, which is killed", held="the isolate ends with it",
    control=lambda world: _outlive(world, isolated=False),
)  # fmt: skip
def caller_killed(world: World) -> Found:
    """A caller of its own, killed in the middle of a call."""
    return _outlive(world, isolated=True)


def _outlive(world: World, *, isolated: bool) -> Found:
    name = f"{'i' if isolated else 'p'}{world.token[:12]}"
    argv = [sys.executable, "-m", "isolate_fn._diagnose.selftest.caller", "wait" if isolated else "wait-plain", name]
    with _child(argv, cwd=world.outside.scratch, env=child_environment(), start_new_session=True) as process:
        started = process.stdout.readline()
    if not started.strip():
        return {"it did not run": "the caller ended"}
    # What nobody ends lives on at once; what ends does so within the time.
    left = gone(lambda: named(name), _DEADLINE if isolated else 0.3)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return {f"process {pid}": "alive" for pid in left}
