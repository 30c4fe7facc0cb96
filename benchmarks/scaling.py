"""Measure what isolation costs inside engines, and write it into docs/scaling.md.

    python -m benchmarks.scaling --measure         # half a minute per engine that is installed; keeps the others' figures
    python -m benchmarks.scaling --write           # the tables of the page from the committed figures
    python -m benchmarks.scaling --check           # exit 1 when the page's tables are not what would be written

The figures are in scaling.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import machine, written
from benchmarks.page import markdown

HERE = Path(__file__).resolve().parent
FIGURES = HERE / "scaling.json"
PAGE = HERE.parent / "docs" / "scaling.md"
ENGINES = ("concurrent.futures", "joblib", "dask", "celery", "ray")
WORKERS = (1, 2)

MACHINES, PER_MACHINE = 1000, 32
LENGTHS = (0.01, 0.1, 1.0, 10.0)  # seconds of work in one task
MARK = re.compile(r"(<!-- measured: (\w+) -->\n).*?(\n<!-- end -->)", re.DOTALL)

Row = dict[str, Any]


def measure(engine: str) -> list[Row]:
    """Measure one engine, each number of workers in a process of its own; nothing where it is not installed."""
    rows = []
    for workers in WORKERS:
        command = [sys.executable, "-m", "benchmarks.scaling_engines", engine, str(workers)]
        load = round(os.getloadavg()[0], 1)
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=HERE.parent, check=False)
        if done.returncode:
            if "ModuleNotFoundError" in done.stderr:
                print(f"{engine}: not installed", file=sys.stderr)
                return []
            raise RuntimeError(done.stderr)
        rows.append({**json.loads(done.stdout.splitlines()[-1]), "load": load})
        print(rows[-1], file=sys.stderr)
    return rows


def overhead(row: Row, way: str) -> float:
    """Return the seconds of one worker that isolation adds to a task."""
    rates = row["rates"]
    return float(row["workers"] * (1 / rates[way] - 1 / rates["plain"]))


def table(figures: dict[str, Any]) -> str:
    """Return what was measured."""
    head = ("engine", "workers", "plain [tasks/s]", "reused", "fresh", "added by reused [ms]", "added by fresh", "load")
    rows = [
        (
            f"{row['engine']} {row['version']}".strip(),
            str(row["workers"]),
            *(f"{row['rates'][way]:,.0f}" for way in ("plain", "reused", "fresh")),
            *(f"{overhead(row, way) * 1000:.2f}" for way in ("reused", "fresh")),
            f"{row['load']:.1f}",
        )
        for row in figures["rows"]
    ]
    about = figures["about"]
    words = (
        f"Linux {about['kernel']}, {about['machine']}, {about['cpus']} processors, CPython {about['python']}. "
        "*load* is the machine's when the row was begun: what others did on it meanwhile is in the figures."
    )
    if any(row["load"] > about["cpus"] for row in figures["rows"]):
        words += (
            " Where it is above the number of processors, others had most of the machine: rates are too low there and "
            "costs too high, and a difference between ways that take turns within a row is worth more than one of rows."
        )
    return f"{markdown([head, *rows])}\n\n{words}"


def arithmetic(figures: dict[str, Any]) -> str:
    """Return what the figures of one machine mean for a thousand, if nothing else gets in the way."""
    row = next(row for row in figures["rows"] if row["engine"] == "dask" and row["workers"] == 2)
    total = MACHINES * PER_MACHINE
    rate = row["rates"]["plain"]
    lines = []
    for length in LENGTHS:
        wanted = total / length
        shares = [overhead(row, way) / (length + overhead(row, way)) for way in ("reused", "fresh")]
        lines.append((f"{length:g} s", f"{wanted:,.0f}", *(f"{max(0.0, share):.1%}" for share in shares)))
    head = ("work in a task", "tasks/s that keep all busy", "lost to isolation, reused", "lost, fresh")
    return (
        f"{markdown([head, *lines])}\n\n"
        f"One scheduler gave out {rate:,.0f} plain tasks a second here, to two workers and beside them on the same "
        f"machine. If it did no better, {total:,} workers would need tasks of at least {total / rate:,.0f} s: below that "
        "the scheduler is the limit and not the isolates. Put more work into a task, or run several clusters."
    )


def page(figures: dict[str, Any], text: str) -> str:
    """Return the page with its tables replaced."""
    parts = {"table": table, "arithmetic": arithmetic}
    return MARK.sub(lambda found: f"{found[1]}{parts[found[2]](figures)}{found[3]}", text)


def main() -> int:
    """Measure, write or check; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", nargs="*", metavar="ENGINE", choices=ENGINES, help="all of them by default")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    figures = written.load(str(FIGURES)) if FIGURES.exists() else {"rows": []}
    if options.measure is not None:
        for engine in options.measure or ENGINES:
            found = measure(engine)
            rows = [*(row for row in figures["rows"] if not found or row["engine"] != engine), *found]
            rows.sort(key=lambda row: (ENGINES.index(row["engine"]), row["workers"]))
            figures = {"about": machine.describe(), "rows": rows}
            written.save(str(FIGURES), figures)  # at once, so that a failure loses only what it concerns
    text = PAGE.read_text("utf-8")
    if options.write:
        PAGE.write_text(page(figures, text), "utf-8")
    elif options.check and page(figures, text) != text:
        print(f"{PAGE.name} is not what the figures say: run `python -m benchmarks.scaling --write`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
