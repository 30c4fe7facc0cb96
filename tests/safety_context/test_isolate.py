"""`Isolate`, the seed's builder: its own tests (isolate_test, user_guide_isolate), and what was wrong with it there."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from isolate_fn import Isolate, IsolateOutput, Limits
from isolate_fn.dangerous import NoLandlock, NoSeccomp
from isolate_fn.errors import ConflictingRules, LimitExceeded, PolicyError, TimedOut

pytestmark = pytest.mark.needs("namespaces")


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory of the host that may be mounted writable: below /tmp, which nothing is imported from."""
    with tempfile.TemporaryDirectory(prefix="isolate-fn-builder-") as path:
        yield Path(path)


def show(output: IsolateOutput) -> str:
    return f"{output.returncode}\n{output.stdout.decode()}\n{output.stderr.decode()}"


# --- isolate_test::*, with the names they have there ----------------------------------------------------------------


def test_isolate_hello() -> None:
    before = set(os.listdir("/tmp"))
    output = Isolate("isolate_hello", lambda: print("hello")).run()
    assert output == IsolateOutput(0, b"hello\n", b""), show(output)
    assert output.success
    assert not [name for name in set(os.listdir("/tmp")) - before if name.startswith("isolate_hello")]


def test_isolate_uid() -> None:
    """The seed is root in there; here nobody is, and no call takes it for root."""
    output = Isolate("isolate_uid", lambda: print("uid:", os.getuid(), "euid:", os.geteuid())).run()
    assert output == IsolateOutput(0, b"uid: 1000 euid: 1000\n", b""), show(output)


def test_check_mountinfo() -> None:
    """The seed binds the host's /proc to mount its own over it. Here that is refused, and the own one is there."""
    with pytest.raises(PolicyError, match="host's processes"):
        Isolate("check_mountinfo", print).add_bind_mount("/proc", "/orig_proc")
    output = Isolate("check_mountinfo", lambda: print(Path("/proc/self/mountinfo").read_text())).run()
    places = [line.split()[3:5] for line in output.stdout.decode().splitlines() if line]
    assert ["/", "/"] in places, show(output)
    # /tmp is a place of the isolate's own tmpfs: nothing of the host's lies below it, and no old root.
    assert not [place for _, place in places if place.startswith(("/tmp/", "/orig_proc", "/proc_orig", "/old"))]
    assert output.stderr == b""


def test_unix_socket(shared: Path) -> None:
    """With the filter taken away, as in the seed, which has none: sockets on paths are reached through the mount."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(shared / "parent.sock"))
        os.chmod(shared / "parent.sock", 0o777)
        os.chmod(shared, 0o755)
        listener.listen()

        def speak() -> None:
            with socket.socket(socket.AF_UNIX) as connected:
                connected.connect("/isolate.sock")
                connected.sendall(b"hello from isolate")

        guarded = Isolate("unix_socket", speak).add_bind_mount(shared / "parent.sock", "/isolate.sock")
        heard = guarded.options(accept=(NoSeccomp,)).run()
        if not heard.success and b"EACCES" in heard.stderr:
            pytest.fail("Landlock ABI 9 keeps it from the socket: grant it")
        assert heard.success, show(heard)
        listener.settimeout(10)
        with listener.accept()[0] as connection:
            assert connection.recv(64) == b"hello from isolate"
        # Deliberately different: with the filter, which is the default, there are no sockets but pairs.
        denied = guarded.run()
        assert denied.returncode == 1
        assert b"PermissionError" in denied.stderr


def test_multiple_binds(shared: Path) -> None:
    for name in ("first", "second"):
        (shared / name).mkdir()

    def write() -> None:
        Path("/first/file").write_text("abc")
        Path("/nested/second/file").write_text("xyz")

    builder = Isolate("multiple_binds", write).add_bind_mount(shared / "first", "/first")
    output = builder.add_bind_mount(shared / "second", "/nested/second").run()
    assert output == IsolateOutput(0, b"", b""), show(output)
    assert (shared / "first" / "file").read_text() == "abc"
    assert (shared / "second" / "file").read_text() == "xyz"


def too_large() -> None:
    try:
        Path("/tmp/large").write_bytes(b"x" * 1_500_000)
    except OSError as error:
        sys.exit(f"large file failed: {error}")


def test_tmpfs_size_limit() -> None:
    small = Isolate("tmpfs_size_limit", too_large).set_rootfs_size(1).run()
    assert small.returncode == 1
    assert b"large file failed" in small.stderr
    assert b"No space left on device" in small.stderr
    # The default of 10 MiB has room for it.
    assert Isolate("tmpfs_size_limit", too_large).run().success


def connect_to(port: int) -> Callable[[], None]:
    def connect() -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            print(connection.recv(16).decode())

    return connect


@pytest.fixture
def greeter() -> Iterator[int]:
    """A server on the host's loopback; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            try:
                while True:
                    with server.accept()[0] as connection:
                        connection.sendall(b"hi")
            except OSError:
                pass

        thread = threading.Thread(target=greet)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_with_network(greeter: int) -> None:
    output = Isolate("with_network", connect_to(greeter)).new_network(False).run()
    assert output == IsolateOutput(0, b"hi\n", b""), show(output)


def test_no_network(greeter: int) -> None:
    """Filter and Landlock say no before the network namespace could; without them, nobody listens on its loopback."""
    output = Isolate("no_network", connect_to(greeter)).run()
    assert output.returncode == 1
    assert b"PermissionError" in output.stderr
    output = Isolate("no_network", connect_to(greeter)).options(accept=(NoSeccomp, NoLandlock)).run()
    assert output.returncode == 1
    assert b"ConnectionRefusedError" in output.stderr


def test_safetycontext() -> None:
    from isolate_fn import SafetyContext
    from isolate_fn.rules import SystemIO

    def lock_down() -> None:
        SafetyContext().enable(SystemIO().allow_stdout().allow_stderr()).apply_to_all_threads()
        print("we can print to stdout!", flush=True)
        print("we can print to stderr!", file=sys.stderr, flush=True)
        try:
            os.open("/tmp/file", os.O_CREAT | os.O_WRONLY)
        except PermissionError:
            print("but not create files")

    output = Isolate("safetycontext", lock_down).options(accept=(NoSeccomp,)).run()
    assert output.success, show(output)
    assert output.stdout == b"we can print to stdout!\nbut not create files\n"
    assert output.stderr == b"we can print to stderr!\n"


def wild() -> None:
    raise RuntimeError("wild panic")


def test_isolate_fail() -> None:
    output = Isolate("isolate_fail", wild).run()
    assert output.returncode == 1
    assert not output.success
    text = output.stderr.decode()
    assert text.startswith("Traceback (most recent call last):\n")
    assert text.endswith("RuntimeError: wild panic\n")
    assert "in wild" in text
    assert "run_as_main" not in text, "the traceback starts where the program does"


@pytest.mark.parametrize(
    ("dst", "message"),
    [
        ("/a/b/../../..", "must not contain .. paths"),
        ("./a/", "must not contain . paths"),
        (".", "must not contain . paths"),
    ],
)
def test_isolate_bad_bindmount(shared: Path, dst: str, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        Isolate("bad_bindmount", print).add_bind_mount(shared, dst)


def test_user_guide_isolate(shared: Path) -> None:
    """Name, setup and run apart; the setup finds in the environment what run() was given, and nothing else."""
    (shared / "hello").write_text("from outside")
    seen: list[Any] = []

    def setup(name: str) -> Isolate:
        seen.append((name, dict(os.environ), os.getenv("HOME")))
        work = Isolate(name, lambda: print(Path("/cooldir/hello").read_text(), os.environ["COOL_DIRECTORY"]))
        return work.add_bind_mount(os.environ["COOL_DIRECTORY"], "/cooldir").set_rootfs_size(1)

    before = os.environ
    Isolate.main_hook("isolate_example", setup)
    output = Isolate.run("isolate_example", {"COOL_DIRECTORY": str(shared)})
    assert output == IsolateOutput(0, f"from outside {shared}\n".encode(), b""), show(output)
    assert seen == [("isolate_example", {"COOL_DIRECTORY": str(shared)}, None)]
    assert os.environ is before


# --- ends ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "code"),
    [
        (lambda: sys.exit(), 0),
        (lambda: sys.exit(7), 7),
        (lambda: sys.exit(-1), 255),
        (lambda: os._exit(9), 9),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), -signal.SIGKILL),
        # PID 1 of the seed cannot be killed by a signal of its own, and its abort() ends as SIGSEGV.
        (lambda: os.abort(), -signal.SIGABRT),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), -signal.SIGTERM),
    ],
)  # fmt: skip
def test_how_it_ends_is_the_return_code(function: Callable[[], None], code: int) -> None:
    output = Isolate("ends", function).run()
    assert (output.returncode, output.success) == (code, code == 0), show(output)


def test_a_text_given_to_exit_is_printed() -> None:
    assert Isolate("ends", lambda: sys.exit("why")).run() == IsolateOutput(1, b"", b"why\n")


def test_a_denied_call_that_kills() -> None:
    output = Isolate("denied", lambda: os.chroot("/")).options(on_denied="kill").run()
    assert output.returncode == -signal.SIGSYS


def test_output_is_complete_also_after_a_crash() -> None:
    def speak() -> None:
        for number in range(20_000):
            print(number)
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGSEGV)

    output = Isolate("speaks", speak).run()
    assert output.returncode == -signal.SIGSEGV
    assert output.stdout.split() == [b"%d" % number for number in range(20_000)]


def test_limits_and_timeout_are_errors_with_what_was_written() -> None:
    def endless() -> None:
        print("started", flush=True)
        while True:
            pass

    with pytest.raises(TimedOut) as late:
        Isolate("endless", endless).options(timeout=0.5).run()
    assert late.value.report.stdout == b"started\n"
    with pytest.raises(LimitExceeded) as much:
        Isolate("talks", lambda: print("x" * 100_000)).options(limits=Limits(output="64K")).run()
    assert much.value.limit == "output"


# --- what is asked for -----------------------------------------------------------------------------------------------


def test_it_is_a_value(shared: Path) -> None:
    plain = Isolate("value", wild)
    wider = plain.add_bind_mount(shared, "/data").set_rootfs_size(3).new_network(False).options(timeout=5)
    assert plain == Isolate("value", wild)
    assert plain != wider
    assert (plain.policy.mounts, plain.policy.limits.rootfs_size, plain.policy.network) == ((), 10 << 20, False)
    assert (wider.policy.limits.rootfs_size, wider.policy.network, wider.policy.timeout) == (3 << 20, True, 5)
    assert pickle.loads(pickle.dumps(plain)) == plain
    with pytest.raises(AttributeError):
        plain.name = "other"  # type: ignore[misc]
    assert repr(wider).startswith("<Isolate 'value' ")


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "1", None])
def test_a_size_that_is_none_is_refused(size: Any) -> None:
    """The seed takes 0, and so does tmpfs: as no limit at all."""
    with pytest.raises(PolicyError, match="set_rootfs_size"):
        Isolate("size", print).set_rootfs_size(size)


@pytest.mark.parametrize("value", [0, 1, None, "yes"])
def test_new_network_takes_a_bool(value: Any) -> None:
    with pytest.raises(PolicyError, match="new_network"):
        Isolate("network", print).new_network(value)


@pytest.mark.parametrize("make", [lambda: Isolate("", print), lambda: Isolate("a\0b", print), lambda: Isolate("x", 3)])
def test_a_name_and_a_function(make: Any) -> None:
    with pytest.raises(PolicyError):
        make()


def test_options_that_do_not_exist() -> None:
    with pytest.raises(PolicyError, match="timeuot"):
        Isolate("options", print).options(timeuot=3)
    with pytest.raises(PolicyError, match="output"):
        Isolate("options", print).options(output="relay")


def test_one_source_in_two_places(shared: Path) -> None:
    """The seed keeps the last of them."""
    (shared / "file").write_text("seen")
    both = lambda: print(Path("/one/file").read_text(), Path("/two/file").read_text())  # noqa: E731
    output = Isolate("twice", both).add_bind_mount(shared, "/one").add_bind_mount(shared, "/two").run()
    assert output == IsolateOutput(0, b"seen seen\n", b""), show(output)


def test_nested_mounts_in_the_order_given(shared: Path) -> None:
    """In the seed their order is random."""
    (shared / "outer" / "inner").mkdir(parents=True)
    (shared / "other").mkdir()
    (shared / "other" / "file").write_text("inner one")
    outer = Isolate("nested", lambda: print(Path("/data/inner/file").read_text())).add_bind_mount(
        shared / "outer", "/data"
    )
    output = outer.add_bind_mount(shared / "other", "/data/inner").run()
    assert output == IsolateOutput(0, b"inner one\n", b""), show(output)
    first = Isolate("nested", print).add_bind_mount(shared / "other", "/data/inner")
    with pytest.raises(ConflictingRules, match="would hide"):
        first.add_bind_mount(shared / "outer", "/data")


def test_a_missing_source_is_named(shared: Path) -> None:
    with pytest.raises(PolicyError, match="absent"):
        Isolate("missing", print).add_bind_mount(shared / "absent", "/data").run()


def test_read_only_and_relative_paths(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shared / "data").mkdir()
    monkeypatch.chdir(shared)

    def write() -> None:
        Path("/data/file").write_text("x")

    guarded = Isolate("read_only", write).add_bind_mount("data", "data", read_only=True)
    monkeypatch.chdir("/")
    output = guarded.run()
    assert output.returncode == 1
    assert b"Errno %d" % errno.EROFS in output.stderr or b"PermissionError" in output.stderr
    assert not (shared / "data" / "file").exists()


def test_what_this_program_could_import_is_not_mounted_writable() -> None:
    """The seed would."""
    prefix = Path(os.__file__).parent
    with pytest.raises(PolicyError, match="allow_code"):
        Isolate("code", print).add_bind_mount(prefix, "/data").run()


def test_the_environment_is_what_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "of the caller")
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    show_all = lambda: print(sorted(os.environ))  # noqa: E731
    names = eval(Isolate("env", show_all).options(env={"OWN": "1"}).run({"GIVEN": "2"}).stdout)
    languages = {name for name in os.environ if name in ("LANG", "LANGUAGE", "TZ") or name.startswith("LC_")}
    assert set(names) == {"OWN", "GIVEN", "PATH", "LANG"} | languages | {"HOME", "PWD", "TMPDIR"}
    with pytest.raises(PolicyError, match="env"):
        Isolate("env", show_all).run({"GIVEN": 2})  # type: ignore[dict-item]


# --- main_hook -------------------------------------------------------------------------------------------------------


def test_a_name_that_was_not_set_up() -> None:
    """The seed runs the whole program again under that name, which may run it again ..."""
    Isolate.main_hook("known", lambda name: Isolate(name, print))
    with pytest.raises(PolicyError, match=r"'unhooked' was not set up; known: .*'known'"):
        Isolate.run("unhooked", {})


def test_setups_that_are_none() -> None:
    with pytest.raises(PolicyError, match="main_hook"):
        Isolate.main_hook("wrong", None)  # type: ignore[arg-type]
    with pytest.raises(PolicyError):
        Isolate.main_hook("", lambda name: Isolate(name, print))
    Isolate.main_hook("wrong", lambda name: name)  # type: ignore[arg-type, return-value]
    with pytest.raises(PolicyError, match="return the Isolate"):
        Isolate.run("wrong")


def test_a_setup_that_fails_fails_the_run_and_leaves_the_environment() -> None:
    before = os.environ

    def setup(name: str) -> Isolate:
        os.environ["LEFT"] = "behind"
        raise LookupError(name)

    Isolate.main_hook("fails", setup)
    with pytest.raises(LookupError, match="fails"):
        Isolate.run("fails")
    assert os.environ is before
    assert "LEFT" not in os.environ


def test_other_threads_keep_their_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", "the process's")
    asked, answered = threading.Event(), threading.Event()
    seen: list[Any] = []

    def other() -> None:
        asked.wait(10)
        seen.append((os.environ["MINE"], os.environ.get("GIVEN"), os.environ.copy()["MINE"]))
        os.environ["WRITTEN"] = "by another thread"
        answered.set()

    kept: list[Any] = []

    def setup(name: str) -> Isolate:
        asked.set()
        answered.wait(10)
        kept.append(os.environ)
        seen.append((os.environ.get("MINE"), os.environ["GIVEN"], list(os.environ)))
        os.environ.pop("GIVEN")
        return Isolate(name, lambda: None)

    thread = threading.Thread(target=other)
    thread.start()
    Isolate.main_hook("threads", setup)
    try:
        assert Isolate.run("threads", {"GIVEN": "x"}).success
        thread.join()
        assert seen == [("the process's", None, "the process's"), (None, "x", ["GIVEN"])]
        assert os.environ["WRITTEN"] == "by another thread"
        assert kept[0]["MINE"] == "the process's", "who keeps it sees what everybody sees"
    finally:
        os.environ.pop("WRITTEN", None)
