"""Carrying out single mount orders: sources by handle, mount points by handle, attributes on both.

Sources are opened with symlinks refused: they were resolved once, in the parent, and a link that appears since then
is somebody's race (CVE-2021-30465). Destinations are walked inside the new root by the kernel (RESOLVE_IN_ROOT), never
by string.
"""

from __future__ import annotations

import errno
import os
import stat
from _frozen_importlib_external import cache_from_source  # importlib.util has it from there, and imports more

from isolate_fn._enforce.idmap import mapping_namespace
from isolate_fn._enforce.scene import Scene
from isolate_fn._plan.orders import MountOrder
from isolate_fn._sys import calls
from isolate_fn._sys import constants as k


def take(scene: Scene, order: MountOrder) -> int:
    """Open a source as a detached copy of its mount, submounts included (open_tree(2), Linux 5.2).

    Returns:
        Its descriptor, -1 for a module of the program that was removed since the runtime was looked at.
    """
    try:
        resolve = k.RESOLVE_NO_SYMLINKS | k.RESOLVE_NO_MAGICLINKS
        handle = calls.openat2(k.AT_FDCWD, order.source, k.O_PATH, resolve)
        try:
            recursive = k.AT_RECURSIVE if order.is_directory else 0
            flags = k.AT_EMPTY_PATH | k.OPEN_TREE_CLONE | k.OPEN_TREE_CLOEXEC | recursive
            tree = calls.open_tree(handle, "", flags)
        finally:
            os.close(handle)
    except OSError as failure:
        if _removed(order, failure):
            return -1
        call = f"{failure.filename} of {order.source!r} ({order.origin})"
        raise OSError(failure.errno, failure.strerror, call) from None
    try:
        if scene.start.idmap_from >= 0 and needs_own_ids(order):
            _remap(scene, order, tree)
        if scene.plan.mount_api == "detached":
            calls.mount_setattr(tree, "", _attributes(order), recursive=order.is_directory)
    except BaseException:
        os.close(tree)
        raise
    return tree


def _removed(order: MountOrder, failure: OSError) -> bool:
    """True where an editor or an update took away or replaced what nobody granted by name."""
    return failure.errno == errno.ENOENT and order.kind in ("bind", "copy") and not order.granted


def needs_own_ids(order: MountOrder) -> bool:
    """True where the caller's files shall be the isolate's own: what was granted, and runtime not open to everybody."""
    return order.kind == "bind" and (order.granted or order.remap)


def _attributes(order: MountOrder) -> int:
    device = order.kind == "device"
    flags = k.MOUNT_ATTR_NOSUID
    flags |= 0 if device else k.MOUNT_ATTR_NODEV
    flags |= k.MOUNT_ATTR_RDONLY if order.read_only and not device else 0
    return flags | (k.MOUNT_ATTR_NOEXEC if order.noexec or device else 0)


def _remap(scene: Scene, order: MountOrder, tree: int) -> None:
    """Give the caller's files to the isolate's own id on this mount only (mount_setattr(2), MOUNT_ATTR_IDMAP)."""
    if scene.idmap < 0:
        scene.idmap = mapping_namespace(scene)
    try:
        flags = k.MOUNT_ATTR_IDMAP
        calls.mount_setattr(tree, "", flags, recursive=order.is_directory, userns=scene.idmap)
    except OSError as refused:
        if refused.errno not in (errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        scene.notes.append(
            f"{order.origin}: this file system takes no id mapping ({refused.strerror}); "
            "only what every user of the host may read or write is accessible there"
        )


def place_order(scene: Scene, order: MountOrder, tree: int) -> None:
    """Carry out one order. Failures name the destination and the word that asked."""
    if tree < 0 and order.kind == "bind":
        return
    try:
        _PLACERS[order.kind](scene, order, tree)
    except OSError as failure:
        if _removed(order, failure):
            return
        call = failure.filename if isinstance(failure.filename, str) else ""
        text = f"{call} {order.destination!r} ({order.origin})".strip()
        raise OSError(failure.errno, failure.strerror, text) from None


def _bind(scene: Scene, order: MountOrder, tree: int) -> None:
    target = place(scene, order.destination, directory=order.is_directory)
    try:
        calls.move_mount(tree, target, "")
    finally:
        os.close(target)
    if scene.plan.mount_api == "classic":
        mounted = place(scene, order.destination, directory=order.is_directory)
        try:
            _remount(scene, order, os.readlink(f"self/fd/{mounted}", dir_fd=scene.old_proc))
        finally:
            os.close(mounted)


def _remount(scene: Scene, order: MountOrder, top: str) -> None:
    """Set attributes the old way, each submount by itself: MS_REMOUNT|MS_BIND is not recursive (Linux < 5.12)."""
    for point, locked in _mounts_below(scene, top):
        device = order.kind == "device"
        wanted = k.MS_NOSUID | locked
        wanted |= 0 if device else k.MS_NODEV
        wanted |= k.MS_RDONLY if order.read_only and not device else 0
        wanted |= k.MS_NOEXEC if order.noexec or device else 0
        calls.mount("", point, flags=k.MS_REMOUNT | k.MS_BIND | wanted)


_FLAG_OF_OPTION = {
    "ro": k.MS_RDONLY,
    "nosuid": k.MS_NOSUID,
    "nodev": k.MS_NODEV,
    "noexec": k.MS_NOEXEC,
    "noatime": k.MS_NOATIME,
    "nodiratime": k.MS_NODIRATIME,
    "relatime": k.MS_RELATIME,
}


def _mounts_below(scene: Scene, top: str) -> list[tuple[str, int]]:
    """Return (mount point, flags it has already) of a mount and its submounts; locked flags must be repeated."""
    found: dict[str, int] = {}
    descriptor = os.open("self/mountinfo", os.O_RDONLY | os.O_CLOEXEC, dir_fd=scene.old_proc)
    with open(descriptor, encoding="utf-8", errors="surrogateescape", newline="\n") as table:
        for line in table:
            fields = line.split(" ")
            point = unescape(fields[4])
            if point == top or point.startswith(top.rstrip("/") + "/"):
                found[point] = sum(_FLAG_OF_OPTION.get(option, 0) for option in fields[5].split(","))
    return sorted(found.items())


def unescape(text: str) -> str:
    """Undo the octal escapes in /proc/self/mountinfo (proc(5)): blanks, ``#`` and backslashes."""
    for escape, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\043", "#"), ("\\134", "\\")):
        text = text.replace(escape, character)
    return text


def _tmpfs(scene: Scene, order: MountOrder, tree: int) -> None:
    attributes = k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NODEV | (k.MOUNT_ATTR_NOEXEC if order.noexec else 0)
    options = (("size", str(order.size)), ("nr_inodes", str(scene.plan.rootfs_inodes)), ("mode", "1777"))
    made = calls.detached_mount("tmpfs", options, attributes)
    try:
        scene.own_devices.add(os.fstat(made).st_dev)
        _bind(scene, order._replace(read_only=False), made)
    finally:
        os.close(made)


def _file(scene: Scene, order: MountOrder, tree: int) -> None:
    parent, name = _parent(scene, order.destination)
    try:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444, dir_fd=parent)
    finally:
        os.close(parent)
    with open(descriptor, "wb") as file:
        file.write(order.data)


def _copy(scene: Scene, order: MountOrder, tree: int) -> None:
    """Copy a module of the program, and what the interpreter has compiled it to, with the times that tie the two."""
    place_copy(scene, order.source, order.destination)
    if order.source.endswith(".py"):
        try:
            place_copy(scene, cache_from_source(order.source), cache_from_source(order.destination))
        except (FileNotFoundError, NotImplementedError):
            pass  # it has never been imported, or this interpreter keeps no such files


def place_copy(scene: Scene, source: str, destination: str) -> None:
    """Copy one regular file; no link is followed on the way to it, and none by its name."""
    resolve = k.RESOLVE_NO_SYMLINKS | k.RESOLVE_NO_MAGICLINKS
    with open(calls.openat2(k.AT_FDCWD, source, os.O_RDONLY | os.O_NONBLOCK, resolve), "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise OSError(errno.ENOENT, "is no longer a regular file", "openat2")
        data = file.read(state.st_size)
    parent, name = _parent(scene, destination)
    try:
        made = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444, dir_fd=parent)
    finally:
        os.close(parent)
    with open(made, "wb") as file:
        file.write(data)
        file.flush()
        os.utime(made, ns=(state.st_mtime_ns, state.st_mtime_ns))


def _symlink(scene: Scene, order: MountOrder, tree: int) -> None:
    parent, name = _parent(scene, order.destination)
    try:
        os.symlink(order.source, name, dir_fd=parent)
    finally:
        os.close(parent)


def _directory(scene: Scene, order: MountOrder, tree: int) -> None:
    os.close(place(scene, order.destination, directory=True))


_PLACERS = {
    "bind": _bind,
    "device": _bind,
    "tmpfs": _tmpfs,
    "file": _file,
    "copy": _copy,
    "symlink": _symlink,
    "directory": _directory,
}


def _parent(scene: Scene, destination: str) -> tuple[int, str]:
    """Return a handle of the directory that shall hold ``destination``, made where it is missing, and the last name."""
    above, name = os.path.split(destination)
    return place(scene, above, directory=True), name


def place(scene: Scene, destination: str, *, directory: bool) -> int:
    """Return a handle of a mount point, made on our own tmpfs where it is missing, never on a mounted source.

    Below a granted mount no symlink is followed: an earlier isolate that could write there would choose the mount point.
    """
    resolve = k.RESOLVE_IN_ROOT | k.RESOLVE_NO_MAGICLINKS
    if any(destination.startswith(root + "/") for root in scene.granted):
        resolve |= k.RESOLVE_NO_SYMLINKS
    try:
        return calls.openat2(scene.root, destination, k.O_PATH, resolve)
    except OSError as missing:
        if missing.errno != errno.ENOENT:
            raise
    parent, name = _parent(scene, destination)
    try:
        if os.fstat(parent).st_dev not in scene.own_devices:
            text = "does not exist in the mount that covers it, and is not created there"
            raise OSError(errno.ENOENT, text, "mount point")
        if directory:
            os.mkdir(name, 0o755, dir_fd=parent)
        else:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444, dir_fd=parent))
    finally:
        os.close(parent)
    return calls.openat2(scene.root, destination, k.O_PATH, resolve)
