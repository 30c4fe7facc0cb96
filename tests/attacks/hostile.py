"""What a worker does that has been taken over: it lies on its channel, and uses up all it can get.

Runs inside isolates, mostly as system calls by number (see native.py). Descriptor 3 is the channel.
"""

from __future__ import annotations

import array
import ctypes
import errno
import mmap
import os
import signal
import socket
import struct
import threading
import time
from dataclasses import dataclass
from typing import Any

import native

CHANNEL = 3
READY, RESULT, EXCEPTION, ARENA, REJECTED, ITEM, END, HOST_CALL, HOST_REPLY, SETUP_FAILED, CALL, NEXT, NOTICE = range(1, 14)
PAGE = 4096
MADV_DONTNEED, MFD_ALLOW_SEALING, F_SEAL_SEAL = 4, 2, 1


@dataclass
class Unregistered:
    """A class that no function here names as its result."""

    value: int = 1


def nothing() -> None:
    """Do nothing: a call that starts what later calls use."""


def header(kind: int, json: int = 0, inline: int = 0, buffers: int = 0, flags: int = 0, reserved: int = 0) -> bytes:
    """Return a frame's header with any numbers in it."""
    return struct.pack("<4sBBHIQQ", b"IFN1", kind, flags, reserved, buffers, json, inline)


def frame(kind: int, json: bytes = b"null", *buffers: bytes, arena: bool = False) -> bytes:
    """Return one well-formed frame."""
    inline = 0 if arena else sum(map(len, buffers))
    lengths = struct.pack(f"<{len(buffers)}Q", *map(len, buffers))
    head = header(kind, len(json), inline, len(buffers), int(arena))
    return head + lengths + json + (b"" if arena else b"".join(buffers))


# --- lies ------------------------------------------------------------------------------------------------------------


def put(data: bytes, descriptor: int = CHANNEL) -> int:
    """Write all of it, without Python's help; minus the errno where the other side has gone."""
    view = memoryview(data)
    while view:
        written = native.call("write", descriptor, bytes(view[: 1 << 20]), min(len(view), 1 << 20))
        if written < 0:
            return written
        view = view[written:]
    return 0


def stay() -> None:
    """Wait for ever."""
    while True:
        native.call("ppoll", 0, 0, 0, 0, 0)


def speak_and_stay() -> None:
    """Write a line of output, and wait for ever."""
    put(b"here\n", 1)
    stay()


def say(data: bytes, then: str = "stay") -> str:
    """Answer with these bytes; then ``"stay"`` for ever, ``"exit"``, or ``"return"``, which answers once more."""
    put(data)
    if then == "exit":
        native.call("exit_group", 0)
    if then == "stay":
        stay()
    return "the function's own answer"


def say_in_pieces(data: bytes, size: int) -> None:
    """Answer a few bytes at a time."""
    for start in range(0, len(data), size):
        put(data[start : start + size])
    stay()


def trickle(descriptor: int, head: bytes) -> None:
    """Write for ever, one byte after the other: there is always something to read."""
    put(head, descriptor)
    while native.call("write", descriptor, b"x", 1) > 0:
        pass
    stay()


def pour(head: bytes = b"", descriptor: int = CHANNEL) -> None:
    """Write for ever, as fast as it goes."""
    put(head, descriptor)
    chunk = b"x" * (1 << 16)
    while put(chunk, descriptor) == 0:
        pass
    stay()


def answer_and_pour() -> str:
    """Leave a thread behind that goes on writing output."""
    threading.Thread(target=pour, args=(b"", 1), daemon=True).start()
    return "answer"


def close_all(first: int = 0, then_answer: bool = False) -> str:
    """Close every descriptor from ``first`` on, and live on."""
    native.call("close_range", first, 0xFFFFFFFF, 0)
    if not then_answer:
        stay()
    return "answered"


def close_channel() -> None:
    """Close the channel, and live on."""
    native.call("close", CHANNEL)
    stay()


def attach_descriptors(count: int, data: bytes) -> int:
    """Send an answer with descriptors attached: 0 where the kernel took it, else minus the errno; answered twice then."""
    null = os.open("/dev/null", os.O_RDONLY)
    rights = array.array("i", [null] * count)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, os.dup(CHANNEL)) as channel:
        try:
            channel.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        except OSError as refused:
            return -(refused.errno or 0)
    stay()
    return 0


def ask_for_arena(text: bytes, times: int = 1) -> None:
    """Ask for shared memory."""
    for _ in range(times):
        put(frame(ARENA, text))
    stay()


def _arena(size: int) -> int:
    put(frame(ARENA, b'{"size": %d}' % size))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, os.dup(CHANNEL)) as channel:
        _, descriptors, _, _ = socket.recv_fds(channel, 64, 1)
    return descriptors[0]


def misuse_arena(how: str, json: bytes, size: int = 1 << 20) -> dict[str, int]:
    """Take shared memory, do something to it, and answer with a result that lies in it.

    Args:
        how: ``"honest"``, ``"mapped"`` keeps a writable mapping, ``"sealed"`` forbids further seals, ``"bigger"`` claims
            more than there is, ``"other"`` puts another file at its number, ``"resized"`` tries to change its size.
        json: the answer's text, which refers to one buffer.
        size: bytes of shared memory.
    """
    memory = _arena(size)
    os.pwrite(memory, b"a" * size, 0)
    kept = None
    claimed = size
    if how == "mapped":
        kept = native.call("mmap", 0, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, memory, 0)
    elif how == "sealed":
        native.call("fcntl", memory, 1033, F_SEAL_SEAL)
    elif how == "bigger":
        claimed = size * 2
    elif how == "resized":
        return {
            "grow": native.call("ftruncate", memory, size * 2),
            "shrink": native.call("ftruncate", memory, 0),
            "append": native.call("pwrite64", memory, b"x", 1, size),
            "allocate": native.call("fallocate", memory, 0, 0, size * 2),
        }
    put(header(RESULT, len(json), 0, 1, 1) + struct.pack("<Q", claimed) + json)
    if kept is not None:
        time.sleep(0)
    stay()
    return {}


def reply_from_fork(first: bytes, second: bytes) -> None:
    """Answer, and let a child answer again and again, once we have."""
    answered, answers = os.pipe()
    if native.call("clone", native.SIGCHLD, 0, 0, 0, 0) == 0:
        native.call("setsid")
        os.read(answered, 1)
        while put(second) == 0:
            time.sleep(0.001)
        stay()
    put(first)
    os.write(answers, b"x")
    native.call("exit_group", 0)


def leave_thread(data: bytes, gate: str) -> str:
    """Leave a thread behind that answers when nobody has asked, or when the next call begins.

    Args:
        data: the forged answer.
        gate: ``"at once"``: after this call's own answer; else a file that the next call makes.
    """
    channel = os.dup(CHANNEL)

    def later() -> None:
        if gate == "at once":
            time.sleep(0.05)  # the honest answer goes first; should it not, the call fails, which the test would see
        while gate != "at once" and not os.path.exists(gate):
            time.sleep(0.001)
        put(data, channel)

    threading.Thread(target=later, daemon=True).start()
    return "first"


def leave_and_go(how: str) -> str:
    """Answer, and then, when nobody has asked, ``"shutdown"`` the channel or ``"exit_group"``."""

    def later() -> None:
        time.sleep(0.05)  # the answer goes first; should it not, the call fails, which the test would see
        native.call(how, *((CHANNEL, socket.SHUT_RDWR) if how == "shutdown" else (0,)))

    threading.Thread(target=later, daemon=True).start()
    return "first"


def return_it(name: str, *arguments: Any) -> Any:
    """Return an instance of a class of this module."""
    return globals()[name](*arguments)


def touch_and_wait(path: str, seconds: float = 0.0) -> str:
    """Make a file, wait, answer."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
    time.sleep(seconds)
    return "honest"


def one_of_two(what: str, *args: Any) -> Any:
    """Call another function of this module: two calls of one function may share a worker."""
    return globals()[what](*args)


def raise_it(kind: str, text: str = "", depth: int = 0) -> None:
    """Raise exceptions of awkward kinds."""
    if kind == "chain":
        error = ValueError(text)
        for number in range(depth):
            outer = ValueError(number)
            outer.__cause__ = error
            error = outer
        raise error
    if kind == "cycle":
        first, second = ValueError("first"), ValueError("second")
        first.__context__, second.__context__ = second, first
        raise first
    if kind == "stubborn":
        raise Stubborn(text)
    if kind == "notes":
        error = ValueError(text)
        for _ in range(depth):
            error.add_note(text)
        raise error
    if kind == "group":
        group: Exception = ValueError(text)
        for _ in range(depth):
            group = ExceptionGroup(text, [group])
        raise group
    raise {"ValueError": ValueError, "SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt}[kind](text)


class Stubborn(Exception):
    """Raises whatever it is asked."""

    def __str__(self) -> str:
        raise SystemExit("asked for its text")

    __repr__ = __str__

    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/ran",)


# --- greed -----------------------------------------------------------------------------------------------------------


def fill_file(path: str, size: int, chunk: int = 1 << 20) -> int:
    """Write a file of ``size`` bytes; raise the kernel's refusal."""
    descriptor = _or_raise(native.call("openat", native.AT_FDCWD, path, os.O_WRONLY | os.O_CREAT, 0o600))
    written = 0
    while written < size:
        written += _or_raise(native.call("write", descriptor, b"x" * chunk, min(chunk, size - written)))
    return written


def fill_everywhere(directories: list[str], size: int) -> int:
    """Fill several places a little each."""
    return sum(fill_file(f"{directory}/part", size) for directory in directories)


def _or_raise(result: int) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def fill_inodes(directory: str, count: int) -> int:
    """Make empty files; raise the kernel's refusal."""
    for number in range(count):
        made = native.call("openat", native.AT_FDCWD, f"{directory}/{number}", os.O_WRONLY | os.O_CREAT, 0o600)
        native.call("close", _or_raise(made))
    return count


def open_many(count: int) -> int:
    """Open descriptors; raise the kernel's refusal."""
    for _ in range(count):
        _or_raise(native.call("openat", native.AT_FDCWD, "/dev/null", os.O_RDONLY))
    return count


def start_threads(count: int) -> int:
    """Start threads that stay."""
    for _ in range(count):
        threading.Thread(target=stay, daemon=True).start()
    return count


def fork_many(count: int) -> int:
    """Fork children that stay; raise the kernel's refusal."""
    for _ in range(count):
        if _or_raise(native.call("clone", native.SIGCHLD, 0, 0, 0, 0)) == 0:
            stay()
    return count


def fork_and_exit(count: int) -> None:
    """Leave children behind, without an answer."""
    fork_many(count)
    native.call("exit_group", 0)


def fork_bomb() -> int:
    """Fork, and let each child fork; return the refusal that ended it."""
    while (pid := native.call("clone", native.SIGCHLD, 0, 0, 0, 0)) >= 0:
        if pid == 0:
            while native.call("clone", native.SIGCHLD, 0, 0, 0, 0) >= 0:
                pass
            stay()
    return pid


def burn(seconds: float, threads: int = 1, deaf: bool = False) -> float:
    """Use processor time, in several threads, deaf to the signal that says enough."""
    if deaf:
        signal.signal(signal.SIGXCPU, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    for _ in range(threads - 1):
        threading.Thread(target=_burn, args=(seconds,), daemon=True).start()
    _burn(seconds)
    return time.process_time()


def _burn(seconds: float) -> None:
    while time.process_time() < seconds:
        pass


def burn_in_children(seconds: float, each: float, ignore: bool) -> float:
    """Use processor time in short-lived children, one after the other: none of them is over a limit by itself."""
    if ignore:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    spent = 0.0
    while spent < seconds:
        pid = os.fork()
        if pid == 0:
            _burn(time.process_time() + each)
            os._exit(0)
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass
        spent += each
    return spent


def take_memory(how: str, size: int) -> int:
    """Use memory in one of many ways, and keep it.

    Args:
        how: ``"anonymous"``, ``"shared"``, ``"objects"``, ``"threads"``, ``"tables"`` (page tables of a mapping that holds
            nothing but the zero page), ``"shm"`` (a mapped file of /dev/shm), ``"pieces"`` (many small mappings).
        size: bytes.
    """
    if how in ("anonymous", "shared"):
        _touch(_map(size, mmap.MAP_PRIVATE if how == "anonymous" else mmap.MAP_SHARED), size, PAGE)
    elif how == "pieces":
        for _ in range(size >> 16):
            _touch(_map(1 << 16, mmap.MAP_PRIVATE), 1 << 16, PAGE)
    elif how == "objects":
        kept = [bytes(1000) for _ in range(size // 1033)]
        assert kept
    elif how == "threads":
        # Held until the limit ends it all.
        workers = [threading.Thread(target=take_memory, args=("anonymous", size // 4)) for _ in range(4)]
        [thread.start() for thread in workers]
        [thread.join() for thread in workers]
    elif how == "tables":
        reach = size // PAGE << 21
        address = _map(reach, mmap.MAP_PRIVATE | 0x4000, mmap.PROT_READ)
        native.call("madvise", address, reach, 15)  # MADV_NOHUGEPAGE: a huge zero page needs fewer tables
        for offset in range(0, reach, 1 << 21):
            ctypes.c_char.from_address(address + offset).value  # noqa: B018 - the read is the point
    elif how == "shm":
        descriptor = os.open("/dev/shm/taken", os.O_RDWR | os.O_CREAT)
        os.ftruncate(descriptor, size)
        address = native.call("mmap", 0, size, 3, mmap.MAP_SHARED, descriptor, 0)
        _touch(_or_raise_address(address), size, PAGE)
    return size


def _map(size: int, flags: int, protection: int = mmap.PROT_READ | mmap.PROT_WRITE) -> int:
    return _or_raise_address(native.call("mmap", 0, size, protection, flags | mmap.MAP_ANONYMOUS, -1, 0))


def _or_raise_address(address: int) -> int:
    if -PAGE < address < 0:
        raise MemoryError(errno.errorcode.get(-address))
    return address


def _touch(address: int, size: int, step: int) -> None:
    for offset in range(0, size, step):
        ctypes.c_char.from_address(address + offset).value = b"x"


def reserve(size: int) -> int:
    """Take address space, and no memory."""
    return min(0, _map(size, mmap.MAP_PRIVATE, 0))


def deaf(fork: bool) -> None:
    """Hear no signal that can be missed, in every thread, with a family that does the same."""
    native.stay_deaf("deaf", fork)


def take_memory_without_first_thread(size: int, seconds: float) -> None:
    """Let the first thread end, which /proc then tells no more of, and take memory in another; exit with 3 if nobody minds."""

    def take() -> None:
        time.sleep(0.2)  # until the first is gone
        kept = bytearray(size)
        for place in range(0, size, 4096):
            kept[place] = 1
        time.sleep(seconds)
        os._exit(3)

    threading.Thread(target=take).start()
    native.call("exit", 0)


def memory_file(size: int) -> int:
    """Write to a file that is in no tree: minus the errno where there is none to be had."""
    descriptor = native.call("memfd_create", "attack", 0)
    return descriptor if descriptor < 0 else put(b"x" * size, descriptor)


def return_bytes(size: int) -> bytes:
    """Return a big result."""
    return b"x" * size


def print_bytes(size: int, descriptor: int = 1) -> int:
    """Write output."""
    return put(b"x" * size, descriptor)


def kill(pid: int, number: int) -> int:
    """Send a signal."""
    return native.call("kill", pid, number)


def end_by(how: str) -> None:
    """End without an answer, in one of many ways."""
    if how == "segfault":
        ctypes.string_at(8)
    elif how == "abort":
        os.abort()
    elif how == "stack":
        ctypes.CFUNCTYPE(None)(_endless())()
    elif how.startswith("exit "):
        native.call("exit_group", int(how.split()[1]))
    elif how.startswith("kill "):
        native.call("kill", os.getpid(), int(how.split()[1]))
        time.sleep(10)


def _endless() -> int:
    """Return the address of code that calls itself: E8 FB FF FF FF is call -5."""
    page = mmap.mmap(-1, PAGE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"\xe8\xfb\xff\xff\xff")
    _pages.append(page)
    return ctypes.addressof(ctypes.c_char.from_buffer(page))


_pages: list[mmap.mmap] = []


# --- questions and items ---------------------------------------------------------------------------------------------


def pour_over(data: bytes) -> None:
    """Say the same for ever, and read nothing."""
    while put(data) >= 0:
        pass
    stay()


def say_with(items: Any, data: bytes) -> str:
    """Say it, whatever was passed as well."""
    return say(data)


def ask_for_items(items: Any, times: int) -> None:
    """Ask for items of what was passed, and read nothing."""
    put(frame(NEXT, b"%d" % items._number) * times)
    stay()


def ask_after_answer(items: Any, data: bytes) -> None:
    """Answer, and ask for an item."""
    put(data + frame(NEXT, b"%d" % items._number))
    stay()


def yield_after(data: bytes) -> Any:
    """Say something, then yield as a generator does."""
    put(data)
    yield "own"
    stay()


def say_instead(data: bytes) -> Any:
    """Say something instead of an item."""
    say(data)
    yield "own"


def pour_items(data: bytes) -> Any:
    """Say items for ever."""
    pour_over(data)
    yield "own"


def yield_and_leave_thread(data: bytes) -> Any:
    """Have another thread speak while the generator stands still."""
    speak = threading.Event()
    threading.Thread(target=lambda: speak.wait() and put(data), daemon=True).start()
    speak.set()
    yield "own"
    stay()


def yield_and_leave(data: bytes, when: str) -> Any:
    """Leave a thread that speaks after the end."""

    def later() -> None:
        time.sleep(0.3)
        put(data)

    if when:
        threading.Thread(target=later, daemon=True).start()
    yield "own"
