"""How calls end that do not end well: the right error with its fields, at once, and nothing left over."""

from __future__ import annotations

import os
import signal
import threading
import time

import caller
import hostile
import pytest
from caller import isolates, spawners, wait_for
from support import python, run_without

from isolate_fn.errors import Crashed, RemoteError, TimedOut

pytestmark = pytest.mark.needs("namespaces")

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
AT_ONCE = 5.0  # seconds, on a busy machine; what waits for a deadline by mistake takes longer


@pytest.fixture(scope="module", autouse=True)
def spawner():
    """Start what all calls share before anything is counted; after all that, a call still works."""
    run_without((), hostile.nothing)
    yield
    assert run_without((), hostile.return_bytes, 3) == b"xxx"


def ending(function, *args, walls=(), **options):
    """Make a call that must fail; return how."""
    began = time.monotonic()
    try:
        value = run_without(walls, function, *args, **options)
    except Exception as error:
        assert time.monotonic() - began < AT_ONCE
        return error
    pytest.fail(f"it returned {value!r:.200}")


SIGNALS = {
    "segfault": signal.SIGSEGV,
    "abort": signal.SIGABRT,
    "stack": signal.SIGSEGV,
    "kill 9": signal.SIGKILL,
    "kill 15": signal.SIGTERM,
    "kill 4": signal.SIGILL,
    "kill 8": signal.SIGFPE,
    "kill 1": signal.SIGHUP,
}


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("how", SIGNALS)
def test_a_signal_is_named(how):
    error = ending(hostile.end_by, how)
    assert isinstance(error, Crashed)
    assert (error.signal, error.exit_code) == (SIGNALS[how], None)
    assert SIGNALS[how].name in str(error)
    assert error.ran
    assert error.report.enforcement.engine == "namespaces"


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("code", [0, 3, 255])
def test_an_exit_is_no_answer(code):
    error = ending(hostile.end_by, f"exit {code}")
    assert isinstance(error, Crashed)
    assert (error.signal, error.exit_code) == (None, code)
    assert error.report is not None


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("name", ["SystemExit", "KeyboardInterrupt"])
def test_an_exception_that_would_end_the_caller_is_told_as_text(name):
    error = ending(hostile.raise_it, name, "3")
    assert isinstance(error, RemoteError)
    assert name in error.type_name
    assert error.message == "3"


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("first", [0, 1, 3])
def test_closed_descriptors(first):
    error = ending(hostile.close_all, first)
    assert isinstance(error, Crashed)
    assert (error.signal, error.exit_code) == (None, None)
    assert "channel" in error.detail


@pytest.mark.usefixtures("unharmed")
def test_silence_ends_at_the_deadline_and_not_before():
    began = time.monotonic()
    error = ending(hostile.stay, timeout=0.5)
    assert isinstance(error, TimedOut)
    assert time.monotonic() - began >= 0.5


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("walls", [(), ("seccomp",)], ids=["with the filter", "without"])
def test_pid_1_does_not_die_from_inside(walls):
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGSEGV, signal.SIGCHLD):
        assert run_without(walls, hostile.kill, 1, number) <= 0
    assert run_without((), hostile.kill, 1, signal.SIGKILL) < 0


@pytest.mark.usefixtures("unharmed")
def test_children_do_not_outlive_the_call():
    """The filter allows no fork; without it, what was left behind ends with PID 1."""
    assert run_without(("seccomp",), hostile.fork_many, 5) == 5
    assert isinstance(ending(hostile.fork_and_exit, 5, walls=("seccomp",)), Crashed)
    wait_for(lambda: not isolates(), "the children to end")


@pytest.mark.usefixtures("unharmed")
def test_an_exit_with_a_message_half_said():
    error = ending(hostile.say, hostile.frame(hostile.RESULT, b'"x"')[:5], "exit")
    assert isinstance(error, Crashed)
    assert error.exit_code == 0


# --- the spawner -----------------------------------------------------------------------------------------------------


def _kill_spawners():
    killed = spawners()
    assert killed
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not killed & caller.alive(), "the spawner to end")


def test_a_spawner_killed_between_calls_is_replaced():
    _kill_spawners()
    assert run_without((), hostile.return_bytes, 2) == b"xx"
    assert spawners()


def test_a_spawner_killed_during_a_call():
    """Its end is the end of all it started: the running call says so, and the next one works."""
    ended = []
    running = threading.Event()

    def call():
        try:
            ended.append(run_without((), hostile.speak_and_stay, timeout=30, output=lambda stream, data: running.set()))
        except Exception as error:
            ended.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        assert running.wait(caller.SECONDS)
        began = time.monotonic()
        _kill_spawners()
    finally:
        thread.join(20)
    assert time.monotonic() - began < AT_ONCE
    (error,) = ended
    assert isinstance(error, Crashed), error
    assert error.signal == signal.SIGKILL
    wait_for(lambda: not isolates(), "the isolates to end")
    assert run_without((), hostile.return_bytes, 2) == b"xx"


# --- the caller ------------------------------------------------------------------------------------------------------

_CALLER = f"""
import os, signal, sys, time
sys.path[:0] = [{os.path.dirname(hostile.__file__)!r}, {ROOT!r}]
import caller, hostile
from isolate_fn import isolated
from isolate_fn._runtime import pool
call = isolated(hostile.return_bytes)
"""


def _run(script, tmp_path):
    ended = python(_CALLER + script, cwd=tmp_path)
    assert ended.returncode == 0, ended
    return ended.stdout.split()


def test_a_forked_caller_makes_its_own_calls(tmp_path):
    """The child starts a spawner of its own; the parent's hears nothing of it, and goes on."""
    script = """
assert call(1) == b"x"
mine = caller.spawners()
pid = os.fork()
if pid == 0:
    ok = call(2) == b"xx" and not caller.spawners() & mine
    os._exit(0 if ok else 1)
assert os.waitpid(pid, 0)[1] == 0
assert call(3) == b"xxx"
assert caller.spawners() == mine
print("good")
"""
    assert _run(script, tmp_path) == ["good"]


def test_a_caller_s_end_is_seen_although_its_forked_child_lives(tmp_path):
    script = """
assert call(1) == b"x"
(spawner,) = caller.spawners()
here, there = os.pipe()
pid = os.fork()
if pid == 0:
    os.close(there)
    os.closerange(0, 3)
    os.read(here, 1)
    time.sleep(60)
    os._exit(0)
print(spawner, pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = python(_CALLER + script, cwd=tmp_path)
    spawner, child = map(int, ended.stdout.split())
    try:
        wait_for(lambda: spawner not in caller.alive(), "the spawner to end")
        assert child in caller.alive()
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_caller_killed_during_a_call_takes_everything_along(tmp_path):
    script = """
import threading
threading.Thread(target=isolated(hostile.stay), daemon=True).start()
caller.wait_for(lambda: len(caller.isolates()) >= 2, "the isolate")
print(*caller.spawners(), *caller.isolates(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = python(_CALLER + script, cwd=tmp_path)
    family = set(map(int, ended.stdout.split()))
    assert len(family) >= 3, ended
    wait_for(lambda: not family & caller.alive(), "all of it to end")


@pytest.mark.usefixtures("unharmed")
def test_a_call_outlives_the_thread_that_ordered_others():
    """A thread that made a call and ended takes nobody along (PR_SET_PDEATHSIG is bound to threads)."""
    results = []
    for _ in range(3):
        thread = threading.Thread(target=lambda: results.append(run_without((), hostile.return_bytes, 1)))
        thread.start()
        thread.join()
    assert results == [b"x"] * 3
    assert run_without((), hostile.touch_and_wait, "/tmp/x", 0.2) == "honest"
