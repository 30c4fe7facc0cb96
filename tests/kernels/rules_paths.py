"""Landlock's rights on paths: each that this kernel's ABI has, and what is said of those that it lacks.

Every check runs in a child of its own, in an empty directory, with the kernel's ABI.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
from collections.abc import Callable

from landlock_checks import LATER, check, context, only, reach, read, refused_without, rights, write
from throwaway import Skipped, denied, expect, in_child, refused

from isolate_fn import SafetyContext
from isolate_fn.errors import Unsupported
from isolate_fn.rules import Custom, LandlockRule, SystemIO

TCGETS = 0x5401


@check(since=1)
def readable_path(abi: int) -> None:
    """filter and Landlock: a readable path is read, others are not, and what the ABI lacks is reported"""
    os.mkdir("in")
    write("in/f"), write("out")
    done = context(abi, SystemIO().allow_read_path("in")).apply_to_current_thread()
    expect((done.threads, done.seccomp, done.landlock_abi), ("current", True, abi))
    expect({sentence.split()[0] for sentence in done.dropped}, {name for name, since in LATER.items() if since > abi})
    expect(read("in/f"), "x")
    denied(lambda: read("out"), errno.EACCES)
    denied(lambda: os.listdir("in"), errno.EACCES)
    denied(lambda: os.mkdir("new"))
    denied(lambda: write("in/f"))


#: What each right of the first version permits, below a directory; before it, what makes the directory ready.
FIRST = {
    "read_file": lambda at: read(f"{at}/f"),
    "write_file": lambda at: os.open(f"{at}/f", os.O_WRONLY),
    "list_dir": os.listdir,
    "execute": lambda at: os.execv(f"{at}/true", ["true"]),
    "create_file": lambda at: os.mknod(f"{at}/new"),
    "create_dir": lambda at: os.mkdir(f"{at}/new"),
    "create_symlink": lambda at: os.symlink("x", f"{at}/new"),
    "create_fifo": lambda at: os.mkfifo(f"{at}/new"),
    "create_socket": lambda at: socket.socket(socket.AF_UNIX).bind(f"{at}/new"),
    "create_char_device": lambda at: os.mknod(f"{at}/new", 0o020600, os.makedev(1, 3)),
    "create_block_device": lambda at: os.mknod(f"{at}/new", 0o060600, os.makedev(7, 0)),
    "remove_file": lambda at: os.unlink(f"{at}/f"),
    "remove_dir": lambda at: os.rmdir(f"{at}/d"),
}


def _first(abi: int, word: str, make: Callable[[], object]) -> None:
    sets = [rights("in", word)]
    if word == "execute":  # which takes reading as well: the other place has that, and loader and libraries both
        libraries = [LandlockRule(path, {word, "read_file"}, optional=True) for path in ("/usr", "/lib", "/lib64")]
        sets = [rights("in", word, "read_file"), rights("out", "read_file"), Custom("libraries", *libraries)]
    for place in ("in", "out"):
        os.makedirs(f"{place}/d", exist_ok=True)
        write(f"{place}/f")
        shutil.copy("/bin/true", place)
    only(abi, *sets)
    denied(lambda: FIRST[word]("out"), errno.EACCES)
    make()


def _first_check(word: str) -> None:
    def one(abi: int) -> None:
        if word.endswith("device") and os.geteuid():
            raise Skipped("only root makes device nodes")
        make = FIRST[word]
        if word != "execute":
            return _first(abi, word, lambda: make("in"))
        # Executing ends the child's own program: its child does, and it looks at how that ended.
        return _first(abi, word, lambda: expect(_status_of(lambda: make("in")), 0))

    one.__doc__ = f"Landlock right {word}: where it is given, and nowhere else"
    check(since=1)(one)


def _status_of(action: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            action()
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


for _word in FIRST:
    _first_check(_word)


@check(since=2)
def moves(abi: int) -> None:
    """Landlock right move: between directories that have it, and into no other"""
    for name in ("a", "b", "c"):
        os.mkdir(name)
    write("a/f")
    only(abi, SystemIO().allow_move_in_dir("a").allow_move_in_dir("b"))
    denied(lambda: os.rename("a/f", "c/f"), errno.EACCES, errno.EXDEV)
    os.rename("a/f", "b/f")


@check(since=3)
def truncates(abi: int) -> None:
    """Landlock right truncate: not what may only be read, but what may be written"""
    os.mkdir("in")
    write("in/f"), write("w")
    sets = SystemIO().allow_read_path("in").allow_write_file("w"), "truncate"
    context(abi, *sets).apply_to_current_thread()
    denied(lambda: os.truncate("in/f", 0), errno.EACCES)
    denied(lambda: os.open("in/f", os.O_RDONLY | os.O_TRUNC), errno.EACCES)
    os.truncate("w", 0)
    expect((os.stat("in/f").st_size, os.stat("w").st_size), (1, 0))


@check(since=1, before=3)
def no_truncate(abi: int) -> None:
    """without the right truncate: refused by default, reported where it is not required"""
    write("f")
    wanted = SafetyContext().enable(rights("f", "read_file"))
    words = "'truncate'", "Landlock ABI 3 (Linux 6.2)", f"ABI {abi}", "require("
    refused(Unsupported, wanted.apply_to_current_thread, *words)
    done = wanted.require("read_file").landlock_only().apply_to_current_thread()
    os.truncate("f", 0)  # which is what it says
    expect([sentence[:18] for sentence in done.dropped][:1], ["ACCESS_FS_TRUNCATE"])


def _ask_device() -> int:
    with open("/dev/zero", "rb") as file:
        try:
            fcntl.ioctl(file, TCGETS, bytes(256))
        except OSError as error:
            return error.errno or 0
    return 0


@check(since=5)
def devices(abi: int) -> None:
    """Landlock right ioctl_device: devices opened from then on"""

    def asked(*words: str) -> object:
        return in_child(lambda: (only(abi, rights("/dev", "read_file", *words)), _ask_device())[1])

    expect((asked(), asked("ioctl_device")), (errno.EACCES, errno.ENOTTY))


@check(since=1, before=5)
def no_devices(abi: int) -> None:
    """without the right ioctl_device: refused where required, else left open and reported"""
    refused_without(abi, "ioctl_device", 5)
    done = only(abi, rights("/dev", "read_file"))
    expect(_ask_device(), errno.ENOTTY)
    expect(any("ACCESS_FS_IOCTL_DEV" in sentence for sentence in done.dropped), True)


@check(since=9)
def sockets_by_path(abi: int) -> None:
    """Landlock right reach_socket: sockets of other processes by path"""
    os.mkdir("in")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("in/s")
        server.listen()

        def reached(*words: str) -> object:
            return in_child(lambda: (only(abi, rights("in", "read_file", *words)), reach("in/s"))[1])

        expect((reached(), reached("reach_socket")), (errno.EACCES, 0))


@check(since=1, before=9)
def no_sockets_by_path(abi: int) -> None:
    """without the right reach_socket: refused where required, else left open and reported"""
    refused_without(abi, "reach_socket", 9)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        server.listen()
        done = only(abi, rights(".", "read_file"))
        expect(reach("s"), 0)
    expect(any("ACCESS_FS_RESOLVE_UNIX" in sentence for sentence in done.dropped), True)
