"""Many isolates at once: what 200 of them cost and hold, and whether the next one costs more because of them."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks import processes
from benchmarks.figures import summarise
from benchmarks.findings import Findings, nothing
from benchmarks.peers.commands import NOTHING_WITHOUT_SITE, command_call
from benchmarks.rounds import Contestant, Pace, burst
from benchmarks.suites import subject
from benchmarks.suites.flat import note_left_over, settled
from benchmarks.suites.memory import wait_for_isolates

COUNTS = (0, 25, 50, 100, 200)

Beside = dict[str, tuple[Callable[[int], int], int]]  # what is called, and how often


def measure(pace: Pace) -> Findings:
    """Have more and more isolates alive, measure calls beside them, use them all, and count what is left."""
    processes.adopt_orphans()
    from isolate_fn import isolated

    add = subject().add
    crowd = isolated(prewarm=0, name="crowd", reuse=True)(add)
    fresh, reused = isolated(prewarm=0, name="beside")(add), isolated(reuse=True, name="beside, warm")(add)
    assert fresh(1) == reused(1) == crowd(1) == 2
    crowd.close()  # its policy is known to the spawner from here on, which keeps a descriptor for it
    before = settled(None)
    (spawner,) = processes.spawners()
    bare = command_call([sys.executable, *NOTHING_WITHOUT_SITE])
    findings = nothing()
    beside: Beside = {
        "fresh isolate": (fresh, pace.of(40, 10)),
        "reused worker": (reused, 200),
        "python -I -S": (bare, pace.of(10, 5)),
    }
    grow(findings, crowd, beside, spawner)
    use_all(crowd, COUNTS[-1])
    crowd.close()
    note_left_over(findings, f"{COUNTS[-1]} at once", before)
    return findings


def grow(findings: Findings, crowd: Any, beside: Beside, spawner: int) -> None:
    """Have more and more isolates wait, and measure calls beside them."""
    lines: dict[str, list[list[float]]] = {name: [] for name in beside}
    free, spent, alive = available(), 0.0, 0
    for alive in COUNTS:
        if alive:
            began = time.perf_counter()
            crowd.warm_up(alive)
            wait_for_isolates(spawner, alive + 1)  # the reused worker is one as well
            spent += time.perf_counter() - began
        if alive == COUNTS[-1]:
            findings["facts"][f"{alive} alive at once, bytes of the machine for each"] = (free - available()) / alive
        for name, (call, calls) in beside.items():
            one = summarise([burst(Contestant(call, calls))])
            lines[name].append([alive, one["median"], one["p10"], one["p90"]])
    findings["facts"][f"{alive} alive at once, seconds until all wait"] = spent
    findings["curves"]["alive"] = {
        "what": "a call beside other isolates that wait", "x": "isolates alive", "lines": lines, "missing": {},
    }  # fmt: skip
    beside_none, *_, beside_all = lines["fresh isolate"]
    findings["facts"][f"fresh isolate beside {alive} / beside none"] = beside_all[1] / beside_none[1]


def use_all(function: Any, count: int) -> None:
    """Call a function from so many threads at once."""
    with ThreadPoolExecutor(count) as threads:
        assert sorted(threads.map(function, range(count))) == list(range(1, count + 1))


def available() -> int:
    """Return what the machine says is available, in bytes; the median of some looks."""
    looks = []
    for _ in range(5):
        with open("/proc/meminfo", encoding="ascii") as file:
            looks.append(next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:")))
        time.sleep(0.05)
    return int(statistics.median(looks))
