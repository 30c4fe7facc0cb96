"""The end of a program, with calls before it, in it and after it: nothing is left, and nothing is said that is not so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[..., str]
pytestmark = pytest.mark.needs("namespaces")

IN_A_CALL = """
import os, sys, threading
from isolate_fn import isolated, sandbox
begun = threading.Event()
sleep = isolated(prewarm=2, output=lambda *given: begun.set())(
    lambda: print("asleep", flush=True) or __import__("time").sleep(1000))
"""


@pytest.mark.parametrize("called_before", [False, True])
def test_calls_from_atexit(run: Run, called_before: bool) -> None:
    """Callbacks registered before the package is imported come after its own."""
    printed = run(f"""
        import atexit
        atexit.register(lambda: print("last", f(3), warm("x/y"), box()))
        from isolate_fn import isolated, sandbox
        f = isolated(prewarm=2)(lambda n: n + 1)
        warm = isolated(reuse=True)(__import__("os").path.basename)
        def box():
            with sandbox() as inside:
                return inside.run(["true"]).returncode
        if {called_before}:
            f(0), warm("a/b"), warm("a/b"), box()
        atexit.register(lambda: print("first", f(1), warm("x/y"), box()))
    """)
    assert printed == "first 2 y 0\nlast 4 y 0\n"


def test_calls_from_a_thread_that_outlives_the_main_one(run: Run) -> None:
    printed = run("""
        import threading
        from isolate_fn import isolated
        f = isolated(lambda n: n + 1)
        def late():
            threading.main_thread().join()
            print(*map(f, range(5)))
        threading.Thread(target=late).start()
    """)
    assert printed == "1 2 3 4 5\n"


@pytest.mark.parametrize("end", ["", "sys.exit(3)", "os._exit(3)", "with sandbox() as box: sys.exit(3)"])
def test_a_daemon_thread_in_a_call_ends_without_a_word(run: Run, end: str) -> None:
    script = f"threading.Thread(target=sleep, daemon=True).start()\nbegun.wait()\n{end}\n"
    assert run(IN_A_CALL + script, status=3 if end else 0) == ""


def test_what_a_daemon_threads_isolate_wrote_is_left_to_that_thread(run: Run) -> None:
    """The main thread ends its isolate; to read as well would be to read twice, or from what was closed meanwhile."""
    printed = run(IN_A_CALL + """
from isolate_fn._runtime import listening
from isolate_fn._runtime.ends import Ends
ended, pipes, kill, abandon, waiting_in = threading.Event(), [], Ends.kill, Ends.abandon, listening.waiting_in

def in_main():
    return threading.current_thread() is threading.main_thread()

def killed(self):
    if not in_main():
        ended.wait(20)
    elif self.output is not None:
        pipes.extend(self.pipes)
    kill(self)

def abandoned(self):
    in_call = self.output is not None
    abandon(self)
    if in_main() and in_call:
        ended.set()

def asked(pipe):
    if in_main() and pipe in pipes:
        print("the main thread reads it")
    return waiting_in(pipe)

Ends.kill, Ends.abandon, listening.waiting_in = killed, abandoned, asked
threading.Thread(target=sleep, daemon=True).start()
begun.wait()
""")
    assert printed == ""


def test_daemon_threads_that_never_stop_calling(run: Run) -> None:
    printed = run("""
        import itertools, threading
        from isolate_fn import isolated, sandbox
        f = isolated(prewarm=2)(lambda n: n + 1)
        warm = isolated(reuse=True)(len)
        done = threading.Semaphore(0)
        def work():
            for n in itertools.count():
                assert f(n) == n + 1 and warm("abc") == 3
                done.release()
        for _ in range(3):
            threading.Thread(target=work, daemon=True).start()
        for _ in range(30):
            done.acquire()
    """)
    assert printed == ""


def test_a_daemon_thread_whose_spawner_is_being_started(run: Run) -> None:
    printed = run("""
        import atexit, threading, time
        begun, over = threading.Event(), threading.Event()
        atexit.register(over.wait)
        from isolate_fn import isolated
        from isolate_fn._runtime import lifetime
        from isolate_fn._runtime.spawner_client import SpawnerClient
        def stay(real=lifetime.stay_if_over):
            over.set()
            real()
        def tell(args, real=threading.excepthook):
            real(args)
            over.set()
        lifetime.stay_if_over, threading.excepthook, real = stay, tell, SpawnerClient._await_greeting
        def late(self):
            begun.set()
            while self.control.fileno() >= 0:
                time.sleep(0.001)
            return real(self)
        SpawnerClient._await_greeting = late
        threading.Thread(target=isolated(len), args=("abc",), daemon=True).start()
        begun.wait()
    """)
    assert printed == ""


@pytest.mark.parametrize(
    ("leave", "status"), [("sys.exit(4)", 4), ("os._exit(5)", 5), ("raise LookupError", 1), ("os.abort()", 134)]
)
@pytest.mark.parametrize("where", ["in a block", "in a call's output", "with isolates waiting"])
def test_the_main_thread_leaves(run: Run, where: str, leave: str, status: int) -> None:
    script = {
        "in a block": f"with sandbox() as box:\n    box.call(len, '')\n    {leave}\n",
        "in a call's output": (
            f"def hear(*given):\n    {leave}\n"
            "isolated(output=hear)(lambda: print('x', flush=True) or __import__('time').sleep(1000))()\n"
        ),
        "with isolates waiting": f"sleep.warm_up(3)\nisolated(len)('')\nbox = sandbox().__enter__()\n{leave}\n",
    }[where]
    printed = run(IN_A_CALL + script, status=status, stderr=True)
    assert ("LookupError" in printed) == ("LookupError" in leave)
    assert "isolate_fn.errors" not in printed


@pytest.mark.parametrize("asked", ["SystemExit(0)", "KeyboardInterrupt"])
def test_a_signal_that_comes_while_the_program_ends(run: Run, asked: str) -> None:
    """The handlers of servers raise: everything is ended nevertheless, and nothing is said."""
    printed = run(f"""
        import atexit, os, signal
        children = f"/proc/self/task/{{os.getpid()}}/children"
        atexit.register(lambda: print(len(sent), "left:", open(children).read()))
        from isolate_fn import Limits, isolated
        from isolate_fn._runtime.ends import Ends
        def handler(*given):
            raise {asked}
        signal.signal(signal.SIGTERM, handler)
        functions = [isolated(prewarm=2, limits=Limits(memory=size << 20))(len) for size in (300, 400)]
        for function in functions:
            function.warm_up()
        kill, sent = Ends.kill, []
        def interrupted(self):
            kill(self)
            if len(sent) < 3:
                sent.append(signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGTERM)
        atexit.register(lambda: setattr(Ends, "kill", interrupted))
    """)
    assert printed == "3 left: \n"


def test_a_block_that_nobody_leaves(run: Run, inside: str) -> None:
    """An object that is dropped takes its processes and descriptors with it."""
    printed = run(
        inside
        + """
from isolate_fn import sandbox
with sandbox() as box:
    pass
before = descriptors()
box = sandbox().__enter__()
assert box.call(len, "abc") == 3
handle = os.dup(box._isolate.pidfd)
del box
gc.collect()
import select
poll = select.poll()
poll.register(handle, select.POLLIN)
assert poll.poll(10_000)
os.close(handle)
nothing_left(before)
print("gone")
"""
    )
    assert printed == "gone\n"
