"""The process of a sandbox block that starts programs and hands files in and out.

It is a sibling of the worker: same mounts, network and limits, but a filter that permits exec. It runs none of the
user's Python; programs it starts inherit its walls and none of its descriptors. One thing at a time.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import stat
from collections.abc import Callable
from typing import Any

from isolate_fn._plan.orders import Narrowing
from isolate_fn._transport.channel import WorkerChannel
from isolate_fn._transport.frames import Frame, Kind


def serve(channel: WorkerChannel, rules: Narrowing | None = None) -> None:
    """Do what the caller asks until it closes the channel; programs run under ``rules`` of the user's, where there are any."""
    if rules is not None:
        from functools import partial

        from isolate_fn._enforce.narrowing import narrow

        _before_exec[:] = [partial(narrow, rules)]
    operations = {"run": _run, "put": _put, "get": _get}
    while True:
        received = channel.receive_with_descriptors()
        if received is None:
            return
        frame, descriptors = received
        order = json.loads(frame.json)
        try:
            operations[order["op"]](channel, frame, order, descriptors)
        except OSError as failure:
            name = failure.filename if isinstance(failure.filename, str) else None
            _say(
                channel, Kind.EXCEPTION,
                errno=failure.errno or 0, text=failure.strerror or str(failure), filename=name,
            )  # fmt: skip
        except ValueError as failure:
            _say(channel, Kind.EXCEPTION, errno=errno.EINVAL, text=str(failure))
        finally:
            for descriptor in descriptors:
                with contextlib.suppress(OSError):
                    os.close(descriptor)


_before_exec: list[Callable[[], None]] = []
"""What the child does between fork and exec."""


def _say(channel: WorkerChannel, kind: Kind, **parts: Any) -> None:
    channel.send(kind, json.dumps(parts).encode())


def _run(channel: WorkerChannel, frame: Frame, order: dict[str, Any], descriptors: list[int]) -> None:
    """Start one program and report its end; whatever it leaves behind is killed."""
    import subprocess

    stdin, stdout, stderr = descriptors
    environment = dict(os.environ) if order["env"] is None else order["env"]
    wake, wake_there = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_there, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    try:
        process = subprocess.Popen(
            order["argv"], stdin=stdin, stdout=stdout, stderr=stderr, cwd=order["cwd"], env=environment,
            preexec_fn=_before_exec[0] if _before_exec else None,
        )  # fmt: skip
        while descriptors:
            os.close(descriptors.pop())  # the program's end of its output must be seen, not ours
        _say(channel, Kind.NOTICE, started=process.pid)
        _wait(channel, process, wake)
        kill_children()
        _say(channel, Kind.RESULT, returncode=process.returncode)
    except subprocess.SubprocessError as failure:
        _say(channel, Kind.EXCEPTION, errno=0, text=str(failure))
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(wake)
        os.close(wake_there)


def _wait(channel: WorkerChannel, process: Any, wake: int) -> None:
    """Wait for the program's end; a message meanwhile means that it shall be killed, the channel's end too."""
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    poll.register(channel.connection, select.POLLIN)
    while process.poll() is None:
        events = dict(poll.poll())
        if channel.connection.fileno() in events:
            channel.receive()
            process.kill()
            process.wait()
            return
        with contextlib.suppress(BlockingIOError):
            os.read(wake, 512)


def kill_children() -> None:
    """Kill and collect every descendant: orphans become our children (PR_SET_CHILD_SUBREAPER), so until none is left."""
    me = os.getpid()
    while found := [pid for pid in _processes() if _parent(pid) == me]:
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in found:  # and no other: children of these, ours from now on, are not killed yet
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _processes() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except FileNotFoundError:  # without /proc, what was orphaned stays until the block ends
        return []


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return -1


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
    _say(channel, Kind.RESULT)


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
