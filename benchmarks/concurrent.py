"""Hundreds of calls on one event loop, written into the documentation: ``python -m benchmarks.concurrent [--write]``.

500 calls that run at the same time; 500 calls asked for at a time, ten times over, awaited and from a thread for each.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
from typing import Any

from benchmarks import machine, stage

PAGE = os.path.join(stage.ROOT, "docs", "asyncio.md")
MARKS = ("<!-- figures: python -m benchmarks.concurrent --write -->\n", "<!-- end of figures -->\n")
COUNT, ROUNDS = 500, 10


def measure(count: int = COUNT, rounds: int = ROUNDS) -> dict[str, Any]:
    """Run the script in each of its ways, in a process of its own."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    found = {}
    with stage.build() as place:
        os.environ[stage.VARIABLE] = place
        for how in ("alive", "awaited", "threads"):
            command = [sys.executable, stage.script("many_awaited"), how, str(count), str(rounds)]
            done = subprocess.run(command, env=stage.environment(place), stdout=subprocess.PIPE, check=True)
            found[how] = json.loads(done.stdout)
    return found


def page(found: dict[str, Any], count: int, rounds: int, taken_on: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    alive, awaited, threads = found["alive"], found["awaited"], found["threads"]

    def row(what: str, name: str, shown: str) -> str:
        return f"| {what} | {shown.format(awaited[name])} | {shown.format(threads[name])} |\n"

    def growth(which: dict[str, Any]) -> str:
        sizes = [size / 1024 for size in which["kib_after_rounds"]]
        return f"{sizes[0]:.1f} MiB, {sizes[-1]:.1f} MiB"

    return (
        f"Taken with CPython {taken_on['python']} on Linux {taken_on['kernel']}, {taken_on['cpus']} processors, "
        f"load {taken_on['load']} before.\n\n"
        f"{count} calls that run at the same time: all run after {alive['seconds_until_all_run']:.1f} s; the caller has "
        f"{alive['threads']} threads and {alive['descriptors']} descriptors; an isolate takes "
        f"{alive['machine_kib_each'] / 1024:.1f} MiB of the machine's memory, of which "
        f"{alive['caller_kib_each']:.0f} KiB are the caller's. Cancelled all at once, they are gone after "
        f"{alive['seconds_until_all_are_gone']:.1f} s, and {alive['descriptors_after']} descriptors are left.\n\n"
        f"{count} short calls asked for at a time, {rounds} times over, a fresh isolate for each:\n\n"
        "| | awaited | a thread for each |\n| --- | --- | --- |\n"
        + row("calls per second", "calls_per_second", "{:.0f}")
        + row("threads of the caller at most", "threads", "{}")
        + row("descriptors of the caller at most", "descriptors", "{}")
        + f"| caller's memory after the first and the last round | {growth(awaited)} | {growth(threads)} |\n"
        + row("caller's peak memory, KiB", "peak_kib", "{}")
        + "\nBetween two turns of a task that sleeps for 1 ms again and again beside them, the loop's thread took "
        f"{awaited['longest_gap'] * 1000:.0f} ms of processor time at most; where {count} calls are cancelled at once, "
        f"{alive['longest_gap'] * 1000:.0f} ms.\n"
    )


def written_into(text: str, figures: str) -> str:
    """Return a page with its figures replaced."""
    before, after = map(re.escape, MARKS)
    return re.sub(f"({before}).*?({after})", lambda found: f"{found[1]}\n{figures}\n{found[2]}", text, count=1, flags=re.DOTALL)


def main() -> None:
    """Measure, and print or write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="into docs/asyncio.md")
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    taken_on = machine.describe()
    figures = page(measure(asked.count, asked.rounds), asked.count, asked.rounds, taken_on)
    if not asked.write:
        print(figures)
        return
    with open(PAGE, encoding="utf-8") as file:
        text = file.read()
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write(written_into(text, figures))


if __name__ == "__main__":
    main()
