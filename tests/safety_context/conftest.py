"""Throwaway processes: a context cannot be taken back, so no test applies one to the process of the tests."""

from __future__ import annotations

import os
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

PRELUDE = """
import errno, os, signal, sys, threading
from isolate_fn import SafetyContext
from isolate_fn.errors import ConflictingRules, IsolationError, PolicyError, SetupError, Unsupported
from isolate_fn.rules import *

def denied(action, *codes):
    '''The action fails with one of these errnos, EPERM if none is given.'''
    try:
        result = action()
    except OSError as error:
        assert error.errno in (codes or (errno.EPERM,)), error
        return True
    raise AssertionError(f"not denied, returned {result!r}")

def refused(error, action):
    '''The action raises this error, which is returned.'''
    try:
        action()
    except error as caught:
        return caught
    raise AssertionError(f"{error.__name__} was not raised")

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def native(name, *arguments):
    '''Make a system call with register contents; return its errno, 0 for none.'''
    number = name if isinstance(name, int) else NUMBERS[name]
    code = LIBC.syscall(ctypes.c_long(number), *(ctypes.c_ulong(value & 2**64 - 1) for value in arguments))
    return ctypes.get_errno() if code == -1 else 0

def status(field, task="self"):
    with open(f"/proc/{task}/status") as file:
        return next(line.split()[1] for line in file if line.startswith(field + ":"))

def untouched():
    '''Nothing was applied to this thread.'''
    return (status("Seccomp"), status("NoNewPrivs")) == ("0", "0")

import ctypes
from isolate_fn._sys.numbers import table
LIBC, NUMBERS = ctypes.CDLL(None, use_errno=True), table(os.uname().machine)
LIBC.syscall.restype = ctypes.c_long
"""

# Runs its last part as a function, which may not be able to write: what goes wrong in it is told by shared memory.
LOCKED = """
import mmap, traceback
with open(os.environ["NOTES"], "r+b") as _file:
    _notes = mmap.mmap(_file.fileno(), 0)
try:
    _locked()
    _code = 0
except BaseException:
    _text = traceback.format_exc().encode()[-65000:]
    _notes[: len(_text)] = _text
    _code = 1
os._exit(_code)
"""

Done = subprocess.CompletedProcess[str]


# What a context imports when it is applied, of this package alone: the rest is what test_preload.py is about.
TEMPLATE = PRELUDE + "import isolate_fn._api.safety_apply\ndel isolate_fn\n"


@pytest.fixture
def run(tmp_path: Path, template: Callable[[str], Any]) -> Callable[..., Done]:
    """Run a script in a process of its own, in an empty directory, and return how it ended.

    The process is forked from an interpreter that has done nothing but the prelude.
    """

    def start(script: str, env: dict[str, str] | None = None) -> Done:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment = {**kept, "PYTHONPATH": str(ROOT), **(env or {})}
        done: Done = template(TEMPLATE).run(textwrap.dedent(script), cwd=tmp_path, env=environment)
        return done

    return start


@pytest.fixture
def ok(run: Callable[..., Done]) -> Callable[..., str]:
    """Run a script that must end with status 0 and without a word on stderr; give what it printed."""

    def start(script: str, **options: Any) -> str:
        done = run(script, **options)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr + done.stdout
        return done.stdout

    return start


@pytest.fixture
def locked(run: Callable[..., Done], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Done]:
    """Run `before`, then `inside`, which can lock itself down to silence: ``.notes`` has its traceback."""

    def start(before: str, inside: str, **options: Any) -> Done:
        notes = tmp_path_factory.mktemp("notes") / "notes"
        notes.write_bytes(bytes(1 << 16))
        body = textwrap.indent(textwrap.dedent(inside).strip() or "pass", "    ")
        script = f"{textwrap.dedent(before)}\ndef _locked():\n{body}\n{LOCKED}"
        done = run(script, env={"NOTES": str(notes), **options.pop("env", {})}, **options)
        done.stderr += notes.read_bytes().rstrip(b"\0").decode()
        return done

    return start


@pytest.fixture
def holds(locked: Callable[..., Done]) -> Callable[..., str]:
    """Run `before`, then `inside`, which must end without an exception; give what was printed."""

    def start(before: str, inside: str, **options: Any) -> str:
        done = locked(before, inside, **options)
        assert done.returncode == 0, f"status {done.returncode}\n{done.stderr}{done.stdout}"
        return done.stdout

    return start
