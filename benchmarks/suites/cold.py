"""Cold: a whole script, from the start of its interpreter to its end, that makes one isolated call.

The peer named in the budget is one interpreter inside bwrap that does the same work; ours needs two, the script's own and
the isolate's. The same with two interpreters is measured beside it: a script that starts bwrap for the call.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import isolate_fn
from benchmarks.findings import Contest, Findings, contest, nothing
from benchmarks.peers.commands import BWRAP, Call, why_not
from benchmarks.rounds import Contestant, Pace, run
from benchmarks.suites import INSIDE


def measure(pace: Pace) -> Findings:
    """Measure whole scripts, function by name and by value."""
    findings = nothing()
    findings["contests"]["cold-name"] = one_way("name", pace)
    findings["contests"]["cold-value"] = one_way("value", pace)
    return findings


def one_way(way: str, pace: Pace) -> Contest:
    """Measure scripts whose function travels by ``name`` or by ``value``."""
    commands = {
        "isolate_fn": [sys.executable, os.path.join(INSIDE, f"cold_by_{way}.py")],
        "bwrap, one process": [*BWRAP, sys.executable, os.path.join(INSIDE, f"same_by_{way}.py")],
        "bwrap, caller too": [sys.executable, os.path.join(INSIDE, "bwrap_call.py"), *BWRAP, way],
        "no isolation, one process": [sys.executable, os.path.join(INSIDE, f"same_by_{way}.py")],
    }
    missing = {}
    reason = why_not([*BWRAP, "true"])
    for name in [name for name in commands if reason and name.startswith("bwrap")]:
        missing[name] = reason
        del commands[name]
    few = pace.of(4, 2)
    contestants = {name: Contestant(script(command), few, 1) for name, command in commands.items()}
    return contest(f"whole script with one call, function by {way}", run(contestants, pace.of(20, 6)), missing)


def script(command: Sequence[str]) -> Call:
    """Return a contestant that runs a command which can import isolate_fn and what is measured."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((INSIDE, os.path.dirname(isolate_fn.__path__[0])))}

    def call(number: int) -> int:
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, env=environment)
        return number + 1

    return call
