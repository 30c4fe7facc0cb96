"""The descriptors of one isolate at the caller's side: made, handed over, closed; and its certain end."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import time

from isolate_fn._plan.orders import Start
from isolate_fn._runtime.cgroup import Group

SO_PASSRIGHTS = 83  # <asm-generic/socket.h>, Linux 6.16
_KILL_SECONDS = 10.0


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
        self.channel, self._there_worker = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.status, self._there_status = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._there: list[int] = []
        self.tools: socket.socket | None = None
        self._there_tools: socket.socket | None = None
        if tools:
            self.tools, self._there_tools = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._refuse_descriptors()
        for stream in (0, 1):
            here, there = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(here, False)
            self.pipes[here] = stream
            self._there.append(there)
            self.hand_over(there)
        self.group = group
        self.cgroup = group.door() if group is not None else -1

    def end_when_idle(self, seconds: float) -> None:
        """Let the worker stop waiting for a call after so long (0: never), by a time-out on its end of the channel."""
        whole, part = divmod(seconds, 1)
        timeout = struct.pack("ll", int(whole), int(part * 1_000_000))
        self._there_worker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)

    def _refuse_descriptors(self) -> None:
        """Let the kernel refuse descriptors that are sent to us, where it can (Linux 6.16); recv(2) drops them anyway."""
        for end in (self.channel, self.tools):
            if end is not None:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS, 0)

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
        self._there_status.close()
        self._there_worker.close()
        if self._there_tools is not None:
            self._there_tools.close()
        while self._there:
            os.close(self._there.pop())
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
        """Kill init, and with it everything in its pid namespace, without waiting for that."""
        if self.pidfd >= 0:
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
        poll.poll(_KILL_SECONDS * 1000)

    def _end_unborn(self) -> None:
        """Without a handle of init yet: its socket's end makes it exit; the end of ours tells that it has."""
        with contextlib.suppress(OSError):
            self.status.shutdown(socket.SHUT_WR)
            poll = select.poll()
            poll.register(self.status, select.POLLIN)
            deadline = time.monotonic() + _KILL_SECONDS
            while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                data, descriptors, _, _ = socket.recv_fds(self.status, 1 << 16, 1)
                for descriptor in descriptors:
                    with contextlib.suppress(ProcessLookupError):
                        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                    os.close(descriptor)
                if not data:
                    return

    def abandon(self) -> None:
        """Close every descriptor, and nothing else."""
        self.close_child_ends()
        self.channel.close()
        self.status.close()
        if self.tools is not None:
            self.tools.close()
        while self.pipes:
            os.close(self.pipes.popitem()[0])
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
