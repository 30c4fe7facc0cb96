"""What a spawner hears of denied system calls: which isolate's listener is which, and how much of it is listened to.

A filter that asks (`isolate_fn._enforce.listening`) stops whoever made a denied call until the spawner has answered, and
the answer is always the errno that the filter would have given by itself: nothing is ever permitted here. What was denied
is told to the caller over the isolate's status socket before the call returns, so that it is there before the answer of
the function is. Everything that takes time is in `isolate_fn._runtime.notified`, imported with the first denial.
"""

from __future__ import annotations

import _socket
import os
import select
import struct
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST = 1 << 12
"""Denials of one isolate that are answered one by one; afterwards the kernel answers ENOSYS by itself."""

MOST_LISTENERS = 64
"""Filters of one isolate whose denials are heard of at a time."""

REFILL = 100.0
"""Further ones for each second."""

FORGIVEN = 0.01
"""Seconds spent on reading an isolate's memory that are forgotten in each second: the share that it can have for long."""

_CREDENTIALS = struct.Struct("3i")
_LISTENER = struct.Struct("i")
_ADDRESSES = struct.Struct("=4Q")
_ROOM = _socket.CMSG_SPACE(_CREDENTIALS.size) + _socket.CMSG_SPACE(4 * _LISTENER.size)


class Watched:
    """One isolate whose denials are heard of.

    Attributes:
        status: descriptor of its status socket, init's end.
        door: our end of the socket over which its processes send their listeners.
        listeners: descriptor -> role, and pid of the process that made it, as seen from here.
        awaited: how many listeners are still to come; below 0 where programs bring their own.
        fresh_exec: its worker is no fork of this process.
        left: denials that are still answered.
        since: when that was counted, by time.monotonic().
        anchors: addresses in a worker that is no fork of this process, None where it has not told.
        records: for `isolate_fn._runtime.notified`: what was told already.
        looked: for the same: seconds spent on reading its memory, less what is forgiven with time.
        learner: looks on at it, in place of all that; None for all but `learn`.
    """

    def __init__(self, status: int, door: _socket.socket, roles: int, *, fresh_exec: bool) -> None:
        self.status, self.door, self.awaited, self.fresh_exec = status, door, roles, fresh_exec
        self.listeners: dict[int, tuple[str, int]] = {}
        self.left, self.since = float(MOST), time.monotonic()
        self.anchors: Any = None
        self.records: dict[Any, Any] = {}
        self.looked = 0.0
        self.learner: Any = None


class Supervision:
    """The listeners of every isolate of one spawner.

    Args:
        poll: where the spawner waits; told of every descriptor here.
    """

    def __init__(self, poll: select.poll) -> None:
        self._poll = poll
        self._isolates: dict[int, Watched] = {}
        self._doors: dict[int, Watched] = {}
        self._listeners: dict[int, Watched] = {}

    def door(self) -> tuple[_socket.socket, _socket.socket]:
        """Return a socket pair for the listeners of one isolate: our end, and the isolate's."""
        here, there = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        here.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
        return here, there

    def watch(
        self, pid: int, status: int, door: _socket.socket, roles: int, *, fresh_exec: bool, learning: Any = None
    ) -> None:
        """Listen to an isolate from now on.

        Args:
            pid: of its init.
            status: descriptor of its status socket; a copy is kept until init has ended.
            door: our end of the socket for its listeners.
            roles: how many will come, 0 where nobody knows.
            fresh_exec: its worker is no fork of this process.
            learning: `Plan.learning`, and the ids that its isolate runs under.
        """
        watched = self._isolates[pid] = Watched(os.dup(status), door, roles, fresh_exec=fresh_exec)
        if learning is not None:
            from isolate_fn._runtime.learner import Learner

            watched.learner = Learner(*learning)
        self._doors[door.fileno()] = watched
        self._poll.register(door.fileno(), select.POLLIN)

    def hear(self, events: dict[int, int]) -> None:
        """Deal with what the spawner's poll(2) has found, one message of each, so that nobody keeps the others waiting.

        Listeners first: a new one may get the number of one that was closed since the poll, and would be asked for what
        that one had.
        """
        for descriptor in [each for each in events if each in self._listeners]:
            watched = self._listeners[descriptor]
            if not events[descriptor] & select.POLLIN or not self._answer(descriptor, watched):
                self._close_listener(descriptor, watched)
        for descriptor in [each for each in events if each in self._doors]:
            self._receive(self._doors[descriptor])

    def forget(self, pid: int) -> None:
        """Close what belongs to an isolate whose init has ended; any other pid is nobody's here."""
        watched = self._isolates.pop(pid, None)
        if watched is None:
            return
        self._close_door(watched)
        for listener in list(watched.listeners):
            self._close_listener(listener, watched)
        os.close(watched.status)
        if watched.learner is not None:
            watched.learner.close()

    def _receive(self, watched: Watched) -> None:
        """Take a listener: anything else that comes is closed, and any other message ignored.

        With rules, code that was imported could send something as well: what it can have denied is only its own calls.
        """
        try:
            role, ancillary, _, _ = watched.door.recvmsg(64, _ROOM, _socket.MSG_CMSG_CLOEXEC | _socket.MSG_DONTWAIT)
        except OSError:
            return
        received, sender = [], 0
        for _, kind, content in ancillary:
            if kind == _socket.SCM_RIGHTS:
                received += [each[0] for each in _LISTENER.iter_unpack(content)]
            else:
                sender = _CREDENTIALS.unpack(content)[0]
        name, _, addresses = role.partition(b"\0")
        if len(addresses) == _ADDRESSES.size and watched.fresh_exec:
            watched.anchors = _ADDRESSES.unpack(addresses)
        if len(received) == 1 and len(watched.listeners) < MOST_LISTENERS:
            watched.listeners[received[0]] = name.decode("ascii", "replace"), sender
            self._listeners[received[0]] = watched
            self._poll.register(received[0], select.POLLIN)
            watched.awaited -= 1
        else:
            for descriptor in received:
                os.close(descriptor)
        if not role or not watched.awaited:
            self._close_door(watched)

    def _answer(self, listener: int, watched: Watched) -> bool:
        """Answer one denied call; False when the isolate has had its share.

        Asked for a call that is not there, the kernel would keep this process waiting. So what poll(2) said is asked
        again: with rules, code that was imported could have sent one listener under two descriptors.
        """
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        if not any(event & select.POLLIN for _, event in poll.poll(0)):
            return True
        if watched.learner is not None:
            watched.learner.answer(listener, watched.listeners[listener][0])
            return True
        now = time.monotonic()
        watched.left = min(float(MOST), watched.left + (now - watched.since) * REFILL) - 1
        watched.looked = max(0.0, watched.looked - (now - watched.since) * FORGIVEN)
        watched.since = now
        from isolate_fn._runtime import notified

        notified.answer(listener, watched)
        return watched.left >= 1

    def _close_door(self, watched: Watched) -> None:
        door = watched.door.fileno()
        if door >= 0:
            self._poll.unregister(door)
            del self._doors[door]
            watched.door.close()

    def _close_listener(self, listener: int, watched: Watched) -> None:
        self._poll.unregister(listener)
        del self._listeners[listener], watched.listeners[listener]
        os.close(listener)
