"""Promise 6: attacks that use up what there is. Each must end in the error that names its limit.

Without walls each takes a little of what it would take, and shows that nothing stops it there.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import threading
import time
from typing import Any

from isolate_fn._diagnose.selftest.attack import Facts, Found, Promise
from isolate_fn._diagnose.selftest.native import AT_FDCWD, SIGCHLD, call, leave, put, reap, stay
from isolate_fn._diagnose.selftest.world import World
from isolate_fn.policy.limits import Limits

LIMITS = Promise(
    6,
    "limits",
    "Memory, processor time, wall clock, processes, files, bytes, inodes, output and results are limited, by name.",
)

MIB = 1 << 20
_PAGE = 4096


def _limited(limit: str, **limits: Any) -> dict[str, Any]:
    return {
        "options": {"limits": Limits(**limits), "timeout": 30}, "ends": (f"LimitExceeded {limit}",),
        "held": f"LimitExceeded names {limit}",
    }  # fmt: skip


def _or_raise(result: int) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def _fill(path: str, size: int) -> Found:
    descriptor = _or_raise(call("openat", AT_FDCWD, path, os.O_WRONLY | os.O_CREAT, 0o600))
    written = 0
    while written < size:
        written += _or_raise(call("write", descriptor, b"x" * MIB, MIB))
    call("close", descriptor)
    call("unlinkat", AT_FDCWD, path, 0)
    return {"wrote": written}


@LIMITS.attack("disk", "fill /tmp", **_limited("rootfs_size", rootfs_size="4M"))
def disk(facts: Facts) -> Found:
    """Twice what is allowed."""
    return _fill(f"{facts.scratch}/big", 8 * MIB)


def _no_shm(world: World) -> str:
    """Say that attacks by way of /dev/shm cannot be made, where it is the host's."""
    return "isolates have no /dev/shm of their own: the host's is denied to them" if world.confined else ""


@LIMITS.attack("shared-memory-files", "fill /dev/shm", needs=_no_shm, **_limited("rootfs_size", rootfs_size="4M"))
def shm(facts: Facts) -> Found:
    """Which is memory of the machine wherever it is mounted."""
    return _fill(f"/dev/shm/{facts.argument}", 8 * MIB)


@LIMITS.attack("inodes", "make files without end", **_limited("rootfs_inodes", rootfs_inodes=256))
def inodes(facts: Facts) -> Found:
    """Empty ones: each is memory of the kernel's."""
    paths = [f"{facts.scratch}/empty-{number}" for number in range(400)]
    made = [call("openat", AT_FDCWD, path, os.O_WRONLY | os.O_CREAT, 0o600) for path in paths[:64]]
    for descriptor in made:
        call("close", descriptor)
    for path in paths[64:]:
        call("close", _or_raise(call("openat", AT_FDCWD, path, os.O_WRONLY | os.O_CREAT, 0o600)))
    return {"made": len(paths)}


@LIMITS.attack("file-size", "write one file without end", **_limited("file_size", file_size="1M"))
def file_size(facts: Facts) -> Found:
    """Where a limit on the file alone was asked for."""
    return _fill(f"{facts.scratch}/big", 4 * MIB)


@LIMITS.attack("open-files", "open descriptors without end", **_limited("open_files", open_files=64))
def open_many(facts: Facts) -> Found:
    """More than the limit."""
    for _ in range(100):
        _or_raise(call("openat", AT_FDCWD, "/dev/null", os.O_RDONLY))
    return {"opened": 100}


@LIMITS.attack("threads", "start threads without end", **_limited("processes", processes=16))
def threads(facts: Facts) -> Found:
    """They count as processes."""
    for _ in range(40):
        threading.Thread(target=stay, daemon=True).start()
    return {"started": 40}


@LIMITS.attack("memory", "take memory", **_limited("memory", memory="96M"))
def memory(facts: Facts) -> Found:
    """Anonymous pages, each touched."""
    return _touch(300 * MIB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1)


@LIMITS.attack(
    "memory-shared", "take memory as files of /dev/shm, mapped", needs=_no_shm,
    **_limited("memory", memory="96M", rootfs_size="512M"),
)
def memory_shared(facts: Facts) -> Found:
    """No limit on address space sees it."""
    path = f"/dev/shm/{facts.argument}-mapped"
    size = 300 * MIB if facts.inside else 16 * MIB
    descriptor = _or_raise(call("openat", AT_FDCWD, path, os.O_RDWR | os.O_CREAT, 0o600))
    call("unlinkat", AT_FDCWD, path, 0)
    _or_raise(call("ftruncate", descriptor, size))
    return _touch(size, mmap.MAP_SHARED, descriptor)


@LIMITS.attack("memory-threads", "take memory in several threads at once", **_limited("memory", memory="96M"))
def memory_threads(facts: Facts) -> Found:
    """Whoever looks at one of them sees little."""
    workers = [threading.Thread(target=memory, args=(facts,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {"taken": 600 * MIB}


def _touch(size: int, flags: int, descriptor: int) -> Found:
    address = call("mmap", 0, size, mmap.PROT_READ | mmap.PROT_WRITE, flags, descriptor, 0)
    if -_PAGE < address < 0:
        raise MemoryError(os.strerror(-address))
    for offset in range(0, size, _PAGE):
        ctypes.c_char.from_address(address + offset).value = b"x"
    call("munmap", address, size)
    return {"taken": size}


@LIMITS.attack("address-space", "reserve address space", **_limited("address_space", address_space="1G"))
def address_space(facts: Facts) -> Found:
    """Where a limit on it was asked for."""
    size = 2 << 30
    address = call("mmap", 0, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    if -_PAGE < address < 0:
        raise MemoryError(os.strerror(-address))
    return {"reserved": size}


@LIMITS.attack("hidden-memory", "keep memory in files that no directory holds", held="there are no such files")
def hidden_memory(facts: Facts) -> Found:
    """Their pages are in no count but a control group's."""
    descriptor = call("memfd_create", "attack", 0)
    if descriptor < 0:
        return {"memfd": descriptor}
    put(b"x" * MIB, descriptor)
    call("close", descriptor)
    return {"memfd": 0}


@LIMITS.attack("locked-memory", "lock memory, so that it is never swapped out", held="more than a little cannot be locked",
               untried="it would lock 64 MB of this machine's memory")  # fmt: skip
def locked_memory(facts: Facts) -> Found:
    """mlock(2) and mlockall(2)."""
    size = 64 * MIB
    address = call("mmap", 0, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    found: Found = {"mlock": call("mlock", address, size), "mlockall": call("mlockall", 2)}
    call("munmap", address, size)
    return found


def _burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def _burnt() -> float:
    return 30.0 if os.getcwd() == "/work" else 0.5


@LIMITS.attack("cpu", "use the processor without end", **_limited("cpu_time", cpu_time=0.3))
def cpu(facts: Facts) -> Found:
    """In one thread."""
    _burn(_burnt())
    return {"burnt": 1}


@LIMITS.attack("cpu-deaf", "use it in threads that hear no signal", **_limited("cpu_time", cpu_time=0.3))
def cpu_deaf(facts: Facts) -> Found:
    """SIGXCPU can be ignored."""
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    for _ in range(2):
        threading.Thread(target=_burn, args=(_burnt(),), daemon=True).start()
    _burn(_burnt())
    return {"burnt": 1}


@LIMITS.attack("clock", "sleep for ever", options={"timeout": 0.3}, ends=("TimedOut",), held="TimedOut")
def clock(facts: Facts) -> Found:
    """Which uses nothing at all."""
    time.sleep(60 if facts.inside else 0.5)
    return {"slept": 1}


@LIMITS.attack("stopped", "stop itself by a signal, so that no clock of its own goes on",
               options={"timeout": 0.3}, ends=("TimedOut",),
               held="the caller's clock goes on", untried="it would wait for somebody to continue it")  # fmt: skip
def stopped(facts: Facts) -> Found:
    """SIGSTOP."""
    call("kill", os.getpid(), 19)
    time.sleep(60)
    return {"slept": 1}


@LIMITS.attack("output", "write output without end", **_limited("output", output="64K"))
def output(facts: Facts) -> Found:
    """To stdout."""
    return {"written": put(b"x" * (4 * MIB), 1)}


@LIMITS.attack("errors", "write errors without end", **_limited("output", output="64K"))
def errors(facts: Facts) -> Found:
    """To stderr."""
    return {"written": put(b"x" * (4 * MIB), 2)}


@LIMITS.led(
    "result", "return more than is allowed", held="LimitExceeded names result",
    control=lambda world: {"returned": 1} if world.call(big, 3 * MIB).value else {"returned": -1},
)  # fmt: skip
def result(world: World) -> Found:
    """In the message, and in shared memory. In an isolate without such a limit the same comes back."""
    found: Found = {}
    for name, size in (("in the message", 200_000), ("in shared memory", 3 * MIB)):
        error = world.call(big, size, limits=Limits(result="128K")).error
        found[name] = -1 if getattr(error, "limit", "") == "result" else f"{error!r}"
    return found


def big(size: int) -> bytes:
    """Return that many bytes."""
    return b"x" * size


_MANY = """
import os, sys, time
made = 0
try:
    while made < 60:
        if os.fork() == 0:
            time.sleep(60) or os._exit(0)
        made += 1
except OSError:
    pass
else:
    time.sleep(10)  # a limit that is watched is passed for a moment, and no longer
print('made', made, flush=True)
"""


def forks(facts: Facts) -> Found:
    """Some forks, each of which ends at once."""
    pids = [call("clone", SIGCHLD, 0, 0, 0, 0) for _ in range(1)]
    for _ in range(24):
        if pids[-1] == 0:
            leave()
        pids.append(call("clone", SIGCHLD, 0, 0, 0, 0))
    if pids[-1] == 0:
        leave()
    made = [pid for pid in pids if pid > 0]
    for pid in made:
        reap(pid)
    return {"made": len(made) if len(made) == len(pids) else -1}


@LIMITS.led(
    "fork-bomb", "fork without end, in a program that `box.run` starts",
    held="fork(2) fails at the limit, or LimitExceeded, and all of them end",
    plain=forks, known="RLIMIT_NPROC does not bind root", ends=("LimitExceeded processes",),
)  # fmt: skip
def fork_bomb(world: World) -> Found:
    """The program counts how far it gets."""
    import sys

    from isolate_fn._api.context import sandbox

    with sandbox(**{**world.options(), "limits": Limits(processes=20)}) as box:
        done = box.run([sys.executable, "-I", "-S", "-c", _MANY], capture_output=True, timeout=30)
    if not done.stdout.startswith(b"made"):
        return {"it did not run": done.stderr[-80:]}
    made = int(done.stdout.split()[1])
    return {"made": -1} if made < 20 else {"made": made}
