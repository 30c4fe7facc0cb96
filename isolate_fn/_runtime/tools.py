"""The process of a sandbox block that starts programs and hands files in and out.

It is a sibling of the worker: same mounts, network and limits, but a filter that permits exec. It runs none of the
user's Python; programs it starts inherit its walls and none of its descriptors.

Each program gets a keeper, forked from this process: it starts the program, signals it when the caller says so, tells
how it ended, and then kills what the program has left behind. A keeper adopts the orphans of its own program
(PR_SET_CHILD_SUBREAPER), so nobody can confuse them with those of another program that goes on. It talks with the caller
over a socket of its own, whose messages are: the number of a signal in one byte, inwards; JSON, outwards.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import stat
from collections.abc import Callable, Collection
from typing import Any

from isolate_fn._enforce import confinement, ending
from isolate_fn._plan.orders import Narrowing
from isolate_fn._sys import calls
from isolate_fn._sys import constants as k
from isolate_fn._transport.channel import WorkerChannel
from isolate_fn._transport.frames import Frame, Kind

_scope = [0]
"""LANDLOCK_SCOPE_* that holds a program and what it starts, where no pid namespace does; 0 where one does."""

_before_exec: list[Callable[[], None]] = []
"""What a program does between fork and exec."""

_keepers: set[int] = set()


def serve(channel: WorkerChannel, rules: Narrowing | None = None, scope: int = 0) -> None:
    """Do what the caller asks until it closes the channel; programs run under ``rules`` of the user's, where there are any."""
    _scope[0] = scope
    if rules is not None:
        from functools import partial

        from isolate_fn._enforce.narrowing import narrow

        _before_exec[:] = [partial(narrow, rules, "tools")]
    wake, connection = _wake_on_child(), channel.connection.fileno()
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    poll.register(connection, select.POLLIN)
    while True:
        events = dict(poll.poll())
        if wake in events:
            _empty(wake)
            _collect_keepers()
        if connection in events:
            received = channel.receive_with_descriptors()
            if received is None:
                return
            _obey(channel, *received)


def _wake_on_child() -> int:
    """Return a pipe that becomes readable when a child ends."""
    wake, wake_there = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_there, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    return wake


def _empty(pipe: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(pipe, 512):
            pass


def _obey(channel: WorkerChannel, frame: Frame, descriptors: list[int]) -> None:
    """Carry out one order and answer it."""
    order = json.loads(frame.json)
    operation = {"run": _run, "put": _put, "get": _get, "answer": _answer}[order["op"]]
    try:
        operation(channel, frame, order, descriptors)
    except (OSError, ValueError) as failure:
        channel.send(Kind.EXCEPTION, json.dumps(_described(failure)).encode())
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _described(failure: BaseException) -> dict[str, Any]:
    if not isinstance(failure, OSError):
        return {"errno": errno.EINVAL if isinstance(failure, ValueError) else 0, "text": str(failure), "filename": None}
    name = failure.filename if isinstance(failure.filename, str) else None
    return {"errno": failure.errno or 0, "text": failure.strerror or str(failure), "filename": name}


def _answer(channel: WorkerChannel, frame: Frame, order: dict[str, Any], descriptors: list[int]) -> None:
    channel.send(Kind.RESULT, b"{}")


# --- programs --------------------------------------------------------------------------------------------------------


def _run(channel: WorkerChannel, frame: Frame, order: dict[str, Any], descriptors: list[int]) -> None:
    """Fork a keeper for one program: the rest is between it and the caller."""
    import subprocess  # noqa: F401 - here once, and not in every keeper

    pid = os.fork()
    if pid == 0:
        try:
            channel.connection.close()  # or nobody sees the end of the process that this one was forked from
            _keep(order, *descriptors)
            os._exit(0)
        finally:
            os._exit(1)
    _keepers.add(pid)
    _answer(channel, frame, order, descriptors)


def _keep(order: dict[str, Any], control: int, *streams: int) -> None:
    """Start one program and tell its end; whatever it leaves behind is killed first."""
    import subprocess

    calls.prctl(k.PR_SET_CHILD_SUBREAPER, 1)
    held = _hold()
    wake = _wake_on_child()
    stdin, stdout, stderr = streams
    try:
        process = subprocess.Popen(
            order["argv"], stdin=stdin, stdout=stdout, stderr=stderr, cwd=order["cwd"],
            env=dict(os.environ) if order["env"] is None else order["env"],
            preexec_fn=_prepare_for_exec if _before_exec or held else None,
        )  # fmt: skip
    except (OSError, ValueError, subprocess.SubprocessError) as failure:
        _tell(control, **_described(failure))
        return
    for stream in streams:
        os.close(stream)  # the program's end of its output must be seen, not ours
    _tell(control, started=process.pid)
    _wait(process, control, wake)
    _kill_what_is_left(held=held)
    _tell(control, ended=process.returncode)


def _hold() -> bool:
    """Enter a Landlock domain of this keeper's own, and tell whether kill(-1) reaches nobody outside of it."""
    if not _scope[0]:
        return False
    confinement.scope_only(_scope[0])
    return confinement.signals_are_held(os.getppid())


def _prepare_for_exec() -> None:
    if _scope[0]:
        confinement.scope_only(_scope[0])  # another one: a program shall not signal its keeper
    for prepare in _before_exec:
        prepare()


def _kill_what_is_left(*, held: bool) -> None:
    if held:
        ending.kill_domain(held)
        ending.collect_all()
    else:
        kill_children()


def _tell(control: int, **parts: Any) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        os.write(control, json.dumps(parts).encode())


def _wait(process: Any, control: int, wake: int) -> None:
    """Wait for the program's end, passing signals on; the caller's end means that it shall be killed."""
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    poll.register(control, select.POLLIN)
    while process.poll() is None:
        events = dict(poll.poll())
        if control in events:
            number = os.read(control, 1)
            process.send_signal(number[0] if number else signal.SIGKILL)
            if not number:
                poll.unregister(control)
        _empty(wake)


def _collect_keepers() -> None:
    """Collect keepers that have ended. One that was killed has left its program to us."""
    ended = dict(os.waitpid(pid, os.WNOHANG) for pid in _keepers)
    _keepers.difference_update(ended)
    if any(ended.values()):
        kill_children(_keepers)


def kill_children(but: Collection[int] = ()) -> None:
    """Kill and collect every descendant but these: orphans become our children, so until none is left."""
    me = os.getpid()
    if not but and not _has_children():
        return
    while found := [int(name) for name in _processes() if int(name) not in but and ending.parent_of(name) == me]:
        ending.kill_and_collect(found)


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _processes() -> list[str]:
    try:
        return [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:  # without /proc, what was orphaned stays until the block ends
        return []


# --- files -----------------------------------------------------------------------------------------------------------


def _put(channel: WorkerChannel, frame: Frame, order: dict[str, Any], descriptors: list[int]) -> None:
    """Write one file; missing directories above it are made."""
    path = order["path"]
    above = os.path.dirname(path)
    if above:
        os.makedirs(above, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    target = os.open(path, flags, 0o644)
    with open(target, "wb") as file:
        if not stat.S_ISREG(os.fstat(target).st_mode):
            raise OSError(errno.EINVAL, "is not a regular file")
        for buffer in frame.buffers:
            file.write(buffer)
    _answer(channel, frame, order, descriptors)


def _get(channel: WorkerChannel, frame: Frame, order: dict[str, Any], descriptors: list[int]) -> None:
    """Send one regular file; its size is checked before it is read and while it is read."""
    source = os.open(order["path"], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(source, "rb") as file:
        status = os.fstat(source)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "is not a regular file")
        if status.st_size > order["limit"]:
            raise OSError(errno.EFBIG, str(status.st_size))
        data = file.read(order["limit"])
    channel.send_inline(Kind.RESULT, b"{}", [data])
