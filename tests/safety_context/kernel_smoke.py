"""What of `SafetyContext` differs between kernels, checked without pytest: a script for virtual machines.

    PYTHONPATH=. python3 tests/safety_context/kernel_smoke.py

Each check runs in a forked child. The programs of programs.py run as well, each under its list.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import queue
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))

import programs

from isolate_fn import SafetyContext, lock_pid_file, restrict_privileges
from isolate_fn._api.safety_checks import landlock_here
from isolate_fn.errors import IsolationError, SetupError, Unsupported
from isolate_fn.rules import *  # noqa: F403 - the sets of programs.py are expressions
from isolate_fn.rules import BasicCapabilities, Custom, LandlockRule, Networking, SystemIO

ABI = landlock_here()[0] if __name__ == "__main__" else 0  # not where multiprocessing imports this, under the rules
CHECKS: list[Callable[[], None]] = []


def check(function: Callable[[], None]) -> Callable[[], None]:
    CHECKS.append(function)
    return function


class Other(threading.Thread):
    """A thread that does what it is told."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.asked: queue.Queue[Callable[[], Any]] = queue.Queue()
        self.answers: queue.Queue[Any] = queue.Queue()
        self.start()

    def run(self) -> None:
        while True:
            try:
                self.answers.put(self.asked.get()())
            except BaseException as error:
                self.answers.put(error)

    def do(self, action: Callable[[], Any]) -> Any:
        self.asked.put(action)
        return self.answers.get()


def code_of(action: Callable[[], Any]) -> int:
    try:
        action()
    except OSError as error:
        return error.errno or -1
    return 0


def refused(action: Callable[[], Any]) -> SetupError:
    try:
        action()
    except SetupError as error:
        return error
    raise AssertionError("not refused")


def here() -> SystemIO:
    Path("here").write_text("here")
    Path("there").write_text("there")
    return SystemIO().allow_read_path("here")


@check
def filter_for_all_threads() -> None:
    other = Other()
    done = SafetyContext().enable("write").apply_to_all_threads()
    assert (done.threads, done.seccomp, done.landlock_abi) == ("all", True, 0)
    assert code_of(lambda: open("f", "w")) == errno.EPERM
    assert other.do(lambda: code_of(lambda: open("f", "w"))) == errno.EPERM


@check
def landlock_for_this_thread() -> None:
    other, sets = Other(), here()
    context = SafetyContext().enable(sets, "write", "writev")
    if ABI < 3:
        try:
            context.apply_to_current_thread()
        except Unsupported as refusal:
            print("   ", str(refusal).splitlines()[0])
        else:
            raise AssertionError("applied without the right to truncate")
        assert Path("there").read_text() == "there"
        if not ABI:
            return
        context.require("read_file")
    done = context.apply_to_current_thread()
    assert done.landlock_abi == ABI, done
    assert Path("here").read_text() == "here"
    assert code_of(lambda: open("there")) == errno.EACCES
    assert code_of(lambda: os.open("here", os.O_RDONLY | os.O_TRUNC)) in (errno.EACCES, errno.EPERM)
    assert other.do(Path("there").read_text) == "there"
    for sentence in done.dropped:
        print("   ", sentence)


def landlock_for_all_threads(context: SafetyContext) -> None:
    other = Other()
    if ABI < 8:
        try:
            context.apply_to_all_threads()
        except Unsupported as refusal:
            print("   ", str(refusal).splitlines()[0])
            assert other.do(Path("there").read_text) == Path("there").read_text() == "there"
            return
        raise AssertionError("applied to all threads")
    done = context.apply_to_all_threads()
    assert done.threads == "all"
    assert done.landlock_abi == ABI
    for do in (other.do, lambda action: action()):
        assert do(lambda: code_of(lambda: open("there"))) == errno.EACCES
        assert do(lambda: open("here").read()) == "here"


@check
def landlock_and_filter_for_all_threads() -> None:
    landlock_for_all_threads(SafetyContext().enable(here(), "write", "writev"))


@check
def landlock_alone_for_all_threads() -> None:
    landlock_for_all_threads(SafetyContext().enable(here(), "write", "writev").landlock_only())


@check
def one_thread_stands_in_the_way_of_both() -> None:
    """Then Landlock restricts nobody either: that is what the rehearsal is for."""
    if ABI < 8:
        return
    other, context = Other(), SafetyContext().enable(here(), "write", "writev")
    assert other.do(SafetyContext().enable(SystemIO.everything()).apply_to_current_thread).seccomp
    refusal = refused(context.apply_to_all_threads)
    assert refusal.thread == other.native_id, refusal  # type: ignore[attr-defined]
    assert Path("there").read_text() == other.do(Path("there").read_text) == "there"


@check
def ports() -> None:
    import socket

    if ABI < 4:
        return
    one, two = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
    port = one.getsockname()[1]
    SafetyContext().enable(Networking().allow_start_tcp_clients().allow_connect_ports(port)).apply_to_current_thread()
    socket.create_connection(one.getsockname()).close()
    assert code_of(lambda: socket.create_connection(two.getsockname())) == errno.EACCES


@check
def optional_paths() -> None:
    if ABI < 3:
        return
    mine = Custom("mine", LandlockRule("/no/such", {"read_file"}, optional=True))
    assert SafetyContext().enable(mine).apply_to_current_thread().left_out


@check
def hardening() -> None:
    lock_pid_file("pid")
    assert refused(lambda: lock_pid_file("pid")).errno == errno.EAGAIN
    restrict_privileges(unshare=True)
    assert "NoNewPrivs:\t1" in Path("/proc/self/status").read_text()


def program_check(name: str) -> Callable[[], None]:
    def run() -> None:
        one = programs.PROGRAM[name]
        going = one.run()
        next(going)
        sets = [eval(each) for each in one.sets]
        SafetyContext().enable(BasicCapabilities(), *sets).apply_to_all_threads()
        assert next(going, "ended") == "ended"

    run.__name__ = name
    return run


def run_in_child(function: Callable[[], None]) -> int:
    with tempfile.TemporaryDirectory() as directory:
        child = os.fork()
        if child == 0:
            os.chdir(directory)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            try:
                function()
                os._exit(0)
            except BaseException as error:
                text = str(error) if isinstance(error, IsolationError) else traceback.format_exc()
                with contextlib.suppress(OSError):  # it may not be permitted
                    os.write(2, text.encode())
                os._exit(1)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> int:
    print(
        f"Linux {platform.release()} {platform.machine()}, Python {platform.python_version()}, Landlock ABI {ABI}",
        flush=True,
    )
    without = [program_check(name) for name, one in programs.PROGRAM.items() if not one.modules]
    if not Path("/etc/hosts").exists():  # as in a bare image
        without = [function for function in without if function.__name__ != "look_up_a_name"]
    failed = []
    for function in (*CHECKS, *without):
        status = run_in_child(function)
        print(f"{'ok ' if status == 0 else f'FAILED ({status})'} {function.__name__}", flush=True)
        failed += [function.__name__] if status else []
    print(f"{len(failed)} failed: {' '.join(failed)}" if failed else "all passed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
