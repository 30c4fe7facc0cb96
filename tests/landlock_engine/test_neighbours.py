"""Isolates of one caller, and programs of one isolate, against each other and against what the caller does for them."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attacks
import native
import pytest

from isolate_fn import isolated, ro, rw, sandbox

pytestmark = [pytest.mark.needs("landlock>=6", "interpreter"), pytest.mark.usefixtures("without_namespaces")]
DENIED = {-errno.EPERM, -errno.EACCES, -errno.ENOSYS, -errno.EXDEV, -errno.ENOTSUP}


@pytest.fixture
def places() -> Iterator[Path]:
    """Give two directories that every user may use, with a file in each."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        top = Path(name)
        top.chmod(0o755)
        for each in ("shown", "given"):
            (top / each).mkdir()
            (top / each).chmod(0o777)
            (top / each / "file").write_text(each)
            (top / each / "file").chmod(0o666)
        (top / "host").write_text("a secret of the host")
        (top / "host").chmod(0o666)
        yield top


def who() -> tuple[int, int, str]:
    with open("left", "w") as file:
        file.write("of the other")
    return os.getpid(), os.getppid(), os.getcwd()


def attack_neighbour(pids: list[int], scratch: str) -> dict[str, Any]:
    """Try what a process of the same user could do to processes and files of another isolate."""
    found: dict[str, Any] = {}
    for pid in pids:
        found[f"signal {pid}"] = attacks.send_signal(pid)
        found[f"trace {pid}"] = attacks.trace(pid)
        found[f"memory {pid}"] = attacks.memory(pid)
        found[f"environment {pid}"] = attacks.environment(pid)
        found[f"descriptors {pid}"] = attacks.listing(f"/proc/{pid}/fd")
        for clock in (0, 1, 2, 4, 5, 6):  # of a process, clock_getcpuclockid(3), and of a thread
            found[f"clock {clock} of {pid}"] = native.call("clock_gettime", (~pid << 3 | clock) & 0xFFFFFFFF, bytes(16))
    found["read"] = attacks.read(f"{scratch}/left")
    found["list"] = attacks.listing(scratch)
    found["write"] = attacks.write(f"{scratch}/left")
    found["unlink"] = native.call("unlinkat", native.AT_FDCWD, f"{scratch}/left", 0)
    found["rename"] = native.call("renameat", native.AT_FDCWD, f"{scratch}/left", native.AT_FDCWD, "mine")
    found["remove"] = native.call("unlinkat", native.AT_FDCWD, os.path.dirname(scratch), 0x200)
    found["rename all"] = native.call("renameat", native.AT_FDCWD, os.path.dirname(scratch), native.AT_FDCWD, "mine")
    return found


def test_an_isolate_reaches_nothing_of_another():
    with sandbox() as first, sandbox() as second:
        pid, init, scratch = first.call(who)
        found = second.call(attack_neighbour, [pid, init], scratch)
        assert {name: got for name, got in found.items() if got not in DENIED} == {}
        assert first.call(content, "left") == "of the other"


def own_clocks() -> list[int]:
    return [native.call("clock_gettime", (~0 << 3 | clock) & 0xFFFFFFFF, bytes(16)) for clock in (0, 1, 2, 4, 5, 6)]


def test_a_process_may_ask_for_its_own_time():
    assert set(isolated(own_clocks, prewarm=0)()) == {0}
    assert isolated(time.process_time, prewarm=0)() > 0


def content(path: str) -> str:
    return Path(path).read_text()


def test_a_program_reaches_nothing_of_the_worker_or_of_init():
    with sandbox() as box:
        pid, init, _ = box.call(who)
        lines = f"kill -9 {pid}; kill -9 {init}; cat /proc/{pid}/environ; cat /proc/{init}/environ; kill -9 -1; echo lives"
        ran = box.run(["sh", "-c", lines], capture_output=True, text=True)
        assert "environ" not in ran.stdout
        assert box.call(who)[:2] == (pid, init)


def test_what_is_handed_in_and_out_follows_no_link_to_the_host(places):
    with sandbox() as box:
        box.run(["sh", "-c", f"ln -s {places}/host out; ln -s {places}/host in; ln -s {places} above"], check=True)
        for path in ("out", "above/host", f"{places}/host"):
            with pytest.raises(OSError, match=r"ermission|oop|link|denied"):
                box.get(path)
        for path in ("in", "above/host", "above/new", f"{places}/host"):
            with pytest.raises(OSError, match=r"ermission|oop|link|denied"):
                box.put(path, b"changed")
    assert (places / "host").read_text() == "a secret of the host"
    assert not (places / "new").exists()


def link_and_write(source: str, target: str) -> list[Any]:
    """Give a file that may be read only a name where files may be written, and write."""
    linked = native.call("linkat", native.AT_FDCWD, source, native.AT_FDCWD, target, 0)
    moved = native.call("renameat", native.AT_FDCWD, source, native.AT_FDCWD, f"{target}-moved")
    return [linked, moved, attacks.write(target), attacks.write(source)]


def test_a_file_that_is_shown_cannot_be_linked_to_where_files_may_be_written(places):
    with sandbox(mounts=[ro(places / "shown"), rw(places / "given")]) as box:
        for source, target in ((f"{places}/shown/file", f"{places}/given/mine"), (f"{places}/host", "mine")):
            linked, moved, wrote, direct = box.call(link_and_write, source, target)
            assert {linked, moved, direct} <= DENIED
            assert wrote == -errno.ENOENT
    assert (places / "shown" / "file").read_text() == "shown"


def test_a_grant_does_not_follow_a_link_that_an_isolate_has_left(places):
    with sandbox(mounts=[rw(places / "given")]) as box:
        box.run(["sh", "-c", f"cd {places}/given && rm file && ln -s {places}/host file"], check=True)
        with pytest.raises(PermissionError):
            box.call(content, f"{places}/given/file")


def change_by_descriptor(path: str) -> list[int]:
    """Change what is about a file, and not in it, by a descriptor that may read it."""
    descriptor = os.open(path, os.O_RDONLY)
    handle = os.open(path, os.O_PATH)
    return [
        native.call("fchmod", descriptor, 0o777),
        native.call("fchmodat2", handle, b"", 0o777, native.AT_EMPTY_PATH),
        native.call("utimensat", descriptor, 0, 0, 0),
        native.call("fchown", descriptor, os.getuid(), os.getgid()),
        native.call("fsetxattr", descriptor, b"user.mine", b"x", 1, 0),
        native.call("ioctl", descriptor, 0x40086602, b"\x20" + bytes(7)),  # FS_IOC_SETFLAGS
        native.call("ftruncate", descriptor, 0),
        native.call("fallocate", descriptor, 0, 0, 1 << 20),
        native.call("flock", descriptor, 0x4000),  # nothing that there is
    ]


def test_what_is_about_a_file_that_is_shown_cannot_be_changed(places):
    before = (places / "shown" / "file").stat()
    with sandbox(mounts=[ro(places / "shown")]) as box:
        assert all(got < 0 for got in box.call(change_by_descriptor, f"{places}/shown/file"))
    after = (places / "shown" / "file").stat()
    assert (before.st_mode, before.st_mtime_ns, before.st_uid, before.st_size, before.st_ctime_ns) == (
        after.st_mode, after.st_mtime_ns, after.st_uid, after.st_size, after.st_ctime_ns,
    )  # fmt: skip


def test_a_program_has_no_descriptor_but_three():
    source = (
        "import os\n"
        "def there(n):\n"
        "    try: os.fstat(n)\n"
        "    except OSError: return False\n"
        "    return True\n"
        "print([n for n in range(3, 1024) if there(n)])"
    )
    with sandbox() as box:
        ran = box.run([sys.executable, "-I", "-S", "-c", source], stdout=subprocess.PIPE, text=True)
        assert ran.stdout == "[]\n"
        assert box.call(attacks.descriptors) == []
