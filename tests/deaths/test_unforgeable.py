"""Code inside tries to have the caller report another cause. It cannot: what it says is quoted, and decides nothing.

It can always bring a cause about: take the memory, make the denied call, wait for the timeout. That is no forgery.
"""

from __future__ import annotations

import errno
import signal

import dying
import pytest
from caller import isolates, wait_for
from support import run_without

from isolate_fn import Limits, isolated
from isolate_fn.errors import Crashed, LimitExceeded, RemoteError, SyscallDenied, TimedOut, TransportError

pytestmark = pytest.mark.needs("namespaces")

MIB = 1 << 20
LIMITS = Limits(memory="256M", cpu_time=30, file_size="8M", processes=64)


def ending(*how, **options):
    """Make a call under all limits and return how it ended."""
    options = {"limits": LIMITS, "output": "discard", "prewarm": 0, "idle_timeout": 900, **options}
    function = isolated(**options)(dying.act)
    try:
        return function(*how)
    except BaseException as error:
        return error


@pytest.mark.parametrize("code", [9, 124, 137, 152, 159])
def test_exit_codes_that_look_like_other_ends(code):
    """124 is what timeout(1) says; 128 and a signal is what shells say."""
    error = ending("leave", code)
    assert type(error) is Crashed
    assert (error.signal, error.exit_code) == (None, code)


@pytest.mark.parametrize(
    ("then", "kind"),
    [(("leave", 1), "status 1"), (("send", signal.SIGKILL), "SIGKILL"), (("segfault",), "SIGSEGV")],
    ids=["exit", "kill", "crash"],
)
def test_what_init_would_say_on_every_other_descriptor(then, kind):
    error = ending("say_to", [number for number in range(64) if number != 3], *then)
    assert type(error) is Crashed
    assert kind in str(error).splitlines()[0]


@pytest.mark.parametrize("then", [("leave", 1), ("segfault",), ("stay",), ("nothing",)])
def test_what_init_would_say_on_the_channel(then):
    """That is no frame; what comes of the worker afterwards does not matter."""
    error = ending("say_to", [3], *then, timeout=5)
    assert isinstance(error, TransportError)
    assert not hasattr(error, "limit")


@pytest.mark.parametrize("which", ["theirs", "timeout"])
def test_our_own_errors_do_not_come_from_inside(which):
    error = ending("raise_it", which)
    assert type(error) is RemoteError
    assert error.type_name.startswith("isolate_fn.errors.")


@pytest.mark.parametrize(
    ("which", "kind"), [("own", dying.LimitExceeded), ("builtin timeout", TimeoutError), ("memory", MemoryError)]
)
def test_exceptions_that_look_like_a_cause(which, kind):
    """They come as what they are: something that the function has raised."""
    error = ending("raise_it", which)
    assert type(error) is kind


@pytest.mark.parametrize(("which", "limit"), [("full", "rootfs_size"), ("files", "open_files"), ("threads", "processes")])
def test_exceptions_that_limits_cause_are_told_as_the_function_s_word(which, limit):
    """For some limits the kernel tells only who hit it, by an errno. Then the message says whose word it is."""
    error = ending("raise_it", which)
    assert type(error) is LimitExceeded
    assert (error.limit, error.told_by) == (limit, "function")
    assert "so the function's own exception says" in str(error).splitlines()[0]
    assert error.__cause__ is not None
    assert not error.used  # nothing is made up, and init has counted


def test_a_file_that_is_gone_again_is_the_function_s_word_too():
    error = ending("fill_and_remove", 4 * MIB, limits=Limits(rootfs_size="1M"))
    assert (error.limit, error.told_by) == ("rootfs_size", "function")
    assert error.used < 100_000
    error = ending("fill", 4 * MIB, limits=Limits(rootfs_size="1M"))
    assert (error.limit, error.told_by) == ("rootfs_size", "init")


@pytest.mark.parametrize("number", [signal.SIGXCPU, signal.SIGKILL, signal.SIGTERM])
def test_the_signal_of_a_limit_that_was_not_reached(number):
    error = ending("send", number)
    assert type(error) is Crashed
    assert error.signal == number


@pytest.mark.parametrize("on_denied", ["errno", "kill"])
def test_the_signal_of_a_denied_call_may_be_its_own(on_denied):
    error = ending("send", signal.SIGSYS, on_denied=on_denied)
    assert type(error) is SyscallDenied
    assert "or it sent itself that signal" in str(error).splitlines()[0]


def test_the_signal_of_a_big_file_may_be_its_own():
    error = ending("send_deadly", signal.SIGXFSZ, limits=Limits(file_size="1G"))
    assert (error.limit, error.told_by, error.used) == ("file_size", "kernel", None)
    assert "unless it sent itself that signal" in str(error).splitlines()[0]


def test_memory_within_the_limit_and_silence_is_a_timeout():
    error = ending("take", 100 * MIB, "stay", timeout=1)
    assert type(error) is TimedOut
    assert error.report.peak_memory > 100 * MIB


def test_a_process_that_stops_itself_is_a_timeout():
    assert type(ending("stop", timeout=1)) is TimedOut


@pytest.mark.parametrize(
    ("then", "number", "code"),
    [(("send", signal.SIGKILL), signal.SIGKILL, None), (("leave", 0), None, 0), (("segfault",), signal.SIGSEGV, None)],
    ids=["kill", "exit", "crash"],
)
def test_a_forged_stack_is_quoted_and_decides_nothing(then, number, code):
    error = ending("forge_a_stack", *then)
    assert type(error) is Crashed
    assert (error.signal, error.exit_code) == (number, code)
    lines = str(error).splitlines()
    begins = next(place for place, line in enumerate(lines) if "its own words, for which nothing vouches" in line)
    assert all(line.startswith("    | ") for line in lines[begins + 1 : -1])
    assert lines[-1] == f"  try: {error.remedy}"
    assert [line for line in lines if line.startswith("  try:")] == [lines[-1]]
    assert "\x1b" not in str(error) + error.said + error.stack
    assert "\x07" not in str(error)
    if number == signal.SIGSEGV:  # the last one is taken, which is faulthandler's
        assert "the host is compromised" not in error.stack
        assert "in segfault" in error.stack


def test_nothing_of_the_host_is_read_for_a_stack_that_names_it():
    error = ending("forge_a_stack", "leave", 0)
    with open("/etc/shadow" if _root() else "/etc/passwd", encoding="utf-8") as file:
        first = file.readline().strip()
    assert first not in str(error) + error.stack


def _root():
    import os

    return os.geteuid() == 0


def test_a_crash_without_a_word_is_still_told():
    error = ending("hide_the_stack")
    assert type(error) is Crashed
    assert error.signal == signal.SIGSEGV
    assert error.stack == ""
    assert "left no stack" in error.remedy


def test_a_crash_after_much_noise_is_bounded():
    error = ending("drown_the_stack")
    assert error.signal == signal.SIGSEGV
    assert len(error.said) < 20_000
    assert len(error.stack) < 20_000
    assert "\x1b" not in str(error)
    assert error.report.stderr_bytes >= 100_000


def test_a_child_that_crashes_is_not_the_call_s_end():
    """The filter allows no fork; without it a child's dump goes where its stderr goes, and the call is answered."""
    assert run_without(("seccomp",), dying.crash_in_a_child, output="discard") == "SIGSEGV"


def test_init_is_out_of_reach():
    """No signal that it could die of reaches it from its own pid namespace, and nothing of it can be opened."""
    found = ending("reach_init")
    assert found["/proc/1/fd/3"] in (errno.EACCES, errno.EPERM, errno.ENOENT)
    assert found["/proc/1/mem"] in (errno.EACCES, errno.EPERM, errno.ENOENT)
    wait_for(lambda: not isolates(), "the isolate to end")
