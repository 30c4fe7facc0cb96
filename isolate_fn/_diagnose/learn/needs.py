"""The smallest policy for what was seen: mounts, network, rules, limits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from isolate_fn._diagnose.learn.boxes import orders_of_ordinary
from isolate_fn._diagnose.learn.findings import Flag
from isolate_fn._diagnose.learn.places import Places
from isolate_fn._diagnose.learn.view import View
from isolate_fn._plan.sharing import own_places
from isolate_fn._runtime.learner_tables import is_loopback
from isolate_fn._transport.text import visible
from isolate_fn.policy.limits import Limits
from isolate_fn.policy.policy import Policy
from isolate_fn.policy.rule_sets.basic import Memory
from isolate_fn.policy.rule_sets.file_changes import FileChanges
from isolate_fn.policy.rule_sets.processes import ForkAndExec, Pipes
from isolate_fn.policy.rule_sets.signals import Signals
from isolate_fn.policy.rule_sets.system_io import SystemIO
from isolate_fn.policy.rule_sets.threads import Threads, Time
from isolate_fn.policy.rule_sets.user_id import UserId

if TYPE_CHECKING:
    from isolate_fn._diagnose.learn.seen import Seen

HEAD_ROOM = 2
"""Limits are this many times the most that was seen, rounded up; times, which differ most between machines, five times that."""
_TIME = 5 * HEAD_ROOM
_MEBIBYTE = 1 << 20

PROGRAMS = (
    SystemIO.everything(), FileChanges.everything(), Threads.everything(), Time.everything(), Signals.everything(),
    Memory.everything(), UserId(), Pipes(), ForkAndExec(),
)  # fmt: skip
"""For a function that starts programs: what is usual, and that. The same as a denial's fix names."""


def policy_of(seen: Seen) -> tuple[Policy, list[Flag]]:
    """Return the smallest policy under which what was seen would work, and remarks on what it leaves out."""
    plain = Policy.from_options(seen.base, mounts=_kept(seen), rules=None, network=False)
    view = View(orders_of_ordinary(plain, program=seen.program), own_places(plain.cwd))
    places = Places(seen.paths, view, seen.shown)
    mounts = [mount for mount in places.mounts() if mount.destination not in (seen.needless or ())]
    flags = [*_secrets(seen), *places.flags]
    reached = [each for each in sorted(seen.addresses) if not _own(each, seen)]
    network = any(seen.addresses[each] for each in reached)
    for host, port, how in reached:
        if not seen.addresses[host, port, how]:
            text = f"{how} was refused, and the network is not granted; to permit it, learn again with the network"
            flags.append(Flag("network", visible(f"{host}:{port}", 100), text))
    if "more" in seen.said:
        flags.append(Flag("more", "", "more paths or addresses were used than are recorded; what is granted may be too little"))
    starts = not seen.program and bool(seen.said & {"forked worker", "started worker"})
    changes: dict[str, Any] = {"limits": limits_of(seen), "timeout": _timeout(seen)}
    return Policy.from_options(
        plain, mounts=(*plain.mounts, *mounts), network=network, rules=PROGRAMS if starts else None, **changes
    ), flags


def _kept(seen: Seen) -> tuple[Any, ...]:
    """Return mounts of the policy that was started from which say more than which file: those that were used."""
    from isolate_fn._diagnose.learn.unused import is_used

    return tuple(each for each in seen.base.mounts if (each.word not in ("ro", "rw") or each.moved) and is_used(each, seen))


def _own(key: tuple[str, int, str], seen: Seen) -> bool:
    """Tell whether an address is one of the isolate's own: where there was no network, all of its loopback."""
    host, port, how = key
    if how == "bind":
        return True
    served = any(each[1:] in ((port, "bind"), (0, "bind")) for each in seen.addresses)
    return is_loopback(host) and ("network" not in seen.said or served)


def _secrets(seen: Seen) -> list[Flag]:
    flags = []
    for path, touched in sorted(seen.paths.items()):
        if "secret" in touched.what:
            text = f"holds {touched.detail}: it was refused, and is not granted"
            flags.append(Flag("secret", visible(path, 300), text))
        elif "secret read" in touched.what:
            text = f"holds {touched.detail}: granted, because that was asked for"
            flags.append(Flag("secret", visible(path, 300), text, granted=True))
    return flags


def limits_of(seen: Seen) -> Limits:
    """Return limits with head-room over the most that was seen."""
    peaks = seen.peaks
    return Limits(
        memory=max(64, _up(peaks.get("memory", 0) * HEAD_ROOM / _MEBIBYTE, 32)) * _MEBIBYTE,
        cpu_time=max(2, math.ceil(peaks.get("cpu_seconds", 0.0) * _TIME)),
        processes=max(8, _up(peaks.get("processes", 0) * HEAD_ROOM, 8)),
        open_files=max(32, _up(peaks.get("open_files", 0) * HEAD_ROOM, 32)),
        rootfs_size=max(8, _up(peaks.get("disk", 0) * HEAD_ROOM / _MEBIBYTE, 8)) * _MEBIBYTE,
        rootfs_inodes=max(1024, _up(peaks.get("inodes", 0) * HEAD_ROOM, 1024)),
        output=max(64 << 10, _up(peaks.get("output", 0) * HEAD_ROOM, 64 << 10)),
    )


def _timeout(seen: Seen) -> float:
    return max(10, math.ceil(seen.peaks.get("wall_seconds", 0.0) * _TIME))


def _up(value: float, step: int) -> int:
    return math.ceil(value / step) * step
