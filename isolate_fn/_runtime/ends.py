"""The descriptors of one isolate at the caller's side: made, handed over, closed; and its certain end."""

from __future__ import annotations

import _socket  # the pairs of ``socket`` are made, taken apart and made again
import contextlib
import fcntl
import functools
import os
import select
import signal
import socket
import struct
import sys
import time

from isolate_fn._plan.orders import Start
from isolate_fn._runtime import lifetime
from isolate_fn._runtime.cgroup import Group
from isolate_fn._runtime.lifetime import close

SO_PASSRIGHTS = 83  # <asm-generic/socket.h>, Linux 6.16
ONE_DESCRIPTOR = _socket.CMSG_SPACE(4)  # init sends one, and knows no other
_FIONREAD = 0x541B  # <asm-generic/ioctls.h>; termios has it, an extension module that would be loaded for it alone
KILL_SECONDS = 10.0


def waiting_in(pipe: int) -> int:
    """Return how many bytes can be read now (FIONREAD of ioctl_tty(2))."""
    return int.from_bytes(fcntl.ioctl(pipe, _FIONREAD, bytes(4)), sys.byteorder)


@functools.lru_cache(maxsize=64)
def _timeval(seconds: float) -> bytes:
    whole, part = divmod(seconds, 1)
    return struct.pack("ll", int(whole), int(part * 1_000_000))


class Ends:
    """The caller's ends of one isolate, and those that are on their way to it.

    Args:
        start: what is particular to the isolate.
        tools: it also has a process that starts tools.
        group: cgroup that limits its memory, None for none; removed when the isolate ends.
    """

    def __init__(self, start: Start, *, tools: bool, group: Group | None) -> None:
        self.start = start
        self.pidfd = -1  # of init, once it has introduced itself
        self.pipes: dict[int, int] = {}  # our end -> 0 for stdout, 1 for stderr
        self.group, self.cgroup = group, -1
        self._there: list[int] = []
        self._here: list[int] = []  # all that is ours and no object's: `pipes`, and `pidfd`
        self._made: list[tuple[int, int]] = []
        self.tools: socket.socket | None = None
        self._there_tools: socket.socket | None = None
        self.status, self._there_status = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self.channel, self._there_worker = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
        # From here on there is something to `abandon`, should a signal handler's exception come in between.
        if tools:
            self.tools, self._there_tools = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._refuse_descriptors()
        self._make_pipes()
        if group is not None:
            self.cgroup = group.door()

    def _make_pipes(self) -> None:
        # In one step, or such an exception could come between a pipe and the note of it.
        self._made.extend(map(os.pipe2, (os.O_CLOEXEC, os.O_CLOEXEC)))
        for stream, (here, there) in enumerate(self._made):
            os.set_blocking(here, False)
            self.hand_over(there)
            self._here.append(here)
            self._there.append(there)
            self.pipes[here] = stream
        self._made.clear()

    def end_when_idle(self, seconds: float) -> None:
        """Let the worker stop waiting for a call after so long (0: never), by a time-out on its end of the channel."""
        self._there_worker.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, _timeval(seconds))

    def _refuse_descriptors(self) -> None:
        """Let the kernel refuse descriptors that are sent to us, where it can (Linux 6.16); recv(2) drops them anyway."""
        for end in (self.channel, self.tools):
            if end is not None:
                with contextlib.suppress(OSError):
                    end.setsockopt(_socket.SOL_SOCKET, SO_PASSRIGHTS, 0)

    def ends_for_the_child(self) -> tuple[tuple[str, ...], list[int]]:
        """Return the roles and descriptors that travel to the spawner."""
        roles = ["status", "worker", "stdout", "stderr"]
        descriptors = [self._there_status.fileno(), self._there_worker.fileno(), *self._there]
        if self._there_tools is not None:
            roles.append("tools")
            descriptors.append(self._there_tools.fileno())
        if self.cgroup >= 0:
            roles.append("cgroup")
            descriptors.append(self.cgroup)
        return tuple(roles), descriptors

    def hand_over(self, pipe: int) -> None:
        """Give a pipe to the isolate's host user: only its owner can open it by name, as in ``> /dev/stdout``."""
        if self.start.outer_id != os.geteuid():
            with contextlib.suppress(OSError):
                os.fchown(pipe, self.start.outer_id, self.start.outer_group)

    def close_child_ends(self) -> None:
        """Close our copies once they are on their way: an end is seen only when nobody else holds it."""
        with lifetime.making:  # a fork by another thread in the middle of a close would copy what nobody there knows of
            self._close_child_ends()

    def _close_child_ends(self) -> None:
        if self._made:  # an exception came
            self._there += {end for pipe in self._made for end in pipe} - {*self._here, *self._there}
            self._made.clear()
        self._there_status.close()
        self._there_worker.close()
        if self._there_tools is not None:
            self._there_tools.close()
        close(self._there)
        if self.cgroup >= 0:
            os.close(self.cgroup)
            self.cgroup = -1

    def closed(self) -> bool:
        """True when the channel says no more than that it has ended; asked where poll(2) has found something to read."""
        try:
            return not self.channel.recv(1, socket.MSG_PEEK)
        except ConnectionResetError:
            return True

    def condemn(self) -> None:
        """Kill init, and with it everything in its pid namespace, without waiting for that.

        Without a pid namespace it is init that kills everything, as soon as nobody holds the other end of its status socket.
        """
        if self.start.scratch:
            with contextlib.suppress(OSError):
                self.status.shutdown(socket.SHUT_WR)
        elif self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def kill(self) -> None:
        """Kill init, and with it everything in its pid namespace; wait until it is gone."""
        self.close_child_ends()
        if self.pidfd < 0:
            self._end_unborn()
            return
        self.condemn()
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        if not poll.poll(KILL_SECONDS * 1000) and self.start.scratch:  # it was stopped; the spawner does what it does not
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        if self.start.scratch:  # which init has emptied, and may not remove where only root may
            with contextlib.suppress(OSError):
                os.rmdir(self.start.scratch)

    def _end_unborn(self) -> None:
        """Without a handle of init yet: its socket's end makes it exit; the end of ours tells that it has."""
        with contextlib.suppress(OSError):
            self.status.shutdown(socket.SHUT_WR)
            poll = select.poll()
            poll.register(self.status, select.POLLIN)
            deadline = time.monotonic() + KILL_SECONDS
            while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                data, rights, _, _ = self.status.recvmsg(1 << 16, ONE_DESCRIPTOR)
                for descriptor in [int.from_bytes(packed, sys.byteorder) for _, _, packed in rights]:
                    with contextlib.suppress(ProcessLookupError):
                        if not self.start.scratch:  # or it has something to remove, and does so before it ends
                            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                    os.close(descriptor)
                if not data:
                    return

    def abandon(self) -> None:
        """Close every descriptor, and nothing else."""
        with lifetime.making:
            self._close_child_ends()
            self.status.close()
            if self.tools is not None:
                self.tools.close()
            self.pipes.clear()
            self.pidfd = -1
            close(self._here)
            self.channel.close()  # last: what has one open is not closed yet
