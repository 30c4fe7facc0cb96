"""The host's files as `learn` shows them: what mounts it takes to see all of it but what an isolate has of its own."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

from isolate_fn._enforce.trees import unescape
from isolate_fn._plan.mounts import is_within
from isolate_fn._plan.orders import MountOrder

HIDDEN = ("/proc", "/sys", "/dev", "/run", "/boot", "/lost+found", "/var/run")
"""Never shown: processes, devices, sockets of services, and what no program has any business with."""

_KERNELS = ("proc", "sysfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "autofs", "securityfs", "debugfs", "tracefs", "bpf")
MOST_ENTRIES = 4096
"""Of a directory that is taken apart."""


def wide_mounts(mounts: Sequence[MountOrder], own: Sequence[str]) -> tuple[MountOrder, ...]:
    """Return read-only mounts of the host's files, at the same paths, around what stays as it is.

    Args:
        mounts: the ordinary ones: text that is made up, links and grants stay as they are.
        own: directories that the isolate has of its own.
    """
    kept = [order.destination for order in mounts if order.granted or order.kind not in ("bind", "copy")]
    kept += [order.destination for order in mounts if order.kind in ("bind", "copy") and order.source != order.destination]
    stops = frozenset((*HIDDEN, *own, *kept, *_mount_points()))
    return tuple(_below("/", stops))


def _below(directory: str, stops: frozenset[str]) -> Iterator[MountOrder]:
    try:
        with os.scandir(directory) as found:
            entries = sorted(found, key=lambda entry: entry.name)[:MOST_ENTRIES]
    except OSError:
        return  # nobody inside could enter it either
    for entry in entries:
        path = entry.path
        if path in stops:
            continue
        if any(is_within(each, path) for each in stops):
            if entry.is_dir(follow_symlinks=False):
                yield from _below(path, stops)
            continue
        order = _shown(path)
        if order is not None:
            yield order


def _shown(path: str) -> MountOrder | None:
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            return MountOrder("symlink", path, os.readlink(path), origin=f"learn: {path}")
    except OSError:
        return None
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        return None
    # Through an id-mapped mount where not every user may enter it, so that the caller's own files can be looked at.
    remap = mode & (0o005 if stat.S_ISDIR(mode) else 0o004) != (0o005 if stat.S_ISDIR(mode) else 0o004)
    return MountOrder(
        "bind", path, path, is_directory=stat.S_ISDIR(mode), remap=remap or stat.S_ISDIR(mode), origin=f"learn: {path}"
    )


def _mount_points() -> list[str]:
    """Return where file systems lie that show the host's processes, devices or settings."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            fields = line.split(" ")
            if fields[fields.index("-") + 1] in _KERNELS:
                found.append(unescape(fields[4]))
    return found
