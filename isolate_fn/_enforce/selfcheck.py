"""What a role process says about itself once its walls stand; the caller compares it with the plan before it sends anything.

Read from the kernel, not from what was asked: a step that silently did nothing shows here.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from isolate_fn._enforce.scene import Scene
from isolate_fn._sys import calls
from isolate_fn._sys import constants as k

_STATUS_FIELDS = ("Seccomp", "NoNewPrivs", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def before_the_filter(scene: Scene) -> dict[str, Any]:
    """Try what only a privileged process can; an attempt under the filter would show the filter, not the walls behind it."""
    found: dict[str, Any] = {"unshare_unfiltered": _errno_of_unshare(k.CLONE_NEWNS)}
    found["securebits"] = calls.prctl(k.PR_GET_SECUREBITS)
    if os.path.isdir("/proc/self"):
        # Descriptors and mounts do not change any more, and reading them here spares the filter nothing.
        found["mounts"] = _mounts()
    return found


def under_the_filter(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
    """Complete the report under all walls, with what must hold on every thread.

    Returns:
        Plain values: ``threads`` has one mapping a thread, ``descriptors`` the open numbers with their kind.
    """
    found["ids"] = [*os.getresuid(), *os.getresgid()]
    found["pid"], found["session"], found["cwd"] = os.getpid(), os.getsid(0), os.getcwd()
    found["dumpable"] = calls.prctl(k.PR_GET_DUMPABLE)
    found["descriptors"] = _descriptors()
    found["terminal"] = [number for number in range(4) if _is_terminal(number)]
    found["environment"] = sorted(os.environ)
    found["threads"] = _threads() if os.path.isdir("/proc/self") else [_this_thread()]
    if scene.plan.open_check:
        found["unshare"] = _errno_of_unshare(k.CLONE_NEWUSER)
    return found


def _errno_of_unshare(flags: int) -> int:
    try:
        calls.unshare(flags)
    except OSError as refused:
        return refused.errno or 0
    return 0


def _threads() -> list[dict[str, str]]:
    found = []
    for name in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{name}/status", encoding="utf-8", errors="replace") as status:
            fields = dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)
        found.append({field: fields[field].strip() for field in _STATUS_FIELDS})
    return found


def _this_thread() -> dict[str, str]:
    """Ask by system call where there is no /proc; this process has started no thread."""
    effective, permitted, inheritable = calls.capabilities()
    bounding = ambient = 0
    for capability in range(64):
        try:
            bounding |= calls.prctl(k.PR_CAPBSET_READ, capability) << capability
        except OSError:
            break
    return {
        "Seccomp": str(calls.prctl(k.PR_GET_SECCOMP)),
        "NoNewPrivs": str(calls.prctl(k.PR_GET_NO_NEW_PRIVS)),
        "CapInh": f"{inheritable:016x}",
        "CapPrm": f"{permitted:016x}",
        "CapEff": f"{effective:016x}",
        "CapBnd": f"{bounding:016x}",
        "CapAmb": f"{ambient:016x}",
    }


def _descriptors() -> list[list[Any]]:
    """List the open descriptors as [number, type of file]; the listing's own is closed again when it is looked at."""
    found: list[list[Any]] = []
    numbers = map(int, os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else range(1024)
    for number in sorted(numbers):
        try:
            mode = os.fstat(number).st_mode
        except OSError as failure:
            if failure.errno == errno.EBADF:
                continue
            raise
        found.append([number, mode >> 12])
    return found


def _is_terminal(number: int) -> bool:
    try:
        return os.isatty(number)
    except OSError:
        return False


def _mounts() -> list[list[str]]:
    """List the mounts as [mount point, options, propagation tags, file system]."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="backslashreplace") as table:
        for line in table:
            fields = line.split(" ")
            dash = fields.index("-")
            found.append([fields[4], fields[5], " ".join(fields[6:dash]), fields[dash + 1]])
    return found
