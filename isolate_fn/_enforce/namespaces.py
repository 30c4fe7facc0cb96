"""Namespaces, the id maps, and what belongs to them: loopback, host name, keyring, session."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import fcntl
import os
import struct

from isolate_fn._enforce.scene import Scene
from isolate_fn._sys import calls
from isolate_fn._sys import constants as k

NESTING = "user.max_user_namespaces inside"
"""How the note begins that says that nested user namespaces are forbidden by the filter alone."""


def die_with_the_spawner(scene: Scene) -> None:
    """Ask for SIGKILL when the spawner's only thread ends; the spawner is single-threaded, so thread and process agree."""
    calls.prctl(k.PR_SET_PDEATHSIG, _signal.SIGKILL)


def own_session(scene: Scene) -> None:
    """Leave the session, and with it any controlling terminal (TIOCSTI, CVE-2017-5226)."""
    if os.getsid(0) != os.getpid():
        os.setsid()


def join_cgroup(scene: Scene) -> None:
    """Move into the cgroup whose ``cgroup.procs`` the caller opened; "0" is the writer itself (cgroups(7))."""
    descriptor = scene.descriptors.get("cgroup", -1)
    if descriptor >= 0:
        os.write(descriptor, b"0")


def prefer_us_when_memory_is_short(scene: Scene) -> None:
    """Offer this tree to the kernel's OOM killer before anything else of the host. Raising the score needs no privilege."""
    score = os.open("self/oom_score_adj", os.O_WRONLY, dir_fd=scene.old_proc)
    try:
        os.write(score, b"1000")
    finally:
        os.close(score)


def empty_keyring(scene: Scene) -> None:
    """Join a new session keyring: keyrings are in no namespace, so the caller's would stay reachable."""
    calls.join_new_session_keyring()


def keep_old_proc(scene: Scene) -> None:
    """Hold the host's /proc by descriptor: the id maps are written through it after the host's tree has gone."""
    scene.old_proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def leave_namespaces(scene: Scene) -> None:
    """Unshare network, IPC and host name; the spawner goes back to its own after the fork.

    Not the cgroup namespace (init, once it is in its group), mounts (before), pid (at the fork), user (entered last).
    """
    calls.unshare(scene.plan.namespaces & ~k.CLONE_NEWCGROUP)


def leave_cgroup_namespace(scene: Scene) -> None:
    """See only the part of the cgroup tree that this process is in (cgroup_namespaces(7))."""
    calls.unshare(scene.plan.namespaces & k.CLONE_NEWCGROUP)


def loopback_up(scene: Scene) -> None:
    """Switch the new network namespace's only interface on: SIOCSIFFLAGS of netdevice(7)."""
    if not scene.plan.namespaces & k.CLONE_NEWNET:
        return
    control = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    try:
        request = struct.pack("16sh22x", b"lo", 0)
        flags = struct.unpack_from("16sh", fcntl.ioctl(control, k.SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, k.SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | k.IFF_UP))
    finally:
        control.close()


def name_the_host(scene: Scene) -> None:
    """Replace the host's name in the new UTS namespace."""
    calls.set_hostname(scene.plan.hostname)


def take_outer_id(scene: Scene) -> None:
    """Take the host id that the isolate runs under, and keep the capabilities until the user namespace is left behind.

    The kernel lets a process map one id of its parent namespace by itself when that is its own, so nobody outside has to
    write the maps. For an ordinary caller it is that already.
    """
    if os.geteuid() != scene.start.outer_id:
        calls.prctl(k.PR_SET_SECUREBITS, k.SECBIT_NO_SETUID_FIXUP)
        os.setresgid(scene.start.outer_group, scene.start.outer_group, scene.start.outer_group)
        os.setresuid(scene.start.outer_id, scene.start.outer_id, scene.start.outer_id)
        calls.prctl(k.PR_SET_DUMPABLE, 1)  # the change reset it, and with it /proc/self to root's


def enter_user_namespace(scene: Scene) -> None:
    """Enter a user namespace that owns nothing, the mount tree and the network belong to the one outside, and map one id.

    See user_namespaces(7): ``inner outer 1``, and no setgroups(2).
    """
    calls.unshare(k.CLONE_NEWUSER)
    user = f"{scene.plan.inner_id} {scene.start.outer_id} 1"
    group = f"{scene.plan.inner_id} {scene.start.outer_group} 1"
    for name, text in (("setgroups", "deny"), ("uid_map", user), ("gid_map", group)):
        target = os.open(f"self/{name}", os.O_WRONLY | os.O_CLOEXEC, dir_fd=scene.old_proc)
        try:
            os.write(target, text.encode())
        except OSError as failure:
            raise OSError(failure.errno, failure.strerror, name) from None
        finally:
            os.close(target)


def no_nested_user_namespaces(scene: Scene) -> None:
    """Allow no user namespace below this one, should the filter ever fail: 0 cannot be raised without capabilities.

    A container may show /proc/sys read-only; the filter then stands alone and the caller is told.
    """
    try:
        limit = os.open("sys/user/max_user_namespaces", os.O_WRONLY, dir_fd=scene.old_proc)
    except OSError as refused:
        scene.notes.append(f"{NESTING} could not be set to 0 ({refused.strerror})")
        return
    try:
        os.write(limit, b"0")
    finally:
        os.close(limit)
