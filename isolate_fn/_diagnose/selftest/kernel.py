"""Promise 3, by way of the kernel: attacks that look for privileges, for other programs, and for its darker parts."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import sys

from isolate_fn._diagnose.selftest.attack import Facts, Found
from isolate_fn._diagnose.selftest.native import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    CLONE_NEWNET,
    CLONE_NEWUSER,
    HIGH,
    SIGCHLD,
    asked,
    call,
    fork,
    leave,
    put,
    reap,
)
from isolate_fn._diagnose.selftest.processes import PROCESSES
from isolate_fn._diagnose.selftest.world import World, no_proc

_KILLED = ("Crashed", "SyscallDenied")


def _status(*fields: str) -> list[dict[str, str]]:
    found = []
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/status", encoding="utf-8") as text:
            lines = dict(line.rstrip("\n").split(":\t", 1) for line in text if ":\t" in line)
        found.append({field: lines.get(field, "").strip() for field in fields})
    return found


@PROCESSES.attack(
    "capabilities", "have capabilities, or raise them", held="all five sets are empty and locked", needs=no_proc
)
def capabilities(facts: Facts) -> Found:
    """What every thread has, and what capset(2) and prctl(2) give."""
    sets = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    found: Found = {
        name: f"{value}"
        for task in _status(*sets)
        for name, value in task.items()
        if int(value, 16) and name != "CapBnd"
    }
    if facts.scratch == "/tmp":  # the bounding set of an ordinary process is full, and gives nothing
        bounds = {task["CapBnd"] for task in _status("CapBnd")}
        found |= {f"CapBnd {bound}": bound for bound in bounds if int(bound, 16)}
    header, wanted = struct.pack("Ii", 0x20080522, 0), struct.pack("6I", 0xFFFFFFFF, 0xFFFFFFFF, 0, 0, 0, 0)
    found["capset"] = call("capset", header, wanted)
    found["ambient"] = call("prctl", 47, 2, 0, 0, 0)
    return found


@PROCESSES.attack(
    "set-user", "become another user, root among them, or join groups", held="the calls are refused",
    needs=lambda world: "", known="CVE-2014-8989",
)  # fmt: skip
def set_user(facts: Facts) -> Found:
    """By every call that changes who a process is. In plain processes, root may and others may not."""
    other = 65534 if facts.user == 0 else 0
    return {
        "setgroups": call("setgroups", 0, 0),
        "setresgid": call("setresgid", other, other, other),
        "setgid": call("setgid", other),
        "setfsuid": -1 if facts.scratch != "/tmp" else _as_refusal(call("setfsuid", 0)),
        "setresuid": call("setresuid", other, other, other),
        "setuid": call("setuid", other),
    }


def _as_refusal(result: int) -> int:
    """Setfsuid(2) returns the id before, also where it changes nothing."""
    return result if result < 0 else (-1 if result == os.getuid() else result)


@PROCESSES.attack(
    "own-namespaces", "make namespaces, and be root in them", held="no flag of theirs is let through",
    known="CVE-2022-0185, CVE-2023-0386",
)  # fmt: skip
def own_namespaces(facts: Facts) -> Found:
    """They give powers over parts of the kernel where its errors are."""
    found: Found = {}
    for name, flags in (("clone", CLONE_NEWUSER), ("clone, high bits", CLONE_NEWUSER | HIGH)):
        pid = call("clone", flags | SIGCHLD, 0, 0, 0, 0)
        if pid == 0:
            leave()
        found[name] = pid
    found["clone3"] = _clone3(CLONE_NEWUSER)
    found["unshare network"] = call("unshare", CLONE_NEWNET)
    found["unshare user"] = call("unshare", CLONE_NEWUSER)
    return found


def _clone3(flags: int) -> int:
    arguments = struct.pack("11Q", flags, 0, 0, 0, SIGCHLD, 0, 0, 0, 0, 0, 0)
    pid = call("clone3", arguments, len(arguments))
    if pid == 0:
        leave()
    return pid


@PROCESSES.attack("clone3", "hide the flags of a new process behind a pointer", held="clone3(2) is answered ENOSYS")
def clone3(facts: Facts) -> Found:
    """No filter reads what lies behind a pointer."""
    return {"forked": _clone3(0)}


@PROCESSES.attack("exec", "start a program", held="execve(2) is refused to functions", alone=True, ends=("Crashed",))
def execute(facts: Facts) -> Found:
    """In place, and after a fork: the program says so by its exit code."""
    path = os.path.realpath(sys.executable)
    argv = (ctypes.c_char_p * 6)(path.encode(), b"-I", b"-S", b"-c", b"import os; os._exit(77)", None)
    pid = fork()
    if pid == 0:
        call("execve", path, argv, 0)
        leave(1)
    found: Found = {"forked and executed": pid if pid < 0 else (0 if reap(pid) == 77 else -1)}
    if pid < 0:  # in its own place: whoever gets through is gone, and that tells it
        found["execveat"] = asked("execveat", AT_FDCWD, f"{facts.scratch}/none", argv, 0, 0)
        found["execve"] = asked("execve", f"{facts.scratch}/none", argv, 0)
    return found


@PROCESSES.attack(
    "exec-memory", "execute a program that is no file", held="there are no files of memory, and no execveat(2)"
)
def execute_memory(facts: Facts) -> Found:
    """memfd_create(2) and execveat(2)."""
    descriptor = call("memfd_create", "attack", 0)
    if descriptor >= 0:
        put(b"\x7fELF", descriptor)
    argv = (ctypes.c_char_p * 2)(b"attack", None)
    found: Found = {
        "memfd_create": descriptor,
        "memfd_secret": call("memfd_secret", 0),
        "execveat": asked("execveat", descriptor, "", argv, 0, AT_EMPTY_PATH),
    }
    if descriptor >= 0:
        call("close", descriptor)
    return found


def _is_x86(world: World) -> str:
    machine = os.uname().machine
    return "" if machine == "x86_64" else f"only x86_64 has it, this is {machine}"


@PROCESSES.attack(
    "x32", "call by the numbers of the x32 interface", held="the isolate is killed, or the numbers mean nothing",
    ends=_KILLED, needs=_is_x86,
)  # fmt: skip
def x32(facts: Facts) -> Found:
    """getpid(2) and socket(2), with the bit that selects them."""
    return {"getpid": call(0x40000000 | 39), "socket": call(0x40000000 | 41, 2, 1, 0)}


@PROCESSES.attack(
    "32-bit", "call by the 32-bit interface, whose numbers are others", held="the isolate is killed",
    ends=_KILLED, needs=_is_x86,
)  # fmt: skip
def foreign(facts: Facts) -> Found:
    """Machine code: mov eax, 20 (getpid); int 0x80; ret."""
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return {"getpid": int(ctypes.CFUNCTYPE(ctypes.c_int)(address)())}


@PROCESSES.attack("loosen", "loosen the filter", held="the calls are refused, and filters only ever tighten")
def loosen(facts: Facts) -> Found:
    """Install one that allows everything, and try again what was denied."""
    allow = struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000)
    memory = ctypes.create_string_buffer(allow, len(allow))
    header = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", 1, ctypes.addressof(memory)))
    return {
        "seccomp": call("seccomp", 1, 0, header),
        "with a listener": asked("seccomp", 1, 8, header),
        "prctl": call("prctl", 22, 2, header, 0, 0),
        "landlock": asked("landlock_create_ruleset", 0, 0, 1),
        "then socket": call("socket", 2, 1, 0),
    }


@PROCESSES.attack(
    "threads",
    "find a thread that the walls forgot",
    held="filter and no_new_privs are in force on every thread",
    needs=no_proc,
)
def threads(facts: Facts) -> Found:
    """Those that are there, and a new one."""
    import threading

    found: Found = {}

    def look() -> None:
        for number, task in enumerate(_status("Seccomp", "NoNewPrivs")):
            if task["Seccomp"] != "2":
                found[f"thread {number} has no filter"] = task["Seccomp"]
            if task["NoNewPrivs"] != "1":
                found[f"thread {number} may gain privileges"] = task["NoNewPrivs"]

    look()
    worker = threading.Thread(target=look)
    worker.start()
    worker.join()
    return found


@PROCESSES.attack(
    "core-dump",
    "have a core dumped by the host's handler",
    held="not dumpable, and the limit is the odd one that keeps it",
    known="CVE-2025-4598, CVE-2025-5054",
)
def core_dump(facts: Facts) -> Found:
    """Such a handler runs on the host, as root, on a file of the attacker's. 0 would not keep it from that."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    return {
        "dumpable": -1 if call("prctl", 3, 0, 0, 0, 0) == 0 else "this process may be dumped",
        "made dumpable": call("prctl", 4, 1, 0, 0, 0),
        "limit": -1 if soft <= 1 and hard <= 1 else f"{soft} bytes",
    }


@PROCESSES.attack("raise-limits", "raise its limits, or change those of others", held="limits cannot be set at all")
def raise_limits(facts: Facts) -> Found:
    """Also downwards: a core limit of 0 would be worse than the one in force."""
    import resource

    found: Found = {}
    for name, kind in (("core", 4), ("files", 7), ("processes", 6), ("stack", 3)):
        soft, hard = (value & (1 << 64) - 1 for value in resource.getrlimit(kind))
        found[f"{name} down"] = call("prlimit64", 0, kind, struct.pack("2Q", soft // 2, hard), 0)
        found[f"{name} up"] = call("prlimit64", 0, kind, struct.pack("2Q", hard, hard), 0)
        found[f"{name} by setrlimit"] = call("setrlimit", kind, struct.pack("2Q", hard, hard))
    return found
