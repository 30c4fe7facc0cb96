"""What a function sees of the file system: each word with an access that fails without it."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import stat
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isolate_fn import Limits, Policy, dev, file, isolated, ro, rw, sandbox, symlink, tmpfs
from isolate_fn.errors import LimitExceeded, PolicyError

# Functions here are lambdas or local ones: they travel by value, and the isolate need not import pytest.


def inside(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call a function in an isolate of its own."""
    return isolated(prewarm=0, **options)(function)(*args)


def read(path: str | Path, **options: Any) -> str:
    return str(inside(lambda path: open(path).read(), str(path), **options))


def write(path: str | Path, **options: Any) -> None:
    inside(lambda path: open(path, "w").write("written"), str(path), **options)


def errno_of(function: Callable[..., Any], *args: Any, **options: Any) -> int:
    """Return the errno that an attempt fails with inside."""
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the number is what the tests compare
        inside(function, *args, **options)
    assert caught.value.errno is not None
    return caught.value.errno


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory with a file, a directory with a file, and nothing that only root may read."""
    root = tmp_path / "data"
    (root / "sub").mkdir(parents=True)
    (root / "note.txt").write_text("hello")
    (root / "sub" / "deep.txt").write_text("deep")
    return root


# --- ro, rw, tmpfs, file, dev, symlink ----------------------------------------------------------------


def test_ro_shows_and_does_not_let_write(data: Path) -> None:
    assert errno_of(lambda path: open(path), f"{data}/note.txt") == errno.ENOENT
    assert read(data / "note.txt", mounts=[ro(data)]) == "hello"
    assert read("/in/sub/deep.txt", mounts=[ro(data, "/in")]) == "deep"
    assert read(data / "note.txt", mounts=[str(data)]) == "hello"  # a bare path means ro
    assert read(data / "note.txt", mounts=[data]) == "hello"
    for path in (data / "note.txt", data / "new", data / "sub" / "deep.txt"):
        assert errno_of(lambda path: open(path, "w"), str(path), mounts=[ro(data)]) in (errno.EROFS, errno.EACCES)
        write(path, mounts=[rw(data)])
        assert path.read_text() == "written"


def test_ro_of_one_file_shows_that_file_alone(data: Path) -> None:
    assert read(data / "note.txt", mounts=[ro(data / "note.txt")]) == "hello"
    assert inside(os.listdir, str(data), mounts=[ro(data / "note.txt")]) == ["note.txt"]
    assert errno_of(lambda path: open(path, "a"), f"{data}/note.txt", mounts=[ro(data / "note.txt")]) in (
        errno.EROFS,
        errno.EACCES,
    )


def test_rw_of_one_file(data: Path) -> None:
    write("/out.txt", mounts=[rw(data / "note.txt", "/out.txt")])
    assert (data / "note.txt").read_text() == "written"
    assert errno_of(lambda: open("/other.txt", "w"), mounts=[rw(data / "note.txt", "/out.txt")]) in (
        errno.EROFS,
        errno.EACCES,
    )


def test_what_was_written_through_rw_belongs_to_the_caller(data: Path) -> None:
    def make(root: str) -> None:
        os.mkdir(f"{root}/made")
        with open(f"{root}/made/file", "w") as target:
            target.write("x")

    inside(make, str(data), mounts=[rw(data)])
    for name in ("made", "made/file"):
        assert (data / name).stat().st_uid == os.geteuid()
    (data / "made" / "file").unlink()
    (data / "made").rmdir()


def test_files_only_the_caller_may_read_are_readable_where_granted(data: Path) -> None:
    (data / "private").write_text("secret")
    (data / "private").chmod(0o600)
    assert read(data / "private", mounts=[ro(data)]) == "secret"


def test_rename_link_and_delete_in_rw_and_not_in_ro(data: Path) -> None:
    def shuffle(root: str) -> list[str]:
        os.rename(f"{root}/note.txt", f"{root}/renamed")
        os.symlink("renamed", f"{root}/link")
        os.unlink(f"{root}/sub/deep.txt")
        os.rmdir(f"{root}/sub")
        return sorted(os.listdir(root))

    assert errno_of(shuffle, str(data), mounts=[ro(data)]) in (errno.EROFS, errno.EACCES)
    assert inside(shuffle, str(data), mounts=[rw(data)]) == ["link", "renamed"]
    assert sorted(os.listdir(data)) == ["link", "renamed"]


def test_ro_is_recursive(data: Path) -> None:
    # A second file system below the source: /dev/shm of the host lies in /dev, which may not be granted, so the
    # recursion is shown with a mount inside a mount.
    outer = [ro(data, "/in"), ro(data / "sub", "/in/sub")]
    assert errno_of(lambda: open("/in/sub/deep.txt", "w"), mounts=outer) in (errno.EROFS, errno.EACCES)
    assert read("/in/sub/deep.txt", mounts=outer) == "deep"


def test_rw_inside_ro(data: Path) -> None:
    mounts = [ro(data), rw(data / "sub")]
    write(data / "sub" / "new.txt", mounts=mounts)
    assert (data / "sub" / "new.txt").read_text() == "written"
    assert errno_of(lambda path: open(path, "w"), f"{data}/new.txt", mounts=mounts) in (errno.EROFS, errno.EACCES)


def test_tmpfs_inside_ro_hides_what_was_there(data: Path) -> None:
    mounts = [ro(data), tmpfs(data / "sub")]

    def use(root: str) -> tuple[list[str], str]:
        before = os.listdir(f"{root}/sub")
        with open(f"{root}/sub/x", "w") as target:
            target.write("1")
        return before, open(f"{root}/note.txt").read()

    assert inside(use, str(data), mounts=mounts) == ([], "hello")
    assert os.listdir(data / "sub") == ["deep.txt"]


def test_ro_inside_rw(data: Path) -> None:
    mounts = [rw(data), ro(data / "sub")]
    write(data / "note.txt", mounts=mounts)
    assert errno_of(lambda path: open(path, "w"), f"{data}/sub/deep.txt", mounts=mounts) in (
        errno.EROFS,
        errno.EACCES,
    )


def test_mounts_are_made_in_the_order_given(data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "note.txt").write_text("other")
    assert read("/in/sub/note.txt", mounts=[ro(data, "/in"), ro(other, "/in/sub")]) == "other"
    with pytest.raises(PolicyError, match="hide"):
        read("/in/sub/note.txt", mounts=[ro(other, "/in/sub"), ro(data, "/in")])


@pytest.mark.skipif(not os.path.islink("/bin"), reason="/bin is no symbolic link on this machine")
def test_mount_points_behind_links_of_the_system(data: Path) -> None:
    place = os.path.join("/", os.readlink("/bin"))
    both = ["/bin/shown", f"{place}/shown"]

    def look(paths: list[str]) -> list[str]:
        return [open(path).read() for path in paths]

    assert errno_of(look, both) == errno.ENOENT
    assert inside(look, both, mounts=[ro(data / "note.txt", "/bin/shown")]) == ["hello", "hello"]
    assert inside(look, both, mounts=[file("/bin/shown", b"made")]) == ["made", "made"]
    assert inside(os.listdir, f"{place}/t", mounts=[tmpfs("/bin/t")]) == []
    assert inside(look, ["/bin/shown"], mounts=[tmpfs("/bin"), ro(data / "note.txt", "/bin/shown")]) == ["hello"]
    with pytest.raises(PolicyError, match="no directory"):  # which would have to be made in the host's own
        inside(os.listdir, "/lib", mounts=[tmpfs("/lib/there-is-no-such-directory")])


def test_tmpfs_is_empty_writable_and_sized() -> None:
    assert errno_of(lambda: open("/scratch/x", "w")) == errno.ENOENT
    write("/scratch/x", mounts=[tmpfs("/scratch")])
    assert inside(os.listdir, "/scratch", mounts=[tmpfs("/scratch")]) == []

    def fill() -> int:
        with open("/scratch/x", "wb", buffering=0) as target:
            written = 0
            try:
                while True:
                    written += target.write(bytes(4096))
            except OSError as full:
                return written if full.errno == errno.ENOSPC else -1

    assert inside(fill, mounts=[tmpfs("/scratch", size="256K")]) == 256 * 1024


def test_file_has_the_content_and_is_read_only() -> None:
    assert errno_of(lambda: open("/etc/tool.conf")) == errno.ENOENT
    assert read("/etc/tool.conf", mounts=[file("/etc/tool.conf", "colour = green\n")]) == "colour = green\n"
    assert inside(lambda: open("/a/b.bin", "rb").read(), mounts=[file("/a/b.bin", b"\0\xff")]) == b"\0\xff"
    assert errno_of(lambda: open("/a/b", "w"), mounts=[file("/a/b", b"")]) in (errno.EROFS, errno.EACCES)


def test_file_in_the_working_directory_and_below_tmp() -> None:
    mounts = [file("/work/settings.json", "{}"), file("/tmp/deep/er/input", "x")]
    assert inside(lambda: open("settings.json").read() + open("/tmp/deep/er/input").read(), mounts=mounts) == "{}x"


def test_dev_shows_one_device() -> None:
    source = "/dev/tty"
    assert errno_of(os.stat, source) == errno.ENOENT
    mode, device = inside(lambda path: (os.stat(path).st_mode, os.stat(path).st_rdev), source, mounts=[dev(source)])
    assert stat.S_ISCHR(mode)
    assert device == os.stat(source).st_rdev
    moved = [dev("/dev/null", "/dev/sink")]
    assert inside(lambda: open("/dev/sink", "wb").write(b"x"), mounts=moved) == 1


def test_symlink_leads_where_it_says(data: Path) -> None:
    assert errno_of(os.readlink, "/latest") == errno.ENOENT
    mounts = [ro(data, "/releases"), symlink("/latest", "releases/sub"), symlink("/nowhere", "/missing/target")]
    assert read("/latest/deep.txt", mounts=mounts) == "deep"
    assert inside(os.readlink, "/nowhere", mounts=mounts) == "/missing/target"


def test_a_symlink_cannot_lead_out(data: Path) -> None:
    (data / "escape").symlink_to("/etc/hostname")
    (data / "up").symlink_to("../../../../../../etc/shadow")
    outside = Path("/etc/hostname").exists()
    assert errno_of(lambda: open("/in/up"), mounts=[ro(data, "/in")]) in (errno.ENOENT, errno.EACCES)
    if outside:
        shown = inside(lambda: os.path.exists("/in/escape") and open("/in/escape").read(), mounts=[ro(data, "/in")])
        assert shown != Path("/etc/hostname").read_text()


# --- sources and places -------------------------------------------------------------------------------


def test_sources_with_symbolic_links(data: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("data")
    (tmp_path / "file-link").symlink_to(data / "note.txt")
    assert read(tmp_path / "link" / "note.txt", mounts=[ro(tmp_path / "link")]) == "hello"
    assert read("/in/note.txt", mounts=[ro(tmp_path / "link", "/in")]) == "hello"
    assert read("/one", mounts=[ro(tmp_path / "file-link", "/one")]) == "hello"


@pytest.mark.parametrize("name", ["with space", "ünï-©øde 日本", "-dash", "tab\tnew\nline", "quote'\"\\"])
def test_unusual_names(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / name).write_text("here")
    assert read(tmp_path / name / name, mounts=[ro(tmp_path / name)]) == "here"
    assert read(f"/{name}", mounts=[ro(tmp_path / name / name, f"/{name}")]) == "here"


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    directory = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    os.mkdir(directory)
    with open(f"{directory}/x", "w") as target:
        target.write("latin")
    assert read(f"{directory}/x", mounts=[ro(directory)]) == "latin"


def test_below_tmp_and_below_the_working_directory(data: Path) -> None:
    assert read("/tmp/in/note.txt", mounts=[ro(data, "/tmp/in")]) == "hello"
    assert inside(lambda: open("in/note.txt").read(), mounts=[ro(data, "/work/in")]) == "hello"
    assert inside(lambda: open("note").read(), mounts=[ro(data / "note.txt", "/work/note")]) == "hello"
    write("/tmp/beside", mounts=[ro(data, "/tmp/in")])
    write("/tmp/in/new", mounts=[rw(data, "/tmp/in")])
    assert (data / "new").exists()


def test_optional_is_left_out_and_reported(data: Path) -> None:
    missing = data / "missing"
    with pytest.raises(PolicyError) as caught:
        inside(lambda: 1, mounts=[ro(missing)])
    assert str(missing) in str(caught.value)
    function = isolated(mounts=[ro(data), ro(missing, "/m", optional=True)], prewarm=0)(lambda path: os.path.exists(path))
    assert function("/m") is False
    assert function(str(data)) is True
    assert any(str(missing) in sentence for sentence in function.enforcement().dropped)


def test_noexec_refuses_to_map_a_library(tmp_path: Path) -> None:
    import _ctypes
    import shutil

    library = tmp_path / "lib" / "copy.so"
    library.parent.mkdir()
    shutil.copy(getattr(_ctypes, "__file__", None) or ctypes.util.find_library("c") or "", library)

    def load() -> bool:
        import ctypes

        return bool(ctypes.CDLL("/lib2/copy.so"))

    assert inside(load, mounts=[ro(library.parent, "/lib2")]) is True
    with pytest.raises(OSError, match="copy"):
        inside(load, mounts=[ro(library.parent, "/lib2", noexec=True)])
    # With the file readable all the same.
    assert len(inside(lambda: open("/lib2/copy.so", "rb").read(4), mounts=[ro(library.parent, "/lib2", noexec=True)])) == 4


def test_a_source_replaced_between_calls_is_seen_anew(data: Path) -> None:
    function = isolated(mounts=[ro(data / "note.txt", "/note")], prewarm=0)(lambda: open("/note").read())
    assert function() == "hello"
    (data / "new").write_text("replaced")
    os.rename(data / "new", data / "note.txt")
    assert function() == "replaced"


def test_a_socket_in_a_mount_is_warned_of(data: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(data)  # the path of a socket may only be short
        try:
            listener.bind("s")
        finally:
            os.chdir(here)
        found = isolated(mounts=[ro(data)], prewarm=0)(lambda: 1).enforcement()
    assert any("socket" in sentence for sentence in found.warnings)


# --- the root -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("directory", ["/", "/etc", "/usr", "/dev", "/opt", "/home", "/work/..", "/new"])
def test_the_root_is_read_only(directory: str) -> None:
    def attempt(directory: str) -> str:
        try:
            with open(f"{directory}/probe", "w"):
                return "written"
        except (PermissionError, FileNotFoundError):
            pass
        except OSError as refused:
            if refused.errno != errno.EROFS:
                raise
        try:
            os.mkdir(f"{directory}/probe.d")
        except (PermissionError, FileNotFoundError):
            return "refused"
        except OSError as refused:
            return "refused" if refused.errno == errno.EROFS else str(refused)
        return "made"

    assert inside(attempt, directory) == "refused"


@pytest.mark.parametrize("directory", ["/tmp", "/work", "/dev/shm"])
def test_three_places_are_writable_and_fresh(directory: str) -> None:
    def use(directory: str) -> list[str]:
        before = os.listdir(directory)
        os.mkdir(f"{directory}/d")
        with open(f"{directory}/d/f", "w") as target:
            target.write("x")
        return before

    visible = inside(use, directory)
    assert "d" not in visible
    assert "d" not in inside(os.listdir, directory)


def test_cwd_is_where_it_says() -> None:
    assert inside(os.getcwd) == "/work"
    assert inside(os.getcwd, cwd="/srv/job") == "/srv/job"
    assert inside(os.getcwd, cwd="/tmp") == "/tmp"
    assert inside(os.getcwd, cwd="/tmp/job") == "/tmp/job"
    write("relative", cwd="/srv/job")
    assert errno_of(lambda: open("/work/x", "w"), cwd="/srv/job") in (errno.ENOENT, errno.EROFS, errno.EACCES)


def test_cwd_may_lie_in_a_granted_directory(data: Path) -> None:
    assert inside(lambda: open("note.txt").read(), mounts=[rw(data, "/in")], cwd="/in") == "hello"


def test_rootfs_size_and_inodes_are_limits() -> None:
    def fill() -> None:
        with open("/tmp/big", "wb") as target:
            for _ in range(1024):
                target.write(bytes(1 << 16))

    def many() -> None:
        for number in range(2000):
            open(f"/tmp/{number}", "w").close()

    inside(fill, limits=Limits(rootfs_size="80M"))
    with pytest.raises(LimitExceeded) as caught:
        inside(fill, limits=Limits(rootfs_size="4M"))
    assert caught.value.limit == "rootfs_size"
    inside(many)
    with pytest.raises(LimitExceeded) as caught:
        inside(many, limits=Limits(rootfs_inodes=600))
    assert caught.value.limit == "rootfs_inodes"


def test_nothing_of_the_host_is_left_in_the_mount_table(data: Path) -> None:
    lines = inside(lambda: open("/proc/self/mountinfo").read(), mounts=[ro(data)]).splitlines()
    places = [line.split()[4] for line in lines]
    assert not [place for place in places if "oldroot" in place or place in ("/sys", "/run", "/home")]
    for line in lines:
        place, options = line.split()[4:6]
        if place.startswith("/usr") or place == str(data):
            assert "ro" in options.split(","), line
        assert "nosuid" in options.split(","), line


# --- /dev and /proc -----------------------------------------------------------------------------------


def test_dev_is_minimal() -> None:
    names = set(inside(os.listdir, "/dev"))
    assert {"null", "zero", "full", "random", "urandom", "shm"} <= names
    assert names <= {
        "null", "zero", "full", "random", "urandom", "shm", "fd", "stdin", "stdout", "stderr", "ptmx", "pts",
    }  # fmt: skip

    def use() -> tuple[int, int, int]:
        with open("/dev/null", "wb") as sink:
            written = sink.write(b"x")
        return written, len(open("/dev/zero", "rb").read(3)), len(os.urandom(3) + open("/dev/urandom", "rb").read(3))

    assert inside(use) == (1, 3, 6)

    def write_to_full() -> int | None:
        try:
            return open("/dev/full", "wb", buffering=0).write(b"x")
        except OSError as full:
            return full.errno

    assert inside(write_to_full) == errno.ENOSPC


def test_proc_shows_the_isolates_processes_and_nothing_of_the_host() -> None:
    def look() -> dict[str, Any]:
        return {
            "pids": [int(name) for name in os.listdir("/proc") if name.isdigit()],
            "me": os.getpid(),
            "others": [name for name in os.listdir("/proc") if not name.isdigit()],
            "command": open("/proc/self/cmdline", "rb").read(),
        }

    seen = inside(look)
    assert seen["me"] in seen["pids"]
    assert max(seen["pids"]) < 50
    assert len(seen["pids"]) <= 3
    assert set(seen["others"]) <= {"self", "thread-self"}


@pytest.mark.parametrize(
    "name", ["sys/kernel/core_pattern", "sys/kernel/hostname", "cpuinfo", "kcore", "kallsyms", "keys", "sysrq-trigger",
             "version", "cmdline", "config.gz", "mounts/../../sys", "net/route"]
)  # fmt: skip
def test_the_hosts_side_of_proc_is_absent(name: str) -> None:
    assert errno_of(lambda path: open(path).read(), f"/proc/{name}") in (errno.ENOENT, errno.EACCES)


@pytest.mark.parametrize("name", ["mem", "environ", "root", "fd/0", "fd/3", "maps", "exe", "cwd"])
def test_init_is_closed_to_the_worker(name: str) -> None:
    def look(path: str) -> Any:
        if name in ("exe", "cwd", "root") or "/" in name:
            return os.readlink(path)
        return open(path, "rb").read(1)

    assert errno_of(look, f"/proc/1/{name}") in (errno.EACCES, errno.EPERM, errno.ENOENT)


# --- identity and environment -------------------------------------------------------------------------


def test_host_name_user_and_session() -> None:
    def look() -> dict[str, Any]:
        return {
            "host": socket.gethostname(),
            "ids": [*os.getresuid(), *os.getresgid()],
            "groups": os.getgroups(),
            "session": os.getsid(0) == os.getpid(),
            "nodename": os.uname().nodename,
        }

    seen = inside(look)
    assert seen["host"] == seen["nodename"] == "isolate"
    assert seen["ids"] == [1000] * 6
    assert seen["groups"] in ([], [1000])
    assert seen["session"] is True


def test_a_user_entry_exists_for_libraries_that_ask() -> None:
    def look() -> tuple[str, str]:
        import getpass
        import pwd

        entry = pwd.getpwuid(os.getuid())
        return entry.pw_name, getpass.getuser()

    name, user = inside(look)
    assert name == user


def test_the_environment_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "abc")
    monkeypatch.setenv("LD_PRELOAD_X", "abc")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    seen = inside(lambda: dict(os.environ))
    assert "abc" not in seen.values()
    assert seen["TZ"] == "Asia/Tokyo"
    assert "PATH" in seen
    assert not {name for name in seen if name.startswith(("SECRET", "LD_", "SSH", "AWS"))}
    assert inside(lambda: os.environ["MODE"], env={"MODE": "ünï"}) == "ünï"
    with pytest.raises(KeyError):
        inside(lambda: os.environ["MODE"])


GIVEN = {"HOME": "/x", "TMPDIR": "/y", "PWD": "/z", "PATH": "/usr/bin:/bin"}


@pytest.mark.parametrize("options", [{}, {"fresh_exec": True}, {"reuse": 2}], ids=str)
def test_variables_that_every_isolate_has_are_defaults(options: dict[str, Any]) -> None:
    seen = inside(lambda: dict(os.environ), **options)
    assert (seen["HOME"], seen["TMPDIR"], seen["PWD"]) == ("/work", "/tmp", "/work")
    seen = inside(lambda: {**os.environ, "cwd": os.getcwd()}, env=GIVEN, **options)
    assert {**seen, **GIVEN, "cwd": "/work"} == seen


def test_where_libpython_lies_stands_beside_what_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from isolate_fn._api.ahead import environment

    (tmp_path / str(sysconfig.get_config_var("INSTSONAME"))).touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", f"relative:{tmp_path}:/x")
    assert dict(environment(Policy()))["LD_LIBRARY_PATH"] == str(tmp_path)
    assert dict(environment(Policy(env={"LD_LIBRARY_PATH": "/y:/z"})))["LD_LIBRARY_PATH"] == f"/y:/z:{tmp_path}"


def test_variables_of_programs_are_defaults_too() -> None:
    with sandbox(env=GIVEN) as box:
        lines = box.run(["env"], capture_output=True, text=True).stdout.splitlines()
        assert {f"{name}={value}" for name, value in GIVEN.items()} <= set(lines)
        assert box.run(["/usr/bin/env"], env={"A": "b"}, capture_output=True, text=True).stdout == "A=b\n"


def test_no_descriptor_but_our_own() -> None:
    with open(__file__) as held:
        os.set_inheritable(held.fileno(), True)
        seen = inside(lambda: {name: os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")[:-1]})
    assert len(seen) <= 5, seen
    assert not [target for target in seen.values() if target.startswith(str(Path(__file__).parent))]


# --- software that must simply work -------------------------------------------------------------------


def test_sqlite() -> None:
    def use(path: str) -> Any:
        import sqlite3

        with sqlite3.connect(path) as database:
            database.execute("pragma journal_mode=wal")
            database.execute("create table t (n)")
            database.executemany("insert into t values (?)", [(n,) for n in range(100)])
            return database.execute("select sum(n) from t").fetchone()[0]

    assert inside(use, ":memory:") == 4950
    assert inside(use, "/tmp/t.db") == 4950
    assert inside(use, "t.db") == 4950


def test_threads_and_executor() -> None:
    def use() -> int:
        import concurrent.futures
        import threading

        threads = [threading.Thread(target=sum, args=([1],)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            return sum(pool.map(abs, range(-100, 0)))

    assert inside(use) == 5050


def test_asyncio() -> None:
    def use() -> list[int]:
        import asyncio

        async def double(number: int) -> int:
            await asyncio.sleep(0)
            return await asyncio.to_thread(lambda: number * 2)

        async def main() -> list[int]:
            return list(await asyncio.gather(*(double(number) for number in range(5))))

        return asyncio.run(main())

    assert inside(use) == [0, 2, 4, 6, 8]


def test_temporary_files() -> None:
    def use() -> list[str]:
        import tempfile

        with (
            tempfile.TemporaryDirectory() as directory,
            tempfile.NamedTemporaryFile() as named,
            tempfile.TemporaryFile() as unnamed,
            tempfile.SpooledTemporaryFile(max_size=1) as spooled,
        ):
            for target in (named, unnamed, spooled):
                target.write(b"xx")
            return [directory, named.name]

    assert all(path.startswith("/tmp/") for path in inside(use))


def test_shared_memory() -> None:
    def use() -> bytes:
        from multiprocessing import shared_memory

        block = shared_memory.SharedMemory(create=True, size=100, **({"track": False} if sys.version_info >= (3, 13) else {}))
        try:
            block.buf[:3] = b"abc"
            again = shared_memory.SharedMemory(block.name)
            found = bytes(again.buf[:3])
            again.close()
            return found
        finally:
            block.close()
            block.unlink()

    import sys

    assert inside(use) == b"abc"


@pytest.mark.needs("module:numpy")
def test_numpy() -> None:
    def use() -> float:
        import numpy as np

        matrix = np.eye(200) * 2
        np.save("/tmp/m.npy", matrix @ matrix)
        mapped = np.load("/tmp/m.npy", mmap_mode="r")
        return float(np.linalg.det(mapped / 4) + np.fft.fft(np.ones(8)).real[0] + np.random.default_rng(1).random() * 0)

    assert inside(use) == pytest.approx(9)


@pytest.mark.needs("module:PIL")
def test_pillow() -> None:
    def use() -> tuple[tuple[int, int], bytes]:
        import io

        from PIL import Image, ImageFilter

        stream = io.BytesIO()
        Image.new("RGB", (64, 48), "red").filter(ImageFilter.BLUR).save(stream, "JPEG")
        again = Image.open(io.BytesIO(stream.getvalue()))
        again.thumbnail((16, 16))
        again.save("small.png")
        return again.size, open("small.png", "rb").read(4)

    assert inside(use) == ((16, 12), b"\x89PNG")


@pytest.mark.needs("module:lxml")
def test_lxml() -> None:
    def use() -> str:
        from lxml import etree

        root = etree.fromstring("<a><b>1</b></a>")
        sheet = etree.XSLT(etree.XML(
            '<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">'
            '<xsl:template match="/"><r><xsl:value-of select="//b"/></r></xsl:template></xsl:stylesheet>'
        ))  # fmt: skip
        return str(sheet(root).getroot().text)

    assert inside(use) == "1"


def test_standard_library_imports_and_resources() -> None:
    def use() -> str:
        import decimal
        import hashlib
        import locale
        import uuid

        locale.setlocale(locale.LC_ALL, "")
        return hashlib.sha256(b"").hexdigest()[:6] + str(decimal.Decimal(1) / 8) + uuid.uuid4().hex[:0]

    assert inside(use) == "e3b0c40.125"


def test_own_packages_find_their_data_and_not_what_lies_beside(run_python: Any, tmp_path: Path) -> None:
    root = tmp_path / "project"
    (root / "app" / "data").mkdir(parents=True)
    (root / "app" / "__init__.py").write_text("")
    (root / "app" / "data" / "table.csv").write_text("1;2")
    (root / "helper.py").write_text("VALUE = 5")
    (root / ".env").write_text("TOKEN=1")
    (root / "dump.sql").write_text("secret")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("secret")
    (root / "customers").mkdir()
    (root / "customers" / "list.csv").write_text("secret")
    (root / "app" / "work.py").write_text(
        "import importlib.resources, os, helper\n"
        "def look(root):\n"
        "    text = importlib.resources.files('app').joinpath('data/table.csv').read_text()\n"
        "    return text, helper.VALUE, sorted(set(os.listdir(root)) - {'__pycache__'})\n"
    )
    printed = run_python(
        f"""
        from isolate_fn import isolated
        from app.work import look
        print(isolated(look)({str(root)!r}))
        """,
        path=(str(root),),
    )
    assert printed == "('1;2', 5, ['app', 'helper.py'])\n"
