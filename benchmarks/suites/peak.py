"""The caller's peak memory while it carries 100 MB in and out, its own array and the result's pages included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks import processes
from benchmarks.findings import Findings, nothing
from benchmarks.peers.memfd import Carrier
from benchmarks.rounds import Pace
from benchmarks.suites import subject
from benchmarks.suites.payload import HUNDRED, PAGE, array


def measure(pace: Pace) -> Findings:
    """Measure the peak over what was resident before the payload was made, as a multiple of the payload."""
    from concurrent.futures import ProcessPoolExecutor

    pool = ProcessPoolExecutor(1)
    same = subject().same
    pool.submit(same, 0).result()
    bare = Carrier()
    from isolate_fn import Limits, isolated

    reused = isolated(reuse=True, limits=Limits(result="2G"), name="peak")(same)
    carries: dict[str, Callable[[Any], Any]] = {
        "isolate_fn": reused,
        "bare memfd": bare,
        "ProcessPoolExecutor": lambda payload: pool.submit(same, payload).result(),
    }
    findings = nothing()
    try:
        for name, carry in carries.items():
            carry(array(PAGE))  # what is imported and started once is not the payload's
            peaks = [peak(carry) for _ in range(pace.of(5, 2))]
            findings["facts"][f"peak memory / payload, {name}"] = max(peaks) / HUNDRED
    finally:
        reused.close()
        bare.close()
        pool.shutdown()
    return findings


def peak(carry: Callable[[Any], Any]) -> int:
    """Return the bytes that this process had at most above what it has now."""
    processes.forget_peak()
    before = processes.status("VmRSS")
    payload = array(HUNDRED)
    result = carry(payload)
    assert int(result[::PAGE].sum()) == len(result[::PAGE]) == len(payload[::PAGE])  # both are there, and touched
    return processes.status("VmHWM") - before
