"""Callers that fork, exit, interrupt or submit in masses: each in a process of its own, whose whole state is compared."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from executor_util import ROOT, assert_python_ok

HEAD = """
import os, signal, sys, threading, time
import concurrent.futures
from concurrent.futures import BrokenExecutor, CancelledError, wait
import executor_tasks as tasks
from isolate_fn import IsolatedExecutor, isolated, sandbox
FOR_EVER = 600

def running(future):
    while not future.running():
        assert not future.done(), future
        time.sleep(0.001)
    return future
"""

STATE = """
from isolate_fn._runtime import lifetime, pool

def children():
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return file.read().split()

def state():
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "native threads": len(os.listdir("/proc/self/task")),
        "isolates": sum(hasattr(held, "pidfd") for held in lifetime._held),
        "children": children(),
    }
"""


SETTLE = """
def at_rest():
    # A thread that was joined is counted by the kernel for a moment yet.
    deadline = time.monotonic() + 60
    while len(os.listdir("/proc/self/task")) != threading.active_count() and time.monotonic() < deadline:
        time.sleep(0.01)
    return state()

def settled(before):
    # An isolate that can do no harm is killed but not waited for, and a thread that was joined is still ending.
    deadline = time.monotonic() + 60
    while (now := state()) != before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert now == before, (before, now)
"""


def test_two_thousand_tasks_of_eight_threads() -> None:
    out, err = assert_python_ok(
        HEAD
        + STATE
        + SETTLE
        + """
def all_of_them(**options):
    with IsolatedExecutor(4, **options) as executor:
        made = []
        def submit(base):
            for n in range(base, base + 250):
                made.append((n, executor.submit(abs, -n)))
        threads = [threading.Thread(target=submit, args=(1000 * n,)) for n in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert len(made) == 2000
        assert all(future.result() == n for n, future in made)

all_of_them(reuse=True)
before = at_rest()
all_of_them(reuse=True)
all_of_them(reuse=100)
settled(before)
print("same")
"""
    )
    assert (out, err) == ("same\n", "")


def test_nothing_is_left_of_any_way_to_end() -> None:
    out, err = assert_python_ok(
        HEAD
        + STATE
        + SETTLE
        + """
def round():
    for options in ({}, {"reuse": True}, {"reuse": 2}):
        with IsolatedExecutor(3, initializer=tasks.init, initargs=("x",), **options) as executor:
            futures = [executor.submit(tasks.end, how) for how in ("abort", "exit", "kill", "close")]
            futures += [executor.submit(abs, -n) for n in range(10)]
            futures += [executor.submit(time.sleep, FOR_EVER) for n in range(6)]
            wait(futures[:14])
            for future in futures: future.cancel()
            assert not wait(futures).not_done
    forgotten = IsolatedExecutor(2)
    forgotten.submit(abs, -1)
    threads = set(forgotten._crew.threads)
    del forgotten
    for thread in threads: thread.join()
    with sandbox() as box:
        assert box.submit(abs, -1).result() == 1
    function = isolated(abs)
    assert list(function.map(range(20))) == list(range(20))
    function.close()
    crew = sys.modules["isolate_fn._api.submitting"]._crews[function]
    threads = set(crew.threads)
    del function, crew
    for thread in threads: thread.join()

round()
before = at_rest()
round()
settled(before)
print("same")
"""
    )
    assert err.count("Traceback") == 0, err
    assert out == "same\n"


def test_exit_while_another_thread_submits() -> None:
    out, err = assert_python_ok(
        HEAD
        + """
executor = IsolatedExecutor(2)
refused = []

def submit():
    try:
        while True:
            executor.submit(tasks.say, "done")
            time.sleep(0.05)
    except RuntimeError as error:
        os.write(1, f"{error}\\n".encode())

for _ in range(4):
    threading.Thread(target=submit).start()
executor.submit(tasks.say, "first").result()
"""
    )
    assert err == ""
    lines = out.splitlines()
    assert lines.count("cannot schedule new futures after interpreter shutdown") == 4
    assert set(lines) == {"first", "done", "cannot schedule new futures after interpreter shutdown"}


def test_exit_does_what_functions_and_sandboxes_have_submitted() -> None:
    out, err = assert_python_ok(
        HEAD
        + """
isolated(tasks.sleep_and_print).submit(0.1, "function")
box = sandbox().__enter__()
box.submit(tasks.sleep_and_print, 0.1, "sandbox")
executor = IsolatedExecutor(1)
first = executor.submit(tasks.sleep_and_print, 0.1, "executor")
def again(future):
    try:
        executor.submit(abs, 1)
    except RuntimeError as error:
        print("callback:", error)
first.add_done_callback(again)
"""
    )
    assert err == ""
    expected = ["function", "sandbox", "executor", "callback: cannot schedule new futures after interpreter shutdown"]
    assert sorted(out.splitlines()) == sorted(expected)


@pytest.mark.parametrize("leave", ["pass", "sys.exit(5)", "os._exit(5)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_exit_of_any_kind_leaves_no_process(tmp_path: Path, leave: str) -> None:
    """Whether the executor's tasks are waited for or the caller dies: nothing goes on."""
    script = HEAD + (
        f"""
from isolate_fn import rw
executor = IsolatedExecutor(2, mounts=[rw({str(tmp_path)!r}, "/out")])
future = running(executor.submit(tasks.grow, "/out/file"))
for name in ({str(tmp_path / "file")!r}, {str(tmp_path / "file.thread")!r}):
    while not os.path.exists(name): time.sleep(0.001)
if {leave in ("pass", "sys.exit(5)")!r}:
    threading.Timer(0.2, future.cancel).start()
{leave}
"""
    )
    assert_python_ok(script, fails=True)
    file = tmp_path / "file"
    sizes = [-1, file.stat().st_size]
    while sizes[-1] != sizes[-2]:  # ends: the caller is dead, which the isolate is told by the end of its socket
        time.sleep(0.1)
        sizes.append(file.stat().st_size)


def test_interrupted_exit_kills_what_runs() -> None:
    script = HEAD + (
        """
executor = IsolatedExecutor(1)
future = running(executor.submit(time.sleep, FOR_EVER))
waits = executor.submit(tasks.say, "never")
print("ready", flush=True)
"""
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{Path(__file__).parent}"}
    process = subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    while process.poll() is None:  # the first may come before it waits; it is the second then that it hears
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    out, err = process.communicate()
    assert "never" not in out
    assert "KeyboardInterrupt" in err


def test_a_forked_child() -> None:
    """It waits for nobody else's tasks, can submit its own, and disturbs nothing of its parent's."""
    out, err = assert_python_ok(
        HEAD
        + """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
executor = IsolatedExecutor(2, reuse=True)
add = isolated(tasks.mul)
add.submit(1, 2).result()
executor.submit(abs, -1).result()
called = []
runs = running(executor.submit(time.sleep, FOR_EVER))
more = [executor.submit(time.sleep, FOR_EVER) for _ in range(5)]
done = isolated(abs).submit(-3)
assert done.result() == 3
for future in (runs, *more): future.add_done_callback(called.append)
pid = os.fork()
if pid == 0:
    try:
        assert done.result() == 3
        for future in (runs, *more):
            assert isinstance(future.exception(), BrokenExecutor), future
            assert "forked" in str(future.exception()), future
            assert not future.cancel()
        assert not called
        assert executor.submit(abs, -7).result() == 7
        assert list(executor.map(abs, range(-3, 0))) == [3, 2, 1]
        assert add.submit(6, 7).result() == 42
        executor.shutdown()
        with IsolatedExecutor(1) as other:
            assert other.submit(abs, -8).result() == 8
        status = 0
    except BaseException:
        import traceback
        traceback.print_exc()
        status = 1
    finally:
        os._exit(status)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert runs.running()
for future in (runs, *more): assert future.cancel()
assert len(called) == 6
assert executor.submit(abs, -9).result() == 9
executor.shutdown()
print("done")
"""
    )
    assert (out, err) == ("done\n", "")


def test_a_child_forked_at_any_moment_exits_as_ever() -> None:
    out, err = assert_python_ok(
        HEAD
        + """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
executor = IsolatedExecutor(3)
stop = threading.Event()
def submit():
    while not stop.is_set():
        wait([executor.submit(abs, -1), executor.submit(time.sleep, FOR_EVER)], return_when="FIRST_COMPLETED")
        executor._crew.kill()
threads = [threading.Thread(target=submit) for _ in range(3)]
for thread in threads: thread.start()
for _ in range(30):
    pid = os.fork()
    if pid == 0:
        os.environ.pop("nothing", None)
        sys.exit(0)  # through the exit hooks of the crews
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
stop.set()
for thread in threads: thread.join()
executor._crew.kill()
executor.shutdown()
print("done")
"""
    )
    assert (out, err) == ("done\n", "")


def test_no_descriptors_left() -> None:
    """The future says so, and the executor works again when there are some."""
    out, err = assert_python_ok(
        HEAD
        + """
import resource
executor = IsolatedExecutor(2)
executor.submit(abs, -1).result()
executor.shutdown()
executor = IsolatedExecutor(2)
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
held = []
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
try:
    while True: held.append(os.open("/dev/null", os.O_RDONLY))
except OSError: pass
errors = [executor.submit(abs, -1).exception() for _ in range(4)]
for descriptor in held: os.close(descriptor)
assert {type(error) for error in errors} == {OSError}, errors
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
assert executor.submit(abs, -5).result() == 5
executor.shutdown()
print("done")
"""
    )
    assert (out, err) == ("done\n", "")


def test_a_signal_handler_that_submits() -> None:
    out, err = assert_python_ok(
        HEAD
        + """
executor = IsolatedExecutor(2, reuse=True)
made = []
def handler(number, frame):
    made.append(executor.submit(abs, -2))
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
made += [executor.submit(abs, -2) for _ in range(500)]
signal.setitimer(signal.ITIMER_REAL, 0)
assert len(made) > 500
executor.shutdown()
assert {future.result() for future in made} == {2}
print("done")
"""
    )
    assert (out, err) == ("done\n", "")
