"""`isolate-fn run`: statuses, streams, grants, and what is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.needs("namespaces")
COMMAND = [sys.executable, "-c", "import sys; from isolate_fn.cli import main; sys.exit(main())", "run"]


def run(*arguments: str, **more: object) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **more.pop("env", {})}  # type: ignore[dict-item]
    options: dict[str, object] = {"capture_output": True, "timeout": 60, "env": environment, **more}
    return subprocess.run([*COMMAND, *arguments], **options)  # type: ignore[call-overload, no-any-return]


def test_streams_pass_through_byte_by_byte() -> None:
    data = bytes(range(256)) * 9999
    done = run("--", "sh", "-c", "cat; echo err >&2", input=data)
    assert (done.returncode, done.stderr) == (0, b"err\n")
    assert done.stdout == data


def test_output_to_a_pipe_is_not_limited(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('base = "TOOLS"\nlimits.output = 100\n')
    done = run("--policy", str(tmp_path / "p.toml"), "--", "head", "-c", "100000", "/dev/zero")
    assert (done.returncode, len(done.stdout)) == (0, 100000)


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 3", 3), ("exit 255", 255)])
def test_status_of_the_program(script: str, status: int) -> None:
    assert run("--", "sh", "-c", script).returncode == status


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_signals(number: int) -> None:
    assert run("--", "sh", "-c", f"kill -{int(number)} $$").returncode == 128 + number


def test_what_is_not_there_and_what_is_no_program() -> None:
    done = run("--", "no-such-program")
    assert done.returncode == 127
    assert b"no-such-program: No such file" in done.stderr
    assert run("--", "/usr/lib").returncode == 126


def test_time_is_over() -> None:
    done = run("--timeout", "0.3", "--", "sleep", "60")
    assert done.returncode == 124
    assert b"0.3 seconds" in done.stderr


def test_a_limit_ends_it() -> None:
    done = run("--memory", "50M", "--", sys.executable, "-c", "x = bytearray(400 << 20)")
    assert done.returncode == 125
    assert b"memory" in done.stderr


def test_grants(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_text("hello")
    (tmp_path / "out").mkdir()
    script = f"cat {tmp_path}/in/file; echo x > {tmp_path}/out/made; echo x > {tmp_path}/in/no"
    done = run("--ro", "in", "--rw", str(tmp_path / "out"), "--", "sh", "-c", script, cwd=tmp_path)
    assert done.stdout == b"hello"
    assert b"Read-only file system" in done.stderr
    assert (tmp_path / "out" / "made").read_text() == "x\n"
    assert not (tmp_path / "in" / "no").exists()
    assert run("--", "cat", str(tmp_path / "in" / "file")).returncode == 1


def test_network() -> None:
    script = "import os; print(os.readlink('/proc/self/ns/net'))"
    outside = os.readlink("/proc/self/ns/net").encode()
    alone, granted = (run(*more, "--", sys.executable, "-c", script).stdout.strip() for more in ((), ("--net",)))
    if alone and granted:  # else there is no /proc inside
        assert alone != outside
        assert granted == outside
    reach = "import socket; socket.socket(socket.AF_INET, socket.SOCK_STREAM)"
    assert run("--", sys.executable, "-c", reach).returncode == 1
    assert run("--net", "--", sys.executable, "-c", reach).returncode == 0


def test_environment() -> None:
    done = run("--env", "A=b c", "--env", "SECRET", "--", "env", env={"SECRET": "s", "OTHER": "o"})
    assert b"A=b c\n" in done.stdout
    assert b"SECRET=s\n" in done.stdout
    assert b"OTHER" not in done.stdout
    done = run("--env", "HOME", "--env", "TMPDIR=/y", "--", "env", env={"HOME": "/x"})
    assert {b"HOME=/x", b"TMPDIR=/y", b"PWD=/work"} <= set(done.stdout.splitlines())
    done = run("--env", "NOT_THERE", "--", "env")
    assert (done.returncode, b"no variable 'NOT_THERE'" in done.stderr) == (125, True)


def test_policies_by_file_and_name(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('env.A = "file"\n')
    (tmp_path / "pyproject.toml").write_text('[tool.isolate_fn.policies.mine.env]\nA = "project"\n')
    (tmp_path / "below").mkdir()
    for named, said in (("p.toml", b"file"), ("pyproject.toml:mine", b"project"), ("mine", b"project")):
        assert run("--policy", named, "--", "printenv", "A", cwd=tmp_path).stdout.strip() == said
    assert run("--policy", "mine", "--", "printenv", "A", cwd=tmp_path / "below").stdout == b"project\n"
    (tmp_path / "p.toml").write_text("\nevn = 3\n")
    done = run("--policy", "p.toml", "--", "true", cwd=tmp_path)
    assert done.returncode == 125
    assert done.stderr == b"isolate-fn run: p.toml:2: evn: there is no key 'evn'\n  try: did you mean 'env'?\n"
    assert b"there is no policy 'mein'" in run("--policy", "mein", "--", "true", cwd=tmp_path).stderr


def streams(**given: object) -> dict[str, object]:
    return {"capture_output": False, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **given}


@pytest.mark.parametrize(("number", "name"), [(1, "stdout"), (2, "stderr")])
def test_output_that_cannot_be_written_is_said(number: int, name: str) -> None:
    with open("/dev/full", "wb") as full:
        done = run("--", "sh", "-c", f"echo hi >&{number}", **streams(**{name: full}))
    assert done.returncode == 125
    if name == "stdout":
        assert done.stderr == (
            b"isolate-fn run: sh: its output could not be written: No space left on device; the rest is lost\n"
        )


def test_a_reader_that_goes_away_ends_the_program_and_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as nobody:
        done = run("--", "sh", "-c", "trap 'exit 7' PIPE; while echo x; do :; done 2>/dev/null", **streams(stdout=nobody))
    assert (done.returncode, done.stderr) == (7, b"")


def test_output_to_what_does_not_block_is_whole() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with open(reader, "rb") as ours:
        process = subprocess.Popen([*COMMAND, "--", "head", "-c", "1000000", "/dev/zero"], stdout=writer, env=environment)
        os.close(writer)
        time.sleep(0.5)  # the pipe is full by then
        assert len(ours.read()) == 1000000
        assert process.wait(60) == 0


def test_usage() -> None:
    assert run().returncode == 2
    assert run("--nonsense", "--", "true").returncode == 2


def test_closed_streams_are_no_harm() -> None:
    done = subprocess.run(
        ["sh", "-c", '"$@" <&- >&-', "sh", *COMMAND, "--", "sh", "-c", "cat; echo x; exit 4"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    assert done.returncode == 4


def test_a_working_directory_that_has_been_removed(tmp_path: Path) -> None:
    """Not by -c: with '' on sys.path, CPython 3.13.0 fails there before anything of ours does."""
    gone = tmp_path / "gone"
    main = tmp_path / "main.py"
    main.write_text(
        f"import os, sys\nos.mkdir({str(gone)!r})\nos.chdir({str(gone)!r})\nos.rmdir({str(gone)!r})\n"
        "from isolate_fn.cli import main\nsys.exit(main())\n"
    )

    def there(*words: str) -> tuple[int, str, str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, main, *words], capture_output=True, text=True, timeout=60, env=environment)
        return done.returncode, done.stdout, done.stderr

    said = f"the working directory, '{gone}', has been removed\n  try: change to a directory that exists"
    assert there("run", "--", "/bin/echo", "hi") == (0, "hi\n", "")
    assert there("run", "--", "no-such-program")[0] == 127
    assert there("run", "--ro", "here", "--", "true") == (125, "", f"isolate-fn run: here: {said}\n")
    assert there("explain", "--policy", "TOOLS")[0] == 0
    status, _, errors = there("explain", "--policy", "thumb")
    assert (status, f"no pyproject.toml to look into: {said}, or name a file" in errors) == (1, True)
    status, _, errors = there("learn", "os:getpid")
    assert (status, f"isolate-fn learn: .: {said}\n" in errors) == (2, True)


def test_interrupted() -> None:
    script = "echo ready; sleep 60"
    process = subprocess.Popen(
        [*COMMAND, "--", "sh", "-c", script], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    process.stdout.close()


def test_on_a_terminal_output_is_made_harmless(terminal: Callable[..., tuple[int, bytes]]) -> None:
    script = "printf 'a\\033[31mb\\n'; printf 'through stdin' >&0; read word; echo got $word; exit 5"
    command = [*COMMAND, "--", "sh", "-c", script]
    status, said = terminal(command, {**os.environ, "PYTHONPATH": str(ROOT)}, typed=b"input\n")
    assert status == 5
    assert b"a" in said
    assert b"\x1b[31m" not in said
    assert b"through stdin" not in said
    assert b"got input" in said


def test_a_file_open_for_both_is_only_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("one\ntwo\n")
    with open(tmp_path / "file", "r+b", buffering=0) as both:
        both.seek(4)
        done = run("--", "sh", "-c", "cat; echo three >&0", stdin=both)
    assert done.stdout == b"two\n"
    assert done.returncode != 0
    assert (tmp_path / "file").read_text() == "one\ntwo\n"
