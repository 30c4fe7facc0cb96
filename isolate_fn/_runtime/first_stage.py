"""The first of the two interpreters that make a spawner: it walls off the executable and starts the second from there.

Its whole work is a dozen system calls, so it imports nothing for comfort: ``posix`` instead of ``os``, and of the package
what these calls need.
"""

from __future__ import annotations

import posix
import sys

from isolate_fn._sys import constants as k
from isolate_fn._sys import first_calls as calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

CONTROL = 3
BIND = "LD_BIND_NOW"


def run(mode: str, namespaces: int, launcher: str) -> NoReturn:
    """Bind the interpreter read-only onto itself, in namespaces of our own, and execute it again from there.

    Args:
        mode: ``"own"`` to build in a user namespace of its own, ``"host"`` with the privileges that there are,
            ``"landlock"`` to build without namespaces: nothing is walled off then, because isolates may not change the
            interpreter's file wherever it is.
        namespaces: CLONE_NEW* flags of those that it leaves at once.
        launcher: path of the file that the second stage is started with.

    Raises:
        OSError: a step was refused.
    """
    calls.close_from(CONTROL + 1)
    try:
        executable = _wall_off(mode, namespaces)
    except OSError as failure:
        from isolate_fn._sys import answers  # for the caller's error, which says who refused

        failure.filtered = answers.by_a_filter(str(failure.filename))  # type: ignore[attr-defined]
        raise
    if posix.fork():
        posix._exit(0)
    # Every fork would bind each symbol that it uses by itself, in a copy of the page that holds it (ld.so(8)).
    whose = "theirs" if BIND.encode() in posix.environ else "ours"
    if whose == "ours":
        posix.putenv(BIND, "1")
    posix.execv(executable, [sys.orig_argv[0], "-I", "-S", launcher, "2", whose])


def _wall_off(mode: str, namespaces: int) -> str:
    """Enter the namespaces, if there shall be any, and make the interpreter's file read-only there; return its path."""
    posix.umask(0o022)  # the caller's could hide the file tree from the user that isolates run under
    uid, gid = posix.geteuid(), posix.getegid()
    executable = posix.readlink("/proc/self/exe")
    if mode == "own":
        calls.unshare(k.CLONE_NEWUSER | k.CLONE_NEWNS | k.CLONE_NEWPID | namespaces)
        # As 0, or the second exec would take the new capabilities away again (capabilities(7)); only our code runs so.
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            _write(f"/proc/self/{name}", text)
    elif mode == "host":
        calls.unshare(k.CLONE_NEWNS | k.CLONE_NEWPID | namespaces)
    posix.chdir("/")
    if mode != "landlock":
        _read_only(executable)
    return executable


def _read_only(executable: str) -> None:
    """Bind the interpreter read-only onto itself, in the mount namespace that we are in now."""
    # Slave: what the host mounts later can still be granted; nothing mounted here reaches the host.
    calls.mount("", "/", flags=k.MS_REC | k.MS_SLAVE)
    calls.mount(executable, executable, flags=k.MS_BIND)
    flags = _locked_flags(executable)
    calls.mount("", executable, flags=k.MS_REMOUNT | k.MS_BIND | k.MS_RDONLY | flags)


def _write(path: str, text: str) -> None:
    target = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
    try:
        posix.write(target, text.encode())
    except OSError as failure:
        raise OSError(failure.errno, failure.strerror, path) from None
    finally:
        posix.close(target)


def _locked_flags(path: str) -> int:
    """Return the mount flags that a less privileged mount namespace must repeat in a remount (mount_namespaces(7))."""
    state = posix.statvfs(path).f_flag
    flags = 0
    for bit, flag in ((2, k.MS_NOSUID), (4, k.MS_NODEV), (8, k.MS_NOEXEC), (1024, k.MS_NOATIME), (2048, k.MS_NODIRATIME)):
        flags |= flag if state & bit else 0
    return flags | (k.MS_RELATIME if state & 4096 else 0)
