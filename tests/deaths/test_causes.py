"""Every cause of death, provoked, and what the caller reads about it: the error, its fields, its message, its report."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import threading
import time
import traceback
from pathlib import Path

import caller
import dying
import pytest
from caller import isolates, spawners, wait_for
from support import run_without

from isolate_fn import Limits, isolated, sandbox
from isolate_fn._runtime import call, pool
from isolate_fn._runtime.cgroup import Group
from isolate_fn._runtime.talk import to_the_end
from isolate_fn.errors import (
    Crashed,
    IsolationError,
    LimitExceeded,
    PolicyError,
    RemoteError,
    SyscallDenied,
    TimedOut,
)
from isolate_fn.rules import BasicCapabilities

pytestmark = pytest.mark.needs("namespaces")

MIB = 1 << 20
IDLE = 900  # no spawner ends for lack of work meanwhile


def fresh(*how, **options):
    return isolated(prewarm=0, idle_timeout=IDLE, **options)(dying.act)(*how)


def reused(*how, **options):
    """Die in a worker that has served two calls, the second by the short way."""
    function = isolated(prewarm=0, reuse=True, idle_timeout=IDLE, **options)(dying.act)
    try:
        assert [function("nothing"), function("nothing")] == ["alive"] * 2
        return function(*how)
    finally:
        function.close()


def in_sandbox(*how, **options):
    with sandbox(idle_timeout=IDLE, **options) as box:
        assert box.call(dying.act, "nothing") == "alive"
        return box.call(dying.act, *how)


def awaited(*how, **options):
    function = isolated(prewarm=0, idle_timeout=IDLE, **options)(dying.act)
    return asyncio.run(function.call_async(*how))


WAYS = pytest.mark.parametrize("way", [fresh, reused, in_sandbox, awaited])


def death(way, *how, **options):
    with pytest.raises(IsolationError) as caught:
        way(*how, **options)
    error = caught.value
    assert error.ran
    assert str(error).splitlines()[-1] == f"  try: {error.remedy}"
    return error


SIGNALS = [
    (("segfault",), signal.SIGSEGV, "native code used memory", "in string_at"),
    (("in_a_thread",), signal.SIGSEGV, "native code used memory", "in segfault"),
    (("bus",), signal.SIGBUS, "mapped file that became shorter", "in bus"),
    (("overflow",), signal.SIGSEGV, "or its stack overflowed", "in overflow"),
    (("abort",), signal.SIGABRT, "gave up", "in abort"),
    (("assertion",), signal.SIGABRT, "failed assertion", "in assertion"),
    (("double_free",), signal.SIGABRT, "heap corruption", "in double_free"),
    (("send", signal.SIGFPE), signal.SIGFPE, "division by zero", "in send"),
    (("send", signal.SIGILL), signal.SIGILL, "illegal instruction", "in send"),
]
IDS = ["segfault", "thread", "bus", "overflow", "abort", "assertion", "double free", "division", "illegal"]


@pytest.mark.parametrize(("how", "number", "meaning", "frame"), SIGNALS, ids=IDS)
def test_native_code_that_crashes(how, number, meaning, frame):
    """The signal has its name and meaning, and the Python stack is there, down to the function and no further."""
    error = death(fresh, *how, output="discard")
    assert isinstance(error, Crashed)
    assert (error.signal, error.exit_code) == (number, None)
    assert f"was killed by {number.name}: " in str(error)
    assert meaning in error.detail
    assert error.stack.startswith("Fatal Python error: ")
    assert frame in error.stack
    assert "spawner.py" not in error.stack
    assert f"    | {error.stack.splitlines()[0]}" in str(error)


@WAYS
def test_a_crash_is_told_whichever_way_it_was_called(way):
    error = death(way, "segfault", output="discard")
    assert isinstance(error, Crashed)
    assert error.signal == signal.SIGSEGV
    assert "in segfault" in error.stack
    assert error.report.stages["call"] > 0


@pytest.mark.parametrize(
    ("how", "said"),
    [("abort", "before it"), ("assertion", "decoder.c:42: decode: Assertion `size > 0' failed."), ("double_free", "free()")],
)
def test_what_native_code_said_before_it_gave_up(how, said):
    error = death(fresh, how, output="discard")
    assert said in error.said
    assert said in str(error)


@pytest.mark.parametrize("output", ["relay", "capture", "discard", "call"])
def test_the_stack_is_there_wherever_output_goes(output, capfd):
    heard = []
    target = (lambda stream, data: heard.append((stream, data))) if output == "call" else output
    error = death(fresh, "segfault", output=target)
    assert "in segfault" in error.stack
    shown = capfd.readouterr().err + error.report.stderr.decode() + "".join(data.decode() for _, data in heard)
    assert ("in segfault" in shown) == (output in ("capture", "call"))  # the error has it; relayed as well, it would be twice


@pytest.mark.parametrize("function", [fresh, in_sandbox])
def test_what_looks_like_a_stack_and_is_none_is_relayed(function, capfd):
    assert function("say_in_pieces", [dying.FORGED, "and on\n"]) == "alive"
    assert capfd.readouterr().err == dying.FORGED.replace("\x1b", "\\x1b").replace("\x07", "\\x07") + "and on\n"
    assert function("say_in_pieces", ["before\n", dying.FORGED, "x" * 40_000, "\nand on\n"]) == "alive"
    shown = capfd.readouterr().err
    assert shown.startswith("before\nFatal Python error: ")
    assert shown.endswith("x\nand on\n")
    assert shown.count("x" * 40_000) == 1


@pytest.mark.parametrize("how", ["send", "send_from_a_thread"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_signals_that_somebody_sends(how, number):
    error = death(fresh, how, number)
    assert isinstance(error, Crashed)
    assert error.signal == number
    assert "somebody sends" in error.detail
    assert not error.stack


def test_a_child_of_the_function_kills_it():
    """The filter allows no fork; without it, children may signal what they come from."""
    with pytest.raises(Crashed) as caught:
        run_without(("seccomp",), dying.killed_by_a_child)
    assert caught.value.signal == signal.SIGKILL
    assert "somebody sends" in str(caught.value)


@WAYS
@pytest.mark.parametrize("code", [0, 3, 137])
def test_exit_codes(way, code):
    """137 is what shells say of SIGKILL; here it is a status like any other."""
    error = death(way, "leave", code)
    assert isinstance(error, Crashed)
    assert (error.signal, error.exit_code) == (None, code)
    assert f"exited with status {code}" in str(error)


def test_sys_exit_is_an_exception():
    error = death(fresh, "leave_politely", 3)
    assert isinstance(error, RemoteError)
    assert error.type_name == "SystemExit"


def test_a_closed_channel():
    error = death(fresh, "close_the_channel")
    assert isinstance(error, Crashed)
    assert (error.signal, error.exit_code) == (None, None)
    assert "lived on" in str(error)


# --- limits ----------------------------------------------------------------------------------------------------------

LIMITS = [
    # what is done, limits, name, who tells, least and most used
    (("spin",), {"cpu_time": 0.3}, "cpu_time", "init", (0.3, 3)),
    (("take", 300 * MIB), {"memory": "64M"}, "memory", "init", (64 * MIB, 300 * MIB)),
    (("fill", 4 * MIB), {"rootfs_size": "1M"}, "rootfs_size", "init", (900_000, MIB)),
    (("make_files", 400), {"rootfs_inodes": 256}, "rootfs_inodes", "init", (256, 256)),
    (("write_file_deadly", 4 * MIB), {"file_size": "1M"}, "file_size", "kernel", None),
    (("pour", 1), {"output": "64K"}, "output", "caller", (65537, 64 * MIB)),
    (("pour", 2), {"output": "64K"}, "output", "caller", (65537, 64 * MIB)),
    (("result", 4 * MIB), {"result": "1M"}, "result", "caller", (4 * MIB, 5 * MIB)),
    (("open_files", 100), {"open_files": 64}, "open_files", "function", None),
    (("start_threads", 40), {"processes": 16}, "processes", "function", None),
    (("take", 2 << 30), {"address_space": "1G"}, "address_space", "function", None),
    (("fill", 4 * MIB), {"file_size": "1M"}, "file_size", "function", None),
]
LIMIT_IDS = [f"{limits[2]} by {limits[3]}" for limits in LIMITS]


def _limit(way, how, limits, name, who, used):
    error = death(way, *how, limits=Limits(**limits), output="discard")
    assert isinstance(error, LimitExceeded), error
    assert (error.limit, error.allowed, error.told_by) == (name, getattr(Limits(**limits), name), who)
    assert f"limit {name} exceeded" in str(error)
    (more,) = re.findall(rf"Limits\({name}=([0-9.]+)\)", error.remedy)
    assert float(more) >= 2 * error.allowed
    assert float(more) > (error.used or 0)
    assert ("the function's own exception says" in str(error)) == (who == "function")
    if used is None:
        assert error.used is None
    else:
        assert used[0] <= error.used <= used[1]
    assert error.report.summary() in str(error)
    assert error.report.peak_memory > MIB
    assert error.report.stages["call"] > 0


@pytest.mark.parametrize(("how", "limits", "name", "who", "used"), LIMITS, ids=LIMIT_IDS)
def test_limits(how, limits, name, who, used):
    _limit(fresh, how, limits, name, who, used)


@pytest.mark.parametrize(("how", "limits", "name", "who", "used"), LIMITS, ids=LIMIT_IDS)
@pytest.mark.parametrize("way", [reused, in_sandbox, awaited])
def test_limits_whichever_way_it_was_called(way, how, limits, name, who, used):
    if name in ("cpu_time", "memory", "rootfs_size", "output", "result"):  # one of each kind
        _limit(way, how, limits, name, who, used)


def _block(limits):
    with sandbox(limits=limits, idle_timeout=IDLE) as box:
        return box.call(dying.act, "stay")


def _awaited_block(limits):
    async def main():
        async with sandbox(limits=limits, idle_timeout=IDLE) as box:
            return await box.call_async(dying.act, "stay")

    return asyncio.run(main())


TOO_SMALL = {
    "call": lambda limits: fresh("stay", limits=limits),
    "call_async": lambda limits: awaited("stay", limits=limits),
    "sandbox": _block,
    "async sandbox": _awaited_block,
}


@pytest.mark.parametrize("way", TOO_SMALL)
def test_memory_that_is_too_little_for_the_isolate_itself(way):
    """Init may look while the walls are built, before the call is sent, or after: it is the same error each time."""
    for _ in range(5):
        with pytest.raises(IsolationError) as caught:
            TOO_SMALL[way](Limits(memory="1M"))
        error = caught.value
        assert type(error) is LimitExceeded, error
        assert (error.limit, error.allowed, error.told_by) == ("memory", MIB, "init")
        assert error.used > MIB
        if {"__enter__", "enter", "make_ready"} & {frame.name for frame in traceback.extract_tb(error.__traceback__)}:
            assert error.ran is False
            assert "used up before the function starts" in error.remedy
            assert error.report.enforcement is None


def test_memory_that_is_used_up_before_a_call_is_sent():
    function = isolated(prewarm=0, idle_timeout=IDLE, limits=Limits(memory="1M"))(dying.act)
    prepared = function.made_ready(("nothing",), {})[0]
    isolate = pool.start(prepared)
    wait_for(lambda: not isolate.alive(), "its end")
    with pytest.raises(LimitExceeded) as caught:
        to_the_end(isolate, call.make_ready(isolate, prepared))
    isolate.end()
    assert caught.value.ran is False


def test_memory_of_a_cgroup_is_told_by_the_kernel(tmp_path: Path):
    """By what memory.events and memory.peak of cgroups(7) look like when the kernel has killed."""

    class Ours(Group):
        def remove(self):
            pass

    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\n")
    (tmp_path / "memory.peak").write_text(f"{64 * MIB}\n")
    with sandbox(limits=Limits(memory="64M"), idle_timeout=IDLE) as box:
        box._isolate.group = Ours(str(tmp_path))
        with pytest.raises(LimitExceeded) as caught:
            box.call(dying.act, "send", signal.SIGKILL)
    error = caught.value
    assert (error.limit, error.allowed, error.used, error.told_by) == ("memory", 64 * MIB, 64 * MIB, "kernel")


def test_memory_of_the_whole_machine():
    """The kernel counts whom it kills for want of memory; more than before is told of a worker that was killed."""
    assert fresh("nothing") == "alive"
    for client in pool._pool().spawners.values():
        assert client.short_of_memory is not None
        client.short_of_memory -= 2
    error = death(fresh, "send", signal.SIGKILL)
    assert "has killed 2 process(es) of this machine" in str(error)
    assert "somebody sends" in death(fresh, "send", signal.SIGKILL).detail  # each is told once


@WAYS
def test_timeout(way):
    error = death(way, "stay", timeout=0.4)
    assert isinstance(error, TimedOut)
    assert "timed out after 0.4 seconds" in str(error)
    assert 0.3 < error.report.stages["call"] < 30
    assert error.report.peak_memory > MIB


@pytest.mark.parametrize("rules", [None, [BasicCapabilities()]], ids=["base filter", "rules"])
def test_a_denied_call_that_kills(rules):
    error = death(fresh, "denied", on_denied="kill", rules=rules)
    assert isinstance(error, SyscallDenied)
    assert error.syscall == ""
    assert "killed by SIGSYS" in str(error)
    assert "does not tell for which" in str(error)
    assert "on_denied='errno'" in error.remedy


def test_a_crash_under_rules_that_kill_keeps_its_signal():
    """The handler that dumps stacks makes system calls that rules may deny, and would die of them instead."""
    error = death(fresh, "segfault", on_denied="kill", rules=[BasicCapabilities()])
    assert isinstance(error, Crashed)
    assert error.signal == signal.SIGSEGV


@pytest.mark.needs("tool:sh")
@pytest.mark.parametrize(
    ("program", "options", "name"),
    [
        ("while :; do :; done", {"limits": Limits(cpu_time=0.4)}, "cpu_time"),
        ("x=xxxxxxxx; while :; do x=$x$x; done", {"limits": Limits(memory="64M")}, "memory"),
        ("while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done", {"limits": Limits(output="64K")}, "output"),
    ],
    ids=["cpu_time", "memory", "output"],
)
def test_limits_of_programs(program, options, name):
    with sandbox(idle_timeout=IDLE, output="discard", **options) as box, pytest.raises(LimitExceeded) as caught:
        box.run(["sh", "-c", program], timeout=60)
    assert caught.value.limit == name
    assert caught.value.told_by in ("init", "caller")
    assert caught.value.report.stages["ready"] > 0


# --- what makes isolates is lost -------------------------------------------------------------------------------------


@contextlib.contextmanager
def running():
    """Have a call that waits; give a list that its error will be in."""
    errors, runs = [], threading.Event()

    def call():
        try:
            fresh("say_to", [1], "stay", output=lambda stream, data: runs.set())
        except IsolationError as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        assert runs.wait(60)
        yield errors
    finally:
        thread.join(30)
        assert not thread.is_alive()


def test_the_spawner_is_lost():
    fresh("nothing")
    with running() as errors:
        for pid in spawners():
            os.kill(pid, signal.SIGKILL)
    assert isinstance(errors[0], Crashed)
    assert "the spawner was lost" in str(errors[0])
    assert "call it again" in errors[0].remedy
    assert fresh("nothing") == "alive"


def test_init_is_killed_from_outside():
    fresh("nothing")
    wait_for(lambda: not isolates(), "earlier isolates to end")
    with running() as errors:
        found = caller.processes()
        inits = [pid for pid in isolates() if found[pid][1] in spawners()]
        for pid in inits:
            os.kill(pid, signal.SIGKILL)
    assert isinstance(errors[0], Crashed)
    assert "its init was killed from outside" in str(errors[0])


def test_this_process_closes_what_makes_isolates():
    fresh("nothing")
    with running() as errors:
        pool.close_all()
    assert isinstance(errors[0], Crashed)
    assert "this process has closed" in str(errors[0])
    assert fresh("nothing") == "alive"


# --- the caller's own cancel -----------------------------------------------------------------------------------------


def test_a_sandbox_whose_call_a_future_cancelled():
    with sandbox(idle_timeout=IDLE) as box:
        future = box.submit(dying.act, "stay")
        wait_for(future.running, "the call")
        assert future.cancel()
        with pytest.raises(Crashed, match="was cancelled") as caught:
            box.call(dying.act, "nothing")
    assert "open another sandbox" in str(caught.value)
    assert caught.value.report is not None


def test_a_sandbox_whose_call_a_task_cancelled():
    async def main():
        async with sandbox(idle_timeout=IDLE) as box:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(box.call_async(dying.act, "stay"), 0.5)
            return await box.call_async(dying.act, "nothing")

    with pytest.raises(Crashed, match="was cancelled") as caught:
        asyncio.run(main())
    assert "open another sandbox" in str(caught.value)
    assert caught.value.report is not None


def test_a_call_that_a_future_cancelled_is_no_error_of_ours():
    function = isolated(prewarm=0, idle_timeout=IDLE)(dying.act)
    future = function.submit("stay")
    wait_for(lambda: future.running() and len(isolates()) >= 2, "the call")
    assert future.cancel()
    assert future.cancelled()
    wait_for(lambda: not isolates(), "the isolate to end")


# --- a sandbox that has ended ----------------------------------------------------------------------------------------


def after_the_end(box, first, second, *said):
    """Have a sandbox end, and return what is said of what is asked of it then."""
    with pytest.raises(IsolationError) as ending:
        first(box)
    assert ending.value.ran
    assert not ending.value.ended_before
    with pytest.raises(type(ending.value)) as caught:
        second(box)
    error = caught.value
    assert error.ran is False
    assert error.ended_before
    assert str(error).splitlines()[0] == str(ending.value).splitlines()[0]
    assert "did not run: the sandbox had ended before" in str(error)
    assert "had started" not in str(error)
    assert ending.value.ran  # its own error stays as it is
    return error


ASKED = {
    "call": lambda box: box.call(dying.act, "nothing"),
    "submit": lambda box: box.submit(dying.act, "nothing"),
    "run": lambda box: box.run(["ls"]),
    "popen": lambda box: box.popen(["ls"]),
    "put": lambda box: box.put("x", b""),
    "get": lambda box: box.get("x"),
}


@pytest.mark.parametrize("asked", ASKED)
def test_what_is_asked_of_a_sandbox_that_has_ended_does_not_run(asked):
    with sandbox(idle_timeout=IDLE) as box:
        error = after_the_end(box, lambda box: box.call(dying.act, "leave", 3), ASKED[asked])
    assert error.exit_code == 3


def test_what_is_asked_of_a_sandbox_whose_time_was_over_does_not_run():
    with sandbox(idle_timeout=IDLE, timeout=0.5) as box:
        error = after_the_end(box, lambda box: box.call(dying.act, "stay"), ASKED["run"])
    assert type(error) is TimedOut


def test_a_task_asks_a_sandbox_that_has_ended():
    async def main():
        async with sandbox(idle_timeout=IDLE) as box:
            with pytest.raises(Crashed):
                await box.call_async(dying.act, "leave", 3)
            await box.call_async(dying.act, "nothing")

    with pytest.raises(Crashed) as caught:
        asyncio.run(main())
    assert (caught.value.ran, caught.value.ended_before) == (False, True)


def test_a_sandbox_that_dies_between_two_calls():
    with sandbox(idle_timeout=IDLE) as box:
        assert box.call(dying.act, "leave_later", 3) == "alive"
        wait_for(lambda: not isolates(), "the isolate to end")
        with pytest.raises(Crashed) as caught:
            box.call(dying.act, "nothing")
    assert (caught.value.exit_code, caught.value.ran, caught.value.ended_before) == (3, False, True)


def test_a_sandbox_that_code_of_the_caller_ended():
    def items():
        yield 1
        raise ValueError("mine")

    with sandbox(idle_timeout=IDLE) as box:
        with pytest.raises(ValueError, match="mine"):
            box.call(sum, items())
        with pytest.raises(PolicyError, match="an earlier call has ended it: ValueError: mine") as caught:
            box.call(dying.act, "nothing")
    assert caught.value.ran is False


# --- the report ------------------------------------------------------------------------------------------------------


def test_a_sandbox_reports_what_was_used():
    with sandbox(idle_timeout=IDLE, output="discard") as box:
        began = time.monotonic()
        box.call(dying.act, "fill", 2 * MIB)
        box.call(dying.act, "take", 50 * MIB)
        box.call(dying.act, "spin", 0.3)
        box.call(os.write, 2, b"four")
        report = box.report()
        took = time.monotonic() - began
    assert 50 * MIB < report.peak_memory < 200 * MIB
    assert 0.25 <= report.cpu_seconds < took + 1  # in clock ticks of 0.01 s
    assert 2 * MIB <= report.disk < 3 * MIB
    assert report.inodes >= 1
    assert (report.stdout_bytes, report.stderr_bytes) == (0, 4)
    assert set(report.stages) == {"spawner", "start", "ready", "call"}
    assert 0 < report.stages["call"] < took
    summary = report.summary()
    for part in ("MiB at most", "processor 0.", "files 2.0 MiB in", "stdout 0 B", "stderr 4 B", "ready 0.", "call 0."):
        assert part in summary
