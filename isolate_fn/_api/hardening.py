"""Small steps by which a program hardens itself, before or without a `SafetyContext`: a PID file, fewer privileges."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from io import FileIO
from typing import ParamSpec, TypeVar

from isolate_fn.errors import PolicyError, SetupError, Unsupported

P = ParamSpec("P")
T = TypeVar("T")

_MODE_BITS = 0o7777
#: How often the file may be replaced under our hands before that is an error. Each time somebody else removed it.
_REPLACED = 100


def lock_pid_file(
    path: str | os.PathLike[str],
    *,
    closefd: bool = False,
    cloexec: bool = True,
    mode: int = 0o640,
    contents: bytes | None = None,
) -> FileIO:
    """Take an exclusive lock on a file and write this process's id into it; a second holder is refused at once.

    What the file held before is replaced only after the lock is taken. Symbolic links are followed, magic links such as
    ``/proc/self/fd/3`` are not. Where another process removes or replaces the file meanwhile, the new one is locked: the
    lock that is returned is always that of the file behind ``path``.

    The lock lasts as long as the open file (flock(2)): processes forked from this one share it.

    Args:
        path: of the file, which is made where it is missing. Its directory must exist.
        closefd: False keeps the file open, and the lock held, until the process ends, whatever becomes of the object that
            is returned. True releases both when it is closed or garbage-collected.
        cloexec: close the file, and with the last of them the lock, in programs that this process executes.
        mode: permission bits of a new file, before the umask.
        contents: what to write; the process id and a newline if left out.

    Returns:
        The open file, unbuffered, for reading and writing.

    Raises:
        TypeError: ``path`` is no str or path, or ``contents`` no bytes.
        PolicyError: ``mode`` has bits that are no permissions.
        SetupError: a step failed; ``.call`` and ``.errno`` say which and why, and its ``__cause__`` is the OSError:
            BlockingIOError where the lock is held by someone else.
        Unsupported: no openat2(2), which came with Linux 5.6.
    """
    name = os.fspath(path)
    if not isinstance(name, str):
        raise TypeError(f"path must be str or os.PathLike[str], not {type(name).__name__}")
    if "\0" in name:
        raise PolicyError("path", f"{name!r:.60} holds a NUL character", "leave it out: the kernel ends there")
    if contents is not None and not isinstance(contents, (bytes, bytearray, memoryview)):
        raise TypeError(f"contents must be bytes or None, not {type(contents).__name__}")
    if isinstance(mode, bool) or not isinstance(mode, int):
        raise TypeError(f"mode must be int, not {type(mode).__name__}")
    if mode & ~_MODE_BITS:
        problem = f"{mode:#o} has bits that are no permissions"
        raise PolicyError("mode", problem, "use permission bits only, such as 0o640")
    descriptor = _open_locked(name, cloexec=cloexec, mode=mode)
    try:
        _step(f"ftruncate({name!r}, 0)", os.ftruncate, descriptor, 0)
        data = b"%d\n" % os.getpid() if contents is None else bytes(contents)
        while data:
            data = data[_step(f"write({name!r})", os.write, descriptor, data) :]
        return open(descriptor, "r+b", buffering=0, closefd=closefd)
    except BaseException:
        os.close(descriptor)
        raise


def _open_locked(name: str, *, cloexec: bool, mode: int) -> int:
    """Return a locked descriptor of the file that the path leads to when the lock is held."""
    for _ in range(_REPLACED):
        descriptor = _open(name, cloexec=cloexec, mode=mode)
        try:
            _step(f"flock({name!r}, LOCK_EX | LOCK_NB)", fcntl.flock, descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still_there(name, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise SetupError("PID file", f"open({name!r})", 0, "stop what keeps removing or replacing the file")


def _open(name: str, *, cloexec: bool, mode: int) -> int:
    from isolate_fn._sys import this_process_calls as calls

    flags = os.O_RDWR | os.O_CREAT | os.O_NOCTTY | (os.O_CLOEXEC if cloexec else 0)
    try:
        return _step(f"openat2({name!r})", calls.open_or_create, name, flags, mode)
    except SetupError as failure:
        if failure.errno != errno.ENOSYS:
            raise
        needs = "openat2(2), Linux 5.6"
        raise Unsupported("lock_pid_file()", needs, "ENOSYS", "run on a newer kernel") from failure


def _is_still_there(name: str, descriptor: int) -> bool:
    """Tell whether the path still leads to the open file: a lock on a removed file keeps nobody out."""
    try:
        there = os.stat(name)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))


_REMEDIES = {
    "openat2": "see that the directory exists and this user may create the file there; it must not be a magic link",
    "flock": "another process holds the file: end that one first, or use another path",
    "ftruncate": "use the path of a regular file",
    "write": "see that the file system has room, and that RLIMIT_FSIZE allows the file",
}


def _step(call: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Make one call.

    Raises:
        SetupError: it failed.
    """
    try:
        return function(*args, **kwargs)
    except OSError as failure:
        remedy = _REMEDIES[call.partition("(")[0]]
        raise SetupError("PID file", call, failure.errno or 0, remedy) from failure


def restrict_privileges(*, unshare: bool = False) -> None:
    """Give up, for this thread and all that it starts, the ways to gain privileges by executing a program.

    Empties the ambient capabilities and sets ``no_new_privs``: setuid programs and file capabilities are inert from then
    on. Threads that run already are not affected, so call it before starting any.

    Args:
        unshare: also stop sharing descriptors, working directory, umask and System V semaphore adjustments
            (``unshare(CLONE_FILES | CLONE_FS | CLONE_SYSVSEM)``) with whoever shares them. In a program with threads
            those are its own other threads: a descriptor opened afterwards is not theirs, and ``os.chdir`` no longer moves
            them. Hence only when asked for.

    Raises:
        SetupError: the kernel, or a filter that is in force, refused a step. Later steps were not tried.
    """
    from isolate_fn._sys import calls as common
    from isolate_fn._sys import this_process_calls as calls

    steps: list[tuple[str, Callable[[], None]]] = [
        ("prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)", calls.clear_ambient_capabilities),
        ("prctl(PR_SET_NO_NEW_PRIVS, 1)", calls.set_no_new_privs),
    ]
    if unshare:
        shared = calls.CLONE_FILES | calls.CLONE_FS | calls.CLONE_SYSVSEM
        steps.insert(0, ("unshare(CLONE_FILES | CLONE_FS | CLONE_SYSVSEM)", lambda: common.unshare(shared)))
    for call, action in steps:
        try:
            action()
        except OSError as failure:
            remedy = "call it before a SafetyContext, or any other filter that denies prctl(2) or unshare(2)"
            raise SetupError("restrict privileges", call, failure.errno or 0, remedy) from failure


__all__ = ["lock_pid_file", "restrict_privileges"]
