"""Cold: a whole script, from the start of its interpreter to its end, that makes one isolated call.

The peer named in the budget is one interpreter inside bwrap that does the same work; ours needs two, the script's own and
the isolate's. The same with two interpreters is measured beside it: a script that starts bwrap for the call.
"""

from __future__ import annotations

import os
import sys

from benchmarks.findings import Contest, Findings, contest, nothing
from benchmarks.peers.commands import BWRAP, command_call, why_not
from benchmarks.rounds import Contestant, Pace, run
from benchmarks.stage import VARIABLE, script


def measure(pace: Pace) -> Findings:
    """Measure whole scripts, function by name and by value."""
    findings = nothing()
    findings["contests"]["cold-name"] = one_way("name", pace)
    findings["contests"]["cold-value"] = one_way("value", pace)
    return findings


def one_way(way: str, pace: Pace) -> Contest:
    """Measure scripts whose function travels by ``name`` or by ``value``."""
    bwrap = [
        *BWRAP,
        "--ro-bind",
        os.environ[VARIABLE],
        os.environ[VARIABLE],
    ]  # else its empty /tmp may hide the scripts
    commands = {
        "isolate_fn": [sys.executable, script(f"cold_by_{way}")],
        "bwrap, one process": [*bwrap, sys.executable, script(f"same_by_{way}")],
        "bwrap, caller too": [sys.executable, script("bwrap_call"), *bwrap, way],
        "three bare interpreters": [sys.executable, script("three_bare"), way],
        "no isolation, one process": [sys.executable, script(f"same_by_{way}")],
    }
    missing = {}
    reason = why_not([*BWRAP, "true"])
    for name in [name for name in commands if reason and name.startswith("bwrap")]:
        missing[name] = reason
        del commands[name]
    few = pace.of(3, 2)
    contestants = {name: Contestant(command_call(command), few, lead=0) for name, command in commands.items()}
    return contest(f"whole script with one call, function by {way}", run(contestants, pace.of(20, 4)), missing)
