"""Calls per second from several threads and from an event loop: they must not wait for each other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

from benchmarks.findings import Findings, nothing
from benchmarks.rounds import SETTLE, Pace
from benchmarks.suites import subject

COUNTS = (1, 2, 4, 8)

Call = Callable[[int], int]
Drive = Callable[[Call, Executor, int], None]


def measure(pace: Pace) -> Findings:
    """Measure throughput of fresh and warm calls by the number of callers, threads and tasks."""
    add = subject().add
    pool = ProcessPoolExecutor(2)
    for _ in range(2):
        assert pool.submit(add, 1).result() == 2
    from isolate_fn import isolated

    fresh = isolated(name="threads")(add)
    reused = isolated(reuse=True, name="threads, warm")(add)
    kinds: dict[str, tuple[Call, int]] = {
        "fresh": (fresh, pace.of(60, 20)),
        "warm": (reused, pace.of(1500, 300)),
        "ProcessPoolExecutor(2)": (lambda number: int(pool.submit(add, number).result()), pace.of(1500, 300)),
    }
    findings = nothing()
    lines: dict[str, list[list[float]]] = {}
    try:
        for count in COUNTS:
            with ThreadPoolExecutor(count) as threads:
                for name, (call, calls) in kinds.items():
                    for how, drive in {"threads": from_threads, "asyncio": from_asyncio}.items():
                        rates = [rate(drive, call, threads, calls) for _ in range(pace.of(4, 1) + 1)][1:]
                        rates.sort()
                        middle = rates[len(rates) // 2]
                        lines.setdefault(f"{name}, {how}", []).append([count, middle, rates[0], rates[-1]])
    finally:
        fresh.close()
        reused.close()
        pool.shutdown()
    findings["curves"]["threads"] = {
        "what": "throughput", "x": "callers at once", "y": "calls per second", "lines": lines, "missing": {},
    }  # fmt: skip
    for name in ("fresh", "warm"):
        points = lines[f"{name}, threads"]
        findings["facts"][f"{name} calls per second, 2 threads / 1"] = points[1][1] / points[0][1]
    return findings


def rate(drive: Drive, call: Call, threads: Executor, calls: int) -> float:
    """Return calls per second."""
    began = time.perf_counter()
    drive(call, threads, calls)
    found = calls / (time.perf_counter() - began)
    time.sleep(SETTLE)
    return found


def from_threads(call: Call, threads: Any, calls: int) -> None:
    """Share the calls among the threads."""
    assert list(threads.map(call, range(calls))) == list(range(1, calls + 1))


def from_asyncio(call: Call, threads: Any, calls: int) -> None:
    """Make every call a task of an event loop that runs it in the same threads."""

    async def all_of_them() -> list[int]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(threads, call, number) for number in range(calls)))

    assert asyncio.run(all_of_them()) == list(range(1, calls + 1))
