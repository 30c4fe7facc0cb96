"""The part of the file tree that all isolates of a plan share: built once, in a mount namespace of its own, read-only.

It holds the runtime, /dev, and every mount point; nothing in it can be written, and an isolate has no authority over
mounts at all, so that sharing it shares nothing. What an isolate may write, and everything the caller granted, is
mounted per isolate (`isolate_fn._enforce.rootfs`).
"""

from __future__ import annotations

import os

from isolate_fn._enforce.scene import Scene
from isolate_fn._enforce.trees import place, place_order, take
from isolate_fn._plan.orders import MountOrder
from isolate_fn._sys import calls
from isolate_fn._sys import constants as k

DEVICES = ("null", "zero", "full", "random", "urandom")
DEVICE_LINKS = (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2"))
_STAGES = ("/tmp", "/mnt", "/dev")
_ROOT_SIZE = 4 << 20


def leave_mount_namespace(scene: Scene) -> None:
    """Work on a copy of the host's mounts, detached from their propagation."""
    calls.unshare(k.CLONE_NEWNS)
    calls.mount("", "/", flags=k.MS_REC | k.MS_PRIVATE)


def take_runtime(scene: Scene) -> None:
    """Open every shared source before the stage covers a host directory."""
    for index, order in enumerate(scene.plan.mounts):
        if order.kind in ("bind", "device") and scene.plan.shared[index]:
            scene.trees[index] = take(scene, order)
    for number, name in enumerate(DEVICES, 1):
        scene.trees[-number] = take(scene, _device(name))


def _device(name: str) -> MountOrder:
    return MountOrder("device", f"/dev/{name}", f"/dev/{name}", is_directory=False, origin="runtime: /dev")


def build_root(scene: Scene) -> None:
    """Mount a small tmpfs that will hold nothing but mount points, links and a few lines of /etc."""
    stage = next(path for path in _STAGES if os.path.isdir(path))
    text = sum(len(order.data) for order in scene.plan.mounts)
    # A module and what it is compiled to, each in whole pages.
    modules = sum(4 * order.size + 16384 for order in scene.plan.mounts if order.kind == "copy")
    options = f"size={_ROOT_SIZE + 2 * text + modules},nr_inodes=65536,mode=755"
    calls.mount("tmpfs", stage, "tmpfs", k.MS_NOSUID | k.MS_NODEV, options)
    scene.root = os.open(stage, k.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    scene.own_devices = {os.fstat(scene.root).st_dev}


def mount_runtime(scene: Scene) -> None:
    """Carry out the shared orders, and make the mount points of all others."""
    for path in scene.plan.mount_points:
        os.close(place(scene, path, directory=True))
    for index, order in enumerate(scene.plan.mounts):
        if scene.plan.shared[index]:
            place_order(scene, order, scene.trees.get(index, -1))
    for path in scene.plan.file_points:
        os.close(place(scene, path, directory=False))


def build_dev(scene: Scene) -> None:
    """Make /dev: five harmless devices of the host and the usual links, nothing else."""
    for number, name in enumerate(DEVICES, 1):
        place_order(scene, _device(name), scene.trees[-number])
    for name, target in DEVICE_LINKS:
        place_order(scene, MountOrder("symlink", f"/dev/{name}", target, origin="runtime: /dev"), -1)


def enter_root(scene: Scene) -> None:
    """Make the tree the root and let go of the old one: pivot_root(2) with both arguments ".", then detach."""
    os.fchdir(scene.root)
    calls.pivot_root(".", ".")
    calls.umount(".", k.MNT_DETACH)
    os.chdir("/")
    os.close(scene.root)


def read_only_root(scene: Scene) -> None:
    """Make / itself read-only, after the last name was made in it."""
    calls.mount("", "/", flags=k.MS_REMOUNT | k.MS_BIND | k.MS_RDONLY | k.MS_NOSUID | k.MS_NODEV)
