"""One suite in this process: ``NAME FILE [--quick]`` on the command line writes its findings to FILE, as JSON."""

from __future__ import annotations

import argparse
import importlib
import json
import os

from benchmarks import stage
from benchmarks.rounds import Pace
from benchmarks.suites import SUITES


def main() -> None:
    """Measure one suite."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=SUITES)
    parser.add_argument("file")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    suite = SUITES[options.name]
    if suite.pinned:  # before any process is started, so that all inherit it
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    measure = importlib.import_module(f"benchmarks.suites.{suite.module}").measure
    stage.forget_the_repository()
    findings = measure(Pace(options.quick))
    with open(options.file, "w", encoding="utf-8") as file:
        json.dump(findings, file)
