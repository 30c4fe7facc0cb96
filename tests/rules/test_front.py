"""isolate_fn.rules: the names that users import, and what importing them costs."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

from isolate_fn import rules

ROOT = Path(__file__).resolve().parents[2]

NAMES = {
    "ALLOW", "ERRNO", "KILL_PROCESS", "LOG", "NOTIFY", "TRAP", "Action", "Arg", "Asyncio", "BasicCapabilities", "Compare",
    "CompareOp", "Custom", "FileChanges", "ForkAndExec", "Interpreter", "LandlockRule", "Memory", "Multiprocessing",
    "Networking", "Pipes", "PortRule", "Rule", "RuleSet", "Signals", "Sqlite", "SystemIO", "Threads", "Time", "UserId",
    "access", "sysno",
}  # fmt: skip


def test_names() -> None:
    assert set(rules.__all__) == NAMES
    namespace: dict[str, object] = {}
    exec("from isolate_fn.rules import *", namespace)
    assert set(namespace) - {"__builtins__"} == NAMES


def test_every_class_and_function_is_described() -> None:
    for name in rules.__all__:
        value = getattr(rules, name)
        if isinstance(value, type) or inspect.isfunction(value) or inspect.ismodule(value):
            assert inspect.getdoc(value), name


def test_words_load_no_machinery() -> None:
    """Rule sets are words: nothing of the kernel, the plan or a process is loaded with them."""
    code = (
        "import sys, isolate_fn.rules; "
        "print(sorted(name for name in sys.modules if name.startswith('isolate_fn.') and '._' in name "
        "and name != 'isolate_fn._frozen' or name in ('ctypes', 'socket', 'subprocess', 'difflib')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
