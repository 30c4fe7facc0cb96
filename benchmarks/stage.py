"""Where suites run: a directory with a copy of the package and of what is measured, compiled, and nothing else.

A worker is given what its caller could import, one mount for each package or module of the project. Run from this
repository it would be given the tests, the tools and the benchmarks themselves, and pay for it. The copy is also what an
installed package is: byte code is there, whether or not this environment or this user may write it. It does not lie in /tmp,
where isolates have something of their own, and modules of the caller's are mounted for each of them without their byte code.
"""

from __future__ import annotations

import compileall
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
PLACE = "/var/tmp"
VARIABLE = "ISOLATE_FN_BENCHMARK_STAGE"

# The child finds the benchmarks themselves at the end of its path, and forgets that end before it measures.
_CHILD = "import sys; sys.path.append(sys.argv.pop(1)); from benchmarks.suites.child import main; main()"


@contextmanager
def build() -> Iterator[str]:
    """Make the directory, and remove it afterwards."""
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=PLACE) as stage:
        library, scripts = os.path.join(stage, "library"), os.path.join(stage, "scripts")
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(os.path.join(ROOT, "isolate_fn"), os.path.join(library, "isolate_fn"), ignore=ignored)
        shutil.copy(os.path.join(HERE, "measured.py"), library)
        for name in os.listdir(os.path.join(HERE, "scripts")):
            alone = os.path.join(scripts, name.removesuffix(".py"))  # what lies beside a script is importable as well
            os.makedirs(alone)
            shutil.copy(os.path.join(HERE, "scripts", name), alone)
        compileall.compile_dir(library, quiet=2)
        yield stage


def environment(stage: str) -> dict[str, str]:
    """Return the environment of whatever runs there: it can import the copies, by every interpreter it starts."""
    return {**os.environ, "PYTHONPATH": os.path.join(stage, "library"), VARIABLE: stage}


def script(name: str) -> str:
    """Return the path of a script of `scripts/` on the stage that this process runs on."""
    return os.path.join(os.environ[VARIABLE], "scripts", name, f"{name}.py")


def suite_command(arguments: Sequence[str]) -> list[str]:
    """Return the command that runs a suite on the stage."""
    return [sys.executable, "-P", "-c", _CHILD, ROOT, *arguments]


def forget_the_repository() -> None:
    """Take this repository from the path, so that isolates are not given it."""
    sys.path.remove(ROOT)
