"""`import isolate_fn`: what it costs over an interpreter that imports nothing, and what it pulls in.

Without site, so that nothing is there already which a ``.pth`` file of this environment happens to import.
"""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks.findings import Findings, contest, nothing
from benchmarks.peers.commands import command_call
from benchmarks.rounds import Contestant, Pace, run

NOT_AT_IMPORT = ("ctypes", "asyncio")
LIST = """
import sys
before = set(sys.modules)
import isolate_fn, json
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""


def measure(pace: Pace) -> Findings:
    """Measure the import, and count the modules that it must not load."""
    few = pace.of(5, 3)
    commands = {
        "import isolate_fn": [sys.executable, "-S", "-c", "import isolate_fn"],
        "bare interpreter": [sys.executable, "-S", "-c", "pass"],
        "import asyncio": [sys.executable, "-S", "-c", "import asyncio"],
    }
    contestants = {name: Contestant(command_call(command), few, 1) for name, command in commands.items()}
    findings = nothing()
    findings["contests"]["import"] = contest("an interpreter that only imports", run(contestants, pace.of(25, 6)))
    findings["facts"]["modules that import isolate_fn must not load"] = len(unwanted(loaded()))
    return findings


def loaded() -> list[str]:
    """Return the top-level modules that the import adds to an interpreter."""
    done = subprocess.run([sys.executable, "-S", "-c", LIST], stdout=subprocess.PIPE, check=True)
    names: list[str] = json.loads(done.stdout)
    return names


def unwanted(names: list[str]) -> list[str]:
    """Return those of other projects, and the heavy ones of the standard library."""
    known = {*sys.stdlib_module_names, "isolate_fn"} - set(NOT_AT_IMPORT)
    return [name for name in names if name not in known]
