"""The private directory of an isolate without mounts of its own: made, measured while hostile code writes in it, removed.

Whoever measures or removes walks by descriptors and follows no link, so that nothing outside can be put in the way. A lock
on the directory says that somebody looks after it; what nobody does is removed by the next spawner of the same user.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import stat
import time

from isolate_fn._enforce.scene import Scene
from isolate_fn._sys import constants as k

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    T = TypeVar("T")

PREFIX = "isolate_fn-"
TEMPORARY = "/tmp"
"""Where TMPDIR leads inside, below the directory; the working directory has the name it has with namespaces."""

DEEPEST = 200
OFTEN = 64
"""Entries between two pauses of `measure`: a millisecond or so."""
_STEPS = 4  # for each entry that there may be: it is looked at, and looked into, and as much again for what vanishes
_MANY = 4096
_OLD = 60.0  # seconds after which a directory that nobody has locked is taken for a forgotten one
_MADE_UP = 0x4000  # ids of root's isolates are above it
_FOLLOWING_NOTHING = os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC


class TooMany(Exception):
    """More is in it than there may be, or directories lie within each other deeper than anybody looks."""


class Hidden(Exception):
    """Somebody closes a directory again and again while it is looked at."""


def make(scene: Scene) -> None:
    """Make and lock the directory, mode 0700, of the id that the isolate runs under."""
    path, start = scene.start.scratch, scene.start
    os.mkdir(path, 0o700)
    scene.disk = os.open(path, os.O_RDONLY | _FOLLOWING_NOTHING)
    fcntl.flock(scene.disk, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for part in (scene.plan.cwd, TEMPORARY):
        name = part.lstrip("/")
        os.mkdir(name, 0o700, dir_fd=scene.disk)
        if start.outer_id != os.geteuid():
            os.chown(name, start.outer_id, start.outer_group, dir_fd=scene.disk)
    if start.outer_id != os.geteuid():
        os.fchown(scene.disk, start.outer_id, start.outer_group)


def working_directory(scene: Scene) -> None:
    """Enter the working directory; what is not there, or not a directory, was changed by somebody outside."""
    os.chdir(scene.start.scratch + scene.plan.cwd)


def remove(path: str) -> None:
    """Remove a private directory and all that is in it, once nobody can write there any more. Missing is removed.

    Raises:
        OSError: something in it cannot be removed.
    """
    try:
        top = os.open(path, os.O_RDONLY | _FOLLOWING_NOTHING)
    except FileNotFoundError:
        return
    try:
        empty(top)
    finally:
        os.close(top)
    os.rmdir(path)


def empty(top: int) -> None:
    """Remove everything below a directory: never deeper than two levels at a time, for paths may be longer than PATH_MAX.

    Raises:
        OSError: something cannot be removed.
    """
    _open_up(top)
    numbers = itertools.count()
    while names := _names(top):
        for name, directory in names:
            if not directory:
                os.unlink(name, dir_fd=top)
            elif not _removed(name, top):
                _hoist(top, name, numbers)


def _names(descriptor: int) -> list[tuple[str, bool]]:
    with os.scandir(descriptor) as entries:
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in itertools.islice(entries, _MANY)]


def _removed(name: str, above: int) -> bool:
    try:
        os.rmdir(name, dir_fd=above)
    except OSError:
        return False
    return True


def _hoist(top: int, name: str, numbers: Iterator[int]) -> None:
    """Remove the files of a directory, and move the directories in it to the top."""
    descriptor = open_directory(name, top)
    try:
        while names := _names(descriptor):
            for inner, directory in names:
                if not directory:
                    os.unlink(inner, dir_fd=descriptor)
                elif not _removed(inner, descriptor):
                    os.close(open_directory(inner, descriptor))  # which makes it one that may be moved
                    os.rename(inner, _free_name(top, numbers), src_dir_fd=descriptor, dst_dir_fd=top)
    finally:
        os.close(descriptor)
    os.rmdir(name, dir_fd=top)


def _free_name(top: int, numbers: Iterator[int]) -> str:
    for number in numbers:
        try:
            os.stat(f"{number}", dir_fd=top, follow_symlinks=False)
        except FileNotFoundError:
            break
    return f"{number}"


def open_directory(name: str, above: int) -> int:
    """Return a descriptor of a directory whose owner has left himself no permission to look into it.

    By a handle of the directory itself, so that nothing else can be put in its place.
    """
    handle = os.open(name, k.O_PATH | _FOLLOWING_NOTHING, dir_fd=above)
    try:
        if os.fstat(handle).st_mode & 0o700 != 0o700:
            os.chmod(f"/proc/self/fd/{handle}", 0o700)
        return _open_unseen(name, above)
    finally:
        os.close(handle)


def _open_unseen(name: str, above: int) -> int:
    """Leave no access time where we may: whoever is measured could read there how far we have come, and move files behind us."""
    flags = os.O_RDONLY | _FOLLOWING_NOTHING
    try:
        return os.open(name, flags | os.O_NOATIME, dir_fd=above)
    except PermissionError:  # of somebody else's
        return os.open(name, flags, dir_fd=above)


class Measured:
    """What was found below a directory so far.

    Args:
        most: entries that there may be.

    Attributes:
        sizes: bytes by inode.
        count: entries. What is moved while somebody looks may be met, and counted, again.
        steps: moments of work, also for what was gone before it was looked at.
    """

    def __init__(self, most: int) -> None:
        self.sizes: dict[int, int] = {}
        self.count = self.steps = 0
        self.most = most

    def step(self) -> bool:
        """Count one moment; tell whether others may want to do something between.

        Raises:
            TooMany: whoever is measured moves things so that nobody gets to the end.
        """
        self.steps += 1
        if self.count > self.most or self.steps > _STEPS * self.most:
            raise TooMany
        return self.steps % OFTEN == 0


def measure(top: int, found: Measured) -> Iterator[None]:
    """Measure what is below a directory, and pause often: who is measured decides how long it takes.

    Raises:
        TooMany: more than there may be.
        Hidden: it cannot be told.
    """
    return _measure(top, found, 0)


def _measure(directory: int, found: Measured, depth: int) -> Iterator[None]:
    if depth > DEEPEST:
        raise TooMany
    below = []
    _open_up(directory)
    with os.scandir(directory) as entries:
        for entry in entries:
            if found.step():
                yield
            try:
                state = _again(directory, entry.name, _look)
            except OSError:
                continue  # removed meanwhile
            found.count += 1
            found.sizes[state.st_ino] = state.st_blocks * 512
            if stat.S_ISDIR(state.st_mode):
                below.append(entry.name)
    for name in below:
        if found.step():
            yield
        try:
            descriptor = _again(directory, name, open_directory)
        except OSError:
            continue
        try:
            yield from _measure(descriptor, found, depth + 1)
        finally:
            os.close(descriptor)


def _look(name: str, above: int) -> os.stat_result:
    return os.stat(name, dir_fd=above, follow_symlinks=False)


def _again(directory: int, name: str, act: Callable[[str, int], T]) -> T:
    """Do something with an entry of a directory that its owner, who is watched, may have closed.

    Raises:
        Hidden: he has closed it once more.
        OSError: it is gone.
    """
    try:
        return act(name, directory)
    except PermissionError:
        _open_up(directory)
    try:
        return act(name, directory)
    except PermissionError:
        raise Hidden from None


def _open_up(directory: int) -> None:
    """Let its owner, who we are, look into a directory and find what is in it."""
    if os.fstat(directory).st_mode & 0o700 != 0o700:
        os.chmod(f"/proc/self/fd/{directory}", 0o700)


def sweep(parent: str) -> None:
    """Remove directories of this user that nobody looks after: their isolates were ended together with all supervisors."""
    try:
        with os.scandir(parent) as entries:
            found = [entry.path for entry in entries if entry.name.startswith(f"{PREFIX}{os.geteuid()}-")]
    except OSError:
        return
    for path in found:
        try:
            top = os.open(path, os.O_RDONLY | _FOLLOWING_NOTHING)
            try:
                state = os.fstat(top)
                ours = state.st_uid == os.geteuid() or (os.geteuid() == 0 and state.st_uid >= _MADE_UP)
                if ours and state.st_mtime < time.time() - _OLD:
                    fcntl.flock(top, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    remove(path)
            finally:
                os.close(top)
        except OSError:
            continue  # somebody's, or being removed by somebody else
