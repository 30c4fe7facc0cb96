"""What hides use from those who watch it: each function uses far more than it may, and tells if nobody stops it."""

from __future__ import annotations

import ctypes
import itertools
import mmap
import os
import threading
import time

import native

MIB = 1 << 20


def _stay(seconds: float = 5.0) -> str:
    time.sleep(seconds)
    return "nobody has stopped it"


def _write(path: str, size: int) -> int:
    """Write a file and return its descriptor."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    for _ in range(size // MIB):
        os.write(descriptor, bytes(MIB))
    return descriptor


def _deleted() -> None:
    for number in range(8):
        _write(f"deleted-{number}", 4 * MIB)
        os.unlink(f"deleted-{number}")


def without_first_thread() -> str:
    """Let the first thread end, and hold deleted files in another: /proc tells nothing of a first thread that has ended."""
    threading.Thread(target=lambda: (time.sleep(0.3), _deleted(), time.sleep(5), os._exit(3))).start()
    time.sleep(0.1)
    native.call("exit", 0)
    raise AssertionError


def memory_without_first_thread() -> str:
    """The same with memory."""

    def take() -> None:
        time.sleep(0.3)
        kept = bytearray(600 * MIB)
        for place in range(0, len(kept), 4096):
            kept[place] = 1
        time.sleep(5)
        os._exit(3)

    threading.Thread(target=take).start()
    time.sleep(0.1)
    native.call("exit", 0)
    raise AssertionError


def closed_directories() -> str:
    """Close the private directory, and one in it, so that nobody finds what is in them; files are made from within."""
    os.mkdir("inner")
    inner = os.open("inner", os.O_RDONLY)
    for place in ("..", ".", "inner"):
        native.call("fchmodat", native.AT_FDCWD, place, 0o300)
    native.call("fchmodat", native.AT_FDCWD, "..", 0)
    for number in range(8):
        os.close(os.open(f"file-{number}", os.O_RDWR | os.O_CREAT, 0o600, dir_fd=inner))
        _write(f"outer-{number}", 4 * MIB)
    return _stay()


def closed_again_and_again() -> str:
    """Close it as fast as it is opened."""
    stop = time.monotonic() + 5

    def close() -> None:
        while time.monotonic() < stop:
            for _ in range(64):
                native.call("fchmodat", native.AT_FDCWD, "..", 0)
                native.call("fchmodat", native.AT_FDCWD, ".", 0o300)

    threading.Thread(target=close, daemon=True).start()
    for number in range(8):
        try:
            _write(f"file-{number}", 4 * MIB)
        except PermissionError:
            time.sleep(0.01)
    return _stay()


def blocks_beyond_the_end() -> str:
    """Keep blocks that belong to no byte of a file, which no limit on its size counts."""
    descriptor = os.open("kept", os.O_RDWR | os.O_CREAT, 0o600)
    got = native.call("fallocate", descriptor, 1, 0, 64 * MIB)  # FALLOC_FL_KEEP_SIZE
    return f"fallocate gave {got}"


def _take(size: int = 1000 * MIB) -> str:
    kept = mmap.mmap(-1, size)
    kept.madvise(mmap.MADV_NOHUGEPAGE)
    ctypes.memset(ctypes.addressof(ctypes.c_char.from_buffer(kept)), 1, size)
    return "nobody has stopped it"


def moved_ahead_of_who_looks() -> str:
    """Keep whoever measures the directory busy, by moving what is in it to where he comes next; take memory meanwhile."""
    for number in range(1500):
        os.mkdir(f"d{number}")
        os.makedirs(f"moving/{number}")
    order = [entry.name for entry in os.scandir(".") if entry.name != "moving"]
    os.rename("moving", f"{order[0]}/moving")

    def move() -> None:
        for here, there in itertools.pairwise(itertools.cycle(order)):
            time.sleep(0.004)
            os.rename(f"{here}/moving", f"{there}/moving")

    threading.Thread(target=move, daemon=True).start()
    time.sleep(0.5)
    return _take()


def access_times() -> set[int]:
    """Return the access times that a directory has had while it changed and was measured, but for that of its making."""
    os.makedirs("d/e")
    made, seen = os.stat("d").st_atime_ns, set()
    for number in range(100):
        os.rename(f"d/{'ef'[number % 2]}", f"d/{'fe'[number % 2]}")  # or relatime keeps the old one
        sum(range(200_000))  # what does nothing is not measured again
        time.sleep(0.01)
        seen.add(os.stat("d").st_atime_ns)
    return seen - {made}


def long_maps() -> str:
    """Map a file of a very long name as often as the kernel lets one, which is a long text for who looks for deleted files."""
    for _ in range(120):
        os.mkdir("x" * 255)
        os.chdir("x" * 255)
    descriptor = _write("file", MIB)
    for number in range(30000):
        if native.call("mmap", 0, 4096, 1 + 2 * (number % 2), 1, descriptor, 0) < 0:
            break
    time.sleep(1)
    return _take()


def locked_memory() -> str:
    """Hold the lock of this process's memory, which whoever reads its mappings waits for; take memory meanwhile."""
    library, flags = ctypes.CDLL(None), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000  # MAP_NORESERVE
    library.mmap.restype = ctypes.c_void_p
    size = ctypes.c_size_t(24 << 30)
    memory = ctypes.c_void_p(library.mmap(None, size, mmap.PROT_READ, flags, -1, ctypes.c_long(0)))
    library.madvise(memory, size, 15)  # MADV_NOHUGEPAGE
    library.madvise(memory, size, 22)  # MADV_POPULATE_READ: the zero page, everywhere
    over = threading.Event()

    def hold() -> None:
        while not over.is_set():
            library.mprotect(memory, size, 0)
            library.mprotect(memory, size, mmap.PROT_READ)

    for _ in range(2):
        threading.Thread(target=hold, daemon=True).start()
    time.sleep(1)
    taken = _take()
    over.set()
    return taken


def own_table_of_descriptors() -> list[int]:
    """Ask for a table of descriptors that nobody looks into, for a new thread and for this one.

    The thread comes with flags that no kernel takes together (clone(2), CLONE_PIDFD): who gets past the filter gets EINVAL.
    """
    thread = 0x100 | 0x800 | 0x10000 | 0x1000 | 0x400000  # CLONE_VM, SIGHAND, THREAD; CLONE_PIDFD and CLONE_DETACHED
    return [
        native.call("clone", thread, 0, 0, 0, 0),
        native.call("clone", thread | 0x400, 0, 0, 0, 0),  # CLONE_FILES, as every thread of pthread_create(3) has
        native.call("close_range", 1000, 1001, 2),
        native.call("unshare", 0x400),
    ]
