"""The floor of a call in an isolate that waited: a bare fork that waited, and the descriptors that any such call needs.

The caller hears who the fork is, reads a report of the usual size and compares it with the last, sends one number by
marshal, orders the next fork while this one answers, reads the answer, kills the fork and closes what led to it. The fork
has no walls, is not looked into, gets no function and sends an integer as text: whatever a call in a waiting isolate costs
beyond this is what its promises cost. Run as a script it is what forks; `Waiting` starts it.
"""

from __future__ import annotations

import marshal
import os
import select
import signal
import socket
import subprocess
import sys
from typing import NamedTuple, NoReturn

REPORT = bytes(8 << 10)


class Ends(NamedTuple):
    """The caller's ends of one fork."""

    status: socket.socket
    channel: socket.socket
    pipes: list[int]
    events: select.epoll


class Waiting:
    """One interpreter that forks, and one of its forks that waits for a number."""

    def __init__(self) -> None:
        self.ours, theirs = socket.socketpair()
        self.report = REPORT
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()]
            )
        self.waiting = self._order()

    def _order(self) -> Ends:
        status, their_status = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        channel, their_channel = socket.socketpair()
        (out, their_out), (err, their_err) = os.pipe(), os.pipe()
        events = select.epoll()
        for end in (status.fileno(), channel.fileno(), out, err):
            events.register(end, select.EPOLLIN)
        socket.send_fds(self.ours, [b"1"], [their_status.fileno(), their_channel.fileno(), their_out, their_err])
        their_status.close()
        their_channel.close()
        os.close(their_out)
        os.close(their_err)
        return Ends(status, channel, [out, err], events)

    def __call__(self, number: int) -> int:
        """Return what a fork makes of a number."""
        status, channel, pipes, events = self.waiting
        _, handles, _, _ = socket.recv_fds(status, 4096, 1)
        report = b""
        while len(report) < len(self.report):
            report += channel.recv(1 << 15)
        if report != self.report:
            raise RuntimeError("not as the last")
        channel.sendall(marshal.dumps((number,)))
        self.waiting = self._order()
        events.poll()
        answer = int(channel.recv(1 << 15))
        signal.pidfd_send_signal(handles[0], signal.SIGKILL)
        self._close(status, channel, pipes, events)
        os.close(handles[0])
        return answer

    @staticmethod
    def _close(status: socket.socket, channel: socket.socket, pipes: list[int], events: select.epoll) -> None:
        events.close()
        status.close()
        channel.close()
        for pipe in pipes:
            os.close(pipe)

    def close(self) -> None:
        """End it; the fork that waits ends when its channel does."""
        self._close(*self.waiting)
        self.ours.close()
        self.process.wait()


def serve(descriptor: int) -> None:
    """Be what forks, until the socket ends."""
    import gc

    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for what was killed
    with socket.socket(fileno=descriptor) as other:
        while True:
            message, ends, _, _ = socket.recv_fds(other, 1, 4)
            if not message:
                return
            if os.fork() == 0:
                other.close()
                _become_worker(ends)
            for end in ends:
                os.close(end)


def _become_worker(ends: list[int]) -> NoReturn:
    try:
        with socket.socket(fileno=ends[0]) as status, socket.socket(fileno=ends[1]) as channel:
            socket.send_fds(status, [b"{}"], [os.pidfd_open(os.getpid())])
            channel.sendall(REPORT)
            while question := channel.recv(1 << 15):
                (number,) = marshal.loads(question)
                channel.sendall(b"%d" % (number + 1))
    finally:
        os._exit(0)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
