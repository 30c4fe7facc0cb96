"""The caller's check of what roles and init without namespaces say about themselves; see `verify.py`."""

from __future__ import annotations

import errno

from isolate_fn._plan.orders import Plan
from isolate_fn._runtime import verify as common
from isolate_fn._sys import constants as k

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SETS = ("CapInh", "CapPrm", "CapEff", "CapAmb")  # the bounding set is of no use with no_new_privs


def _capabilities(said: dict[str, Any], plan: Plan) -> object:
    return [f"{name}={thread[name]}" for thread in said["threads"] for name in _SETS if int(thread[name], 16)]


def _denied(said: dict[str, Any], plan: Plan) -> object:
    tried = ("reading outside", "reading init", "listing outside", "writing outside")
    return [f"{what} gave {said[what]}" for what in tried if said[what] != errno.EACCES]


def _signals(said: dict[str, Any], plan: Plan) -> object:
    held = plan.scope or not plan.children
    return held and said["signal"] != errno.EPERM and f"a signal to init gave {said['signal']}"


def _sockets(said: dict[str, Any], plan: Plan) -> object:
    refused = (errno.EPERM, errno.EACCES, errno.EAFNOSUPPORT)
    return plan.namespaces & k.CLONE_NEWNET and said["socket"] not in refused and f"socket() gave {said['socket']}"


def _modes(said: dict[str, Any], plan: Plan) -> object:
    return not said["own_id"] and said["mode"] != errno.EPERM and f"chmod() gave {said['mode']}"


def _own_id(said: dict[str, Any], plan: Plan) -> object:
    """Where processes are not watched, the kernel counts them: for an id that nobody else has."""
    return bool(said["own_id"]) is bool(plan.processes) and f"own id: {said['own_id']}"


def _session(said: dict[str, Any], plan: Plan) -> object:
    return not said["own session"] and "it is another process's"


def _ids(said: dict[str, Any], plan: Plan) -> object:
    return said["ids"] != said["outer_ids"] and said["ids"]


def _unshare(said: dict[str, Any], plan: Plan) -> object:
    refused = (errno.EPERM, errno.ENOSYS)
    return plan.open_check and said["unshare"] not in refused and f"unshare(CLONE_NEWUSER) gave {said['unshare']}"


def _landlock(said: dict[str, Any], plan: Plan) -> object:
    return said["landlock"] != errno.EACCES and f"mknod gave {said['landlock']}"


def _held(said: dict[str, Any], plan: Plan) -> object:
    return (plan.scope or not plan.processes) and not said["held"] and "its processes are held together by nothing"


CHECKS: dict[str, common.Check] = {
    **{name: common.CHECKS[name] for name in (
        "seccomp filter on every thread", "no_new_privs on every thread", "open descriptors", "no terminal",
        "working directory", "resource limits", "no supplementary groups", "ends with the spawner",
    )},
    "four empty capability sets": _capabilities,
    "files outside": _denied,
    "landlock": _landlock,
    "signals": _signals,
    "sockets": _sockets,
    "modes of files": _modes,
    "user and group id": _ids,
    "own id": _own_id,
    "own session": _session,
    "unshare fails": _unshare,
}  # fmt: skip

INIT_CHECKS: dict[str, common.Check] = {
    **{name: common.INIT_CHECKS[name] for name in ("seccomp filter", "no_new_privs", "user and group id")},
    "four empty capability sets": _capabilities,
    "landlock": _landlock,
    "processes held together": _held,
}
