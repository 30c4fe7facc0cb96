"""Private memory of a spawner and of one idle prewarmed isolate; as root, for nobody else may look into them."""

from __future__ import annotations

import statistics
import time

from benchmarks import processes
from benchmarks.findings import Findings, nothing
from benchmarks.rounds import Pace
from benchmarks.suites import subject

WAITING = 10  # idle isolates looked at; what each has for itself does not depend on how many there are
MOST_SECONDS = 30.0


def measure(pace: Pace) -> Findings:
    """Look at idle isolates and their spawner."""
    processes.adopt_orphans()
    from isolate_fn import isolated

    findings = nothing()
    function = isolated(name="idle")(subject().add)
    assert function(1) == 2
    function.warm_up(WAITING)
    (spawner,) = processes.spawners()
    wait_for_isolates(spawner, WAITING)
    names = ("idle isolate, private", "spawner, private")
    try:
        each = [processes.private(pids) for pids in processes.isolates(spawner)]
        findings["facts"].update(zip(names, (statistics.median(each), processes.private([spawner])), strict=True))
    except PermissionError:
        findings["absent"].update(dict.fromkeys(names, "only root may read the memory of isolates"))
    findings["facts"]["spawner, resident"] = processes.status("VmRSS", spawner)
    function.close()
    return findings


def wait_for_isolates(spawner: int, count: int) -> None:
    """Wait until so many isolates have their worker, and those have come to rest.

    Raises:
        TimeoutError: they have not after half a minute.
    """
    latest = time.monotonic() + MOST_SECONDS
    steady = 0
    while steady < 5:
        if time.monotonic() > latest:
            raise TimeoutError(f"{count} isolates were not there in {MOST_SECONDS:.0f} s")
        found = processes.isolates(spawner)
        ready = len(found) >= count and all(len(pids) >= 2 for pids in found) and all(map(_sleeps, found))
        steady = steady + 1 if ready else 0
        time.sleep(0.05)


def _sleeps(pids: list[int]) -> bool:
    """True if no process of an isolate is running just now: a finished one waits for its call."""
    for pid in pids:
        with open(f"/proc/{pid}/stat", "rb") as file:
            if file.read().rpartition(b")")[2].split()[0] not in (b"S", b"I"):
                return False
    return True
