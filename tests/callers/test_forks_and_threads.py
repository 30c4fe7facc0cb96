"""Callers that fork, and callers of many threads; and both at once."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., str]
pytestmark = pytest.mark.needs("namespaces")

# CPython 3.12 and newer warn about a fork beside threads; that it works is what is tested here.
QUIET = ("-W", "ignore:This process:DeprecationWarning")


def test_a_hundred_threads_call_at_once(run: Run, inside: str) -> None:
    printed = run(
        inside
        + """
from concurrent.futures import ThreadPoolExecutor
from isolate_fn import isolated
from isolate_fn._runtime import pool
fresh = isolated(prewarm=1)(lambda n: (n, os.getpid() < 20))
warm = isolated(reuse=True)(os.path.basename)
fresh(0), warm("a")
pool.close_all()
before = descriptors()
barrier = threading.Barrier(100)
def work(n):
    barrier.wait()
    return fresh(n) == (n, True) and warm(f"a/{n}") == str(n)
with ThreadPoolExecutor(100) as threads:
    print(sum(threads.map(work, range(100))))
pool.close_all()
nothing_left(before)
"""
    )
    assert printed == "100\n"


def test_a_thread_that_ends_leaves_what_it_started_to_the_others(run: Run) -> None:
    printed = run("""
        import os, threading
        from isolate_fn import isolated, sandbox
        f = isolated(prewarm=2)(lambda n: n + 1)
        warm = isolated(reuse=True)(os.path.basename)
        boxes = []
        def start():
            f.warm_up(2), f(1), warm("a/b")
            boxes.append(sandbox().__enter__())
            boxes[0].call(os.putenv, "A", "B")
        thread = threading.Thread(target=start)
        thread.start()
        thread.join()
        # Its process is told the moment its thread is gone, by PR_SET_PDEATHSIG, where that were still set.
        print(f(2), warm("c/d"), boxes[0].call(len, "abc"), boxes[0].run(["true"]).returncode)
        boxes[0].__exit__(None, None, None)
    """)
    assert printed == "3 d 3 0\n"


def test_a_fork_beside_a_call_of_another_thread(run: Run, inside: str) -> None:
    printed = run(
        inside
        + """
from isolate_fn import isolated, sandbox
begun, results = threading.Event(), []
hear = lambda stream, data: begun.set()
f = isolated(prewarm=1)(lambda n: n + 1)
f(0)
def wait():
    return print("begun", flush=True) or __import__("sys").stdin.read() or __import__("time").sleep(0.7) or "slept"
with sandbox(output=hear) as box:
    threads = [threading.Thread(target=lambda: results.append(isolated(output=hear)(wait)()))]
    threads.append(threading.Thread(target=lambda: results.append(box.call(wait))))
    for thread in threads:
        begun.clear()
        thread.start()
        begun.wait()
    pid = os.fork()
    if pid == 0:
        assert sorted(descriptors()) == [0, 1, 2], descriptors()
        print("child", f(10), f(20), isolated(reuse=True)(len)("abc"), flush=True)
        try:
            box.call(len, "")
        except Exception as error:
            print(type(error).__name__, flush=True)
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    for thread in threads:
        thread.join()
    print(results, f(1), box.call(len, "abcd"))
""",
        options=QUIET,
    )
    assert printed == "child 11 21 3\nPolicyError\n['slept', 'slept'] 2 4\n"


def test_forks_at_any_moment_of_other_threads_calls(run: Run, inside: str) -> None:
    """A child has no descriptor of what another thread was making, and can make calls of its own."""
    printed = run(
        inside
        + """
from isolate_fn import isolated, sandbox
f = isolated(prewarm=1)(lambda n: n + 1)
warm = isolated(reuse=True)(os.path.basename)
f(0)
stop, failed = threading.Event(), []
def work():
    try:
        while not stop.is_set():
            assert f(1) == 2 and warm("a/b") == "b"
            f.options(timeout=1000 + int.from_bytes(os.urandom(2)))(1)  # another policy, prepared anew
    except BaseException as error:
        failed.append(error)
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
codes = set()
for turn in range(40):
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)  # a lock that another thread held is nobody's here
        # Whose end somebody waits for; not files that a thread was reading, nor handles that it was just being given.
        extra = sum(number > 2 and link.startswith(("socket:", "pipe:")) for number, link in descriptors().items())
        if turn % 10 == 0:
            assert f(2) == 3 and warm("c/d") == "d" and f.options(timeout=turn + 1)(3) == 4
        os._exit(min(extra, 100))
    codes.add(os.waitpid(pid, 0)[1])
stop.set()
for thread in threads:
    thread.join()
print(codes, failed)
""",
        options=QUIET,
    )
    assert printed == "{0} []\n"


def test_a_child_of_a_child_and_a_parent_that_ends_first(run: Run) -> None:
    printed = run("""
        import os, sys
        from isolate_fn import isolated
        f = isolated(prewarm=2)(lambda n: n + 1)
        f(0)
        here, there = os.pipe()
        if os.fork() == 0:
            f(1)
            if os.fork() == 0:
                os.close(there)
                os.read(here, 1)  # both before it are gone
                print(f(2), flush=True)
            os._exit(0)
        os.wait()
        os._exit(0)
    """)
    assert printed == "3\n"


def test_multiprocessing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        textwrap.dedent("""
        import multiprocessing, os
        from isolate_fn import isolated
        @isolated
        def square(n):
            return n * n, os.getpid() < 20
        @isolated(reuse=True)
        def triple(n):
            return 3 * n
        def work(n):
            return square(n), triple(n), triple(n)
        def serve(connection):
            connection.send(work(connection.recv()))
        if __name__ == "__main__":
            assert square(5) == (25, True) and triple(5) == 15  # the children inherit, or import, what was used
            for method in ("fork", "spawn", "forkserver"):
                context = multiprocessing.get_context(method)
                here, there = context.Pipe()
                for daemon in (False, True):  # a daemonic process may not have children by multiprocessing
                    process = context.Process(target=serve, args=(there,), daemon=daemon)
                    process.start()
                    here.send(3)
                    print(method, here.recv())
                    process.join()
                    assert process.exitcode == 0
        """)
    )
    expected = [f"{method} ((9, True), 9, 9)" for method in ("fork", "spawn", "forkserver") for _ in range(2)]
    assert run("", "program.py").splitlines() == expected


def test_process_pools(run: Run, tmp_path: Path) -> None:
    try:
        __import__("multiprocessing").get_context("spawn").Lock()
    except OSError as refused:
        pytest.skip(f"multiprocessing has no semaphores here: {refused}")
    (tmp_path / "program.py").write_text(
        textwrap.dedent("""
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor
        from isolate_fn import isolated
        @isolated
        def square(n):
            return n * n
        if __name__ == "__main__":
            square(1)
            for method in ("fork", "spawn", "forkserver"):
                with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool:
                    print(list(pool.map(square, range(4))))
        """)
    )
    assert run("", "program.py", options=QUIET) == "[0, 1, 4, 9]\n" * 3
