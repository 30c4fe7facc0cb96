"""Which mounts are made once for all isolates of a plan, and which for each.

Shared is what nobody can write and nobody granted: the runtime. Grants are looked up anew for every isolate, because
the directory behind a path may be another one by then, and because a privileged caller's isolates each see them through
an id mapping of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

from isolate_fn._plan.orders import GRANTS, MountOrder


def own_places(cwd: str) -> tuple[str, ...]:
    """Return the directories that every isolate gets fresh and writable."""
    return ("/tmp", "/dev/shm", cwd)


def _within(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def shared(mounts: Sequence[MountOrder], cwd: str) -> tuple[bool, ...]:
    """Tell for each order whether it is carried out once: the runtime's, and granted text in no other grant."""
    own = list(own_places(cwd))
    found = []
    for order in mounts:
        text = order.kind in ("file", "copy", "symlink", "directory")
        once = (text or not (order.granted or order.remap)) and order.kind != "tmpfs"  # a copy needs no other ids
        once = once and not any(_within(order.destination, root) for root in own)
        if not once:
            own.append(order.destination)
        found.append(once)
    return tuple(found)


def without_own_copies(mounts: Sequence[MountOrder], is_shared: Sequence[bool]) -> tuple[MountOrder, ...]:
    """Return the orders with binds for the copies that each isolate would have to make again."""
    return tuple(
        order if once or order.kind != "copy" else order._replace(kind="bind", size=0)
        for order, once in zip(mounts, is_shared, strict=True)
    )


def mount_points(
    mounts: Sequence[MountOrder], is_shared: Sequence[bool], cwd: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (directories, files) that the shared tree must have, for what is mounted per isolate to be put there.

    What lies inside another mount of the isolate's own is found or made there, when that is mounted.
    """
    places = own_places(cwd)
    directories = ["/proc", GRANTS, *(path for path in places if path != "/")]
    files: list[str] = []
    own = list(places)
    for order, once in zip(mounts, is_shared, strict=True):
        if once:
            continue
        if not any(_within(order.destination, root) for root in own):
            (directories if order.is_directory else files).append(order.destination)
        own.append(order.destination)
    return tuple(directories), tuple(files)
