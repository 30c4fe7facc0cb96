"""What hostile code can do with a description from outside: no more than its mode says, and nothing to anything else.

Each attack is made with all walls, where it must fail, and without the wall that stands in its way, where it succeeds.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import io
import mmap
import os
import select
import signal
import subprocess
import sys
import tempfile

import pytest

from isolate_fn import isolated, rw, sandbox
from isolate_fn.errors import PolicyError

pytestmark = pytest.mark.needs("namespaces", "landlock>=3")

ordinary = pytest.mark.needs("user")  # a root caller's files belong to nobody inside
_IOC_SETFLAGS = 0x40086602


def attempt(function, *args):
    """Return 0 where a call works, else the errno."""
    try:
        function(*args)
    except OSError as error:
        return error.errno
    return 0


def open_anew(file, flags):
    """Open a file again through its link in /proc, in a mode of the attacker's choice."""
    return attempt(os.open, f"/proc/self/fd/{file.fileno()}", flags)


def truncate_by_name(file):
    return attempt(os.truncate, f"/proc/self/fd/{file.fileno()}", 0)


def change_metadata(file):
    """Change mode and times in every way there is."""
    name = f"/proc/self/fd/{file.fileno()}"
    ways = {
        "fchmod": lambda: os.fchmod(file.fileno(), 0o600),
        "chmod": lambda: os.chmod(name, 0o600),
        "utime": lambda: os.utime(name, (1, 1)),
        "futimens": lambda: os.utime(file.fileno(), (1, 1)),
    }
    return [way for way, change in ways.items() if attempt(change) == 0]


def command(file, number, argument):
    return attempt(fcntl.fcntl, file.fileno(), number, argument)


# --- reading does not become writing, nor writing reading -----------------------------------------------------------------


def test_a_file_passed_for_reading_cannot_be_opened_for_writing(picture, give_and_run):
    with picture.open("rb") as file:
        assert give_and_run((), open_anew, file, os.O_WRONLY) == errno.EACCES
        assert give_and_run((), open_anew, file, os.O_RDWR | os.O_TRUNC) == errno.EACCES
        assert give_and_run(("landlock",), open_anew, file, os.O_WRONLY) == 0


def test_a_file_passed_for_writing_cannot_be_opened_for_reading(picture, give_and_run):
    with picture.open("ab") as file:
        assert give_and_run((), open_anew, file, os.O_RDONLY) == errno.EACCES
        assert give_and_run(("landlock",), open_anew, file, os.O_RDONLY) == 0


def test_a_file_passed_for_reading_cannot_be_truncated_by_name(picture, give_and_run):
    with picture.open("rb") as file:
        assert give_and_run((), truncate_by_name, file) == errno.EACCES
        assert picture.read_bytes() == b"picture"
        assert give_and_run(("landlock",), truncate_by_name, file) == 0
        assert picture.read_bytes() == b""


def test_without_landlock_such_a_file_is_not_passed(picture, monkeypatch):
    monkeypatch.setenv("ISOLATE_FN_PRETEND", "landlock=2")
    take = isolated(prewarm=0)(lambda file: 1)
    with picture.open("rb") as reading, picture.open("r+b") as updating:
        with pytest.raises(PolicyError, match="Landlock ABI 3"):
            take(reading)
        assert take(updating) == 1  # whoever may do both gains nothing


@ordinary
def test_modes_and_times_stay_as_they_are(picture, give_and_run):
    before = picture.stat()
    for mode in ("rb", "r+b"):
        with picture.open(mode) as file:
            assert give_and_run((), change_metadata, file) == []
    after = picture.stat()
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    with picture.open("rb") as file:
        assert give_and_run((), change_metadata, file, unguarded=True) == ["fchmod", "chmod", "utime", "futimens"]
    assert picture.stat().st_mode & 0o777 == 0o600


@pytest.mark.needs("root")
def test_a_file_of_root_belongs_to_nobody_inside(picture, give_and_run):
    picture.chmod(0o644)
    with picture.open("rb") as file:
        assert give_and_run((), change_metadata, file, unguarded=True) == []
        assert change_metadata(file) == ["fchmod", "chmod", "utime", "futimens"]


@ordinary
def test_a_sandbox_that_stands_already_is_not_passed_what_it_could_change(picture):
    with sandbox() as box, picture.open("rb") as file, tempfile.TemporaryFile() as unnamed:
        with pytest.raises(PolicyError, match="could change its mode"):
            box.call(change_metadata, file)
        assert box.call(change_metadata, unnamed) != []  # nobody else will ever see it


@ordinary
def test_isolates_with_the_guard_and_without_do_not_wait_together(picture):
    @isolated(reuse=True)
    def change(file):
        return change_metadata(file)

    @isolated(reuse=True)
    def change_own():
        open("/tmp/own", "w").close()
        os.chmod("/tmp/own", 0o600)
        return True

    with picture.open("rb") as file, tempfile.TemporaryFile() as unnamed:
        for _ in range(2):
            assert change(unnamed) != []
            assert change(file) == []
    assert change_own()


# --- what a descriptor can be told ----------------------------------------------------------------------------------------


def test_nobody_outside_is_delayed_or_signalled(picture, give_and_run):
    with picture.open("rb") as file:
        for number, argument in ((fcntl.F_SETOWN, 1), (fcntl.F_SETSIG, signal.SIGKILL), (fcntl.F_NOTIFY, 1)):
            assert give_and_run((), command, file, number, argument) == errno.EPERM
        assert give_and_run((), command, file, fcntl.F_SETLEASE, fcntl.F_RDLCK) == errno.EPERM
        assert give_and_run(("seccomp",), command, file, fcntl.F_SETSIG, signal.SIGUSR1) == 0


def control(file):
    """Set inode flags (chattr), change the owner, set an attribute, and ask the driver something."""
    descriptor = file.fileno()
    return [
        attempt(fcntl.ioctl, descriptor, _IOC_SETFLAGS, bytes(8)),
        attempt(os.fchown, descriptor, -1, -1),
        attempt(os.setxattr, descriptor, "user.attack", b"1"),
    ]


def test_inode_flags_owners_and_attributes(picture, give_and_run):
    with picture.open("r+b") as file:
        assert give_and_run((), control, file) == [errno.ENOTTY, errno.EPERM, errno.EPERM]
        assert give_and_run(("seccomp",), control, file)[1] == 0


def test_a_file_passed_for_reading_is_not_mapped_for_writing(picture, give_and_run):
    def map_shared(file):
        return attempt(lambda: mmap.mmap(file.fileno(), 7, prot=mmap.PROT_WRITE | mmap.PROT_READ).close())

    with picture.open("rb") as reading, picture.open("r+b") as updating:
        assert give_and_run((), map_shared, reading) == errno.EACCES
        assert give_and_run((), map_shared, updating) == 0


def test_what_is_passed_for_writing_can_be_truncated_and_no_more_than_that(picture, give_and_run):
    def truncate(file):
        return attempt(os.ftruncate, file.fileno(), 0)

    with picture.open("rb") as reading, picture.open("r+b") as updating:
        assert give_and_run((), truncate, reading) == errno.EINVAL
        assert picture.read_bytes() == b"picture"
        assert give_and_run((), truncate, updating) == 0
        assert picture.read_bytes() == b""


def climb(file):
    """Try to reach what lies around a file."""
    descriptor = file.fileno()
    return [
        attempt(lambda: os.open("..", os.O_RDONLY, dir_fd=descriptor)),
        attempt(os.fchdir, descriptor),
        attempt(os.listdir, f"/proc/self/fd/{descriptor}/.."),
        attempt(os.link, f"/proc/self/fd/{descriptor}", "/tmp/linked"),
    ]


def test_a_file_is_no_way_to_its_directory(picture, give_and_run):
    with picture.open("r+b") as file:
        assert 0 not in give_and_run((), climb, file)
        assert 0 not in give_and_run(("landlock", "seccomp"), climb, file)


# --- a hostile end --------------------------------------------------------------------------------------------------------


def test_an_offset_of_the_attacker_s_choice_is_an_offset(picture):
    @isolated(prewarm=0)
    def far(file):
        file.seek(1 << 40)

    with picture.open("rb") as file:
        far(file)
        assert file.tell() == 1 << 40
        assert file.read() == b""
        file.seek(0)
        assert file.read() == b"picture"


def test_what_the_worker_kept_by_number_cannot_move_a_later_file(picture):
    """A hostile worker can keep a copy: of the description that it was passed, not of the next one."""

    @isolated(reuse=True)
    def keep(file, copies=[]):  # noqa: B006 - lives in the worker
        moved = [os.lseek(copy, 3, os.SEEK_SET) for copy in copies]
        copies.append(os.dup(file.fileno()))
        return moved

    with picture.open("r+b") as first:
        assert keep(first) == []
    with picture.open("r+b") as second:
        assert keep(second) == [3]
        assert second.tell() == 0


# --- what is never passed -------------------------------------------------------------------------------------------------


@isolated(prewarm=0)
def receive(file):
    return 1


def refused(descriptor, mode="rb"):
    file = io.FileIO(descriptor, mode)
    try:
        with pytest.raises(PolicyError) as caught:
            receive(file)
        assert caught.value.field == "argument 'file'"
        assert caught.value.ran is False
        return caught.value.problem
    finally:
        file.close()


def test_a_name_of_a_file_is_no_open_file(picture):
    assert "O_PATH" in refused(os.open(picture, os.O_PATH))


def test_terminals_and_devices():
    master, slave = os.openpty()
    assert "terminal" in refused(slave, "r+b")
    assert "terminal" in refused(master, "r+b")
    for harmless in ("/dev/null", "/dev/zero", "/dev/urandom"):
        with open(harmless, "rb") as file:
            assert receive(file) == 1


@pytest.mark.parametrize("path", ["/proc/self/status", "/proc/self/mem", "/proc/sys/kernel/hostname", "/proc/self/ns/net"])
def test_files_by_which_the_kernel_talks(path):
    refused(os.open(path, os.O_RDONLY))


def test_files_of_sys():
    path = next(path for path in ("/sys/kernel/mm/transparent_hugepage/enabled", "/sys/kernel/notes", "/sys/kernel/uevent_seqnum")
                if os.access(path, os.R_OK))  # fmt: skip
    assert "sysfs" in refused(os.open(path, os.O_RDONLY))


@pytest.mark.parametrize(
    "make",
    [
        lambda: os.pidfd_open(os.getpid()),
        lambda: os.eventfd(0),
        lambda: os.dup(_epoll.fileno()),
        lambda: ctypes.CDLL(None).timerfd_create(1, 0),
        lambda: ctypes.CDLL(None).inotify_init(),
        lambda: ctypes.CDLL(None).signalfd(-1, ctypes.byref((ctypes.c_ulong * 16)()), 0),
    ],
    ids=["pidfd", "eventfd", "epoll", "timerfd", "inotify", "signalfd"],
)
def test_kernel_objects_behind_descriptors(make):
    descriptor = make()
    assert descriptor >= 0
    refused(descriptor)


_epoll = select.epoll()


def test_memory_files():
    """An ordinary one is a temporary file; one for reading could be opened for writing by its link, unless sealed."""
    memory = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.write(memory, b"memory")
    for_reading = os.open(f"/proc/self/fd/{memory}", os.O_RDONLY)
    assert "another mode" in refused(os.dup(for_reading))
    with io.FileIO(memory, "r+b") as both, io.FileIO(for_reading, "rb") as reading:
        assert receive(both) == 1
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
        assert receive(reading) == 1


def test_a_memory_file_for_reading_could_be_written(monkeypatch, give_and_run):
    """The reason for the refusal above: Landlock does not look at memory files."""
    from isolate_fn._api import lendable

    monkeypatch.setattr(lendable, "_check_memory_file", lambda descriptor, flags: None)
    memory = os.memfd_create("test")
    with io.FileIO(memory, "r+b"), open(f"/proc/self/fd/{memory}", "rb", buffering=0) as reading:
        assert give_and_run((), open_anew, reading, os.O_RDWR) == 0


def test_secret_memory():
    memfd_secret = 447  # on both architectures
    descriptor = ctypes.CDLL(None, use_errno=True).syscall(memfd_secret, 0)
    if descriptor < 0:
        assert ctypes.get_errno() == errno.ENOSYS  # not built into this kernel, or not enabled
        return
    refused(descriptor)


def test_code_of_the_caller_is_not_passed_for_writing(host, monkeypatch):
    """The same check as for rw(): whoever changes a module of ours runs in this process later."""
    monkeypatch.syspath_prepend(str(host))
    module = host / "module_of_ours.py"
    module.write_text("")
    with module.open("rb") as file:
        assert receive(file) == 1
    for mode in ("r+b", "ab", "wb"):
        with module.open(mode) as file, pytest.raises(PolicyError, match="import or run"):
            receive(file)
        with pytest.raises(PolicyError, match="import or run"):
            receive(rw(module))


def test_a_file_for_writing_that_was_renamed_or_replaced(picture):
    with picture.open("r+b") as file:
        picture.rename(picture.with_name("b.png"))
        assert receive(file) == 1  # the kernel knows its name
        picture.with_name("b.png").unlink()
        assert receive(file) == 1  # without a name nobody will run it


def test_refusals_leave_nothing(picture):
    before = len(os.listdir("/proc/self/fd"))
    with open("/proc/self/status", "rb") as status, picture.open("rb") as file:
        for _ in range(100):
            with pytest.raises(PolicyError):
                receive(status)
        assert file.read() == b"picture"
    assert len(os.listdir("/proc/self/fd")) == before


def test_standard_streams_of_a_program():
    """sys.stdout of a script is passed like any other file: a pipe here."""
    script = (
        "import sys\nfrom isolate_fn import isolated\n"
        "@isolated\ndef say(file):\n    file.write('inside\\n')\n"
        "print('before'); say(sys.stdout); print('after')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "before\ninside\nafter\n"
