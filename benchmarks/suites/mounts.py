"""Cost against the number of mounts: the first call of a policy, which prepares what its isolates share, and later ones."""

from __future__ import annotations

import os
import tempfile
import time

from benchmarks.figures import Rounds, summarise
from benchmarks.findings import Findings, nothing
from benchmarks.rounds import Contestant, Pace, run
from benchmarks.suites import subject

COUNTS = (0, 10, 50, 100, 200)


def measure(pace: Pace) -> Findings:
    """Measure policies that differ in how many directories they grant read-only."""
    from isolate_fn import isolated, ro

    add = subject().add
    findings = nothing()
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        sources = [os.path.join(root, f"{number:03}") for number in range(COUNTS[-1])]
        for source in sources:
            os.mkdir(source)
        functions = {
            count: isolated(
                prewarm=0, name=f"{count} mounts",
                mounts=[ro(source, f"/data/{number:03}") for number, source in enumerate(sources[:count])],
            )(add)
            for count in COUNTS
        }  # fmt: skip
        isolated(prewarm=0, name="starts the spawner")(add)(1)
        first: dict[int, Rounds] = {}
        for count, function in functions.items():
            began = time.perf_counter()
            assert function(1) == 2
            first[count] = [[time.perf_counter() - began]]
        contestants = {str(count): Contestant(function, 5, 1) for count, function in functions.items()}
        found = run(contestants, pace.of(20, 4))
        later = {count: found[str(count)] for count in COUNTS}
        for function in functions.values():
            function.close()
    lines = {"first call of a policy": line(first), "later calls": line(later)}
    findings["curves"]["mounts"] = {"what": "fresh isolate", "x": "read-only mounts", "lines": lines, "missing": {}}
    return findings


def line(found: dict[int, Rounds]) -> list[list[float]]:
    """Return the points of a curve."""
    summaries = {count: summarise(rounds) for count, rounds in found.items()}
    return [[count, one["median"], one["p10"], one["p90"]] for count, one in summaries.items()]
