"""The with block: calls that share state, programs by subprocess.run's contract, files in and out, the report."""

from __future__ import annotations

import errno
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isolate_fn import Limits, dev, ro, rw, sandbox
from isolate_fn.errors import CallRejected, Crashed, LimitExceeded, PolicyError, ResultRejected, TimedOut

SH = "/bin/sh"


@pytest.fixture(scope="module")
def shared() -> Iterator[Any]:
    """One sandbox for the tests that leave nothing behind in it."""
    with sandbox(output="discard", limits=Limits(output="64M")) as box:
        yield box


def sh(box: Any, script: str, **options: Any) -> subprocess.CompletedProcess[Any]:
    return box.run([SH, "-c", script], **options)


# --- call ---------------------------------------------------------------------------------------------


def test_state_lives_until_the_block_ends() -> None:
    def remember(value: int) -> list[int]:
        import builtins

        kept = builtins.__dict__.setdefault("kept", [])
        kept.append(value)
        return list(kept)

    with sandbox() as box:
        assert box.call(remember, 1) == [1]
        assert box.call(remember, 2) == [1, 2]
        first, second = box.call(os.getpid), box.call(os.getpid)
        assert first == second
    with sandbox() as box:
        assert box.call(remember, 3) == [3]


def test_functions_of_all_kinds(shared: Any) -> None:
    class Counter:
        def __init__(self, start: int) -> None:
            self.start = start

        def after(self, more: int, *, step: int = 1) -> int:
            return self.start + more * step

        @staticmethod
        def double(number: int) -> int:
            return number * 2

        @classmethod
        def name(cls) -> str:
            return cls.__name__

    assert shared.call(len, "abc") == 3
    assert shared.call(lambda a, b=2: a + b, 1) == 3
    assert shared.call(Counter(5).after, 2, step=10) == 25
    assert shared.call(Counter.double, 4) == 8
    assert shared.call(Counter.name) == "Counter"
    assert shared.call(os.path.join, "a", "b") == "a/b"


def test_an_exception_leaves_the_sandbox_alive(shared: Any) -> None:
    before = shared.call(os.getpid)
    with pytest.raises(ZeroDivisionError):
        shared.call(lambda: 1 / 0)
    with pytest.raises(CallRejected):
        shared.call(len, threading.Lock())
    with pytest.raises(ResultRejected):
        shared.call(lambda: object())
    assert shared.call(os.getpid) == before


def test_a_crash_ends_the_sandbox_and_says_so_again() -> None:
    with sandbox() as box:
        with pytest.raises(Crashed) as caught:
            box.call(lambda: os.kill(os.getpid(), signal.SIGKILL))
        assert caught.value.signal == signal.SIGKILL
        with pytest.raises(Crashed):
            box.call(len, "abc")
        with pytest.raises(Crashed):
            box.run(["true"])
        with pytest.raises(Crashed):
            box.get("x")
        assert box.report().enforcement is not None


def test_a_call_that_takes_too_long_ends_the_sandbox() -> None:
    def wait() -> None:
        import time

        time.sleep(60)

    with sandbox(timeout=1) as box:
        assert box.call(len, "abc") == 3
        with pytest.raises(TimedOut) as caught:
            box.call(wait)
        assert caught.value.timeout == 1
        with pytest.raises(TimedOut):
            box.call(len, "abc")


def test_use_outside_the_block() -> None:
    box = sandbox()
    for use in (lambda: box.call(len, ""), lambda: box.run(["true"]), lambda: box.put("x", b""), box.report):
        with pytest.raises(PolicyError):
            use()
    with box as same:
        assert same is box
        assert box.call(len, "ab") == 2
    for use in (lambda: box.call(len, ""), lambda: box.run(["true"]), lambda: box.get("x")):
        with pytest.raises(PolicyError) as caught:
            use()
        assert "with sandbox" in caught.value.remedy
    assert box.report().enforcement is not None
    with pytest.raises(PolicyError, match="entered before"):
        box.__enter__()


def test_an_error_in_the_block_passes_through_and_ends_the_sandbox() -> None:
    box = sandbox()

    def use() -> None:
        with box:
            assert box.call(os.getpid)
            raise KeyError("mine")

    with pytest.raises(KeyError):
        use()
    with pytest.raises(PolicyError):
        box.call(os.getpid)


def test_calls_of_several_threads_take_turns(shared: Any) -> None:
    results: list[int] = []

    def work(number: int) -> None:
        for _ in range(5):
            results.append(shared.call(lambda n: n * n, number))
            assert shared.run([SH, "-c", f"exit {number}"]).returncode == number

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == sorted([n * n for n in range(4)] * 5)


# --- run ----------------------------------------------------------------------------------------------


def same(box: Any, argv: list[str], **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run a program inside and outside; both results must be equal."""
    inside = box.run(argv, **options)
    outside = subprocess.run(argv, **options, check=False)
    assert type(inside) is subprocess.CompletedProcess
    assert vars(inside) == vars(outside)
    return inside


@pytest.mark.parametrize(
    "options",
    [
        {"capture_output": True},
        {"capture_output": True, "text": True},
        {"capture_output": True, "encoding": "latin-1"},
        {"stdout": subprocess.PIPE},
        {"stderr": subprocess.PIPE},
        {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT},
        {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL},
        {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True},
    ],
    ids=lambda options: "-".join(options),
)
def test_results_are_those_of_subprocess(shared: Any, options: dict[str, Any], capfd: Any) -> None:
    same(shared, [SH, "-c", "printf 'out\\303\\244\\r\\n'; printf 'err\\n' >&2; exit 3"], **options)


@pytest.mark.parametrize(
    "options",
    [{"input": b"a\nb"}, {"input": "ä\nb", "text": True}, {"input": "ä", "encoding": "utf-16"}, {"input": b""}],
    ids=repr,
)
def test_input_reaches_stdin(shared: Any, options: dict[str, Any]) -> None:
    same(shared, ["cat"], stdout=subprocess.PIPE, **options)


def test_stdin_is_empty_unless_given(shared: Any) -> None:
    assert shared.run(["cat"], capture_output=True).stdout == b""
    assert shared.run(["cat"], capture_output=True, stdin=subprocess.DEVNULL).stdout == b""


def test_ten_megabytes_through_both_pipes_at_once(shared: Any) -> None:
    block = bytes(range(256)) * 4096 * 10
    result = shared.run([SH, "-c", "tee /dev/stderr"], input=block, capture_output=True)
    assert result.returncode == 0
    assert result.stdout == block
    assert result.stderr == block


def test_a_program_that_does_not_read_its_input(shared: Any) -> None:
    assert shared.run(["true"], input=bytes(10 << 20)).returncode == 0


def test_files_and_descriptors_as_streams(shared: Any, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"from a file")
    with open(tmp_path / "in", "rb") as source, open(tmp_path / "out", "wb") as target:
        result = shared.run(["cat"], stdin=source, stdout=target, stderr=subprocess.PIPE)
    assert (result.stdout, result.stderr) == (None, b"")
    assert (tmp_path / "out").read_bytes() == b"from a file"
    reader, writer = os.pipe()
    try:
        assert shared.run([SH, "-c", "echo x"], stdout=writer).returncode == 0
        assert os.read(reader, 10) == b"x\n"
    finally:
        os.close(reader)
        os.close(writer)


def test_streams_that_contradict_each_other(shared: Any) -> None:
    for options in (
        {"capture_output": True, "stdout": subprocess.PIPE},
        {"input": b"", "stdin": subprocess.PIPE},
        {"input": "text without text=True"},
    ):
        with pytest.raises((PolicyError, ValueError)):
            shared.run(["true"], **options)


@pytest.mark.parametrize("code", [0, 1, 77, 255])
def test_exit_codes(shared: Any, code: int) -> None:
    assert sh(shared, f"exit {code}").returncode == code


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGSEGV", "SIGABRT", "SIGPIPE", "SIGINT"])
def test_signals_are_negative_codes(shared: Any, name: str) -> None:
    assert sh(shared, f"kill -{name[3:]} $$").returncode == -getattr(signal, name)


def test_check_raises(shared: Any) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        sh(shared, "echo out; echo err >&2; exit 4", check=True, capture_output=True, text=True)
    error = caught.value
    assert (error.returncode, error.stdout, error.stderr) == (4, "out\n", "err\n")
    assert error.cmd[0] == SH
    sh(shared, "true", check=True)


def test_timeout_carries_what_was_written_and_the_sandbox_goes_on(shared: Any) -> None:
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        sh(shared, "echo partial; echo err >&2; sleep 60", timeout=0.5, capture_output=True)
    assert caught.value.output == b"partial\n"
    assert caught.value.stderr == b"err\n"
    assert caught.value.timeout == 0.5
    assert sh(shared, "exit 5").returncode == 5


def test_missing_program_and_wrong_argv(shared: Any) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        shared.run(["no-such-program", "x"])
    assert caught.value.filename == "no-such-program"
    with pytest.raises(FileNotFoundError):
        shared.run(["/no/such/program"])
    with pytest.raises(PermissionError):
        shared.run(["/etc/passwd"])
    for wrong in ("ls -l", b"ls", []):
        with pytest.raises((PolicyError, TypeError)):
            shared.run(wrong)
    assert sh(shared, "true").returncode == 0


def test_words_that_are_not_text(shared: Any) -> None:
    assert shared.run(["printf", "%s", Path("/a/b")], capture_output=True).stdout == b"/a/b"
    odd = os.fsdecode(b"caf\xe9")
    assert shared.run(["printf", "%s", odd], capture_output=True).stdout == b"caf\xe9"
    with pytest.raises((ValueError, PolicyError)):
        shared.run(["printf", "a\0b"])
    with pytest.raises((TypeError, PolicyError)):
        shared.run(["printf", 1])
    assert sh(shared, "true").returncode == 0


def test_cwd_and_env(shared: Any) -> None:
    def run(**options: Any) -> str:
        return str(sh(shared, "pwd; echo $MODE-$HOME", capture_output=True, text=True, **options).stdout)

    assert run() == "/work\n-/work\n"
    assert run(cwd="/tmp", env={"MODE": "x", "PATH": "/bin"}) == "/tmp\nx-\n"
    with pytest.raises(FileNotFoundError):
        run(cwd="/missing")
    with sandbox(env={"MODE": "all"}, output="discard") as box:
        assert sh(box, "echo $MODE", capture_output=True, text=True).stdout == "all\n"


def test_programs_see_the_mounts_and_share_files_with_calls(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "in" / "x").write_text("granted")
    with sandbox(mounts=[ro(tmp_path / "in", "/in"), rw(tmp_path / "out", "/out")]) as box:
        sh(box, "cat /in/x > /out/y; echo shared > z", check=True)
        assert sh(box, "echo no > /in/x", capture_output=True).returncode != 0
        assert box.call(lambda: open("z").read()) == "shared\n"
    assert (tmp_path / "out" / "y").read_text() == "granted"
    assert (tmp_path / "out" / "y").stat().st_uid == os.geteuid()


@pytest.mark.parametrize("path", ["/bin/sh", "/usr/bin/sh"])
def test_a_mount_of_a_program_that_is_there_anyway(path: str) -> None:
    """On many systems the one is a link to the other, and that one to dash or bash."""
    if not os.path.exists(path):
        pytest.skip(f"there is no {path} on this machine")
    with sandbox(mounts=[ro(path)]) as box:
        assert box.run([path, "-c", "echo started"], capture_output=True).stdout == b"started\n"


def test_what_a_program_leaves_behind_is_killed(shared: Any) -> None:
    result = sh(shared, "(setsid sleep 1000 >/dev/null 2>&1 &) ; sleep 1000 & echo done", capture_output=True)
    assert result.stdout == b"done\n"
    alive = sh(shared, "for p in /proc/[0-9]*; do cat $p/cmdline 2>/dev/null; echo; done", capture_output=True)
    assert b"sleep" not in alive.stdout


def test_a_program_cannot_exec_from_a_call(shared: Any) -> None:
    with pytest.raises(PermissionError):
        shared.call(lambda: os.execv("/bin/true", ["true"]))
    with pytest.raises(PermissionError):
        shared.call(subprocess.run, ["true"])
    assert shared.run(["true"]).returncode == 0


def test_output_nobody_asked_for_is_the_sandboxs() -> None:
    with sandbox(output="capture") as box:
        sh(box, "echo out; echo err >&2")
        box.call(print, "from a call")
        assert sh(box, "echo mine", stdout=subprocess.PIPE).stdout == b"mine\n"
        report = box.report()
        assert report.stdout == b"out\nfrom a call\n"
        assert report.stderr == b"err\n"
        assert report.stdout_bytes >= len(report.stdout)


def test_too_much_output_of_a_program() -> None:
    with sandbox(limits=Limits(output="64K")) as box:
        with pytest.raises(LimitExceeded) as caught:
            box.run(["cat", "/dev/zero"], capture_output=True)
        assert caught.value.limit == "output"


def test_too_much_output_of_a_program_is_told_with_what_was_used() -> None:
    code = """if True:
        import sys, time
        kept = b"x" * (50 << 20)
        while time.process_time() < 0.3:
            pass
        sys.stdout.write("x" * (1 << 20))"""
    argv = [sys.executable, "-c", code]
    ways = (
        lambda box: box.run(argv, capture_output=True),
        lambda box: box.popen(argv, stdout=subprocess.PIPE).communicate(),
    )
    for way in ways:
        with sandbox(limits=Limits(output="64K")) as box, pytest.raises(LimitExceeded) as caught:
            way(box)
        report = caught.value.report
        assert report.peak_memory > 50 << 20
        assert report.cpu_seconds > 0.2


def test_too_much_output_of_a_program_beside_a_call() -> None:
    """Who makes the call hears what init says; nobody waits for it."""
    with sandbox(limits=Limits(output="64K")) as box:
        call = box.submit(time.sleep, 3)
        with pytest.raises(LimitExceeded) as caught:
            box.run(["cat", "/dev/zero"], capture_output=True)
        assert not call.done()
        assert caught.value.report.stdout_bytes > 1 << 16


def test_programs_are_walled_in(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    with sandbox(output="discard") as box:
        assert box.run(["cat", str(tmp_path / "secret")], capture_output=True).returncode != 0
        assert sh(box, "echo x > /usr/x", capture_output=True).returncode != 0
        # PID 1 of the isolate answers to nobody in it.
        assert sh(box, "kill -9 1; sleep 0; kill -0 1", capture_output=True).returncode != 0
        assert box.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True).stdout == b"42\n"


# --- put and get --------------------------------------------------------------------------------------


def test_put_bytes_paths_and_files(shared: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\0data")
    shared.put("a/b/c", b"one")
    shared.put("/tmp/x", bytearray(b"two"))
    shared.put("y", memoryview(b"three"))
    shared.put("z", tmp_path / "file")
    shared.put("open", io.BytesIO(b"stream"))
    with open(tmp_path / "file", "rb") as source:
        shared.put("real", source)
    found = [shared.get(path) for path in ("a/b/c", "/work/a/b/c", "/tmp/x", "y", "z", "open", "real")]
    assert found == [b"one", b"one", b"two", b"three", b"\0data", b"stream", b"\0data"]
    assert shared.call(lambda: open("a/b/c").read()) == "one"
    shared.put("a/b/c", b"")
    assert shared.get("a/b/c") == b""


def test_a_file_put_can_be_changed_by_calls_and_programs(shared: Any) -> None:
    shared.put("both", b"1")
    shared.call(lambda: open("both", "a").write("2"))
    sh(shared, "printf 3 >> both", check=True)
    assert shared.get("both") == b"123"


def test_put_refuses_what_cannot_be_meant(shared: Any, tmp_path: Path) -> None:
    for wrong in ("text", io.StringIO("text"), 5, None):
        with pytest.raises(PolicyError):
            shared.put("x", wrong)
    with pytest.raises(FileNotFoundError):
        shared.put("x", tmp_path / "missing")
    for path in ("", "a\0b"):
        with pytest.raises(PolicyError):
            shared.put(path, b"")
    for path in ("/usr/new", "/etc/passwd", "/new"):
        with pytest.raises(OSError, match=path) as caught:
            shared.put(path, b"")
        assert caught.value.errno in (errno.EROFS, errno.EACCES)


@pytest.fixture(scope="module")
def oddities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A sandbox that sees a directory with one of each kind of file."""
    root = tmp_path_factory.mktemp("o")
    (root / "directory").mkdir()
    (root / "target").write_bytes(b"regular")
    (root / "symlink").symlink_to("target")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(root)  # a socket's path may only be short
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
    with sandbox(mounts=[ro(root, "/in"), dev("/dev/null", "/in2")], limits=Limits(result="1M")) as box:
        yield box


@pytest.mark.parametrize("kind", ["directory", "symlink", "fifo", "socket", "missing"])
def test_get_of_anything_but_a_regular_file_raises(oddities: Any, kind: str) -> None:
    with pytest.raises(OSError, match=f"/in/{kind}"):
        oddities.get(f"/in/{kind}")
    assert oddities.get("/in/target") == b"regular"


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/in2", "/proc/self"])
def test_get_of_devices_raises(oddities: Any, path: str) -> None:
    with pytest.raises(OSError, match=path):
        oddities.get(path)


def test_descendants_of_a_killed_program_hold_up_nothing(shared: Any) -> None:
    # Children of children, in sessions of their own, of a program that is killed: none may hold up what follows.
    script = "(setsid sh -c 'sleep 50 & sleep 50') & sleep 50 & (sleep 50 | sleep 50) & sleep 50"
    for _ in range(5):
        with pytest.raises(subprocess.TimeoutExpired):
            sh(shared, script, timeout=0.2)
    assert sh(shared, "exit 6", timeout=10).returncode == 6


def test_get_through_a_linked_directory_stays_inside(shared: Any) -> None:
    shared.call(lambda: os.symlink("/", "/work/root"))
    shared.put("/tmp/there", b"inside")
    assert shared.get("root/tmp/there") == b"inside"
    with pytest.raises(OSError, match="shadow"):
        shared.get("root/etc/shadow")


def test_big_files_and_limits() -> None:
    block = os.urandom(1 << 20) * 20
    with sandbox(limits=Limits(rootfs_size="48M", result="24M")) as box:
        box.put("big", block)
        assert box.get("big") == block
        box.call(lambda: open("bigger", "wb").write(bytes(25 << 20)))
        with pytest.raises(LimitExceeded) as caught:
            box.get("bigger")
        assert (caught.value.limit, caught.value.allowed, caught.value.used) == ("result", 24 << 20, 25 << 20)
        with pytest.raises(LimitExceeded) as caught:
            box.put("third", block)
        assert caught.value.limit == "rootfs_size"
        assert box.call(len, "still there") == 11


def test_a_file_growing_while_it_is_read_does_not_pass_the_limit(shared: Any) -> None:
    shared.put("f", bytes(1000))
    assert len(shared.get("f")) == 1000


# --- report -------------------------------------------------------------------------------------------


def test_report_while_open_and_after() -> None:
    def burn() -> int:
        import builtins

        builtins.__dict__["block"] = block = bytearray(30 << 20)
        block[::4096] = b"x" * len(block[::4096])
        return sum(range(2_000_000)) and len(block)

    with sandbox(output="capture", name="mine") as box:
        box.call(burn)
        box.put("x", bytes(1 << 20))
        during = box.report()
    after = box.report()
    for report in (during, after):
        assert report.enforcement is not None
        assert report.enforcement.engine == "namespaces"
        assert report.disk >= 1 << 20
        assert report.inodes > 0
        assert report.peak_memory >= 30 << 20
        assert report.cpu_seconds > 0
        assert {"start", "ready", "call"} <= set(report.stages)


# --- a real tool --------------------------------------------------------------------------------------


@pytest.mark.needs("tool:ffmpeg")
def test_ffmpeg_transcodes() -> None:
    with sandbox(output="discard", timeout=60, limits=Limits(rootfs_size="128M", processes=128)) as box:
        make = ["-f", "lavfi", "-i", "testsrc=duration=1:size=64x48:rate=5", "-c:v", "mpeg4", "in.avi"]
        quiet = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin"]
        box.run([*quiet, *make], check=True, capture_output=True)
        box.run([*quiet, "-i", "in.avi", "-c:v", "mjpeg", "out.mkv"], check=True, capture_output=True)
        assert box.get("out.mkv").startswith(b"\x1aE\xdf\xa3")
        broken = box.run([*quiet, "-i", "/etc/passwd", "x.mkv"], capture_output=True)
        assert broken.returncode != 0
