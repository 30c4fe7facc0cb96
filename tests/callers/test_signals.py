"""Signals of the caller during a call: what their handlers raise is raised once, at any moment, and nothing is left."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., str]
pytestmark = pytest.mark.needs("namespaces")


def test_a_handler_cannot_use_the_block_that_it_interrupts(run: Run, inside: str) -> None:
    printed = run(
        inside
        + """
from isolate_fn import sandbox
from isolate_fn.errors import PolicyError
def use(function, *given):
    try:
        print(function(*given))
    except PolicyError as error:
        print("waits for itself" if "wait for itself" in str(error) else error)
def hear(stream, data):
    use(box.call, len, "abc")
    use(lambda: box.run(["true"]).returncode)
    use(box.get, "/etc/hostname")
    with sandbox() as another:
        use(another.call, len, "abcd")
with sandbox(output=hear) as box:
    print(box.call(lambda: print("x") or 5), box.call(len, "ab"))
"""
    )
    # A program has a process of its own, and runs beside the call.
    assert printed == "waits for itself\n0\nwaits for itself\n4\n5 2\n"


def test_sandbox_blocks_and_programs_are_interrupted(run: Run, inside: str) -> None:
    printed = run(
        inside
        + """
from isolate_fn import sandbox
from isolate_fn._runtime import pool
signal.signal(signal.SIGINT, signal.default_int_handler)
with sandbox() as box:
    pass
before = descriptors()
hear = lambda stream, data: signal.raise_signal(signal.SIGINT)
sleep = lambda: print("asleep", flush=True) or __import__("time").sleep(1000)
for use in (lambda box: box.call(sleep), lambda box: box.run(["sh", "-c", "echo asleep; sleep 1000"])):
    caught = 0
    try:
        with sandbox(output=hear) as box:
            try:
                use(box)
            except KeyboardInterrupt:
                caught += 1
                raise
    except KeyboardInterrupt:
        caught += 1
    nothing_left(before)
    print(caught)
"""
    )
    assert printed == "2\n2\n"


@pytest.mark.parametrize(
    ("number", "raised", "status"),
    [("SIGTERM", "SystemExit(7)", 7), ("SIGTERM", "KeyboardInterrupt()", 130), ("SIGALRM", "TimeoutError('mine')", 1)],
)
def test_what_a_handler_raises_ends_the_program(
    run: Run, inside: str, number: str, raised: str, status: int
) -> None:
    printed = run(
        inside
        + f"""
from isolate_fn import isolated, sandbox
def handler(number, frame):
    raise {raised}
signal.signal(signal.{number}, handler)
with sandbox() as box:
    f = isolated(output=lambda *given: signal.raise_signal(signal.{number}), prewarm=2)(
        lambda: print("asleep", flush=True) or __import__("time").sleep(1000))
    f.warm_up(2)
    f()
""",
        status=status,
        stderr=True,
    )
    assert ("mine" in printed) == ("mine" in raised)
    assert "isolate_fn.errors" not in printed


def test_no_handler_at_all(run: Run, inside: str) -> None:
    """The default action of SIGTERM ends the program in the middle of everything."""
    script = """
from isolate_fn import isolated
f = isolated(output=lambda *given: signal.raise_signal(signal.SIGTERM), prewarm=3)(
    lambda: print("asleep", flush=True) or __import__("time").sleep(1000))
f.warm_up(3)
f()
"""
    assert run(inside + script, status=128 + signal.SIGTERM) == ""


def test_a_handler_that_collects_every_child(run: Run, inside: str) -> None:
    printed = run(
        inside
        + """
from isolate_fn import isolated, sandbox
from isolate_fn._runtime import pool
collected = []
def handler(number, frame):
    try:
        while (ended := os.waitpid(-1, os.WNOHANG)[0]) > 0:
            collected.append(ended)
    except ChildProcessError:
        pass
signal.signal(signal.SIGCHLD, handler)
for turn in range(5):
    assert isolated(lambda: turn)() == turn
    with sandbox() as box:
        assert box.run(["sh", "-c", "exit 3"]).returncode == 3
    pool.close_all()
assert not children() and signal.getsignal(signal.SIGCHLD) is handler
print("well")
"""
    )
    assert printed == "well\n"


def test_faulthandler_is_left_alone(run: Run) -> None:
    """CPython writes other threads' frames without their lock, which can crash while one runs: here, it waits for its isolate."""
    printed = run("""
        import faulthandler, tempfile
        from isolate_fn import isolated
        file = tempfile.TemporaryFile("w+")
        faulthandler.enable(file)
        @isolated(reuse=True)
        def until_written(lent, size):
            import os, time
            while os.fstat(lent.fileno()).st_size < size:
                time.sleep(0.01)
        until_written(file, 0)
        faulthandler.dump_traceback_later(1, file=file)
        until_written(file, 1)
        faulthandler.cancel_dump_traceback_later()
        print(faulthandler.is_enabled(), isolated(lambda: __import__("faulthandler").is_enabled())())
        file.seek(0)
        print("Timeout" in file.read())
    """)
    assert printed == "True True\nTrue\n"


def test_control_c_at_a_terminal(tmp_path: Path, environment: dict[str, str]) -> None:
    """The terminal sends SIGINT to the whole group in the foreground; only the caller hears of it, once."""
    main, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-i", "-q", "-c", "from isolate_fn import isolated"], stdin=side, stdout=side, stderr=side,
        env={**environment, "TERM": "dumb", "PYTHON_BASIC_REPL": "1"}, cwd=tmp_path, start_new_session=True,
        preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(side)
    heard = b""

    def until(what: bytes, count: int = 1) -> None:
        nonlocal heard
        deadline = time.monotonic() + 60
        while heard.count(what) < count:
            assert select.select([main], [], [], max(0, deadline - time.monotonic()))[0], heard
            heard += os.read(main, 4096)

    def say(line: str) -> None:
        os.write(main, line.encode() + b"\n")

    try:
        until(b">>> ")
        say("isolated(lambda: print('as' + 'leep', flush=True) or __import__('time').sleep(1000))()")
        until(b"asleep")
        os.write(main, b"\x03")
        until(b"KeyboardInterrupt")
        say("isolated(lambda: 'still ' + 'here')()")
        until(b"still here")
        say("import sys; sys.exit(5)")
        assert process.wait(60) == 5
    finally:
        process.kill()
        process.wait()
        os.close(main)
    assert heard.count(b"KeyboardInterrupt") == 1, heard
    assert b"errors." not in heard
