"""What one isolate adds to the shared tree: a sized tmpfs for all it writes, the granted mounts, its own /proc."""

from __future__ import annotations

import errno
import os
import stat

from isolate_fn._enforce.scene import Scene
from isolate_fn._enforce.trees import place_order, take
from isolate_fn._plan.orders import GRANTS
from isolate_fn._sys import calls
from isolate_fn._sys import constants as k

_SHM = "/dev/shm"


def take_grants(scene: Scene) -> None:
    """Open what was granted by handle, while the host's tree is still there."""
    for index, order in enumerate(scene.plan.mounts):
        if order.kind in ("bind", "device") and not scene.plan.shared[index]:
            tree = take(scene, order)
            if tree >= 0:
                scene.trees[index] = tree


def make_proc(scene: Scene) -> None:
    """Make an own /proc that shows processes only (``subset=pid``, Linux 5.8), read-only, not mounted yet.

    The kernel refuses where the host's /proc is itself masked (containers), and looks for the host's in the mount
    namespace that the call is made from: hence before that is left. The isolate then goes without, and says so;
    the host's is never bound instead.
    """
    attributes = k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NODEV | k.MOUNT_ATTR_NOEXEC | k.MOUNT_ATTR_RDONLY
    try:
        scene.proc = calls.detached_mount("proc", (("subset", "pid"),), attributes)
    except OSError as refused:
        if refused.errno not in (errno.EPERM, errno.EACCES):
            raise
        scene.notes.append("no /proc inside: the host's own is masked, so the kernel refuses a fresh one")


def copy_tree(scene: Scene) -> None:
    """Enter the template's mount namespace and leave it for a private copy."""
    calls.setns(scene.descriptors["template"], k.CLONE_NEWNS)
    calls.unshare(k.CLONE_NEWNS)
    scene.root = os.open("/", k.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def writable_places(scene: Scene) -> None:
    """Mount the sized tmpfs, and parts of it on /tmp, /dev/shm and the working directory.

    They are mounts of one file system, so that one limit in bytes and inodes covers all that is written.
    """
    size = f"size={scene.plan.rootfs_size},nr_inodes={scene.plan.rootfs_inodes},mode=755"
    calls.mount("tmpfs", _SHM, "tmpfs", k.MS_NOSUID | k.MS_NODEV | k.MS_NOEXEC, size)
    scene.own_devices = {os.stat(_SHM).st_dev}
    scene.disk = os.open(_SHM, k.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if scene.start.grants:
        _places_of_grants(scene)
    parts = [("tmp", "/tmp", 0o1777), ("work", scene.plan.cwd, 0o755), ("shm", _SHM, 0o1777)]
    for name, path, mode in parts:
        if path == "/" or (name == "work" and path in ("/tmp", _SHM)):
            continue
        part = f"{_SHM}/{name}"
        os.mkdir(part)
        os.chmod(part, mode)
        if name == "work" and os.geteuid() != scene.start.outer_id:
            os.chown(part, scene.start.outer_id, scene.start.outer_group)
        if path.startswith("/tmp/"):
            os.makedirs(path, exist_ok=True)
        calls.mount(part, path, flags=k.MS_BIND)  # the flags of the tmpfs mount come along


def _places_of_grants(scene: Scene) -> None:
    """Make the mount points of what one call was granted, in a directory that nobody inside can write.

    In the shared tree they would differ from call to call; here each isolate has its own, on a tmpfs that it has anyway.
    """
    part = f"{_SHM}/grants"
    os.mkdir(part)
    for order in scene.start.grants:
        place = part + order.destination.removeprefix(GRANTS)
        os.mkdir(os.path.dirname(place))
        if order.is_directory:
            os.mkdir(place)
        else:
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    calls.mount(part, GRANTS, flags=k.MS_BIND)
    calls.mount("", GRANTS, flags=k.MS_REMOUNT | k.MS_BIND | k.MS_RDONLY | k.MS_NOSUID | k.MS_NODEV | k.MS_NOEXEC)


def mount_grants(scene: Scene) -> None:
    """Carry out the orders that are this isolate's own, in the order given."""
    for index, order in enumerate(scene.plan.mounts):
        if not scene.plan.shared[index]:
            place_order(scene, order, scene.trees.get(index, -1))
            if order.granted and order.kind == "bind":
                scene.granted.append(order.destination.rstrip("/"))
    os.close(scene.root)
    scene.root = -1
    while scene.trees:
        os.close(scene.trees.popitem()[1])


def keep_tree(scene: Scene) -> None:
    """Hold the finished mount namespace by descriptor; the spawner leaves it right after."""
    scene.tree = os.open("self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC, dir_fd=scene.old_proc)


def enter_tree(scene: Scene) -> None:
    """Enter the tree that the spawner has built: root and working directory become its root at once (setns(2))."""
    calls.setns(scene.tree, k.CLONE_NEWNS)
    os.close(scene.tree)
    scene.tree = -1


def attach_proc(scene: Scene) -> None:
    """Mount the own /proc made before."""
    if scene.proc >= 0:
        calls.move_mount(scene.proc, k.AT_FDCWD, "/proc")
        os.close(scene.proc)
        scene.has_proc = True


def working_directory(scene: Scene) -> None:
    """Enter the working directory, and refuse one that is not inside the new root (CVE-2024-21626)."""
    os.chdir(scene.plan.cwd)
    if os.getcwd() != os.path.normpath(scene.plan.cwd) or not stat.S_ISDIR(os.stat(".").st_mode):
        raise OSError(errno.ENOENT, f"the working directory is {os.getcwd()!r}", "chdir")
