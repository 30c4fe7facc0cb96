"""What a process does to itself so that the doctor finds something: filters, limits, namespaces. Runs in the patient."""

from __future__ import annotations

import errno
import os
import resource
import struct
import sys

from isolate_fn._sys import calls, numbers
from isolate_fn._sys import constants as k

__all__ = [
    "DOCKER_DENIES", "become_ordinary", "become_root", "calls", "cover", "deny", "deny_flags", "errno", "k", "own_mounts", "os",
    "read_only", "refuse_as_the_kernel_does", "resource", "set_sysctl", "sys",
]  # fmt: skip

# What Docker's default profile leaves out for a container without capabilities, of what isolates are built with (moby's
# profiles/seccomp/default.json): some of these need CAP_SYS_ADMIN there, keyctl and pivot_root are nowhere in it.
DOCKER_DENIES = (
    "unshare", "setns", "mount", "umount2", "pivot_root", "open_tree", "move_mount", "mount_setattr", "fsopen",
    "fsconfig", "fsmount", "fspick", "sethostname", "setdomainname", "keyctl", "add_key", "request_key", "bpf",
    "perf_event_open", "quotactl", "syslog", "userfaultfd", "kexec_load", "reboot", "swapon", "swapoff",
)  # fmt: skip
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x50000, 0x80000000
_CLONE_VFORK = 0x4000


def _install(*steps: tuple[int, int, int, int]) -> None:
    program = b"".join(struct.pack("=HBBI", *step) for step in steps)
    calls.prctl(k.PR_SET_NO_NEW_PRIVS, 1)
    calls.seccomp_filter(program)


def deny(*names: str, code: int = errno.EPERM) -> None:
    """Put this process under a filter that answers calls with an errno; with 0, it kills for them."""
    table = numbers.table(calls.MACHINE)
    verdict = _ERRNO | code if code else _KILL
    steps = [(0x20, 0, 0, 0)]
    for name in names:
        steps += [(0x15, 0, 1, table[name]), (0x06, 0, 0, verdict)]
    _install(*steps, (0x06, 0, 0, _ALLOW))


def deny_flags(name: str, flags: int, code: int = errno.EPERM, argument: int = 0) -> None:
    """Answer a call with an errno where an argument has one of these flags, as RestrictNamespaces= does with unshare(2)."""
    number = numbers.table(calls.MACHINE)[name]
    _install(
        (0x20, 0, 0, 0), (0x15, 0, 3, number), (0x20, 0, 0, 16 + 8 * argument), (0x45, 0, 1, flags),
        (0x06, 0, 0, _ERRNO | code), (0x06, 0, 0, _ALLOW),
    )  # fmt: skip


def refuse_as_the_kernel_does(code: int, flags: int = k.CLONE_NEWUSER) -> None:
    """Refuse unshare(2) as a security module would: a call with flags that no kernel takes gets the kernel's answer."""
    number = numbers.table(calls.MACHINE)["unshare"]
    _install(
        (0x20, 0, 0, 0), (0x15, 0, 4, number), (0x20, 0, 0, 16), (0x45, 2, 0, _CLONE_VFORK), (0x45, 0, 1, flags),
        (0x06, 0, 0, _ERRNO | code), (0x06, 0, 0, _ALLOW),
    )  # fmt: skip


def _map(inner: int) -> None:
    uid, gid = os.geteuid(), os.getegid()
    calls.unshare(k.CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{inner} {uid} 1"), ("gid_map", f"{inner} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def become_ordinary() -> None:
    """Enter a user namespace whose only id is not root: the next exec takes the capabilities away."""
    _map(1000)


def become_root() -> None:
    """Enter a user namespace as its root, with all capabilities over it: what rootless containers are."""
    _map(0)


def own_mounts() -> None:
    """Work on a copy of the mounts, which nobody else sees."""
    calls.unshare(k.CLONE_NEWNS)
    calls.mount("", "/", flags=k.MS_REC | k.MS_PRIVATE)


def cover(path: str) -> None:
    """Mount something empty over a directory or a file, as container runtimes mask parts of /proc."""
    if os.path.isdir(path):
        calls.mount("tmpfs", path, "tmpfs", k.MS_RDONLY)
    else:
        calls.mount("/dev/null", path, flags=k.MS_BIND)


def read_only(path: str) -> None:
    """Make a directory read-only by a mount on itself."""
    calls.mount(path, path, flags=k.MS_BIND | k.MS_REC)
    state = os.statvfs(path).f_flag
    kept = sum(flag for bit, flag in ((2, k.MS_NOSUID), (4, k.MS_NODEV), (8, k.MS_NOEXEC)) if state & bit)
    calls.mount("", path, flags=k.MS_REMOUNT | k.MS_BIND | k.MS_RDONLY | kept | k.MS_RELATIME)


def set_sysctl(name: str, value: object) -> None:
    """Set a sysctl of this user namespace (those of ``user.`` belong to one)."""
    with open("/proc/sys/" + name.replace(".", "/"), "w") as file:
        file.write(str(value))


