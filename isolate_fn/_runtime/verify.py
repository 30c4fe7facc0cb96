"""The caller's check of what a worker says about itself, before it is given anything.

The worker has seen no input yet, so its words are those of our own code reading the kernel's answers. One item that
is not as planned, and the call is not sent.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable
from typing import Any

from isolate_fn._plan.orders import Plan
from isolate_fn._sys import constants as k
from isolate_fn.errors import SetupError

_CAPABILITY_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
_CHANNEL = 3
_SOCKET, _FIFO, _DEVICE = stat.S_IFSOCK >> 12, stat.S_IFIFO >> 12, stat.S_IFCHR >> 12
_OUR_FILE_SYSTEMS = {"tmpfs", "proc", "devtmpfs", "ramfs"}


def _threads(said: dict[str, Any], field: str) -> list[str]:
    return [thread[field] for thread in said["threads"]] or ["no thread"]


def _filter(said: dict[str, Any], plan: Plan) -> object:
    wanted = "2" if plan.filter_worker else "0"
    return [mode for mode in _threads(said, "Seccomp") if mode != wanted]


def _privileges(said: dict[str, Any], plan: Plan) -> object:
    return [value for value in _threads(said, "NoNewPrivs") if value != "1"]


def _capabilities(said: dict[str, Any], plan: Plan) -> object:
    return [f"{name}={value}" for name in _CAPABILITY_SETS for value in _threads(said, name) if int(value, 16)]


def _securebits(said: dict[str, Any], plan: Plan) -> object:
    return said["securebits"] != k.SECUREBITS_LOCKED and hex(said["securebits"])


def _ids(said: dict[str, Any], plan: Plan) -> object:
    return said["ids"] != [plan.inner_id] * 6 and said["ids"]


def _descriptors(said: dict[str, Any], plan: Plan) -> object:
    wanted = [[0, _DEVICE], [1, _FIFO], [2, _FIFO], [_CHANNEL, _SOCKET]]
    return said["descriptors"] != wanted and said["descriptors"]


def _terminal(said: dict[str, Any], plan: Plan) -> object:
    return said["terminal"]


def _session(said: dict[str, Any], plan: Plan) -> object:
    return said["session"] != said["pid"] and f"session {said['session']} of process {said['pid']}"


def _pid(said: dict[str, Any], plan: Plan) -> object:
    return not 2 <= said["pid"] <= 16 and f"pid {said['pid']}"


def _directory(said: dict[str, Any], plan: Plan) -> object:
    return said["cwd"] != plan.cwd and said["cwd"]


def _dumpable(said: dict[str, Any], plan: Plan) -> object:
    return said["dumpable"] != 0


def _unshare(said: dict[str, Any], plan: Plan) -> object:
    if said["unshare_unfiltered"] != errno.EPERM:
        return f"unshare(CLONE_NEWNS) gave {said['unshare_unfiltered']} before the filter"
    refused = (errno.EPERM, errno.ENOSPC, errno.ENOSYS)
    return plan.open_check and said["unshare"] not in refused and f"unshare(CLONE_NEWUSER) gave {said['unshare']}"


def _mounts(said: dict[str, Any], plan: Plan) -> object:
    """Every mount nosuid and private, read-only unless planned otherwise, and none that nobody planned."""
    if "mounts" not in said:
        return []
    writable = {"/tmp", "/dev/shm", plan.cwd}  # noqa: S108 - inside
    writable |= {order.destination for order in plan.mounts if order.kind == "tmpfs" or not order.read_only}
    planned = {"/", "/proc", *writable, *(order.destination for order in plan.mounts)}
    wrong = []
    for point, options, tags, _ in said["mounts"]:
        words = options.split(",")
        below = any(point == root or point.startswith(root.rstrip("/") + "/") for root in planned - {"/"})
        may_write = any(point == root or point.startswith(root + "/") for root in writable)
        device = point.startswith("/dev/")
        if tags:
            wrong.append(f"{point} propagates ({tags})")
        if "nosuid" not in words:
            wrong.append(f"{point} is not nosuid")
        if not (may_write or device or "ro" in words):
            wrong.append(f"{point} is writable")
        if not (point == "/" or below or device):
            wrong.append(f"{point} was not planned")
    return wrong


CHECKS: dict[str, Callable[[dict[str, Any], Plan], object]] = {
    "seccomp filter on every thread": _filter,
    "no_new_privs on every thread": _privileges,
    "five empty capability sets": _capabilities,
    "locked securebits": _securebits,
    "user and group id": _ids,
    "open descriptors": _descriptors,
    "no terminal": _terminal,
    "own session": _session,
    "own pid namespace": _pid,
    "working directory": _directory,
    "not dumpable": _dumpable,
    "mounts": _mounts,
    "unshare fails": _unshare,
}


def refusals(said: dict[str, Any], plan: Plan) -> list[str]:
    """Return a sentence for each check that a worker's report fails."""
    failed = []
    for name, check in CHECKS.items():
        try:
            wrong = check(said, plan)
        except (KeyError, TypeError, ValueError) as malformed:
            wrong = f"not reported ({type(malformed).__name__}: {malformed})"
        if wrong:
            failed.append(f"{name}: {wrong}")
    return failed


def verify(said: dict[str, Any], plan: Plan) -> None:
    """Refuse a worker whose walls do not stand as planned.

    Raises:
        SetupError: names every check that failed. The function has not been sent.
    """
    failed = refusals(said, plan)
    if failed:
        raise SetupError(
            "self-check of the worker",
            "; ".join(failed),
            0,
            "this is no setting of yours: something on this machine changed what the kernel was told; "
            "please report it with the output of uname -a",
        )
