"""What is told of denials without namespaces: system calls by the filter's listener, files by the exception."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from isolate_fn import isolated, ro, rw, sandbox
from isolate_fn.errors import SyscallDenied
from isolate_fn.rules import FileChanges, ForkAndExec, Interpreter, Pipes, SystemIO, Threads

pytestmark = [pytest.mark.needs("landlock>=6", "interpreter"), pytest.mark.usefixtures("without_namespaces")]
HERE = os.path.abspath(__file__)


def connect() -> None:
    socket.create_connection(("192.0.2.1", 80))  # denied


def line_of(text: str) -> int:
    with open(HERE, encoding="utf-8") as file:
        return next(number for number, line in enumerate(file, 1) if line.rstrip().endswith(f"# {text}"))


def content(path: str) -> str:
    return Path(path).read_text()


def change_mode() -> None:
    os.chmod(".", 0o700)


def nothing() -> int:
    return os.getpid()


@pytest.mark.parametrize("options", [{}, {"fresh_exec": True}, {"reuse": True}], ids=str)
def test_a_denied_call_is_told_with_its_line_and_what_permits_it(options):
    with sandbox(**options) as box:
        with pytest.raises(PermissionError) as denied:
            box.call(connect)
        report = box.report()
    assert report.enforcement.engine == "landlock"
    (told,) = report.denied
    assert (told.syscall, told.errno, told.fix) == ("socket", errno.EPERM, "network=True")
    assert told.location == f"{HERE}:{line_of('denied')}"
    assert any("add network=True" in note for note in denied.value.__notes__)


def test_the_isolate_s_own_checks_are_not_told():
    with sandbox() as box:
        pid = box.call(nothing)
        assert box.report().denied == ()
        assert box.run(["true"]).returncode == 0
        assert box.report().denied == ()
    assert pid > 0


def test_a_denial_of_a_program():
    source = "import os\ntry: os.chroot('/tmp')\nexcept OSError as e: print(e.errno)"
    with sandbox() as box:
        ran = box.run([sys.executable, "-I", "-S", "-c", source], capture_output=True, text=True)
        (told,) = box.report().denied
    assert ran.stdout == f"{errno.EPERM}\n"
    assert (told.syscall, told.program, told.path) == ("chroot", True, "/tmp")


def test_a_file_that_is_denied_and_the_mount_that_permits_it():
    with tempfile.NamedTemporaryFile("w", dir="/var/tmp", suffix=".txt") as file:
        file.write("granted")
        file.flush()
        os.chmod(file.name, 0o644)
        with pytest.raises(PermissionError) as denied:
            isolated(content)(file.name)
        assert f'add mounts=[ro("{file.name}")]' in "".join(denied.value.__notes__)
        assert "is denied to the isolate" in "".join(denied.value.__notes__)
        assert isolated(content, mounts=[ro(file.name)])(file.name) == "granted"


def test_no_mount_is_proposed_that_this_engine_refuses():
    for path in ("relative", "/tmp/nowhere", "/dev/shm/nowhere"):
        with pytest.raises((FileNotFoundError, PermissionError)) as denied:
            isolated(content)(path)
        assert not getattr(denied.value, "__notes__", [])


def sort() -> str:
    return subprocess.run(["sort"], input="b\na\n", capture_output=True, text=True, check=True).stdout


def test_a_program_by_its_name():
    rules = [Interpreter(), SystemIO.everything(), Threads.everything(), Pipes(), ForkAndExec(), FileChanges.everything()]
    with pytest.raises(PermissionError, match="sort") as denied:
        isolated(sort, rules=rules, prewarm=0)()
    program = shutil.which("sort")
    assert denied.value.__notes__[-1].endswith(f'add mounts=[ro("{program}")]')
    assert isolated(sort, rules=rules, mounts=[ro(program)], prewarm=0)() == "a\nb\n"


def write(path: str) -> int:
    with open(path, "w") as file:
        return file.write("written")


def test_what_was_to_be_written_is_advised_writable():
    with tempfile.TemporaryDirectory(dir="/var/tmp") as above:
        place = Path(above, "out")
        place.mkdir(mode=0o777)
        for path in (Path(above), place):
            path.chmod(0o777)
        (place / "there").write_text("before")
        (place / "there").chmod(0o666)
        for name, mount in (("there", rw(place / "there")), ("new", rw(place))):
            with pytest.raises(PermissionError) as denied:
                isolated(write, prewarm=0)(str(place / name))
            (note,) = denied.value.__notes__
            assert note.endswith(f'; add mounts=[rw("{mount.source}")]')
            with pytest.raises(PermissionError) as denied:
                isolated(write, mounts=[ro(place)], prewarm=0)(str(place / name))
            (note,) = denied.value.__notes__
            assert note.endswith(f"; in place of {ro(place)!r}: {rw(place)!r}")
            assert isolated(write, mounts=[mount], prewarm=0)(str(place / name)) == 7
    for path in ("/tmp/nowhere", "/dev/shm/nowhere"):  # granting these would grant everybody's
        with pytest.raises(PermissionError) as denied:
            isolated(write)(path)
        assert not getattr(denied.value, "__notes__", [])


def test_what_only_this_engine_denies_is_not_told_and_fails_all_the_same():
    with sandbox() as box:
        if box.report().enforcement.uid == os.geteuid():
            with pytest.raises(PermissionError):
                box.call(change_mode)
        else:  # an id of its own changes nothing of anybody's
            box.call(change_mode)
        assert box.report().denied == ()


def test_rules_tell_too():
    rules = [Interpreter(), SystemIO.everything(), Threads.everything()]
    with sandbox(rules=rules) as box:
        with pytest.raises(PermissionError):
            box.call(connect)
        assert "socket" in [each.syscall for each in box.report().denied]


def test_errno_and_kill():
    with sandbox(on_denied="errno") as box:
        with pytest.raises(PermissionError):
            box.call(connect)
        assert box.report().denied is None
    with pytest.raises(SyscallDenied):
        isolated(os.chroot, on_denied="kill")("/tmp")


def deny_for_ever() -> None:
    while True:
        try:
            os.chroot("/tmp")
        except OSError:  # EPERM, and ENOSYS once nobody answers any more
            pass


def test_an_isolate_that_is_denied_for_ever_ends_at_its_timeout():
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        isolated(deny_for_ever, timeout=1)()
    assert time.monotonic() - began < 30
    assert isolated(nothing)() > 0, "the spawner goes on"


def test_a_program_that_has_left_its_parent_and_is_denied_does_not_outlive_the_block():
    source = (
        "import os,time\nif os.fork(): time.sleep(60)\nos.setsid()\nif os.fork(): os._exit(0)\n"
        "print(os.getpid(), flush=True)\nwhile True:\n try: os.chroot('/tmp')\n except OSError: time.sleep(.01)"
    )
    with sandbox() as box:
        ran = box.popen([sys.executable, "-I", "-S", "-c", source], stdout=subprocess.PIPE, text=True)
        with ran.stdout as told:
            pid = int(told.readline())
        os.stat(f"/proc/{pid}")
    with pytest.raises(FileNotFoundError):
        os.stat(f"/proc/{pid}")
