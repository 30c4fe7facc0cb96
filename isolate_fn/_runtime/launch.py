"""Start the process that becomes a spawner, as early as possible: it boots while the caller compiles what it will be told.

Light on purpose: it is imported before what takes long.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import marshal
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable

from isolate_fn._runtime import lifetime
from isolate_fn._runtime.executable import LAUNCHER
from isolate_fn.errors import SetupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from isolate_fn._records import NamedTuple

class LaunchKey(NamedTuple):
    """What must be known to start the process; everything else is told over its socket.

    Attributes:
        interpreter: path of the executable.
        environment: (name, value) pairs, sorted.
        mode: of the first stage: ``"host"``, ``"own"`` or ``"landlock"``, see `mode_of`.
        namespaces: CLONE_NEW* flags of those that it leaves at once.
    """

    interpreter: str
    environment: tuple[tuple[str, str], ...]
    mode: str
    namespaces: int


def mode_of(engine: str, *, privileged: bool) -> str:
    """Return how a spawner of this engine is started: in the host's user namespace, in its own, or without namespaces."""
    return engine if engine == "landlock" else "host" if privileged else "own"


class Launched:
    """A process that waits to be told what it is for.

    Args:
        key: what it was started with.
        control: the caller's end of its socket; its end is the process's end.

    Attributes:
        children: the first stage, our only child, which ends as soon as the spawner proper runs; none once collected.
        first_stage: its number.
        high: the descriptor that it is started with.
    """

    def __init__(self, key: LaunchKey, control: socket.socket) -> None:
        self.key, self.control = key, control
        self.children: list[int] = []
        self.high: list[int] = []
        self.first_stage = -1

    def abandon(self) -> None:
        """Close the socket in a forked child, whose children they are not."""
        self.control.close()
        self.children.clear()
        self.__class__ = Launched

    def end(self) -> None:
        """Close the socket, and leave no dead child behind."""
        lifetime.let_go(self)
        self.control.close()
        lifetime.close(self.high)
        self.collect()

    def collect(self, *, kill: bool = True) -> None:
        """Wait until our child has ended.

        Args:
            kill: make it end; else it is known to do so by itself.
        """
        for pid in self.children:
            # The caller's own SIGCHLD handling may have been faster.
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                if kill:
                    os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        self.children.clear()
        self.__class__ = Launched


class _Uncollected(Launched):
    """One that has a child: when nobody can take it any more it ends itself. See `isolate_fn._runtime.isolate`."""

    def __del__(self) -> None:
        if hasattr(self, "high"):
            self.end()


class _Ahead:
    """What one process has launched; a forked child gets a new one."""

    def __init__(self) -> None:
        self.generation = lifetime.generation
        self.lock = threading.RLock()
        self.known: set[LaunchKey] = set()
        self.waiting: dict[LaunchKey, Launched] = {}


_state = _Ahead()


def _ahead() -> _Ahead:
    global _state
    if _state.generation != lifetime.generation:
        _state = _Ahead()
    return _state


def ahead(key: LaunchKey) -> bool:
    """Start a process that will be needed in a moment, unless one like it was started before; tell whether it was.

    Raises:
        SetupError: it could not be started.
    """
    state = _ahead()
    with state.lock:
        if key in state.known or key in state.waiting:
            return False
        state.waiting[key] = _launch(key)
        return True


def hint(key: LaunchKey, module: str) -> None:
    """Let a process that was started ahead import a module that it will be told to preload, where it still waits."""
    state = _ahead()
    with state.lock:
        launched = state.waiting.get(key)
        if launched is not None:
            with contextlib.suppress(OSError):  # it is gone; who takes it hears why. Or our working directory is
                told = marshal.dumps({"early": module, "sys_path": [os.path.abspath(entry) for entry in sys.path]})
                launched.control.sendall(len(told).to_bytes(4, "little") + told)


def take(key: LaunchKey) -> Launched:
    """Return the process started ahead, or a new one; it is the taker's to let go.

    Raises:
        SetupError: it could not be started.
    """
    state = _ahead()
    with state.lock:
        launched = state.waiting.pop(key, None)
        state.known.add(key)
    if launched is None or launched.control.fileno() < 0:  # ended when the interpreter was about to
        return _launch(key)
    return launched


def drop(key: LaunchKey) -> None:
    """End a process that was started ahead and is not needed after all."""
    state = _ahead()
    with state.lock:
        launched = state.waiting.pop(key, None)
    if launched is not None:
        launched.end()


def drop_all() -> None:
    """End whatever was started ahead: this machine needs another kind."""
    state = _ahead()
    with state.lock:
        waiting = list(state.waiting.values())
        state.waiting.clear()
    for launched in waiting:
        launched.end()


def _launch(key: LaunchKey) -> Launched:
    with lifetime.making:
        control, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        launched = _Uncollected(key, control)
        lifetime.hold(launched)
        try:
            with there:
                _spawn(launched, there)
            launched.first_stage = launched.children[0]
        except BaseException:
            launched.end()
            raise
    return launched


def _spawn(launched: Launched, there: socket.socket) -> None:
    key, high = launched.key, launched.high
    try:
        # In one step, or an exception of a signal handler's could come between a thing and the note of it. At 10 or
        # above, so that no file action below overwrites it before it is moved to 3.
        high.extend(map(fcntl.fcntl, (there.fileno(),), (fcntl.F_DUPFD_CLOEXEC,), (10,)))
        spawn, words = _spawn_with(key, high[0])
        launched.children.extend(map(spawn, (key.interpreter,), (words,), (dict(key.environment),)))
    except OSError as failure:
        from isolate_fn._plan import remedies  # only where it failed

        call, code = f"posix_spawn({key.interpreter!r})", failure.errno or 0
        raise SetupError("start the spawner", call, code, remedies.of_start(code)) from failure
    finally:
        lifetime.close(high)


def _spawn_with(key: LaunchKey, descriptor: int) -> tuple[Callable[..., int], list[str]]:
    """Return what starts the interpreter, a function in C, and the argument vector."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_DUP2, descriptor, 3),
    ]
    spawn = functools.partial(
        os.posix_spawn,
        file_actions=actions,
        setsid=True,
        setsigmask=(),
        setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
    )
    return spawn, [key.interpreter, "-I", "-S", LAUNCHER, "1", key.mode, str(key.namespaces)]
