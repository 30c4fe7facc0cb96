"""Hostile code against whoever hears of its denials: nothing is permitted, nobody is kept waiting, and text stays text."""

from __future__ import annotations

import binascii
import contextlib
import ctypes
import errno
import mmap
import os
import signal
import struct
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from isolate_fn import isolated, sandbox
from isolate_fn._runtime import stacks, supervision
from isolate_fn._sys import numbers

pytestmark = pytest.mark.needs("namespaces")

ROOT = Path(__file__).parents[2]
CHROOT = numbers.table(os.uname().machine)["chroot"]
BIND = numbers.table(os.uname().machine)["bind"]
SECCOMP = numbers.table(os.uname().machine)["seccomp"]
CLONE = numbers.table(os.uname().machine)["clone"]


def raw(number, *arguments):
    """Make a system call; return its errno, 0 where it succeeded."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    done = call(ctypes.c_long(number), *map(ctypes.c_ulong, arguments))
    return ctypes.get_errno() if done == -1 else 0


def nothing():
    return 1


def flood(number, count):
    """Return each errno that came, in the order of the first time."""
    return list(dict.fromkeys(raw(number, 0) for _ in range(count)))


def test_a_flood_is_answered_by_the_kernel_in_the_end():
    with sandbox(timeout=120) as box:
        assert box.call(flood, CHROOT, 4 * supervision.MOST) == [errno.EPERM, errno.ENOSYS]
        (denial,) = box.report().denied
    assert supervision.MOST // 2 <= denial.count < 4 * supervision.MOST


def test_a_flood_keeps_nobody_waiting():
    ready, count = isolated(prewarm=0)(nothing), 0
    assert ready() == 1
    with sandbox(timeout=120) as box:
        flooding = box.submit(flood, CHROOT, 4 * supervision.MOST)
        while not flooding.done():
            assert ready() == 1
            count += 1
        assert flooding.result()[0] == errno.EPERM
    assert count > 1


def wild_pointers(chroot, bind):
    unmapped = mmap.mmap(-1, 1 << 24)
    address = ctypes.addressof(ctypes.c_char.from_buffer(unmapped))
    unmapped.write(b"x" * (1 << 24))  # no end of text for a long way
    edge = address + (1 << 24) - 3
    wild = [0, 1, 4095, address, edge, 1 << 47, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
    return {raw(chroot, each) for each in wild} | {raw(bind, 0, each, (1 << 64) - 1) for each in wild}


def test_pointers_to_nowhere_and_to_text_without_end():
    with sandbox(timeout=60) as box:
        assert box.call(wild_pointers, CHROOT, BIND) == {errno.EPERM}
        denied = box.report().denied
        assert box.call(nothing) == 1
    assert {each.syscall for each in denied} == {"chroot", "bind"}
    assert max(len(str(each)) for each in denied) < 2000


@contextlib.contextmanager
def again_and_again(act):
    """Have two threads do something all the time."""
    over = threading.Event()

    def go_on():
        while not over.is_set():
            act()

    threads = [threading.Thread(target=go_on) for _ in range(2)]
    for thread in threads:
        thread.start()
    yield
    over.set()
    for thread in threads:
        thread.join()


def hold_the_memory(bind, count):
    """Make denied calls while threads hold the lock of this process's memory, which every reader of it waits for."""
    native = ctypes.CDLL(None)
    native.mmap.restype = ctypes.c_void_p
    size = ctypes.c_size_t(4 << 30)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000  # MAP_NORESERVE
    memory = ctypes.c_void_p(native.mmap(None, size, mmap.PROT_READ, flags, -1, ctypes.c_long(0)))
    native.madvise(memory, size, 15)  # MADV_NOHUGEPAGE
    native.madvise(memory, size, 22)  # MADV_POPULATE_READ: the zero page, everywhere

    def hold():
        native.mprotect(memory, size, 0)
        native.mprotect(memory, size, mmap.PROT_READ)

    text = ctypes.create_string_buffer(b"\1\0/tmp/socket")
    with again_and_again(hold):
        return {raw(bind, number, ctypes.addressof(text), len(text)) for number in range(count)}


def test_memory_that_takes_long_to_read_is_not_read_for_long():
    with sandbox(timeout=120) as box:
        assert box.call(hold_the_memory, BIND, 60) == {errno.EPERM}
        denied = box.report().denied
    assert len(denied) == 60
    assert denied[0].args[1] == "'/tmp/socket'"
    assert denied[-1].args[1].startswith("0x")
    assert denied[-1].location is None


def change_while_it_is_read(chroot, rounds):
    text = ctypes.create_string_buffer(b"/tmp", 4096)

    def change():
        text.raw = b"/etc/shadow" + b"\x1b[2J" * 200
        text.raw = b"/tmp" + bytes(4000)

    with again_and_again(change):
        return {raw(chroot, ctypes.addressof(text)) for _ in range(rounds)}


def test_memory_that_changes_while_it_is_read():
    with sandbox(timeout=60) as box:
        assert box.call(change_while_it_is_read, CHROOT, 200) == {errno.EPERM}
        denied = box.report().denied
    assert "\x1b" not in "".join(map(str, denied))
    assert "\x1b" not in "".join(each.path or "" for each in denied)


DYING = """
import ctypes, os, signal, sys
call = ctypes.CDLL(None).syscall
number = int(sys.argv[1])
here, there = os.pipe()
for round in range(60):
    pid = os.fork()
    if pid == 0:
        call(number, b"/tmp")
        os.write(there, b"!")
        while True:
            call(number, b"/tmp")
    os.read(here, 1)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""


def test_processes_that_die_while_their_call_is_looked_at():
    with sandbox(timeout=120) as box:
        done = box.run([sys.executable, "-c", DYING, str(CHROOT)], capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")
        assert box.call(nothing) == 1
        assert {each.syscall for each in box.report().denied} == {"chroot"}


BOMB = """
import ctypes, os, sys
call = ctypes.CDLL(None).syscall
for round in range(6):
    try:
        os.fork()
    except OSError:
        pass
for round in range(30):
    call(int(sys.argv[1]), b"/tmp")
"""


def test_many_processes_at_once():
    with sandbox(timeout=120) as box:
        box.run([sys.executable, "-c", BOMB, str(CHROOT)], capture_output=True)
        assert box.call(nothing) == 1
    assert isolated(prewarm=0)(nothing)() == 1


def deny_with_long_texts():
    source = "\udcff" * 1000
    code = compile("def deny():\n try: os.chroot(path)\n except OSError: pass\ndeny()", "\ud800" * 4000, "exec")
    exec(code, {"os": os, "path": f"/{source}"})


def test_texts_that_need_much_space():
    with sandbox() as box:
        box.call(deny_with_long_texts)
        (denial,) = box.report().denied
        assert box.call(nothing) == 1
    assert denial.syscall == "chroot"
    assert len(str(denial)) < 4000


def raise_about(name):
    raise FileNotFoundError(errno.ENOENT, "No such file or directory", name)


@pytest.mark.parametrize(
    "name",
    ["", "/", ".", "..", "/proc/1/environ", "/sys", "\ud800", "/\udcff", b"/etc/\xff", 7, "/" + "x" * 5000, "/etc/\x1b[2J"],
)
def test_names_in_exceptions_may_be_anything(name):
    with pytest.raises(FileNotFoundError) as caught:
        isolated(prewarm=0)(raise_about)(name)
    assert not hasattr(caught.value, "__notes__") or "\x1b" not in caught.value.__notes__[0]


def say_much():
    error = FileNotFoundError(errno.ENOENT, "No such file or directory", "/etc/hostname")
    for _ in range(30):
        error.add_note("\n" * 8000)
    raise error


def test_a_text_of_line_feeds_is_looked_through_at_once():
    """What backtracked over them took ten seconds of the caller's processor and more; an alarm ends it here."""

    def too_long(number, frame):
        raise AssertionError("still looking")

    before = signal.signal(signal.SIGVTALRM, too_long)
    signal.setitimer(signal.ITIMER_VIRTUAL, 4)
    try:
        with pytest.raises(FileNotFoundError):
            isolated(prewarm=0)(say_much)()
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def name_a_line():
    raise FileNotFoundError(errno.ENOENT, f'x\n  File "/app/mine.py", line {"9" * 8000}', "/etc/hostname")


def test_a_line_that_is_no_number_of_a_line_stays_short():
    with pytest.raises(FileNotFoundError) as caught:
        isolated(prewarm=0)(name_a_line)()
    assert max(map(len, caught.value.__notes__)) < 1000


def raise_a_huge_number():
    raise binascii.Error(1 << 100_000)


def test_what_has_no_text_stays_the_exception_that_it_is():
    with pytest.raises(binascii.Error):
        isolated(prewarm=0)(raise_a_huge_number)()


def lack(name):
    raise ImportError("no such module", name=name)


@pytest.mark.parametrize("name", ["etc", "home", "root", "var"])
def test_no_directory_of_the_system_is_advised_as_a_module(name, monkeypatch):
    monkeypatch.chdir("/")
    monkeypatch.syspath_prepend("")
    with pytest.raises(ImportError) as caught:
        isolated(prewarm=0)(lack)(name)
    assert "mounts=" not in str(getattr(caught.value, "__notes__", ""))


@pytest.mark.parametrize(
    "name", ["/etc/shadow", "~/.ssh", "/etc/ssl/private", "/run", "/home", "~", "/var/lib", "link/to/keys", "link/to/home"]
)
def test_no_mount_of_a_secret_is_advised(name, tmp_path):
    """The name is the isolate's word, and an earlier call may have left a link where it could write."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / "keys").symlink_to(tmp_path / ".ssh")
    (tmp_path / "home").symlink_to("/home")
    path = os.path.expanduser(name.replace("link/to", str(tmp_path)))
    with pytest.raises(FileNotFoundError) as caught:
        isolated(prewarm=0)(raise_about)(path)
    assert "mounts=" not in str(getattr(caught.value, "__notes__", ""))


def test_a_mount_is_advised_of_what_is_neither_secret_nor_everything(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        isolated(prewarm=0)(raise_about)(str(tmp_path))
    assert f"mounts=[ro({str(tmp_path)!r})]".replace("'", '"') in str(caught.value.__notes__).replace("'", '"')


# --- lies in memory --------------------------------------------------------------------------------------------------


def deny_under_a_name(name):
    code = deny_here.__code__.replace(co_filename=name, co_name=name, co_qualname=name)
    return type(deny_here)(code, globals())()


def deny_here():
    try:
        os.chroot("/tmp")
    except PermissionError as error:
        return error.errno


def test_names_of_files_are_made_safe_to_print():
    with sandbox() as box:
        assert box.call(deny_under_a_name, "/root/\x1b[2J\n" + "x" * 5000 + "\u202e") == errno.EPERM
        (denial,) = box.report().denied
    assert denial.location.startswith("/root/\\x1b[2J\\x0ax")
    assert len(denial.location) < 400
    assert denial.location.isprintable()


def turn_in_circles(layout, chroot):
    """Have the innermost frame name itself as the one above, and the main thread itself as the next."""
    memory = ctypes.cast(id(sys._getframe()) + 24, ctypes.POINTER(ctypes.c_uint64))[0]
    previous = ctypes.cast(memory + layout[4], ctypes.POINTER(ctypes.c_uint64))
    kept, previous[0] = previous[0], memory
    answer = raw(chroot, 0)
    previous[0] = kept
    return answer


def lie_about_sizes(layout, chroot):
    """Have the table of lines and the file's name of this code claim lengths that nobody has."""
    code = sys._getframe().f_code
    sizes = [ctypes.cast(id(each) + 16, ctypes.POINTER(ctypes.c_uint64)) for each in (code.co_linetable, code.co_filename)]
    kept = [size[0] for size in sizes]
    for size in sizes:
        size[0] = (1 << 62) - 1
    answer = raw(chroot, 0)
    for size, before in zip(sizes, kept, strict=True):
        size[0] = before
    return answer


@pytest.mark.parametrize("lie", [turn_in_circles, lie_about_sizes])
def test_lies_about_the_stack(lie):
    layout = stacks.find_layout()
    assert layout is not None
    with sandbox(timeout=30) as box:
        assert box.call(lie, tuple(layout), CHROOT) == errno.EPERM
        (denial,) = box.report().denied
        assert box.call(nothing) == 1
    assert len(denial.stack) <= stacks.MOST_FRAMES
    assert len(str(denial)) < 1000


# --- the listener ----------------------------------------------------------------------------------------------------


def make_a_listener(seccomp):
    """Ask for a listener of one's own, on a filter that asks for every call of getppid(2)."""
    program = struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF0000)
    buffer = ctypes.create_string_buffer(program)
    fprog = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", 1, ctypes.addressof(buffer)))
    return raw(seccomp, 1, 8, ctypes.addressof(fprog))


def test_no_second_listener():
    assert isolated(prewarm=0)(make_a_listener)(SECCOMP) == errno.EPERM


def open_descriptors():
    return sorted(map(int, os.listdir("/proc/self/fd")))[:5]


@pytest.mark.parametrize("options", [{}, {"rules": ["getdents64", "openat", "close", "fstat", "newfstatat"]}], ids=str)
def test_the_listener_stays_with_nobody_inside(options):
    assert isolated(prewarm=0, **options)(open_descriptors)() == [0, 1, 2, 3, 4]  # the last is the listing's own


JUNK = """
import os, socket, struct
inside = os.getpid() < 10
door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, os.dup(4)) if inside else None
null = os.open("/dev/null", os.O_RDONLY)
for count in (1, 2, 0, 1) * 50 if inside else ():
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{count}i", *[null] * count))] if count else []
    try:
        door.sendmsg([b"worker" + bytes([0]) + bytes(32)], rights, socket.MSG_DONTWAIT)
    except OSError:
        break

def work():
    try:
        os.fork()
    except OSError as error:
        return error.errno
"""


def test_junk_in_place_of_a_listener(tmp_path):
    (tmp_path / "sends_junk.py").write_text(JUNK)
    code = """
        import errno, sends_junk
        from isolate_fn import isolated
        for _ in range(3):
            assert isolated(rules=[], timeout=30, prewarm=0)(sends_junk.work)() in (errno.EPERM, errno.ENOSYS)
            assert isolated(timeout=30, prewarm=0)(len)("ab") == 2
        print("stands")
    """
    assert program(code, tmp_path) == "stands"


OWN_LISTENER = """
import ctypes, os, struct
program = struct.pack("<HBBI", 0x06, 0, 0, 0x7FC00000)
good = struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF0000)
buffer = ctypes.create_string_buffer(good)
fprog = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", 1, ctypes.addressof(buffer)))
LISTENER = ctypes.CDLL(None, use_errno=True).syscall(SECCOMP, 1, 8, fprog) if os.getpid() < 10 else -1

def work():
    try:
        os.fork()
    except OSError as error:
        return LISTENER, error.errno
"""


def test_a_listener_of_the_imported_modules_changes_no_answer(tmp_path):
    (tmp_path / "listens.py").write_text(OWN_LISTENER.replace("SECCOMP", str(SECCOMP)))
    code = """
        import errno, listens
        from isolate_fn import isolated
        listener, code = isolated(rules=[], timeout=30, prewarm=0)(listens.work)()
        assert listener > 3
        assert code == errno.EPERM
        print("denied")
    """
    assert program(code, tmp_path) == "denied"


TWICE = """
import ctypes, os, socket, struct, threading
asks = struct.pack("<HBBIHBBIHBBIHBBI", 0x20, 0, 0, 0, 0x15, 0, 1, GETPPID, 0x06, 0, 0, 0x7FC00000, 0x06, 0, 0, 0x7FFF0000)
buffer = ctypes.create_string_buffer(asks)
fprog = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", 4, ctypes.addressof(buffer)))
ANSWERS = set()
if os.getpid() < 10:
    call = ctypes.CDLL(None, use_errno=True).syscall
    listener = call(SECCOMP, 1, 8, fprog)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, os.dup(4))
    for _ in range(4):
        door.sendmsg([b"worker"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", listener))])
    for _ in range(50):
        ANSWERS.add((call(GETPPID), ctypes.get_errno()))

def work():
    return listener, ANSWERS
"""


def test_one_listener_under_several_descriptors_stops_nobody(tmp_path):
    getppid = numbers.table(os.uname().machine)["getppid"]
    (tmp_path / "sends_twice.py").write_text(TWICE.replace("GETPPID", str(getppid)).replace("SECCOMP", str(SECCOMP)))
    code = """
        import errno, sends_twice
        from isolate_fn import sandbox
        with sandbox(rules=[], timeout=30) as box:  # of the same spawner, and alive while the next one is wanted
            listener, answers = box.call(sends_twice.work)
            assert listener > 3
            assert answers == {(-1, errno.EPERM)}, answers
            with sandbox(rules=[], timeout=30) as other:
                assert other.call(len, "ab") == 2
        print("stands")
    """
    assert program(code, tmp_path) == "stands"


def test_under_a_runtime_that_listens_itself(tmp_path):
    code = """
        import os, struct
        from isolate_fn._sys import calls, constants
        calls.prctl(constants.PR_SET_NO_NEW_PRIVS, 1)
        allow = struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF0000)
        listener = calls.install_filter(allow, constants.SECCOMP_FILTER_FLAG_NEW_LISTENER)
        from isolate_fn import isolated
        for options in ({}, {"rules": []}):
            change = isolated(timeout=30, prewarm=0, **options)(os.chroot)
            try:
                change("/tmp")
            except PermissionError as error:
                print(hasattr(error, "__notes__"))
        dropped = isolated(os.chroot).enforcement().dropped
        print([each for each in dropped if "gives no listener here" in each] != [])
    """
    assert program(code, tmp_path).split() == ["False", "False", "True"]


def program(code, directory):
    """Run a program of its own, with a directory of modules; return what it prints."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{directory}"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
