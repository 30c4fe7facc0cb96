"""Start the process that becomes a spawner, as early as possible: it boots while the caller compiles what it will be told.

Light on purpose: it is imported before what takes long.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import threading
from typing import NamedTuple

from isolate_fn._runtime import lifetime
from isolate_fn.errors import SetupError

_LAUNCHER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "launcher.py")


class LaunchKey(NamedTuple):
    """What must be known to start the process; everything else is told over its socket.

    Attributes:
        interpreter: path of the executable.
        environment: (name, value) pairs, sorted.
        privileged: it builds in the host's user namespace, else in one of its own.
        namespaces: CLONE_NEW* flags of those that it leaves at once.
    """

    interpreter: str
    environment: tuple[tuple[str, str], ...]
    privileged: bool
    namespaces: int


class Launched:
    """A process that waits to be told what it is for.

    Args:
        key: what it was started with.
        control: the caller's end of its socket; its end is the process's end.
        first_stage: the caller's only child, which ends as soon as the spawner proper runs.
    """

    def __init__(self, key: LaunchKey, control: socket.socket, first_stage: int) -> None:
        self.key, self.control, self.first_stage = key, control, first_stage

    def abandon(self) -> None:
        """Close the socket."""
        self.control.close()

    end = abandon


class _Ahead:
    """What one process has launched; a forked child gets a new one."""

    def __init__(self) -> None:
        self.generation = lifetime.generation
        self.lock = threading.Lock()
        self.known: set[LaunchKey] = set()
        self.waiting: dict[LaunchKey, Launched] = {}


_state = _Ahead()


def _ahead() -> _Ahead:
    global _state
    if _state.generation != lifetime.generation:
        _state = _Ahead()
    return _state


def ahead(key: LaunchKey) -> None:
    """Start a process that will be needed in a moment, unless one like it was started before.

    Raises:
        SetupError: it could not be started.
    """
    state = _ahead()
    with state.lock:
        if key not in state.known and key not in state.waiting:
            state.waiting[key] = launched = _launch(key)
            lifetime.hold(launched)


def take(key: LaunchKey) -> Launched:
    """Return the process started ahead, or a new one.

    Raises:
        SetupError: it could not be started.
    """
    state = _ahead()
    with state.lock:
        launched = state.waiting.pop(key, None)
        state.known.add(key)
    if launched is None:
        return _launch(key)
    lifetime.let_go(launched)
    return launched


def drop(key: LaunchKey) -> None:
    """End a process that was started ahead and is not needed after all."""
    state = _ahead()
    with state.lock:
        launched = state.waiting.pop(key, None)
    if launched is not None:
        lifetime.let_go(launched)
        launched.end()
        with contextlib.suppress(ChildProcessError):  # the caller's own SIGCHLD handling may have been faster
            os.waitpid(launched.first_stage, 0)


def _launch(key: LaunchKey) -> Launched:
    control, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with there:
            return Launched(key, control, _spawn(key, there))
    except BaseException:
        control.close()
        raise


def _spawn(key: LaunchKey, there: socket.socket) -> int:
    # At 10 or above, so that no file action below overwrites it before it is moved to 3.
    high = fcntl.fcntl(there.fileno(), fcntl.F_DUPFD_CLOEXEC, 10)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_DUP2, high, 3),
    ]
    mode = "host" if key.privileged else "own"
    try:
        return os.posix_spawn(
            key.interpreter,
            [key.interpreter, "-I", "-S", _LAUNCHER, "1", mode, str(key.namespaces)],
            dict(key.environment),
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
        )
    except OSError as failure:
        raise SetupError(
            "start the spawner", f"posix_spawn({key.interpreter!r})", failure.errno or 0, "see that this file can be run"
        ) from failure
    finally:
        os.close(high)
