"""What a role process says about itself once its walls stand; the caller compares it with the plan before it sends anything.

Read from the kernel, not from what was asked: a step that silently did nothing shows here.
"""

from __future__ import annotations

import errno
import os
import resource
import stat

from isolate_fn._enforce.namespaces import NESTING
from isolate_fn._enforce.scene import Scene
from isolate_fn._sys import calls
from isolate_fn._sys import constants as k
from isolate_fn._sys.constants import PROBE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAMESPACES = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")


Files = list[tuple[str, bytes]]
"""Files of /proc, by the name under which the report has them; the caller takes them apart."""


def before_the_filter(scene: Scene) -> tuple[dict[str, Any], Files]:
    """Try what only a privileged process can; an attempt under the filter would show the filter, not the walls behind it."""
    files: Files = []
    found: dict[str, Any] = {"unshare_unfiltered": errno_of_unshare(k.CLONE_NEWNS)}
    found["nested_unfiltered"] = None if _nesting_is_left_to_the_filter(scene) else errno_of_unshare(k.CLONE_NEWUSER)
    found["securebits"] = calls.prctl(k.PR_GET_SECUREBITS)
    found["landlock"] = errno_of_mknod()
    found["keys"] = _session_keys()
    found["rlimits"] = [[name, *resource.getrlimit(name)] for name, _, _ in scene.plan.rlimits]
    # An ordinary caller cannot leave its groups; inside they are mapped to nothing.
    found["groups"] = os.getgroups() if scene.start.outer_id else []
    found["hostname"] = os.uname().nodename
    found["death_signal"] = calls.death_signal()
    if scene.has_proc:
        # These do not change any more, and reading them here spares the filter nothing.
        files.append(("mounts", _without_numbers(_content("/proc/self/mountinfo"))))
        inodes = "".join(f"{name} {os.stat(f'/proc/self/ns/{name}').st_ino}\n" for name in NAMESPACES)
        files.append(("namespaces", inodes.encode()))
        files += [("id map", _content(f"/proc/self/{name}")) for name in ("uid_map", "gid_map")]
        found["interpreter_read_only"] = bool(os.statvfs("/proc/self/exe").f_flag & os.ST_RDONLY)
    return found, files


def init_before_the_filter(scene: Scene) -> dict[str, Any]:
    """Collect what init can say about its own walls while it may still ask."""
    found: dict[str, Any] = {"threads": [this_thread()]}
    found["ids"] = [*os.getresuid(), *os.getresgid()]
    found["outer_ids"] = [scene.start.outer_id] * 3 + [scene.start.outer_group] * 3
    found["dumpable"] = calls.prctl(k.PR_GET_DUMPABLE)
    found["securebits"] = calls.prctl(k.PR_GET_SECUREBITS)
    found["landlock"] = errno_of_mknod()
    found["death_signal"] = calls.death_signal()
    return found


def init_under_the_filter(found: dict[str, Any]) -> dict[str, Any]:
    """Complete init's report: its filter denies even the question for the filter, and without one the answer is 0."""
    try:
        mode = calls.prctl(k.PR_GET_SECCOMP)
    except OSError:
        mode = k.SECCOMP_MODE_FILTER
    found["threads"][0]["Seccomp"] = str(mode)
    return found


def under_the_filter(scene: Scene, found: dict[str, Any], files: Files) -> None:
    """Complete the report under all walls, with what must hold on every thread.

    ``status`` is added to the files for each thread (without a /proc, ``threads`` to the values), ``descriptors`` are the
    open numbers with their kind.
    """
    found["ids"] = [*os.getresuid(), *os.getresgid()]
    found["pid"], found["session"], found["cwd"] = os.getpid(), os.getsid(0), os.getcwd()
    found["dumpable"] = calls.prctl(k.PR_GET_DUMPABLE)
    found["descriptors"] = open_descriptors()
    found["terminal"] = [number for number in range(4) if is_terminal(number)]
    if scene.has_proc:
        files += [("status", _content(f"/proc/self/task/{name}/status")) for name in os.listdir("/proc/self/task")]
    else:
        found["threads"] = [this_thread()]
    if scene.plan.open_check:
        found["unshare"] = errno_of_unshare(k.CLONE_NEWUSER, PROBE)


def _nesting_is_left_to_the_filter(scene: Scene) -> bool:
    return any(note.startswith(NESTING) for note in scene.notes)


def errno_of_unshare(flags: int, unused: int = 0) -> int:
    """Ask for namespaces, and return why there are none.

    Args:
        flags: CLONE_NEW*.
        unused: a further argument, by which the filter knows who asks.
    """
    try:
        calls.unshare_with(flags, unused)
    except OSError as refused:
        return refused.errno or 0
    return 0


def errno_of_mknod(places: tuple[str, ...] = ("/tmp", "/dev/shm", ".")) -> int:
    """Try to make a device: Landlock answers before the kernel looks at capabilities, and nothing is ever made.

    Returns:
        EACCES behind Landlock, EPERM without it, EROFS where mounts have left no writable place to try it in.
    """
    number = errno.EROFS
    for place in places:
        try:
            os.mknod(f"{place}/.isolate_fn", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        except OSError as refused:
            number = refused.errno or 0
            if number != errno.EROFS:
                break
    return number


def _session_keys() -> int:
    """Return the size of what the session keyring holds (bytes); 0 also where nobody may look."""
    try:
        return calls.session_keyring_size()
    except OSError:
        return 0


def _without_numbers(mounts: bytes) -> bytes:
    """Return a text of mountinfo without the first three fields: mount, parent and device are others in each isolate."""
    return b"\n".join([line.split(b" ", 3)[3] for line in mounts.split(b"\n") if line])


def _content(path: str) -> bytes:
    parts = []
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while part := os.read(descriptor, 1 << 16):
            parts.append(part)
    finally:
        os.close(descriptor)
    return b"".join(parts)


def this_thread() -> dict[str, str]:
    """Ask by system call where there is no /proc; this process has started no thread."""
    effective, permitted, inheritable = calls.capabilities()
    bounding, ambient = calls.bounding_set(), 0
    return {
        "Seccomp": str(calls.prctl(k.PR_GET_SECCOMP)),
        "NoNewPrivs": str(calls.prctl(k.PR_GET_NO_NEW_PRIVS)),
        "CapInh": f"{inheritable:016x}",
        "CapPrm": f"{permitted:016x}",
        "CapEff": f"{effective:016x}",
        "CapBnd": f"{bounding:016x}",
        "CapAmb": f"{ambient:016x}",
    }


def open_descriptors() -> list[list[Any]]:
    """List the open descriptors as [number, type of file]; the listing's own is closed again when it is looked at."""
    found: list[list[Any]] = []
    try:
        numbers = sorted(map(int, os.listdir("/proc/self/fd")))
    except OSError:  # there is no /proc, or it is denied
        numbers = list(range(min(1024, resource.getrlimit(resource.RLIMIT_NOFILE)[0])))
    for number in numbers:
        try:
            mode = os.fstat(number).st_mode
        except OSError as failure:
            if failure.errno == errno.EBADF:
                continue
            raise
        found.append([number, mode >> 12])
    return found


def is_terminal(number: int) -> bool:
    """Tell whether a descriptor is one."""
    try:
        return os.isatty(number)
    except OSError:
        return False
