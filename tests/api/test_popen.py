"""Programs beside the caller: the contract of subprocess.Popen, pipelines, input that is never held whole."""

from __future__ import annotations

import gc
import hashlib
import io
import os
import resource
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isolate_fn import Limits, Policy, sandbox
from isolate_fn.errors import Crashed, LimitExceeded, PolicyError

PIPE, STDOUT, DEVNULL = subprocess.PIPE, subprocess.STDOUT, subprocess.DEVNULL
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def shared() -> Iterator[Any]:
    """One sandbox for the tests that leave nothing behind in it."""
    with sandbox(output="discard", limits=Limits(output="1G", processes=256)) as box:
        yield box


def sh(box: Any, script: str, **options: Any) -> Any:
    return box.popen(["/bin/sh", "-c", script], **options)


def running(box: Any) -> str:
    """The command lines of all processes inside."""
    script = "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done 2>/dev/null"
    return str(box.run(["/bin/sh", "-c", script], capture_output=True, text=True).stdout)


# --- the contract -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"stdout": PIPE},
        {"stdout": PIPE, "stderr": PIPE},
        {"stdout": PIPE, "stderr": STDOUT},
        {"stdout": PIPE, "stderr": PIPE, "text": True},
        {"stdout": PIPE, "encoding": "latin-1"},
        {"stdout": DEVNULL, "stderr": PIPE, "bufsize": 0},
        {"stdin": PIPE, "stdout": PIPE, "text": True, "bufsize": 1},
    ],
    ids=lambda options: "-".join(options),
)
def test_communicate_gives_what_subprocess_gives(shared: Any, options: dict[str, Any]) -> None:
    argv = ["/bin/sh", "-c", "printf 'out\\303\\244\\r\\n'; printf 'err\\n' >&2; exit 3"]
    with shared.popen(argv, **options) as inside, subprocess.Popen(argv, **options) as outside:
        for one in (inside, outside):
            one.results = one.communicate()
        assert inside.results == outside.results
        assert (inside.returncode, inside.args) == (outside.returncode, outside.args)
        assert type(inside.stdin) is type(outside.stdin)
        assert type(inside.stdout) is type(outside.stdout)


def test_a_dialogue_line_by_line(shared: Any) -> None:
    with shared.popen(["cat"], stdin=PIPE, stdout=PIPE, text=True, bufsize=1) as program:
        for word in ("one", "two", "drei ä"):
            program.stdin.write(word + "\n")
            assert program.stdout.readline() == word + "\n"
        assert program.poll() is None
        program.stdin.close()
        assert program.stdout.read() == ""
    assert program.returncode == program.poll() == program.wait() == 0


def test_the_pid_is_that_of_inside(shared: Any) -> None:
    with sh(shared, "echo $$", stdout=PIPE) as program:
        assert int(program.stdout.read()) == program.pid


def test_poll_and_wait(shared: Any) -> None:
    with shared.popen(["cat"], stdin=PIPE) as program:
        assert program.poll() is None
        with pytest.raises(subprocess.TimeoutExpired) as caught:
            program.wait(timeout=0.01)
        assert (caught.value.timeout, caught.value.cmd) == (0.01, ["cat"])
        assert program.returncode is None
    assert program.returncode == 0


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGINT", "SIGUSR1"])
def test_signals(shared: Any, name: str) -> None:
    number = getattr(signal, name)
    with shared.popen(["sleep", "1000"]) as program:
        program.send_signal(number)
        assert program.wait(10) == -number
    program.send_signal(number)  # to one that has ended: nothing
    program.terminate()
    program.kill()


def test_terminate_can_be_caught_and_kill_cannot(shared: Any) -> None:
    with sh(shared, "trap 'echo caught' TERM; echo ready; while :; do sleep 0.01; done", stdout=PIPE) as program:
        assert program.stdout.readline() == b"ready\n"
        program.terminate()
        assert program.stdout.readline() == b"caught\n"
        program.kill()
        assert program.wait(10) == -signal.SIGKILL


def test_stop_and_continue(shared: Any) -> None:
    with shared.popen(["cat"], stdin=PIPE, stdout=PIPE, bufsize=0) as program:
        program.send_signal(signal.SIGSTOP)
        program.stdin.write(b"x")
        while "T (stopped)" not in running_state(shared, program.pid):
            pass
        program.send_signal(signal.SIGCONT)
        assert program.stdout.read(1) == b"x"


def running_state(box: Any, pid: int) -> str:
    return str(box.run(["grep", "State", f"/proc/{pid}/status"], capture_output=True, text=True).stdout)


def test_a_signal_that_is_none(shared: Any) -> None:
    with shared.popen(["cat"], stdin=PIPE) as program, pytest.raises(ValueError, match="999"):
        program.send_signal(999)


def test_missing_programs_and_wrong_arguments(shared: Any) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        shared.popen(["no-such-program"])
    assert caught.value.filename == "no-such-program"
    with pytest.raises(PermissionError):
        shared.popen(["/etc/passwd"])
    with pytest.raises(FileNotFoundError):
        shared.popen(["true"], cwd="/missing")
    for wrong in ("ls -l", b"ls", []):
        with pytest.raises(PolicyError):
            shared.popen(wrong)
    assert shared.run(["true"]).returncode == 0


def test_a_directory_is_no_stream(shared: Any) -> None:
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        for stream in ("stdin", "stdout", "stderr"):
            with pytest.raises(PolicyError, match="directory"):
                shared.popen(["true"], **{stream: root})
    finally:
        os.close(root)


def test_cwd_and_env(shared: Any) -> None:
    with sh(shared, "pwd; echo $MODE", stdout=PIPE, text=True, cwd="/tmp", env={"MODE": "x"}) as program:
        assert program.communicate() == ("/tmp\nx\n", None)


def test_writing_to_one_that_does_not_read(shared: Any) -> None:
    with shared.popen(["true"], stdin=PIPE, bufsize=0) as program:
        program.wait()
        with pytest.raises(BrokenPipeError):
            program.stdin.write(b"x")
    with shared.popen(["true"], stdin=PIPE) as program:
        assert program.communicate(bytes(10 * MEGABYTE)) == (None, None)


def test_communicate_goes_on_after_a_timeout(shared: Any) -> None:
    with sh(shared, "echo first; read go; echo $go; cat", stdin=PIPE, stdout=PIPE, text=True) as program:
        assert program.stdout.readline() == "first\n"
        with pytest.raises(subprocess.TimeoutExpired):
            program.communicate(iter_after(threading.Event(), "go\n", "rest"), timeout=0)
        with pytest.raises(ValueError, match="after starting"):
            program.communicate("more")
        assert program.communicate() == ("go\nrest", None)


def iter_after(ready: threading.Event, *pieces: str) -> Iterator[str]:
    yield from pieces


def test_communicate_counts_for_the_limit_of_output() -> None:
    box = sandbox(limits=Limits(output="1M"), output="discard")
    with box, box.popen(["cat", "/dev/zero"], stdout=PIPE) as program:
        with pytest.raises(LimitExceeded) as caught:
            program.communicate()
        assert caught.value.limit == "output"
        assert program.wait(10) == -signal.SIGKILL


def test_what_the_caller_reads_itself_does_not_count(shared: Any) -> None:
    with sandbox(limits=Limits(output="64K"), output="discard") as box:
        with box.popen(["head", "-c", "5000000", "/dev/zero"], stdout=PIPE) as program:
            assert len(program.stdout.read()) == 5_000_000
        assert program.returncode == 0
        assert box.report().stdout_bytes == 0


def test_input_needs_a_pipe(shared: Any) -> None:
    with shared.popen(["true"]) as program, pytest.raises(PolicyError, match="not a pipe"):
        program.communicate(b"x")


# --- output nobody asked for --------------------------------------------------------------------------


def test_output_nobody_asked_for_is_the_sandboxs() -> None:
    with sandbox(output="capture", limits=Limits(output="64M")) as box:
        programs = [sh(box, f"for i in $(seq 2000); do echo {n} $i; done; echo e >&2") for n in range(4)]
        box.call(print, "from a call")
        assert [program.wait() for program in programs] == [0] * 4
        report = box.report()
        lines = report.stdout.decode().splitlines()
        assert sorted(lines) == sorted([f"{n} {i}" for n in range(4) for i in range(1, 2001)] + ["from a call"])
        assert report.stderr == b"e\n" * 4


def test_a_program_that_writes_on_before_the_block_ends_is_heard() -> None:
    with sandbox(output="capture") as box, sh(box, "echo said; echo done >&2; cat", stdin=PIPE, stderr=PIPE) as program:
        assert program.stderr.readline() == b"done\n"
    assert b"said" in box.report().stdout


def test_too_much_output_nobody_asked_for() -> None:
    with sandbox(output="discard", limits=Limits(output="64K")) as box:
        program = box.popen(["cat", "/dev/zero"])
        with pytest.raises(LimitExceeded) as caught:
            program.wait(60)
        assert caught.value.limit == "output"
        assert program.poll() == -signal.SIGKILL
        assert box.call(len, "goes on") == 7


def test_an_output_function_that_raises() -> None:
    def take(stream: str, data: bytes) -> None:
        raise KeyError(stream)

    with sandbox(output=take) as box:
        program = sh(box, "echo x; exec sleep 1000")
        with pytest.raises(KeyError):
            program.wait(60)
        assert program.poll() == -signal.SIGKILL


# --- several at once ----------------------------------------------------------------------------------


def test_a_pipeline(shared: Any) -> None:
    with (
        shared.popen(["seq", "100000"], stdout=PIPE) as first,
        shared.popen(["grep", "7"], stdin=first.stdout, stdout=PIPE) as second,
        shared.popen(["wc", "-l"], stdin=second.stdout, stdout=PIPE, text=True) as third,
    ):
        first.stdout.close()
        second.stdout.close()
        assert third.communicate() == ("40951\n", None)
    assert [first.returncode, second.returncode, third.returncode] == [0, 0, 0]


def test_a_pipeline_whose_reader_ends_first(shared: Any) -> None:
    with (
        shared.popen(["yes"], stdout=PIPE) as first,
        shared.popen(["head", "-n", "1"], stdin=first.stdout, stdout=PIPE) as second,
    ):
        first.stdout.close()
        assert second.communicate() == (b"y\n", None)
        assert first.wait(10) == -signal.SIGPIPE


def test_thirty_at_once(shared: Any) -> None:
    programs = [sh(shared, f"cat; exit {n}", stdin=PIPE, stdout=PIPE) for n in range(30)]
    assert {program.poll() for program in programs} == {None}
    assert len({program.pid for program in programs}) == 30
    for number, program in enumerate(reversed(programs)):
        assert program.communicate(b"%d" % number) == (b"%d" % number, None)
    assert [program.returncode for program in programs] == list(range(30))


def test_calls_and_runs_beside_a_program(shared: Any) -> None:
    with shared.popen(["cat"], stdin=PIPE, stdout=PIPE) as program:
        assert shared.call(len, "abc") == 3
        assert shared.run(["/bin/sh", "-c", "exit 4"]).returncode == 4
        shared.put("beside", b"x")
        assert shared.get("beside") == b"x"
        assert program.poll() is None
        assert program.communicate(b"still here") == (b"still here", None)


def test_a_program_beside_a_call_of_another_thread() -> None:
    def wait_for_program() -> None:
        import pathlib
        import time

        pathlib.Path("called").touch()
        while not pathlib.Path("ran").exists():
            time.sleep(0.01)

    with sandbox(timeout=60) as box:
        caller = threading.Thread(target=box.call, args=(wait_for_program,))
        caller.start()
        with sh(box, "until [ -e called ]; do sleep 0.01; done; echo x", stdout=PIPE) as program:
            assert program.stdout.read() == b"x\n"
        assert box.run(["touch", "ran"]).returncode == 0
        caller.join(60)
        assert not caller.is_alive()


def test_too_many_processes() -> None:
    programs = []
    with sandbox(limits=Limits(processes=16), output="discard") as box:
        with pytest.raises(LimitExceeded) as caught:
            programs.extend(box.popen(["cat"], stdin=PIPE) for _ in range(17))
        assert (caught.value.limit, caught.value.allowed) == ("processes", 16)
        assert len(programs) >= 5
        for program in programs:
            assert program.communicate() == (None, None)
        assert box.run(["true"]).returncode == 0


def test_what_one_leaves_behind_is_killed_and_the_other_goes_on(shared: Any) -> None:
    daemon = "(setsid sh -c 'exec sleep {0}' & ) ; sleep 0.05; "
    with sh(shared, daemon.format(4321) + "echo up; cat", stdin=PIPE, stdout=PIPE) as lasting:
        assert lasting.stdout.readline() == b"up\n"
        with sh(shared, daemon.format(1234) + "echo up", stdout=PIPE) as passing:
            assert passing.communicate() == (b"up\n", None)
        found = running(shared)
        assert "sleep 1234" not in found
        assert "sleep 4321" in found
    assert "sleep 4321" not in running(shared)


# --- the end of the block -----------------------------------------------------------------------------


def test_the_end_of_the_block_ends_programs() -> None:
    with sandbox(output="discard") as box:
        quiet, loud = box.popen(["sleep", "1000"]), sh(box, "while :; do echo x; done")
        waiting = threading.Thread(target=quiet.wait)
        waiting.start()
    waiting.join(60)
    assert [quiet.poll(), loud.poll()] == [-signal.SIGKILL, -signal.SIGKILL]
    assert quiet.wait() == -signal.SIGKILL
    with pytest.raises(PolicyError):
        box.popen(["true"])


def test_a_sandbox_that_is_gone_says_why() -> None:
    with sandbox(output="discard") as box:
        program = box.popen(["cat"], stdin=PIPE)
        with pytest.raises(Crashed):
            box.call(lambda: os.kill(os.getpid(), signal.SIGKILL))
        with pytest.raises(Crashed) as caught:
            program.wait(60)
        assert caught.value.signal == signal.SIGKILL
        with pytest.raises(Crashed):
            box.popen(["true"])
        program.stdin.close()


def test_one_that_is_forgotten_runs_on_and_warns(shared: Any) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        program = shared.popen(["sleep", "77"])
        del program
        gc.collect()
    assert [str(each.message) for each in caught] == ["program ['sleep', '77'] is still running"]
    assert "sleep 77" in running(shared)
    for program in list(shared._running):
        program.kill()
    assert "sleep 77" not in running(shared)


def test_no_descriptor_and_no_thread_is_left(shared: Any) -> None:
    def use() -> tuple[int, int]:
        for _ in range(5):
            with shared.popen(["cat"], stdin=PIPE, stdout=PIPE, stderr=PIPE) as program:
                program.communicate(b"x")
            with sh(shared, "echo x") as program:
                program.wait()
            with pytest.raises(FileNotFoundError):
                shared.popen(["no-such-program"], stdin=PIPE)
        del program
        gc.collect()
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    assert use() == use()


def test_a_caller_that_forks(shared: Any) -> None:
    with shared.popen(["cat"], stdin=PIPE, stdout=PIPE) as program:
        program.stdin.write(b"once")  # is still in the file's buffer
        pid = os.fork()
        if pid == 0:
            program.stdin.close()
            os._exit(0 if program.poll() is not None else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert program.poll() is None
        reader, writer = os.pipe()
        pid = os.fork()  # and one that lives on: it must not hold the program's input open
        if pid == 0:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
        os.close(reader)
        program.stdin.close()
        assert program.stdout.read() == b"once"
        os.close(writer)
        os.waitpid(pid, 0)
    assert program.returncode == 0


# --- input of any size --------------------------------------------------------------------------------

KINDS = {
    "bytes": lambda block, count: block * count,
    "file": lambda block, count: io.BytesIO(block * count),
    "iterable": lambda block, count: (block for _ in range(count)),
    "view": lambda block, count: memoryview(block * count),
}


@pytest.mark.parametrize("kind", KINDS)
def test_input_of_all_kinds(shared: Any, kind: str) -> None:
    block = os.urandom(300_000)
    done = shared.run(["sha256sum"], input=KINDS[kind](block, 7), capture_output=True)
    assert done.stdout.split()[0].decode() == hashlib.sha256(block * 7).hexdigest()


def test_text_input_of_all_kinds(shared: Any, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("aä\n")
    with open(tmp_path / "text", encoding="utf-8") as file:
        assert shared.run(["cat"], input=file, capture_output=True, text=True).stdout == "aä\n"
    assert shared.run(["cat"], input=["a", "ä"], capture_output=True, encoding="utf-16").stdout == "aä"
    assert shared.run(["cat"], input=("" for _ in range(3)), capture_output=True, text=True).stdout == ""


@pytest.mark.parametrize("wrong", [5, ["text"], [1, 2], "text", object()], ids=repr)
def test_input_that_is_none(shared: Any, wrong: Any) -> None:
    with pytest.raises((PolicyError, TypeError)):
        shared.run(["cat"], input=wrong, capture_output=True)
    assert shared.run(["true"]).returncode == 0


def test_an_iterable_that_raises_kills_the_program(shared: Any) -> None:
    def broken() -> Iterator[bytes]:
        yield b"x"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        shared.run(["sh", "-c", "sleep 4242"], input=broken(), capture_output=True)
    assert "sleep 4242" not in running(shared)


def through_tee(megabytes: int) -> None:
    """Send so much to a program that writes all of it to both of its outputs, and see that all of it comes."""
    sums, block = {"stdout": hashlib.md5(), "stderr": hashlib.md5()}, os.urandom(MEGABYTE)
    expected = hashlib.md5()

    def blocks() -> Iterator[bytes]:
        for _ in range(megabytes):
            expected.update(block)
            yield block

    limits = Limits(output=2 * megabytes * MEGABYTE)
    with sandbox(policy=Policy(limits=limits), output=lambda stream, data: sums[stream].update(data)) as box:
        box.run(["true"])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert box.run(["tee", "/dev/stderr"], input=blocks(), timeout=100).returncode == 0
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert sums["stdout"].digest() == sums["stderr"].digest() == expected.digest()
    assert grown < 16 << 10  # KiB


def test_much_input_with_both_outputs_busy_in_flat_memory() -> None:
    through_tee(64)


@pytest.mark.big
def test_gigabytes_of_input_with_both_outputs_busy_in_flat_memory() -> None:
    through_tee(1200)


def test_a_file_as_input_is_read_piece_by_piece(shared: Any, tmp_path: Path) -> None:
    with open(tmp_path / "big", "wb") as file:
        file.truncate(200 * MEGABYTE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open(tmp_path / "big", "rb") as file:
        done = shared.run(["wc", "-c"], input=file, capture_output=True, text=True)
    assert done.stdout.split() == [str(200 * MEGABYTE)]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10


def test_a_program_of_python_with_both_pipes_busy(shared: Any) -> None:
    script = "import sys\nfor line in sys.stdin.buffer:\n sys.stdout.buffer.write(line)\n sys.stderr.buffer.write(line)"
    data = b"".join(b"%d\n" % number for number in range(300_000))
    with shared.popen([sys.executable, "-c", script], stdin=PIPE, stdout=PIPE, stderr=PIPE) as program:
        assert program.communicate(data) == (data, data)
