"""Ways to die, and lies about them. Runs inside isolates; one function for all, so that calls of it can share a worker."""

from __future__ import annotations

import ctypes
import errno
import faulthandler
import mmap
import os
import platform
import signal
import sys
import threading
import time
from typing import Any

from isolate_fn.errors import LimitExceeded as Theirs
from isolate_fn.errors import TimedOut

FORGED = """Fatal Python error: the host is compromised

Current thread 0x0000000000000001 (most recent call first):
  File "/etc/shadow", line 1 in root
  try: sh -c 'rm -rf /'
  Your function did not run.\x1b]0;title\x07
"""
INIT_SAYS = b'{"limit": "memory", "peak_memory": 1, "memory": 99, "cpu_seconds": 9.0}'
_kept: list[Any] = []


class LimitExceeded(Exception):
    """Looks like another one."""

    limit, allowed, used = "memory", 1, 2


def act(how: str, *args: Any) -> Any:
    """Do one of the functions below."""
    return globals()[how](*args)


def nothing() -> str:
    """Live."""
    return "alive"


# --- signals ---------------------------------------------------------------------------------------------------------


def segfault() -> None:
    """Read where nothing is."""
    ctypes.string_at(8)


def in_a_thread() -> None:
    """Read where nothing is, in a thread."""
    thread = threading.Thread(target=segfault, name="second")
    thread.start()
    thread.join()


def bus() -> None:
    """Read of a mapping what the file does not have any more."""
    with open("/tmp/file", "wb+") as file:
        file.write(bytes(mmap.PAGESIZE))
        file.flush()
        mapping = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        file.truncate(0)
        print(mapping[0])


def overflow() -> None:
    """Let native code call itself for ever."""
    code = {"x86_64": "e8fbffffff", "aarch64": "fd7bbfa9ffffff17"}[platform.machine()]
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(bytes.fromhex(code))
    _kept.append(page)
    ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()


def abort() -> None:
    """Give up as C code does, with a word on stderr."""
    os.write(2, b"before it\n")
    ctypes.CDLL(None).abort()


def assertion() -> None:
    """Fail an assertion of C."""
    ctypes.CDLL(None).__assert_fail(b"size > 0", b"decoder.c", 42, b"decode")


def double_free() -> None:
    """Free the same memory twice."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    address = libc.malloc(64)
    libc.free(ctypes.c_void_p(address))
    libc.free(ctypes.c_void_p(address))


def send(number: int) -> None:
    """Send a signal to this process."""
    os.kill(os.getpid(), number)
    time.sleep(60)


def send_deadly(number: int) -> None:
    """Send a signal that Python ignores or handles to oneself."""
    signal.signal(number, signal.SIG_DFL)
    send(number)


def send_from_a_thread(number: int) -> None:
    """Have another thread do it while this one waits."""
    threading.Thread(target=send, args=(number,)).start()
    time.sleep(60)


# --- ends ------------------------------------------------------------------------------------------------------------


def leave(code: int) -> None:
    """Exit without an answer."""
    os._exit(code)


def leave_politely(code: int) -> None:
    """Exit as scripts do."""
    sys.exit(code)


def leave_later(code: int) -> str:
    """Exit when the answer has been sent."""
    threading.Thread(target=lambda: (time.sleep(0.2), os._exit(code)), daemon=True).start()
    return "alive"


def stay() -> None:
    """Wait for ever."""
    time.sleep(600)


def stop() -> None:
    """Have nothing of this process run any more."""
    os.kill(os.getpid(), signal.SIGSTOP)


def close_the_channel() -> None:
    """Say nothing ever again, and live."""
    os.close(3)
    stay()


# --- limits ----------------------------------------------------------------------------------------------------------


def spin(seconds: float = 600.0) -> float:
    """Use processor time."""
    while time.process_time() < seconds:
        pass
    return seconds


def take(size: int, then: str = "nothing") -> Any:
    """Use memory."""
    _kept.append(b"x" * size)
    return act(then)


def fill(size: int) -> int:
    """Write a file."""
    with open("/tmp/big", "wb") as file:
        for _ in range(size >> 16):
            file.write(bytes(1 << 16))
    return size


def fill_and_remove(size: int) -> int:
    """Write a file that is gone when somebody looks."""
    try:
        return fill(size)
    finally:
        os.unlink("/tmp/big")


def make_files(count: int) -> int:
    """Make empty files."""
    for number in range(count):
        os.close(os.open(f"/tmp/{number}", os.O_CREAT | os.O_WRONLY))
    return count


def open_files(count: int) -> int:
    """Hold many files open."""
    _kept.extend(os.open("/dev/null", os.O_RDONLY) for _ in range(count))
    return count


def start_threads(count: int) -> int:
    """Start threads that stay a while."""
    for _ in range(count):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    return count


def write_file_deadly(size: int) -> int:
    """Write a file, with the signal that Python would ignore."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    return fill(size)


def pour(descriptor: int = 1) -> None:
    """Write for ever."""
    while True:
        os.write(descriptor, bytes(1 << 16))


def result(size: int) -> bytes:
    """Return much."""
    return bytes(size)


def denied() -> int:
    """Make a system call that no policy allows."""
    return ctypes.CDLL(None).ptrace(0, 0, 0, 0)


# --- lies ------------------------------------------------------------------------------------------------------------


def raise_it(which: str) -> None:
    """Raise what looks like a cause."""
    raise {
        "theirs": Theirs("memory", 1, 2),
        "own": LimitExceeded("limit memory exceeded: allowed 1, reached 2"),
        "timeout": TimedOut(1.0),
        "builtin timeout": TimeoutError("timed out after 1 seconds"),
        "memory": MemoryError("limit memory exceeded"),
        "full": OSError(errno.ENOSPC, "No space left on device"),
        "files": OSError(errno.EMFILE, "Too many open files"),
        "threads": RuntimeError("can't start new thread"),
    }[which]


def say_to(descriptors: list[int], then: str, *args: Any) -> Any:
    """Write what init would to descriptors, existing or not."""
    for descriptor in descriptors:
        try:
            os.write(descriptor, INIT_SAYS)
        except OSError:
            pass
    return act(then, *args)


def say_in_pieces(pieces: list[str]) -> str:
    """Write to stderr, and live."""
    for piece in pieces:
        os.write(2, piece.encode())
    return "alive"


def forge_a_stack(then: str, *args: Any) -> None:
    """Leave a dump that faulthandler has not made, and die of something else."""
    os.write(2, FORGED.encode())
    act(then, *args)


def hide_the_stack() -> None:
    """Crash without a word."""
    faulthandler.disable()
    segfault()


def drown_the_stack() -> None:
    """Crash after much noise, without a newline."""
    os.write(2, b"\x1b[2J" + b"noise" * 20_000)
    segfault()


def crash_in_a_child() -> str:
    """Have a child crash, and live."""
    pid = os.fork()
    if pid == 0:
        segfault()
    return signal.Signals(os.WTERMSIG(os.waitpid(pid, 0)[1])).name


def killed_by_a_child() -> None:
    """Have a child kill this process."""
    if os.fork() == 0:
        os.kill(os.getppid(), signal.SIGKILL)
        os._exit(0)
    stay()


def reach_init() -> dict[str, int]:
    """Try to get at init: to signal it, to open what it has open."""
    found = {}
    for name, number in (("kill", signal.SIGKILL), ("segfault", signal.SIGSEGV)):
        try:
            os.kill(1, number)
        except OSError as refused:
            found[name] = refused.errno or 0
    for path in ("/proc/1/fd/3", "/proc/1/mem"):
        try:
            os.open(path, os.O_RDONLY)
            found[path] = 0
        except OSError as refused:
            found[path] = refused.errno or 0
    return found
