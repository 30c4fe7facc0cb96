"""What these tests share: the table of the parity page, from its generator, and throwaway processes."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_TOOLS = str(Path(__file__).resolve().parents[2] / "tools")
if _TOOLS not in sys.path:
    sys.path.append(_TOOLS)

ROOT = Path(__file__).resolve().parents[2]

PRELUDE = """
import errno, os, socket, sys
from isolate_fn import *
from isolate_fn.errors import *
from isolate_fn.rules import *
import ctypes
from isolate_fn._sys.numbers import table
LIBC, NUMBERS = ctypes.CDLL(None, use_errno=True), table(os.uname().machine)
LIBC.syscall.restype = ctypes.c_long

def native(name, *arguments):
    '''Make a system call with register contents; return its errno, 0 for none.'''
    given = (ctypes.c_ulong(value & 2**64 - 1) for value in arguments)
    return ctypes.get_errno() if LIBC.syscall(ctypes.c_long(NUMBERS[name]), *given) == -1 else 0

def denied(action, code=errno.EPERM):
    try:
        result = action()
    except OSError as error:
        assert error.errno == code, error
        return True
    raise AssertionError(f"not denied, returned {result!r}")
"""


@pytest.fixture
def ok(tmp_path: Path, template: Callable[[str], Any]) -> Callable[[str], str]:
    """Run a script in a process of its own, in an empty directory, which must end well; give what it printed.

    The process is forked from an interpreter that has done nothing but the prelude.
    """

    def start(script: str) -> str:
        text = textwrap.dedent(script) + "\nos._exit(0)"
        done = template(PRELUDE).run(text, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        printed: str = done.stdout
        return printed

    return start
