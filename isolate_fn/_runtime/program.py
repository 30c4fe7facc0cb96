"""One program that runs in a sandbox block, as the caller sees it: a socket to its keeper (`isolate_fn._runtime.tools`)."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
import threading
import time
from typing import Any

from isolate_fn._runtime import lifetime
from isolate_fn._runtime.endings import Ended, OutOfTime
from isolate_fn._runtime.ends import SO_PASSRIGHTS

KILL_SECONDS = 10.0
_MESSAGE = 1 << 16


class Program:
    """A program and its keeper. Every method may be called by several threads at once.

    Attributes:
        control: our end of the socket.
        pid: number of the program's process inside; 0 before its start.
        returncode: None while it runs; negative for a signal.
        lost: it was killed together with its keeper.
    """

    _ends: tuple[socket.socket, ...] = ()

    def __init__(self) -> None:
        self._ends = self.control, self._there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with contextlib.suppress(OSError):  # since Linux 6.16; recv(2) drops descriptors anyway
            self.control.setsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS, 0)
        self.control.setblocking(False)
        self.pid = 0
        self.returncode: int | None = None
        self.lost = False
        self._failure: OSError | None = None
        self._lock = threading.Lock()
        lifetime.hold(self)

    def end_for_the_keeper(self) -> int:
        """Return the descriptor that travels inside."""
        return self._there.fileno()

    def sent(self) -> None:
        """The keeper has its end."""
        self._there.close()

    def wait_for_start(self, deadline: float) -> None:
        """Wait until the keeper has started the program, or is gone.

        Raises:
            OSError: it could not be started; OutOfTime.
        """
        while self.poll() is None and not self.pid:
            self._readable(deadline)
        if self._failure is not None:
            raise self._failure

    def poll(self) -> int | None:
        """Return the code the program ended with, None while it runs."""
        with self._lock, contextlib.suppress(BlockingIOError):
            while self.returncode is None:
                self._obey(self._hear())
        return self.returncode

    def _obey(self, said: dict[str, Any] | None) -> None:
        if said is None:
            self.lost = True
            self._over(-signal.SIGKILL)
        elif "started" in said:
            self.pid = int(said["started"])
        elif "ended" in said:
            self._over(int(said["ended"]))
        else:  # an errno of 0 is about what is done between fork and exec
            name = said.get("filename")
            self._failure = OSError(
                int(said["errno"]) or errno.EPERM, str(said["text"]), name if isinstance(name, str) else None
            )
            self._over(-1)

    def wait(self, deadline: float | None) -> int:
        """Wait for its end, and that of everything it has left behind; return the code.

        Raises:
            OutOfTime: it still runs at the deadline, by time.monotonic().
        """
        while (code := self.poll()) is None:
            self._readable(deadline)
        return code

    def signal(self, number: int) -> None:
        """Let the keeper send it a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.control.send(bytes((number,)), socket.MSG_NOSIGNAL)

    def kill(self) -> None:
        """Kill it and everything it started, and wait for that.

        Raises:
            Ended: its keeper does not obey.
        """
        self.signal(signal.SIGKILL)
        try:
            self.wait(time.monotonic() + KILL_SECONDS)
        except OutOfTime:
            raise Ended from None

    def _readable(self, deadline: float | None) -> None:
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        wait = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        if not poll.poll(wait):
            raise OutOfTime

    def _hear(self) -> dict[str, Any] | None:
        """Take one message of the keeper; None when it is gone."""
        try:
            data = self.control.recv(_MESSAGE)
        except ConnectionResetError:
            data = b""
        return json.loads(data) if data else None

    def _over(self, code: int) -> None:
        self.returncode = code
        self.control.shutdown(socket.SHUT_RDWR)  # wakes other threads that wait for the same
        lifetime.let_go(self)

    def abandon(self) -> None:
        """Close in a forked child: the program is the parent's, and here as if it were gone."""
        self._lock = threading.Lock()  # another thread may have held it
        for end in self._ends:
            end.close()
        if self.returncode is None:
            self.returncode = -signal.SIGKILL

    end = abandon

    def __del__(self) -> None:
        for end in self._ends:
            end.close()


def hide(descriptor: int) -> None:
    """Put /dev/null in the place of a descriptor that a file object owns: in a forked child, where it must close nothing."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, descriptor, inheritable=False)
    os.close(null)
