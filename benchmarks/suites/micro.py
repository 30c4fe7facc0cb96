"""What happens inside the caller, by pyperf: it calibrates its loops, warms up, and starts several processes for each.

The warm call is there once more, as a check on our own way of taking times: both must agree.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile

from benchmarks.findings import Findings, contest, nothing
from benchmarks.rounds import Pace
from benchmarks.stage import script

QUICK = ("--processes=2", "--values=2", "--warmups=1", "--min-time=0.02")
FULL = ("--fast",)


def measure(pace: Pace) -> Findings:
    """Run pyperf on `scripts/micro.py` and take over its values; its processes are our rounds."""
    findings = nothing()
    if importlib.util.find_spec("pyperf") is None:
        findings["absent"]["micro"] = "pyperf is not installed"
        return findings
    import pyperf

    with tempfile.TemporaryDirectory() as directory:
        file = os.path.join(directory, "micro.json")
        command = [sys.executable, script("micro"), "--quiet", "--copy-env", "-o", file]
        subprocess.run([*command, *(QUICK if pace.quick else FULL)], check=True, stdout=sys.stderr)
        suite = pyperf.BenchmarkSuite.load(file)
    found = {
        one.get_name(): [list(map(float, each.values)) for each in one.get_runs() if each.values]
        for one in suite.get_benchmarks()
    }
    findings["contests"]["micro"] = contest("inside the caller, by pyperf", found)
    return findings
