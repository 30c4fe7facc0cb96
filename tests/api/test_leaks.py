"""Hundreds of calls leave the caller as it was: descriptors, processes, mounts, directories, threads, memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest

# Run in a process of its own, whose whole state can then be compared.
SETUP = """
import gc, os, sys, tempfile, threading
from concurrent.futures import ThreadPoolExecutor
from isolate_fn import Limits, isolated, ro, sandbox, tmpfs
from isolate_fn._runtime import pool
from isolate_fn.errors import Crashed, IsolationError, TimedOut

def children():
    mine = {str(os.getpid())}
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = open(f"/proc/{name}/stat").read().rpartition(")")[2].split()
            except OSError:
                continue
            parents[name] = fields[1]
    return sorted(name for name, parent in parents.items() if parent in mine)

def state():
    gc.collect()
    links = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            links[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass
    return {
        "descriptors": len(links),
        "children": children(),
        "mounts": open("/proc/self/mountinfo").read(),
        "temporary": sorted(name for name in os.listdir(tempfile.gettempdir()) if "isolate" in name),
        "threads": threading.active_count(),
        "native threads": len(os.listdir("/proc/self/task")),
        "held": len(pool._pool().waiting) if pool._state else 0,
    }

def memory():
    gc.collect()
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024

def compare(before, after):
    for name, value in before.items():
        assert after[name] == value, (name, value, after[name])

@isolated(prewarm=0)
def square(n):
    return n * n
"""

Run = Callable[..., str]


def test_three_hundred_calls_in_a_row(run_python: Run) -> None:
    printed = run_python(
        SETUP
        + """
for n in range(20):
    square(n)
before, size = state(), memory()
for n in range(300):
    assert square(n) == n * n
compare(before, state())
print("same", memory() - size < 4 << 20)
pool.close_all()
assert state()["descriptors"] < before["descriptors"]
"""
    )
    assert printed == "same True\n"


def test_prewarmed_isolates_are_gone_after_close(run_python: Run) -> None:
    printed = run_python(
        SETUP
        + """
warm = isolated(prewarm=2)(lambda n: n)
for n in range(5):
    warm(n)
warm.close()
pool.close_all()
before, size = state(), memory()
for n in range(60):
    assert warm(n) == n
warm.warm_up(4)
assert state()["descriptors"] > before["descriptors"]
warm.close()
pool.close_all()
compare(before, state())
print("same", memory() - size < 4 << 20)
"""
    )
    assert printed == "same True\n"


def test_fifty_at_once(run_python: Run) -> None:
    printed = run_python(
        SETUP
        + """
def round():
    barrier = threading.Barrier(50)
    def work(n):
        barrier.wait()
        return square(n)
    with ThreadPoolExecutor(50) as executor:
        assert list(executor.map(work, range(50))) == [n * n for n in range(50)]
round()
before, size = state(), memory()
round()
round()
compare(before, state())
print("same", memory() - size < 8 << 20)
"""
    )
    assert printed == "same True\n"


@pytest.mark.parametrize("kind", ["error", "crash", "timeout", "limits", "rejected", "policies", "sandbox", "big", "output"])
def test_every_kind_of_end(kind: str, run_python: Run) -> None:
    printed = run_python(
        SETUP
        + """
def expect(error, function, *args):
    try:
        function(*args)
    except error:
        return
    raise AssertionError("nothing was raised")

crash = isolated(prewarm=0)(lambda: os.abort())
fail = isolated(prewarm=0)(lambda: 1 / 0)
wait = isolated(prewarm=0, timeout=0.3)(lambda: __import__("time").sleep(60))
flood = isolated(prewarm=0, limits=Limits(output=1000), output="discard")(lambda: print("x" * 100000))
refused = isolated(prewarm=0)(lambda: object())
big = isolated(prewarm=0)(lambda data: data)
raising = isolated(prewarm=0, output=lambda stream, data: 1 / 0)(lambda: print("x"))

def boxes():
    with sandbox(output="discard") as box:
        box.put("x", b"1" * 100000)
        assert len(box.get("x")) == 100000
        for options in ({}, {"capture_output": True}, {"input": b"x", "capture_output": True}):
            box.run(["cat"], **options)
        expect(FileNotFoundError, box.run, ["no-such-program"])
        expect(ZeroDivisionError, box.call, lambda: 1 / 0)
        expect(ValueError, box.run, [])
        expect(Crashed, box.call, lambda: os._exit(3))

def once(kind, n):
    if kind == "error": expect(ZeroDivisionError, fail)
    if kind == "crash": expect(Crashed, crash)
    if kind == "timeout": expect(TimedOut, wait)
    if kind == "limits": expect(IsolationError, flood)
    if kind == "rejected":
        expect(IsolationError, refused)
        expect(IsolationError, big, threading.Lock())
    if kind == "policies": assert isolated(prewarm=0, mounts=[tmpfs(f"/m{n}")])(lambda: 1)() == 1
    if kind == "sandbox": boxes()
    if kind == "big": assert len(big(bytes(1 << 20))) == 1 << 20
    if kind == "output": expect(ZeroDivisionError, raising)

kind = os.environ["KIND"]
for n in range(2):
    once(kind, n)
before, size = state(), memory()
for n in range(2, 6 if kind in ("timeout", "sandbox", "policies") else 14):
    once(kind, n)
compare(before, state())
print("same", memory() - size < 8 << 20)
""",
        env={"KIND": kind},
    )
    assert printed == "same True\n"
