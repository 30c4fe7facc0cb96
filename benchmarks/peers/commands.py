"""Other sandboxes and bare interpreters, started as commands: what a fresh isolate is compared to.

Each starts an interpreter that does nothing; none of them carries a function in or a result out, which ours does. The
interpreter is the one that runs the benchmark, so it is as slow to start as this environment's ``.pth`` files make it.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

BWRAP = ("bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp")
FIREJAIL = ("firejail", "--quiet", "--noprofile", "--net=none", "--caps.drop=all", "--nonewprivs", "--seccomp",
            "--private-dev", "--private-tmp")  # fmt: skip
NSJAIL = ("nsjail", "--really_quiet", "--mode", "o", "--chroot", "/", "--")
NOTHING = ("-I", "-c", "pass")
NOTHING_WITHOUT_SITE = ("-I", "-S", "-c", "pass")

Call = Callable[[int], int]


class Commands(NamedTuple):
    """Contestants that can be had here.

    Attributes:
        calls: by name; each returns its number plus one.
        missing: why one is not there, by name.
    """

    calls: dict[str, Call]
    missing: dict[str, str]


def find() -> Commands:
    """Try every command once and keep those that work for this user."""
    wanted = {
        "bwrap": (*BWRAP, sys.executable, *NOTHING),
        "bwrap, python -S": (*BWRAP, sys.executable, *NOTHING_WITHOUT_SITE),
        "python -I -S": (sys.executable, *NOTHING_WITHOUT_SITE),
        "firejail": (*FIREJAIL, sys.executable, *NOTHING),
        "nsjail": (*NSJAIL, sys.executable, *NOTHING),
    }
    calls: dict[str, Call] = {}
    missing: dict[str, str] = {}
    for name, command in wanted.items():
        reason = why_not(command)
        if reason:
            missing[name] = reason
        else:
            calls[name] = command_call(command)
    for name, make in (("sandlock", _sandlock), ("sandlock, a fork", _sandlock_fork)):
        try:
            call = make(importlib.import_module("sandlock"))
            call(0)
        except ImportError:
            missing[name] = "not installed"
        except Exception as failure:  # whatever it raises, it cannot take part
            missing[name] = f"{type(failure).__name__}: {failure}"
        else:
            calls[name] = call
    return Commands(calls, missing)


def why_not(command: Sequence[str]) -> str:
    """Return why a command cannot be used here, empty if it can."""
    if not shutil.which(command[0]):
        return "not installed"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    said = [line for line in done.stderr.splitlines() if line.strip()]
    return said[-1] if said else f"exit status {done.returncode}"


def command_call(command: Sequence[str]) -> Call:
    """Return a contestant that runs a command and waits for its end."""

    def call(number: int) -> int:
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        return number + 1

    return call


def readable() -> list[str]:
    """Return the directories that an interpreter needs to read."""
    wanted = ("/usr", "/lib", "/lib64", "/bin", "/etc", "/proc", "/dev", sys.prefix, sys.base_prefix)
    return [path for path in dict.fromkeys(wanted) if os.path.exists(path)]


def _sandlock(library: Any) -> Call:
    """Its one-shot call: a command. Functions cannot be given to it."""
    box = library.Sandbox(fs_readable=readable())

    def call(number: int) -> int:
        result = box.run([sys.executable, *NOTHING])
        if not result.success:
            raise RuntimeError(f"{result.error or result.exit_code}")
        return number + 1

    return call


def _sandlock_fork(library: Any) -> Call:
    """The nearest it has to a function call: `fork(1)` of this process, confined; we let the clone write the answer to a pipe."""
    reader, writer = os.pipe()

    def call(number: int) -> int:
        def work(clone: int) -> None:
            os.write(writer, str(number + 1).encode())

        box = library.Sandbox(fs_readable=readable(), init_fn=_nothing, work_fn=work)
        clones = box.fork(1)
        answer = int(os.read(reader, 64))
        del clones
        return answer

    return call


def _nothing() -> None:
    pass
