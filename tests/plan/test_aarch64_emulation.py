"""On an aarch64 interpreter under user-mode emulation: filters are compiled and emulated as here, contexts are refused.

qemu-user has no seccomp(2) and no Landlock, so nothing can be enforced there; tests/kernels does that, in a virtual machine.
Needs qemu-user-static, and in ISOLATE_FN_AARCH64_ROOT the root of an aarch64 system with Python 3.11 or newer.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from builtin_sets import WHOLE
from harmless import HARMLESS

from isolate_fn._plan.emulator import SeccompData, run
from isolate_fn._plan.rule_sets import compile_rule_sets
from isolate_fn._sys import numbers
from isolate_fn._sys.seccomp_constants import AUDIT_ARCH

HERE = Path(__file__).parent
VARIABLE = "ISOLATE_FN_AARCH64_ROOT"
ROOT = os.environ.get(VARIABLE, "")
EMULATOR = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64") or ""


@cache
def python() -> str:
    """The newest Python of the aarch64 system, empty without one."""
    found = sorted(Path(ROOT).glob("usr/bin/python3.[1-9][0-9]")) if ROOT else []
    return str(found[-1]) if found else ""


def missing() -> str:
    if not EMULATOR:
        return "qemu-aarch64-static is not in PATH: install the package qemu-user-static"
    if not ROOT:
        return f"{VARIABLE} is not set: it names the root of an aarch64 system with the package python3"
    return (
        "" if python() else f"no Python 3.11 or newer in {VARIABLE}={ROOT}: install the package python3 (arm64) there"
    )


pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


def emulated(script: str) -> Any:
    """Run a script in the aarch64 interpreter; return what it prints, from JSON."""
    environment = {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "PYTHONPATH": f"{HERE.parents[1]}:{HERE}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [EMULATOR, "-L", ROOT, python(), "-c", script],
        env=environment, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return json.loads(done.stdout)


# pytest is not installed there, so this says again what `answers()` does here.
COMPILE = """
import json, platform
from builtin_sets import WHOLE
from harmless import HARMLESS
from isolate_fn._plan.emulator import SeccompData, run
from isolate_fn._plan.rule_sets import compile_rule_sets
from isolate_fn._sys import numbers
from isolate_fn._sys.seccomp_constants import AUDIT_ARCH

assert platform.machine() == "aarch64"
table, answers = numbers.table("aarch64"), {}
for label, entry in WHOLE.items():
    compiled = compile_rule_sets([entry])
    program = compiled.filter("aarch64")
    verdicts = [run(program, SeccompData(table[name], AUDIT_ARCH["aarch64"], values)).verdict for name, values in HARMLESS]
    answers[label] = [program.hex(), compiled.filter("x86_64").hex(), verdicts]
print(json.dumps(answers))
"""


def answers() -> dict[str, list[Any]]:
    table, made = numbers.table("aarch64"), {}
    for label, entry in WHOLE.items():
        compiled = compile_rule_sets([entry])
        program = compiled.filter("aarch64")
        verdicts = [
            run(program, SeccompData(table[name], AUDIT_ARCH["aarch64"], values)).verdict for name, values in HARMLESS
        ]
        made[label] = [program.hex(), compiled.filter("x86_64").hex(), verdicts]
    return made


def test_every_rule_set_is_compiled_and_emulated_there_as_here() -> None:
    """The same programs for both machines, to the byte, and the same answers of the emulator."""
    there = emulated(COMPILE)
    assert set(there) == set(WHOLE)
    assert there == answers()


REFUSE = """
import json
from isolate_fn import SafetyContext
from isolate_fn.errors import Unsupported
from isolate_fn.rules import SystemIO, Threads

def refusal(context, how):
    try:
        return f"applied: {getattr(context, how)()}"
    except Unsupported as error:
        return [str(error), error.needs, error.found, error.remedy]

filters = SafetyContext().enable(SystemIO().allow_stdout(), Threads())
paths = SafetyContext().enable(SystemIO().allow_read_path("/")).landlock_only()
told = [refusal(context, f"apply_to_{how}") for context in (filters, paths) for how in ("current_thread", "all_threads")]
with open("/dev/null") as file:  # nothing is denied
    file.read()
print(json.dumps(told))
"""


def test_a_context_is_refused_there_and_the_error_says_why() -> None:
    *filters, first_path, second_path = emulated(REFUSE)
    for text, needs, found, remedy in filters:
        assert needs.startswith("seccomp filters")
        assert found in ("ENOSYS", "EINVAL")
        assert "qemu-user" in remedy
        assert "landlock_only()" in remedy
        assert remedy in text
    for _, needs, found, remedy in (first_path, second_path):
        assert needs == "Landlock"
        assert "no Landlock" in found
        assert "seccomp_only()" in remedy
