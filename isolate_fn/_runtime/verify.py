"""The caller's check of what a worker says about itself, before it is given anything.

The worker has seen no input yet, so its words are those of our own code reading the kernel's answers. One item that
is not as planned, and the call is not sent.
"""

from __future__ import annotations

import errno
import functools
import os
import signal
import stat
from collections.abc import Callable, Mapping

from isolate_fn._enforce.selfcheck import NAMESPACES
from isolate_fn._frozen import dataclass
from isolate_fn._plan.orders import Plan
from isolate_fn._runtime.said import changing_of, files_of, is_complete, lasting_of, mounts_of, read, refuse
from isolate_fn._runtime.verify_mounts import wrong_mounts
from isolate_fn._sys import constants as k
from isolate_fn._transport.frames import Frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CAPABILITY_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
_CHANNEL, _DENIALS = 3, 4
_SOCKET, _FIFO, _DEVICE = stat.S_IFSOCK >> 12, stat.S_IFIFO >> 12, stat.S_IFCHR >> 12
Check = Callable[[dict[str, "Any"], Plan], object]
"""Takes what was said and what was planned; returns what is wrong, or something false."""


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
    if plan.rules is not None and plan.listen:
        wanted.append([_DENIALS, _SOCKET])  # for the listener of the filter that comes with the rules
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


def _landlock(said: dict[str, Any], plan: Plan) -> object:
    if plan.landlock is None or said["landlock"] in (errno.EACCES, errno.EROFS):
        return None
    return f"mknod gave {said['landlock']}"


def _init_ids(said: dict[str, Any], plan: Plan) -> object:
    return said["ids"] != said["outer_ids"] and said["ids"]


def _rlimits(said: dict[str, Any], plan: Plan) -> object:
    wanted = {name: (soft, hard) for name, soft, hard in plan.rlimits}
    found = {name: (soft, hard) for name, soft, hard in said["rlimits"]}
    return [
        f"resource {name} is {found.get(name)}"
        for name, (soft, hard) in wanted.items()
        if not (_within(found[name][0], soft) and _within(found[name][1], hard))
    ]


def _within(found: int, wanted: int) -> bool:
    return wanted == -1 or 0 <= found <= wanted  # -1: RLIM_INFINITY


def _keys(said: dict[str, Any], plan: Plan) -> object:
    return said["keys"] and f"{said['keys']} bytes of key ids"


def _groups(said: dict[str, Any], plan: Plan) -> object:
    return said["groups"]


def _hostname(said: dict[str, Any], plan: Plan) -> object:
    return said["hostname"] != plan.hostname and said["hostname"]


def _death_signal(said: dict[str, Any], plan: Plan) -> object:
    return said["death_signal"] != signal.SIGKILL and f"signal {said['death_signal']}"


def _namespaces(said: dict[str, Any], plan: Plan) -> object:
    """Compare with the caller's own, by inode; without a /proc inside there is nothing to compare."""
    if "namespaces" not in said:
        return None
    shared = []
    for name, inode in _namespaces_here(os.getpid()).items():
        may_share = name == "net" and not plan.namespaces & k.CLONE_NEWNET
        if not may_share and said["namespaces"].get(name, inode) == inode:
            shared.append(f"{name} is the caller's")
    return shared


@functools.lru_cache(maxsize=1)
def _namespaces_here(pid: int) -> dict[str, int]:
    try:
        return {name: os.stat(f"/proc/self/ns/{name}").st_ino for name in NAMESPACES}
    except OSError:
        return {}


def _id_maps(said: dict[str, Any], plan: Plan) -> object:
    return [each for each in said.get("id_maps", ()) if len(each) != 3 or (each[0], each[2]) != (plan.inner_id, 1)]


def _proc(said: dict[str, Any], plan: Plan) -> object:
    """Where there is no /proc to read these from, a note must say why."""
    excused = any(note.startswith("no /proc inside") for note in said["notes"])
    return not ("mounts" in said or excused) and "there is none, and nobody says why"


def _interpreter(said: dict[str, Any], plan: Plan) -> object:
    return not said.get("interpreter_read_only", True) and "its file can be changed"


def _unshare(said: dict[str, Any], plan: Plan) -> object:
    if said["unshare_unfiltered"] != errno.EPERM:
        return f"unshare(CLONE_NEWNS) gave {said['unshare_unfiltered']} before the filter"
    refused = (errno.EPERM, errno.ENOSPC, errno.ENOSYS)
    if said["nested_unfiltered"] not in (None, *refused):
        return f"unshare(CLONE_NEWUSER) gave {said['nested_unfiltered']} before the filter"
    return plan.open_check and said["unshare"] not in refused and f"unshare(CLONE_NEWUSER) gave {said['unshare']}"


def _mounts(said: dict[str, Any], plan: Plan) -> object:
    """Every mount nosuid and private, read-only unless planned otherwise, and none that nobody planned."""
    if "mounts" not in said:
        return []
    return wrong_mounts(mounts_of(said["mounts"]), plan)


CHECKS: dict[str, Check] = {
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
    "own /proc": _proc,
    "own namespaces": _namespaces,
    "id maps": _id_maps,
    "landlock": _landlock,
    "resource limits": _rlimits,
    "empty session keyring": _keys,
    "no supplementary groups": _groups,
    "host name": _hostname,
    "ends with the spawner": _death_signal,
    "interpreter on a read-only mount": _interpreter,
}

INIT_CHECKS: dict[str, Check] = {
    "seccomp filter": _filter,
    "no_new_privs": _privileges,
    "five empty capability sets": _capabilities,
    "locked securebits": _securebits,
    "user and group id": _init_ids,
    "not dumpable": _dumpable,
    "landlock": _landlock,
    "ends with the spawner": _death_signal,
}


def refusals(said: dict[str, Any], plan: Plan, checks: Mapping[str, Check] = CHECKS) -> list[str]:
    """Return a sentence for each check that a report fails."""
    failed = []
    for name, check in checks.items():
        try:
            wrong = check(said, plan)
        except (KeyError, TypeError, ValueError, IndexError) as malformed:
            wrong = f"not reported ({type(malformed).__name__}: {malformed})"
        if wrong:
            failed.append(f"{name}: {wrong}")
    return failed


@dataclass(frozen=True)
class _Good:
    """A report in which everything was as planned."""

    plan: Plan
    json: bytes
    lasting: tuple[bytes, list[bytes]]
    said: dict[str, Any]


_last_good: list[_Good] = []
_last_good_init: list[Any] = []  # a plan, and what init said under it but for its ids


def verify(frame: Frame, plan: Plan) -> dict[str, Any]:
    """Return what a worker says about itself, or refuse one whose walls do not stand as planned.

    Isolates of one plan say the same, but for the numbers of mounts, namespaces and host ids: of a report that is otherwise
    equal to the last good one, only those are looked at.

    Raises:
        SetupError: names every check that failed. The function has not been sent.
    """
    good = tuple(_last_good)  # one look: another thread may replace it meanwhile
    if good and good[0].plan is plan and good[0].json == frame.json:
        files = files_of(frame, good[0].said["files"])
        if lasting_of(files) == good[0].lasting:
            changing = changing_of(files)
            if not (_namespaces(changing, plan) or _id_maps(changing, plan)):
                return good[0].said
    said = read(frame)
    refuse("self-check of the worker", refusals(said, plan, _checks_of(plan)[0]))
    lasting = lasting_of(files_of(frame, said["files"]))
    if is_complete(lasting):
        _last_good[:] = [_Good(plan, frame.json, lasting, said)]
    return said


def verify_init(said: dict[str, Any], plan: Plan) -> None:
    """Refuse an isolate whose PID 1 does not stand behind its own walls: it shares a pid namespace with the worker.

    Raises:
        SetupError: names every check that failed. The function has not been sent.
    """
    same = {**said, "ids": None, "outer_ids": None}
    good = tuple(_last_good_init)
    if good and good[0] is plan and good[1] == same and not _init_ids(said, plan):
        return
    refuse("self-check of init", refusals(said, plan, _checks_of(plan)[1]))
    _last_good_init[:] = [plan, same]


def _checks_of(plan: Plan) -> tuple[Mapping[str, Check], Mapping[str, Check]]:
    """Return the checks of roles and of init that go with the plan's engine."""
    if plan.engine != "landlock":
        return CHECKS, INIT_CHECKS
    from isolate_fn._runtime import verify_landlock

    return verify_landlock.CHECKS, verify_landlock.INIT_CHECKS
