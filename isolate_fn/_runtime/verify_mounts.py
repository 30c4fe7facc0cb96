"""The caller's check of an isolate's mounts, as the worker found them in its mountinfo."""

from __future__ import annotations

from collections.abc import Sequence

from isolate_fn._plan.orders import Plan


def wrong_mounts(mounts: Sequence[list[str]], plan: Plan) -> list[str]:
    """Return a sentence for each mount that is not as planned, and for each that is missing.

    Args:
        mounts: as `isolate_fn._runtime.said.mounts_of` returns them.
        plan: what was wanted.
    """
    writable = {"/tmp", "/dev/shm", plan.cwd}
    writable |= {order.destination for order in plan.mounts if order.kind == "tmpfs" or not order.read_only}
    planned = {"/proc", *writable, *(order.destination for order in plan.mounts)} - {"/"}
    wrong = []
    for point, options, tags, _ in mounts:
        words = options.split(",")
        above = _at_or_above(point)
        below, may_write = not planned.isdisjoint(above), not writable.isdisjoint(above)
        device = point.startswith("/dev/")
        if tags:
            wrong.append(f"{point} propagates ({tags})")
        if "nosuid" not in words:
            wrong.append(f"{point} is not nosuid")
        if not (may_write or device or "ro" in words):
            wrong.append(f"{point} is writable")
        if not (point == "/" or below or device):
            wrong.append(f"{point} was not planned")
    there = {point for point, _, _, _ in mounts}
    wrong += [f"{point} is missing" for point in sorted(_mount_points(plan) - there)]
    return wrong


def _at_or_above(point: str) -> list[str]:
    """Return a path and those above it, but ``/``."""
    parts = point.split("/")
    return ["/".join(parts[:count]) for count in range(2, len(parts) + 1)]


def _mount_points(plan: Plan) -> set[str]:
    """Return the mounts that must be there under just these names: those that no link of the plan leads elsewhere."""
    links = [order.destination for order in plan.mounts if order.kind == "symlink"]
    wanted = {"/", "/tmp", "/dev/shm", plan.cwd}
    wanted |= {order.destination for order in plan.mounts if order.granted and order.kind in ("bind", "tmpfs", "device")}
    return {point for point in wanted if not any(point == link or point.startswith(link + "/") for link in links)}
