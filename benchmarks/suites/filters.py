"""What the filter adds to each system call inside: a loop of one of the cheapest, there and here."""

from __future__ import annotations

from benchmarks.findings import Findings, contest, nothing
from benchmarks.rounds import Contestant, Pace, run
from benchmarks.suites import subject

CALLS = 20_000  # a few milliseconds


def measure(pace: Pace) -> Findings:
    """Measure a getppid loop under the filter and without; each side reads its own clock."""
    from isolate_fn import isolated

    many_getppid = subject().many_getppid
    inside = isolated(reuse=True)(many_getppid)
    few = pace.of(10, 5)
    contestants = {
        "isolate_fn": Contestant(lambda number: inside(CALLS), few, 1, tells=True),
        "unfiltered": Contestant(lambda number: many_getppid(CALLS), few, 1, tells=True),
    }
    try:
        found = run(contestants, pace.of(40, 20))
    finally:
        inside.close()
    findings = nothing()
    findings["contests"]["filter"] = contest(f"{CALLS:,} calls of getppid", found)
    return findings
