"""What one call costs: a fresh isolate, a prewarmed one, a reused worker, against the same work without isolation.

    python benchmarks/calls.py [--rounds 30] [--json FILE]

Rounds are interleaved: a burst of calls of one kind, back to back, then of the next, then the next round, so that a machine
that gets slower does so for all of them. Times are wall clock in milliseconds, each call by itself; medians are what to
quote. Every layer is on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from subject import add

from isolate_fn import isolated

BURST = 20  # calls back to back
WARM_UP = 2  # of each burst, not counted: what was kept ready while others were measured would flatter


def kinds() -> dict[str, Callable[[int], int]]:
    """Return the contestants, each warmed up."""
    pool = ProcessPoolExecutor(1)
    usual = isolated(add)
    unprepared = isolated(prewarm=0)(add)
    prewarmed = isolated(name="prewarmed")(add)
    reused = isolated(reuse=True)(add)

    def rested(number: int) -> int:
        time.sleep(0.03)  # the caller's own work, while the next isolate is built
        began = time.perf_counter()
        prewarmed(number)
        rested.took = time.perf_counter() - began  # type: ignore[attr-defined]
        return number + 1

    def interpreter(number: int) -> int:
        subprocess.run([sys.executable, "-I", "-S", "-c", "pass"], check=True)
        return number + 1

    return {
        "fresh isolate, back to back": usual,
        "fresh isolate, back to back, prewarm=0": unprepared,
        "fresh isolate, caller idle in between": rested,
        "reused worker": reused,
        "ProcessPoolExecutor": lambda number: pool.submit(add, number).result(),
        "bare python -I -S -c pass": interpreter,
        "plain call": add,
    }


def measure(rounds: int) -> dict[str, list[float]]:
    """Return milliseconds by contestant, `BURST` for each round."""
    contestants = kinds()
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for round_number in range(-1, rounds):
        for name, call in contestants.items():
            for number in range(-WARM_UP, BURST):
                began = time.perf_counter()
                assert call(number) == number + 1
                took = getattr(call, "took", time.perf_counter() - began)
                if round_number >= 0 and number >= 0:
                    found[name].append(took * 1000)
    return found


def main() -> None:
    """Measure, print a table, write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    rows = []
    for name, times in measure(options.rounds).items():
        times.sort()
        rows.append((name, times[len(times) // 2], times[0], times[len(times) * 9 // 10]))
    print(f"{'milliseconds':42}{'median':>9}{'min':>9}{'p90':>9}")
    for name, median, least, p90 in rows:
        print(f"{name:42}{median:9.3f}{least:9.3f}{p90:9.3f}")
    if options.json:
        table = {name: {"median": median, "min": least, "p90": p90} for name, median, least, p90 in rows}
        about = {"python": platform.python_version(), "kernel": os.uname().release, "cpus": os.cpu_count(),
                 "user": "root" if os.geteuid() == 0 else "ordinary", "rounds": options.rounds}  # fmt: skip
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"about": about, "milliseconds": table}, file, indent=2)


if __name__ == "__main__":
    main()
