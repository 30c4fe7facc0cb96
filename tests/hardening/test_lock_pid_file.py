"""`lock_pid_file`: who holds the lock, for how long, what the file says, and which error names which failure."""

from __future__ import annotations

import errno
import fcntl
import inspect
import os
import pickle
import socket
from pathlib import Path
from typing import Any

import pytest

from isolate_fn import lock_pid_file
from isolate_fn.errors import PolicyError, SetupError, Unsupported


def failure(path: Any, **options: Any) -> SetupError:
    with pytest.raises(SetupError) as caught:
        lock_pid_file(path, closefd=True, **options)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.errno == caught.value.__cause__.errno
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.errno) == (str(caught.value), caught.value.errno)
    return caught.value


def test_signature_is_the_ported_one() -> None:
    signature = inspect.signature(lock_pid_file)
    assert [(p.name, p.kind.name, p.default) for p in signature.parameters.values()] == [
        ("path", "POSITIONAL_OR_KEYWORD", inspect.Parameter.empty),
        ("closefd", "KEYWORD_ONLY", False),
        ("cloexec", "KEYWORD_ONLY", True),
        ("mode", "KEYWORD_ONLY", 0o640),
        ("contents", "KEYWORD_ONLY", None),
    ]


def test_writes_the_process_id_and_returns_the_raw_file(tmp_path: Path) -> None:
    with lock_pid_file(tmp_path / "pid", closefd=True) as file:
        assert (tmp_path / "pid").read_bytes() == b"%d\n" % os.getpid()
        assert (type(file).__name__, file.mode, file.closefd, file.name) == ("FileIO", "rb+", True, file.fileno())
        file.seek(0)
        assert file.read() == b"%d\n" % os.getpid()


@pytest.mark.parametrize("contents", [b"", b"mine", bytearray(b"array"), memoryview(b"view")])
def test_writes_what_it_is_given(tmp_path: Path, contents: Any) -> None:
    (tmp_path / "pid").write_text("something longer than that")
    with lock_pid_file(str(tmp_path / "pid"), closefd=True, contents=contents):
        assert (tmp_path / "pid").read_bytes() == bytes(contents)


def test_makes_the_file_with_the_mode_and_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        lock_pid_file(tmp_path / "usual", closefd=True).close()
        lock_pid_file(tmp_path / "open", closefd=True, mode=0o666).close()
    finally:
        os.umask(before)
    assert (tmp_path / "usual").stat().st_mode & 0o7777 == 0o640
    assert (tmp_path / "open").stat().st_mode & 0o7777 == 0o644


def test_second_holder_is_refused_and_leaves_the_content_alone(tmp_path: Path) -> None:
    with lock_pid_file(tmp_path / "pid", closefd=True, contents=b"first"):
        before = len(os.listdir("/proc/self/fd"))
        refused = failure(tmp_path / "pid", contents=b"second")
        assert isinstance(refused.__cause__, BlockingIOError)
        assert refused.call.startswith("flock(")
        assert "another process holds" in str(refused)
        assert (tmp_path / "pid").read_bytes() == b"first"
        assert len(os.listdir("/proc/self/fd")) == before
    lock_pid_file(tmp_path / "pid", closefd=True, contents=b"second").close()
    assert (tmp_path / "pid").read_bytes() == b"second"


def test_closefd_true_releases_when_the_object_goes(tmp_path: Path) -> None:
    file = lock_pid_file(tmp_path / "pid", closefd=True)
    with pytest.warns(ResourceWarning):
        del file
    lock_pid_file(tmp_path / "pid", closefd=True).close()


def test_closefd_false_holds_the_lock_until_the_process_ends(script: Any) -> None:
    script("""
    lock_pid_file("pid").close()          # neither closing nor dropping the object gives it back
    assert refused(SetupError, lambda: lock_pid_file("pid")).errno == errno.EAGAIN
    again = "from isolate_fn import lock_pid_file; lock_pid_file('pid')"
    assert subprocess.run([sys.executable, "-c", again], capture_output=True).returncode == 1
    if (child := os.fork()) == 0:
        os._exit(0)                       # a fork that ends takes nothing away
    os.waitpid(child, 0)
    assert refused(SetupError, lambda: lock_pid_file("pid")).errno == errno.EAGAIN
    os.execv(sys.executable, [sys.executable, "-c", again])  # but the end of the program does: here, an exec
    """)


def test_cloexec_false_lets_an_executed_program_hold_it(script: Any) -> None:
    script("""
    lock_pid_file("shut")
    lock_pid_file("passed_on", cloexec=False)
    code = '''
import sys
from isolate_fn import lock_pid_file
lock_pid_file("shut")
try:
    lock_pid_file("passed_on")
except OSError:
    sys.exit("not an OSError")
except Exception as refused:
    sys.exit(0 if refused.errno == 11 else "another error")
sys.exit("not locked")
'''
    os.execv(sys.executable, [sys.executable, "-c", code])
    """)


def test_symbolic_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    with lock_pid_file(tmp_path / "link", closefd=True, contents=b"x"):
        assert (tmp_path / "target").read_bytes() == b"x"
        assert failure(tmp_path / "target").errno == errno.EAGAIN


def test_magic_links_are_not(tmp_path: Path) -> None:
    with open(tmp_path / "file", "w+b") as file:
        file.write(b"kept")
        file.flush()
        refused = failure(f"/proc/self/fd/{file.fileno()}")
        assert refused.errno == errno.ELOOP
        assert refused.call.startswith("openat2(")
    assert (tmp_path / "file").read_bytes() == b"kept"


def test_the_file_that_is_locked_is_the_one_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner removed it between our open and our lock: a lock on the orphan would keep nobody out."""
    path, real = tmp_path / "pid", fcntl.flock
    removed: list[int] = []

    def flock(descriptor: int, operation: int) -> None:
        if not removed:
            removed.append(os.fstat(descriptor).st_ino)
            path.rename(tmp_path / "old")
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with lock_pid_file(path, closefd=True) as file:
        assert os.path.samestat(os.fstat(file.fileno()), path.stat())
        assert path.stat().st_ino != removed[0]
        assert failure(path).errno == errno.EAGAIN
        assert (tmp_path / "old").read_bytes() == b""


def test_a_file_that_keeps_being_replaced_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_: (tmp_path / "pid").unlink())
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(SetupError, match="keeps removing"):
        lock_pid_file(tmp_path / "pid")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("name", "code"),
    [("", errno.ENOENT), (".", errno.EISDIR), ("no/such/directory", errno.ENOENT), ("n" * 256, errno.ENAMETOOLONG)],
)
def test_what_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: int) -> None:
    monkeypatch.chdir(tmp_path)
    refused = failure(name)
    assert (refused.errno, refused.call.partition("(")[0]) == (code, "openat2")


def test_a_socket_cannot_be_opened_and_a_pipe_cannot_be_truncated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")  # relative: the name of a socket must be short
        assert failure(tmp_path / "socket").errno == errno.ENXIO
    os.mkfifo(tmp_path / "pipe")
    refused = failure(tmp_path / "pipe")
    assert (refused.errno, refused.call.partition("(")[0]) == (errno.EINVAL, "ftruncate")


def test_a_file_that_cannot_be_written_whole(script: Any) -> None:
    script("""
    resource.setrlimit(resource.RLIMIT_FSIZE, (3, 3))  # Python ignores SIGXFSZ
    error = refused(SetupError, lambda: lock_pid_file("pid", contents=b"12345", closefd=True))
    assert (error.errno, error.call.partition("(")[0]) == (errno.EFBIG, "write"), error
    assert Path("pid").read_bytes() == b"123"
    lock_pid_file("pid", contents=b"12", closefd=True).close()   # the failed attempt holds nothing
    """)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [((b"pid",), {}), ((3,), {}), ((None,), {}), (("pid",), {"contents": "text"}), (("pid",), {"mode": "0o640"})],
)
def test_wrong_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: Any, options: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TypeError):
        lock_pid_file(*arguments, **options)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("mode", [0o200000, -1, 1 << 40])
def test_bits_that_are_no_permissions(tmp_path: Path, mode: int) -> None:
    with pytest.raises(PolicyError, match="no permissions") as caught:
        lock_pid_file(tmp_path / "pid", mode=mode)
    assert caught.value.field == "mode"
    assert not (tmp_path / "pid").exists()


def test_a_nul_character_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="NUL"):
        lock_pid_file(f"{tmp_path}/pid\0.txt")
    assert os.listdir(tmp_path) == []


def test_signals_are_handled_while_it_waits(script: Any) -> None:
    """Opening a pipe for reading and writing never waits, so the wait is made by a lease that another process holds."""
    script("""
    Path("pid").write_text("")
    F_SETLEASE, F_RDLCK, F_UNLCK = 1024, 0, 2
    descriptor = os.open("pid", os.O_RDONLY)
    seen = []
    def on_alarm(*_):
        seen.append(1)
        fcntl.fcntl(descriptor, F_SETLEASE, F_UNLCK)
    signal.signal(signal.SIGALRM, on_alarm)
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    fcntl.fcntl(descriptor, F_SETLEASE, F_RDLCK)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    # An interrupted openat2() is tried again after the handler ran, which gives the lease up.
    lock_pid_file("pid", closefd=True).close()
    assert seen
    """)


def test_without_openat2_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from isolate_fn._sys import this_process_calls

    def missing(*_: Any) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), "openat2")

    monkeypatch.setattr(this_process_calls, "open_or_create", missing)
    with pytest.raises(Unsupported, match=r"Linux 5\.6"):
        lock_pid_file(tmp_path / "pid")
