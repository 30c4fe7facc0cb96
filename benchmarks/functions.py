"""Where the time of the calling process goes, by function: ``python -m benchmarks.functions [--json FILE]``.

``py-spy`` looks at the caller a thousand times a second while a script makes calls, from outside and without slowing it
down; what waits is not counted. For warm calls, for fresh ones, and for a whole script with a single call, where most is
import. What other processes do is in `benchmarks.profiles`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks import machine, stage, table, written

RATE = 1000  # per second
MOST = 8
SCRIPTS: dict[str, tuple[str, str, int]] = {
    "warm calls": ("many_warm", "40000", 1),
    "fresh isolates, nothing prewarmed": ("many_fresh", "150", 1),
    "whole script, function by name": ("cold_by_name", "", 20),
}
"""What is looked at: a script, its argument, and how often it is run."""


def own_time(lines: Iterable[str]) -> Counter[str]:
    """Count samples by the function that was running.

    Args:
        lines: what ``py-spy record --format raw`` writes: frames, outermost first, and a number.
    """
    found: Counter[str] = Counter()
    for line in lines:
        stack, _, number = line.strip().rpartition(" ")
        if stack and number.isdigit():
            found[_name(stack.split(";"))] += int(number)
    return found


def _name(stack: list[str]) -> str:
    """Return ``module: function`` of the innermost frame; all that imports do is one."""
    if any(frame.startswith("_find_and_load ") for frame in stack):
        return "imports"
    function, _, place = stack[-1].partition(" (")
    file = place.partition(":")[0].rstrip(")")
    inside = file.partition("isolate_fn/")[2]
    return f"{inside or os.path.basename(file)}: {function}"


def look(name: str, built: str, directory: str) -> Counter[str]:
    """Run one script under py-spy.

    Raises:
        subprocess.CalledProcessError: py-spy or the script failed.
    """
    script, argument, times = SCRIPTS[name]
    path, raw = os.path.join(built, "scripts", script, f"{script}.py"), os.path.join(directory, "raw")
    command = [sys.executable, path, *([argument] if argument else [])]
    options = ["--format", "raw", "--rate", str(RATE), "--nolineno", "--output", raw]
    found: Counter[str] = Counter()
    for _ in range(times):
        spy = ["py-spy", "record", *options, "--", *command]
        subprocess.run(spy, check=True, env=stage.environment(built), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with open(raw, encoding="utf-8") as lines:
            found += own_time(lines)
    return found


def cells(counts: Mapping[str, Mapping[str, int]]) -> list[tuple[str, ...]]:
    """Return the cells of a table: what was run, and the functions that took most, each with its share."""
    rows: list[tuple[str, ...]] = [("processor time of the caller, by function", "share")]
    for name, found in counts.items():
        total = sum(found.values())
        most = Counter(found).most_common(MOST)
        rows.extend((f"{name}: `{function}`", f"{100 * number / total:.0f} %") for function, number in most)
        rows.append((f"{name}: all others", f"{100 * (1 - sum(number for _, number in most) / total):.0f} %"))
    return rows


def main() -> int:
    """Look, print, write JSON where asked; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.functions", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", metavar="FILE", help="write the counts there")
    options = parser.parse_args()
    with stage.build() as built, tempfile.TemporaryDirectory() as directory:
        found = {name: look(name, built, directory) for name in SCRIPTS}
    print(table.plain(cells(found)))
    if options.json:
        kept: dict[str, Any] = {name: dict(counts.most_common(40)) for name, counts in found.items()}
        for name, counts in found.items():
            kept[name]["elsewhere"] = counts.total() - sum(kept[name].values())
        written.save(options.json, {"about": {**machine.describe(), "rate": RATE}, "samples": kept})
    return 0


if __name__ == "__main__":
    sys.exit(main())
