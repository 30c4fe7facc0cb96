"""The user namespace that an id-mapped mount is described by."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os

from isolate_fn._enforce.scene import Scene
from isolate_fn._sys import calls
from isolate_fn._sys import constants as k

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_LAST_ID = 0xFFFFFFFE


def mapping_namespace(scene: Scene) -> int:
    """Return a descriptor of a user namespace that swaps the caller's id for the isolate's and keeps every other.

    A namespace lives as long as somebody holds it; the process that makes it exists only until it was opened.
    Only one id changes: files of other users stay theirs, readable and writable as their permission bits say.
    """
    ready_here, ready_there = os.pipe()
    child = os.fork()
    if child == 0:
        _hold_namespace(scene, ready_there)
    os.close(ready_there)
    try:
        pid = os.read(ready_here, 32).decode()
        if not pid:
            raise OSError(0, "the process that holds the id mapping ended early", "unshare")
        for name, isolate in (("uid_map", scene.start.outer_id), ("gid_map", scene.start.outer_group)):
            target = os.open(f"{pid}/{name}", os.O_WRONLY, dir_fd=scene.old_proc)
            try:
                os.write(target, swap(scene.start.idmap_from, isolate).encode())
            except OSError as failure:
                raise OSError(failure.errno, failure.strerror, name) from None
            finally:
                os.close(target)
        return os.open(f"{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC, dir_fd=scene.old_proc)
    finally:
        os.close(ready_here)
        os.kill(child, _signal.SIGKILL)
        os.waitpid(child, 0)


def _hold_namespace(scene: Scene, ready: int) -> NoReturn:
    """Enter a new user namespace and wait there to be killed. Never returns into the code that forked."""
    try:
        calls.prctl(k.PR_SET_PDEATHSIG, _signal.SIGKILL)
        calls.unshare(k.CLONE_NEWUSER)
        os.write(ready, os.readlink("self", dir_fd=scene.old_proc).encode())
        while True:
            _signal.pause()
    finally:
        os._exit(1)


def swap(caller: int, isolate: int) -> str:
    """Return the id map in which ``caller`` and ``isolate`` change places and all other ids stay.

    Args:
        caller: id that owns the files on disk.
        isolate: id the isolate runs under; its own files, if any, would belong to nobody.
    """
    low, high = sorted((caller, isolate))
    lines = [f"{caller} {isolate} 1", f"{isolate} {caller} 1"]
    if low > 0:
        lines.append(f"0 0 {low}")
    if high - low > 1:
        lines.append(f"{low + 1} {low + 1} {high - low - 1}")
    if high < _LAST_ID:
        lines.append(f"{high + 1} {high + 1} {_LAST_ID - high}")
    return "\n".join(lines) + "\n"
