"""Carrying data: bytes and numpy arrays in and out again of a reused worker, 1 kB to 1 GB.

The caller touches every page of what it gets, so that nobody is quick by leaving the faults for later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.figures import Rounds, summarise
from benchmarks.findings import Curve, Findings, contest, nothing
from benchmarks.peers.memfd import Carrier
from benchmarks.rounds import Contestant, Pace, run
from benchmarks.suites import subject

SIZES = (10**3, 10**4, 10**5, 10**6, 10**7, 10**8, 10**9)
HUNDRED = 10**8
PAGE = 4096
SECONDS = {False: 10.0, True: 0.5}  # for one size, by quick
SECONDS_OF_HUNDRED = {False: 30.0, True: 6.0}  # there is a budget for it
MOST_ROUNDS = {False: 20, True: 8}
BURSTS = ((0.02, 20), (0.2, 5))  # calls of a burst where one call of each contestant takes less than so many seconds

Carry = Callable[[Any], Any]


def measure(pace: Pace) -> Findings:
    """Measure every size and kind, and 100 MB of numpy by itself for the budget."""
    from concurrent.futures import ProcessPoolExecutor

    pool = ProcessPoolExecutor(1)
    same = subject().same
    pool.submit(same, 0).result()  # it forks this process: before anything else
    bare = Carrier()
    from isolate_fn import Limits, isolated

    reused = isolated(reuse=True, limits=Limits(result="2G"), name="payload")(same)
    carries: dict[str, Carry] = {
        "isolate_fn": reused,
        "bare memfd": bare,
        "ProcessPoolExecutor": lambda payload: pool.submit(same, payload).result(),
    }
    findings = nothing()
    try:
        for kind, make in KINDS.items():
            largest = SIZES[-1] if not pace.quick else HUNDRED if kind == "numpy" else HUNDRED // 10
            sizes = [size for size in SIZES if size <= largest]
            found = {size: one_size(carries, make(size), pace) for size in sizes}
            findings["curves"][f"payload-{kind}"] = curve(kind, found)
            if kind == "numpy":
                findings["contests"]["payload-100MB"] = contest("100 MB numpy array in and out", found[HUNDRED])
    finally:
        reused.close()
        bare.close()
        pool.shutdown()
    return findings


def plain(size: int) -> bytes:
    """Return so many bytes."""
    return b"\x01" * size


def array(size: int) -> Any:
    """Return an array of so many bytes, every page of it there."""
    import numpy

    return numpy.ones(size, dtype=numpy.uint8)


KINDS: dict[str, Callable[[int], Any]] = {"bytes": plain, "numpy": array}


def one_size(carries: Mapping[str, Carry], payload: Any, pace: Pace) -> dict[str, Rounds]:
    """Measure one payload with as many rounds as its time allows."""
    calls = {name: there_and_back(carry, payload) for name, carry in carries.items()}
    for _ in range(2):  # the first may import and start things
        began = time.perf_counter()
        for call in calls.values():
            call(0)
        once = time.perf_counter() - began
    burst = next((burst for seconds, burst in BURSTS if once < seconds), 1)
    lead = 1 if burst > 1 else 0
    allowed = (SECONDS_OF_HUNDRED if len(payload) == HUNDRED else SECONDS)[pace.quick]
    rounds = min(max(int(allowed / (once * (burst + lead))), 2), MOST_ROUNDS[pace.quick])
    contestants = {name: Contestant(call, burst, lead) for name, call in calls.items()}
    return run(contestants, rounds, rehearse=False)


def there_and_back(carry: Carry, payload: Any) -> Callable[[int], int]:
    """Return a contestant that carries a payload and looks at every page of what comes back."""
    length = len(payload)

    def call(number: int) -> int:
        result = carry(payload)
        if len(result) != length or bytes(result[::PAGE])[-1:] != bytes(payload[:1]):
            raise AssertionError("what came back is not what was sent")
        return number + 1

    return call


def curve(kind: str, found: Mapping[int, Mapping[str, Rounds]]) -> Curve:
    """Turn what each size took into lines over sizes."""
    lines: dict[str, list[list[float]]] = {}
    for size, contestants in found.items():
        for name, rounds in contestants.items():
            one = summarise(rounds)
            lines.setdefault(name, []).append([size, one["median"], one["p10"], one["p90"]])
    return {"what": f"{kind} in and out of a reused worker", "x": "bytes", "lines": lines, "missing": {}}
