"""The same attacks without walls: a throwaway process that makes each in a fork of its own. Run as a module it is that process.

It is no sandbox: it has the user's rights, files and network. Only what it uses is limited, and its victims are its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

from isolate_fn._diagnose.selftest import leaks, native
from isolate_fn._diagnose.selftest.attack import Action, Facts, Found, through
from isolate_fn._diagnose.selftest.inside import find, name_of, unexpected
from isolate_fn._diagnose.selftest.world import World, child_environment

_MIB = 1 << 20
_SECONDS = 20  # for one attack
_LIMITS = (
    (resource.RLIMIT_AS, 4096 * _MIB),
    (resource.RLIMIT_FSIZE, 96 * _MIB),
    (resource.RLIMIT_CPU, 60),
    # Not 0: a crash handler that core_pattern pipes to runs at 0 all the same, and not at 1 (core(5)).
    (resource.RLIMIT_CORE, 1),
)
_PR_SET_CHILD_SUBREAPER = 36


def run(world: World, actions: Sequence[Action]) -> Iterator[tuple[str, Found]]:
    """Run attacks without walls.

    Args:
        world: their victims; the scene outside is theirs.
        actions: the attacks.

    Yields:
        (name of the function, what it found).
    """
    if not actions:
        return
    words = {"names": [name_of(action) for action in actions], "facts": world.facts(world.outside)._asdict()}
    with subprocess.Popen(
        [sys.executable, "-m", __name__],
        cwd=world.outside.scratch, env=child_environment(), pass_fds=world.inherited, start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(words).encode() + b"\n")
            process.stdin.flush()
            for line in process.stdout:
                name, found = json.loads(line)
                yield name, found
        finally:
            process.kill()


def main() -> None:
    """Be the process: a line of orders in, a line of JSON for each attack out."""
    words = json.loads(sys.stdin.readline())
    facts = Facts(**{**words["facts"], "halves": tuple(words["facts"]["halves"])})
    # What a fork of the caller would have of it.
    held = leaks.planted = "".join(facts.halves)
    native.call("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for kind, most in _LIMITS:
        _, hard = resource.getrlimit(kind)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (allowed, allowed))
    for name in words["names"]:
        find(name)  # imported once, not in each fork
    for name in words["names"]:
        sys.stdout.write(json.dumps([name, _in_fork(find(name), facts)]) + "\n")
        sys.stdout.flush()
    assert held


def _in_fork(act: Action, facts: Facts) -> Found:
    here, there = os.pipe()
    pid = os.fork()
    if pid == 0:
        _be_attacker(act, facts, there)
    os.close(there)
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    # Not to the end: an attack's own children may hold the other side open.
    os.set_blocking(here, False)
    with os.fdopen(here, "rb") as answer:
        text = answer.read() or b""
    _end_children()
    try:
        found: Found = json.loads(text)
        return found
    except ValueError:
        return {f"ended with {ended}": -1}


def _be_attacker(act: Action, facts: Facts, there: int) -> None:
    signal.alarm(_SECONDS)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    try:
        found = act(facts)
    except Exception as error:  # it does not work without walls either
        found = dict.fromkeys(unexpected(error), -1)
    # What came through is what counts; of bytes and the like only that they came.
    plain = {key: value if isinstance(value, (int, str)) else repr(value)[:80] for key, value in found.items()}
    os.write(there, json.dumps({key: plain[key] for key in (through(plain) or plain)}).encode())
    os._exit(0)


def _end_children() -> None:
    """End what an attack left behind: orphans become children of this process."""
    while True:
        for pid in _children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> list[int]:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as stat:
            if int(stat.read().rpartition(")")[2].split()[1]) == os.getpid():
                found.append(int(name))
    return found


if __name__ == "__main__":
    main()
