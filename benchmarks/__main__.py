"""Measure, print one table, write JSON, draw plots."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import benchmarks
from benchmarks import machine, plots, stage, table, written
from benchmarks.budgets import BUDGETS, COMPARED
from benchmarks.findings import Findings, merge, nothing
from benchmarks.suites import SUITES
from benchmarks.verdicts import failed, judge


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=benchmarks.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds: minutes instead of a quarter of an hour")
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"of {', '.join(SUITES)}; commas do as well")
    parser.add_argument("--details", action="store_true", help="print all that was measured before the table")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    parser.add_argument("--plots", metavar="DIRECTORY", help="draw the plots of the documentation there, as SVG")
    parser.add_argument("--strict", action="store_true", help="exit with 1 where a budget is missed or not measured")
    options = parser.parse_args(given)
    names = [name for part in options.only or () for name in part.split(",") if name]
    unknown = [name for name in names if name not in SUITES]
    if unknown:
        parser.error(f"no suite {', '.join(unknown)}; there are {', '.join(SUITES)}")
    options.only = names or list(SUITES)
    return options


def measure(name: str, built: str, *, quick: bool) -> Findings:
    """Run one suite in a process of its own.

    Args:
        name: of the suite.
        built: the stage, see `benchmarks.stage`.
        quick: fewer rounds.

    Raises:
        subprocess.CalledProcessError: it failed; what it said is on stderr.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        file, scratch = os.path.join(directory, "findings.json"), os.path.join(directory, "scratch")
        os.mkdir(scratch)  # a TMPDIR of its own, so that it can say what was left there
        command = stage.suite_command([name, file, *(["--quick"] if quick else [])])
        environment = {**stage.environment(built), "TMPDIR": scratch}
        subprocess.run(command, check=True, stdout=sys.stderr, env=environment, cwd=scratch)
        found: Findings = written.load(file)
    return found


def measure_all(names: Sequence[str], *, quick: bool) -> tuple[Findings, dict[str, float]]:
    """Run suites one after the other; return what they found, and the seconds each took."""
    findings, seconds = nothing(), {}
    with stage.build() as built:
        for name in names:
            print(f"{name}: {SUITES[name].what} ...", file=sys.stderr, flush=True)
            began = time.monotonic()
            merge(findings, measure(name, built, quick=quick))
            seconds[name] = round(time.monotonic() - began, 1)
    return findings, seconds


def show(findings: Findings) -> None:
    """Print all that was measured."""
    for name, contest in findings["contests"].items():
        print(table.contestants(name, contest), end="\n\n")
    for name, curve in findings["curves"].items():
        print(table.plain(table.curve_cells(name, curve)), end="\n\n")
    facts = [
        ("other figures", ""),
        *((f"  {name}", table.fact(name, value)) for name, value in findings["facts"].items()),
    ]
    print(table.plain(facts), end="\n\n")
    for name, why in findings["absent"].items():
        print(f"{name}: {why}")


def main(given: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    options = arguments(given)
    about: dict[str, Any] = {**machine.describe(), "quick": options.quick}
    findings, about["seconds"] = measure_all(options.only, quick=options.quick)
    verdicts = judge(findings, (*BUDGETS, *COMPARED))
    if set(options.only) != set(SUITES):
        verdicts = [one for one in verdicts if one.why != "not measured in this run"]
    if options.details:
        show(findings)
    table.show_budgets(verdicts)
    if options.json:
        rows = [{**one._asdict(), "budget": one.budget._asdict()} for one in verdicts]
        written.save(options.json, {"about": about, **findings, "budgets": rows})
    if options.plots:
        print("drawn:", ", ".join(plots.draw_all(findings, options.plots)))
    return 1 if options.strict and any(map(failed, verdicts)) else 0


if __name__ == "__main__":
    sys.exit(main())
