"""Hundreds of isolated calls of one process at a time, awaited or by threads; prints figures as JSON.

``many_awaited.py alive|awaited|threads COUNT ROUNDS``
"""

import asyncio
import gc
import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from measured import add, say_and_wait

from isolate_fn import isolated


def status(name: str) -> int:
    """Return a field of this process in KiB."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(f"{name}:"))


def available() -> int:
    """Return what the machine says is available, in KiB."""
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("MemAvailable:"))


class Watch:
    """Looks at this process while something goes on."""

    def __init__(self) -> None:
        self.threads, self.descriptors, self.longest_gap = 0, 0, 0.0

    def look(self) -> None:
        """Look once."""
        self.threads = max(self.threads, threading.active_count())
        self.descriptors = max(self.descriptors, len(os.listdir("/proc/self/fd")))

    async def beat(self) -> None:
        """Look every millisecond, and note how long the loop computed in between."""
        before = time.thread_time()  # of the processor: what other programs take meanwhile is not the loop's doing
        while True:
            await asyncio.sleep(0.001)
            now = time.thread_time()
            self.longest_gap, before = max(self.longest_gap, now - before), now
            self.look()


async def alive(count: int) -> dict[str, Any]:
    """Have so many calls run at the same time, and cancel all of them."""
    here: list[bytes] = []
    hold = isolated(prewarm=0, output=lambda stream, data: here.append(data))(say_and_wait)
    await isolated(prewarm=0)(add).call_async(1)
    watch = Watch()
    beating = asyncio.ensure_future(watch.beat())
    free, memory, began = available(), status("VmRSS"), time.perf_counter()
    tasks = [asyncio.ensure_future(hold.call_async(600)) for _ in range(count)]
    while len(here) < count:
        await asyncio.sleep(0.01)
    until_all = time.perf_counter() - began
    found = {"machine_kib_each": (free - available()) / count, "caller_kib_each": (status("VmRSS") - memory) / count}
    began = time.perf_counter()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    until_none = time.perf_counter() - began
    beating.cancel()
    return {
        **found, "seconds_until_all_run": until_all, "seconds_until_all_are_gone": until_none, "threads": watch.threads,
        "descriptors": watch.descriptors, "descriptors_after": len(os.listdir("/proc/self/fd")),
        "longest_gap": watch.longest_gap,
    }  # fmt: skip


async def awaited(count: int, rounds: int) -> dict[str, Any]:
    """Make so many calls at a time, again and again."""
    function, watch = isolated(add), Watch()
    after: list[int] = []
    await function.call_async(1)
    beating = asyncio.ensure_future(watch.beat())
    began = time.perf_counter()
    for _ in range(rounds):
        assert await asyncio.gather(*map(function.call_async, range(count))) == list(range(1, count + 1))
        gc.collect()
        after.append(status("VmRSS"))
    spent = time.perf_counter() - began
    beating.cancel()
    return {
        "calls_per_second": count * rounds / spent, "threads": watch.threads, "descriptors": watch.descriptors,
        "kib_after_rounds": after, "peak_kib": status("VmHWM"), "longest_gap": watch.longest_gap,
    }  # fmt: skip


def threads(count: int, rounds: int) -> dict[str, Any]:
    """Do the same with a thread for each call."""
    function, watch = isolated(add), Watch()
    after: list[int] = []
    function(1)
    began = time.perf_counter()
    with ThreadPoolExecutor(count) as executor:
        for _ in range(rounds):
            calls = [executor.submit(function, n) for n in range(count)]
            watch.look()
            assert [call.result() for call in calls] == list(range(1, count + 1))
            gc.collect()
            after.append(status("VmRSS"))
    return {
        "calls_per_second": count * rounds / (time.perf_counter() - began), "threads": watch.threads,
        "descriptors": watch.descriptors, "kib_after_rounds": after, "peak_kib": status("VmHWM"),
    }  # fmt: skip


if __name__ == "__main__":
    how, count, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    sys.path.pop(0)  # the directory of this script, which isolates need not be given
    if how == "threads":
        result = threads(count, rounds)
    else:
        result = asyncio.run(alive(count) if how == "alive" else awaited(count, rounds))
    print(json.dumps(result))
