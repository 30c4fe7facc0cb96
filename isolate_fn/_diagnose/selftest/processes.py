"""Promise 3: attacks on processes outside, and attempts to outlive the call."""

from __future__ import annotations

import ctypes
import os

from isolate_fn._diagnose.selftest.attack import Facts, Found, Promise
from isolate_fn._diagnose.selftest.native import (
    AT_FDCWD,
    CLONE_NEWNET,
    SIGKILL,
    asked,
    call,
    opened,
    read,
)
from isolate_fn._diagnose.selftest.world import World, victim_harmed

PROCESSES = Promise(
    3,
    "processes",
    "No process outside is visible, signalled, traced or written to; nothing survives the call, its timeout or the caller.",
)

_NOT_OURS = "process 1 of this machine is not the selftest's to attack"


@PROCESSES.attack("list", "list the processes of the host", held="only the isolate's own are in /proc")
def list_processes(facts: Facts) -> Found:
    """By number: the caller and a victim."""
    return {
        "the caller": call("faccessat", AT_FDCWD, f"/proc/{facts.caller}/stat", 0) if facts.caller > 9 else -2,
        "the victim": call("faccessat", AT_FDCWD, f"/proc/{facts.victim}/stat", 0),
        "others": -2 if len([name for name in _listed("/proc") if name.isdigit()]) <= 2 else "more than two",
    }


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:  # there is none, or it is the host's and denied
        return []


@PROCESSES.attack(
    "signal", "kill a process of the same user", held="there is no such process, and no such call", check=victim_harmed
)
def signal_process(facts: Facts) -> Found:
    """By every call that sends signals; the one that kills comes last, so that the others have a victim."""
    victim = facts.victim
    return {
        "pidfd_open": call("pidfd_open", victim, 0),
        "tgkill": call("tgkill", victim, victim, 0),
        "tkill": call("tkill", victim, 0),
        "rt_sigqueueinfo": call("rt_sigqueueinfo", victim, 0, b"\0" * 128),
        "kill": call("kill", victim, 0),
        "kill, high bits": call("kill", victim | 1 << 32, 0),
    }


@PROCESSES.attack("kill-all", "kill everything there is", held="nobody outside is hit", check=victim_harmed, alone=True,
                  ends=("Crashed", "SyscallDenied"), untried="it would kill everything there is")  # fmt: skip
def kill_all(facts: Facts) -> Found:
    """kill(-1), and whole process groups."""
    return {"all": call("kill", -1, SIGKILL), "group of the victim": call("kill", -facts.victim, SIGKILL)}


@PROCESSES.attack(
    "trace", "trace a process, and read and write its memory", held="it is not there", check=victim_harmed
)
def trace(facts: Facts) -> Found:
    """ptrace(2), process_vm_readv(2), and the files in /proc that do the same."""
    victim = facts.victim
    buffer = ctypes.create_string_buffer(8)
    vector = (ctypes.c_ulong * 2)(ctypes.addressof(buffer), 8)
    found: Found = {
        "process_vm_readv": call("process_vm_readv", victim, vector, 1, vector, 1, 0),
        "mem": opened(f"/proc/{victim}/mem"),
        "environ": opened(f"/proc/{victim}/environ"),
        "descriptors": call("openat", AT_FDCWD, f"/proc/{victim}/fd", os.O_RDONLY | os.O_DIRECTORY),
        "ptrace": call("ptrace", 0x4206, victim, 0, 0),
    }
    if found["process_vm_readv"] == -14:  # EFAULT: allowed, but nothing is at our address there
        found["process_vm_readv"] = "allowed"
    return found


@PROCESSES.attack("schedule", "slow down, pin or limit a process", held="it is not there, and the calls are refused")
def schedule(facts: Facts) -> Found:
    """Priorities, processors, limits: of another process of the same user."""
    victim = facts.victim
    return {
        "setpriority": call("setpriority", 0, victim, 1),
        "sched_setaffinity": call("sched_setaffinity", victim, 8, b"\xff" * 8),
        "prlimit64": call("prlimit64", victim, 7, 0, ctypes.create_string_buffer(16)),
        "ioprio_set": call("ioprio_set", 1, victim, 0x4004),
        "getsid": call("getsid", victim),
        "sched_getaffinity": call("sched_getaffinity", victim, 128, ctypes.create_string_buffer(128)),
    }


@PROCESSES.attack("init", "end, trace or read process 1", held="it is untouchable for code inside", untried=_NOT_OURS)
def init(facts: Facts) -> Found:
    """Without it nothing would end what the code inside leaves behind."""
    buffer = ctypes.create_string_buffer(8)
    vector = (ctypes.c_ulong * 2)(ctypes.addressof(buffer), 8)
    found: Found = {f"signal {number}": call("kill", 1, number) for number in (9, 15, 19, 11, 6, 2)}
    found |= {
        "ptrace": asked("ptrace", 0x4206, 1, 0, 0),
        "process_vm_writev": asked("process_vm_writev", 1, vector, 1, vector, 1, 0),
        "prlimit64": asked("prlimit64", 1, 7, vector, 0),
    }
    return found | {name: read(f"/proc/1/{name}") for name in ("mem", "environ", "fd/0", "maps", "stack")}


@PROCESSES.attack("namespaces", "enter the namespaces of process 1", held="none can be entered", untried=_NOT_OURS)
def namespaces(facts: Facts) -> Found:
    """By their files, and by a handle of the process."""
    found: Found = {}
    for name in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup"):
        descriptor = call("openat", AT_FDCWD, f"/proc/1/ns/{name}", os.O_RDONLY)
        found[name] = descriptor if descriptor < 0 else call("setns", descriptor, 0)
    handle = call("pidfd_open", 1, 0)
    found["by handle"] = handle if handle < 0 else call("setns", handle, CLONE_NEWNET)
    return found


@PROCESSES.attack(
    "shared-memory", "attach shared memory of a process outside (System V)", held="its number means nothing inside",
    needs=lambda world: "" if _has_segment(world) else "this kernel has no System V shared memory",
)  # fmt: skip
def shared_memory(facts: Facts) -> Found:
    """It is in no file system; a key is all it takes."""
    segment = call("shmget", facts.memory_key, 0, 0)
    return {
        "shmget": segment,
        "shmat": segment if segment < 0 else min(0, call("shmat", segment, 0, 0o10000)),
    }


def _has_segment(world: World) -> bool:
    return call("shmget", world.memory_key, 0, 0) >= 0
