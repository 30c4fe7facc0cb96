"""A thousand isolates one after another and ten thousand warm calls: each like the first, nothing left, nothing grows."""

from __future__ import annotations

import os
import statistics
import time
from array import array
from collections.abc import Callable

from benchmarks import processes
from benchmarks.findings import Curve, Findings, nothing
from benchmarks.rounds import Pace
from benchmarks.suites import subject

STEPS = 20  # points of the curve of memory
MOST_SECONDS = 20.0


def measure(pace: Pace) -> Findings:
    """Measure cost and memory over many calls, and count what is left when all is closed."""
    processes.adopt_orphans()
    from isolate_fn import isolated

    add = subject().add
    fresh, reused = isolated(prewarm=0, name="many")(add), isolated(reuse=True, name="one")(add)
    assert fresh(1) == reused(1) == 2
    reused.close()
    before = settled(None)
    findings = nothing()
    many(findings, "fresh", fresh, pace.of(1000, 200))
    many(findings, "warm", reused, pace.of(10_000, 2000))
    fresh.close()
    reused.close()
    note_left_over(findings, "many calls", before)
    return findings


def many(findings: Findings, name: str, function: Callable[[int], int], count: int) -> None:
    """Call a function that often; note the last tenth's cost over the first's, and memory at every twentieth."""
    times = array("d", bytes(8 * count))  # all at once: what we keep must not look like what they keep
    lines: dict[str, list[list[float]]] = {}
    (spawner,) = processes.spawners()
    for number in range(count):
        began = time.perf_counter()
        assert function(number) == number + 1
        times[number] = time.perf_counter() - began
        if (number + 1) % (count // STEPS) == 0:
            for who, pid in (("caller", os.getpid()), ("spawner", spawner)):
                resident = float(processes.status("VmRSS", pid))
                lines.setdefault(who, []).append([number + 1, resident, resident, resident])
    tenth = count // 10
    last, first = statistics.median(times[-tenth:]), statistics.median(times[:tenth])
    findings["facts"][f"{name} calls, last tenth / first tenth"] = last / first
    for who, points in lines.items():  # the first tenth may import and fill caches; what grows after it, grows on
        findings["facts"][f"{name} calls, growth of the {who}"] = points[-1][1] - points[1][1]
    found: Curve = {"what": f"memory over {name} calls", "x": "calls", "y": "bytes", "lines": lines, "missing": {}}
    findings["curves"][f"memory-{name}"] = found


def settled(aim: dict[str, int] | None) -> dict[str, int]:
    """Return what is held once it stops changing, or as soon as it is no more than the aim; processes take a moment to end."""
    latest = time.monotonic() + MOST_SECONDS
    last: dict[str, int] = {}
    while time.monotonic() < latest:
        now = processes.holdings()
        if aim is not None and all(count <= aim.get(name, 0) for name, count in now.items()):
            return now
        if aim is None and now == last:
            return now
        last = now
        time.sleep(0.25)
    return last


def note_left_over(findings: Findings, what: str, before: dict[str, int]) -> None:
    """Note by how much more is held than before, one by one and together."""
    left = {name: count - before.get(name, 0) for name, count in settled(before).items()}
    for name, count in left.items():
        findings["facts"][f"left over after {what}: {name}"] = count
    findings["facts"][f"left over after {what}"] = sum(max(count, 0) for count in left.values())
