"""One isolate as the caller sees it: its sockets and pipes, one poll loop over all of them, and its certain end.

The loop runs in the thread that makes the call. It reads the channel with recv(2), which drops descriptors a hostile
worker attaches; the status socket belongs to init, which runs none of the user's code.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import socket
import sys
import termios
import time
from collections.abc import Sequence
from typing import Any

from isolate_fn._plan.orders import Plan, Start
from isolate_fn._runtime import lifetime
from isolate_fn._runtime.cgroup import Group
from isolate_fn._runtime.ends import Ends
from isolate_fn._runtime.output import Output
from isolate_fn._transport.frames import Buffer, Frame, FrameReader, length_of
from isolate_fn.errors import TransportError

SETUP_SECONDS = 60.0
_LAST_WORDS = 1.0  # seconds that init may take to tell how the worker ended, once the channel is closed
_CHUNK = 1 << 18
_READY_LIMIT = 1 << 20  # bytes of a worker's report about itself


class OutOfTime(Exception):
    """The deadline passed while we waited."""


class TooMuchOutput(Exception):
    """The isolate wrote more than its limit to stdout and stderr."""


class Ended(Exception):
    """The isolate ended, or closed its channel, without an answer."""


def _waiting_in(pipe: int) -> int:
    """Return how many bytes can be read now (FIONREAD of ioctl_tty(2))."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


class Isolate(Ends):
    """One isolate, talked to over the caller's ends.

    Args:
        plan: its orders.
        start: what is particular to it.
        tools: it also has a process that starts tools.
        group: cgroup that limits its memory, None for none; removed when the isolate ends.
    """

    def __init__(self, plan: Plan, start: Start, *, tools: bool, group: Group | None = None) -> None:
        super().__init__(start, tools=tools, group=group)
        self.plan = plan
        self.created = self.idle_since = time.monotonic()
        self.stages: dict[str, float] = {}
        self.told: dict[str, Any] = {}  # what init said, by its first key
        self.usage: dict[str, Any] = {}
        self.ready: dict[str, Any] | None = None
        self.calls = 0
        self.prewarmed = False  # ordered before a call needed it
        self.reader = FrameReader(_READY_LIMIT)
        self.poll = select.poll()
        self.output: Output | None = None
        lifetime.hold(self)
        self._watch()

    def _watch(self) -> None:
        self.channel.setblocking(False)
        self.poll.register(self.channel, select.POLLIN)
        self.poll.register(self.status, select.POLLIN)
        for pipe in self.pipes:
            self.poll.register(pipe, select.POLLIN)

    # --- talking -----------------------------------------------------------------------------------------------------

    def send(self, pieces: Sequence[Buffer], descriptor: int, deadline: float | None) -> None:
        """Send a request without ever blocking on a worker that does not read, taking its output meanwhile.

        Raises:
            OutOfTime, TooMuchOutput, Ended.
        """
        views = [memoryview(piece).cast("B") for piece in pieces if length_of(piece)]
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptor.to_bytes(4, "little"))] if descriptor >= 0 else []
        while views:
            try:
                sent = self.channel.sendmsg(views[:64], rights, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                self.poll.modify(self.channel, select.POLLOUT)
                try:
                    self.step(deadline)
                finally:
                    self.poll.modify(self.channel, select.POLLIN)
                continue
            except (BrokenPipeError, ConnectionResetError) as gone:
                self._last_words()
                raise Ended from gone
            rights = []
            while views and sent >= views[0].nbytes:
                sent -= views.pop(0).nbytes
            if sent:
                views[0] = views[0][sent:]

    def receive(self, deadline: float | None) -> Frame:
        """Wait for one frame from the worker.

        Raises:
            OutOfTime, TooMuchOutput, Ended; TransportError: its bytes are no frame.
        """
        while True:
            events = self.step(deadline)
            if self.channel.fileno() in events:
                try:
                    data = self.channel.recv(_CHUNK)
                except BlockingIOError:
                    continue
                except ConnectionResetError:
                    data = b""
                if not data:
                    self._last_words()
                    raise Ended
                frame = self.reader.feed(data)
                if frame is not None:
                    return frame
            elif {"end", "failed", "limit"} & self.told.keys() and not self._readable():
                raise Ended

    def _readable(self) -> bool:
        poll = select.poll()
        poll.register(self.channel, select.POLLIN)
        return any(event & select.POLLIN for _, event in poll.poll(0))

    def step(self, deadline: float | None) -> dict[int, int]:
        """Wait for anything to happen and deal with all of it but the channel; return the events by descriptor."""
        wait = None
        if deadline is not None:
            wait = (deadline - time.monotonic()) * 1000
            if wait <= 0:  # also while there is always something to read: a trickle must not stretch the deadline
                raise OutOfTime
        events = dict(self.poll.poll(wait))
        if not events:
            raise OutOfTime
        for descriptor in [pipe for pipe in events if pipe in self.pipes]:
            self._read_pipe(descriptor)
        if self.status.fileno() in events:
            self.hear()
        return events

    def _read_pipe(self, pipe: int) -> int:
        """Read once; return the bytes, 0 when there is nothing more at the moment."""
        try:
            data = os.read(pipe, _CHUNK)
        except BlockingIOError:
            return 0
        if not data:
            self.poll.unregister(pipe)
            self.pipes.pop(pipe)
            os.close(pipe)
            return 0
        output, self.output = self.output, None  # one that raises is not asked again while the isolate is ended
        fits = output is None or output.feed(self.pipes[pipe], data)
        self.output = output
        if not fits:
            raise TooMuchOutput
        return len(data)

    def drain(self) -> None:
        """Read what is left in the pipes; everything written before an answer is in them when the answer is here.

        No more than that: a thread that goes on writing would keep us reading for ever.
        """
        for pipe in list(self.pipes):
            left = _waiting_in(pipe)
            while left > 0 and (count := self._read_pipe(pipe)):
                left -= count

    def hear(self) -> None:
        """Take one message of init; the first carries a handle of its process."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self.status, 1 << 16, 1, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            data, descriptors = b"", []
        for descriptor in descriptors:
            if self.pidfd < 0:
                self.pidfd = descriptor
            else:
                os.close(descriptor)
        if not data:
            self.poll.unregister(self.status)
            self.told.setdefault("end", ["", None])
            return
        message = json.loads(data)
        self.told[next(iter(message))] = next(iter(message.values()))
        if "peak_memory" in message:
            self.usage = message

    def _last_words(self) -> None:
        """The channel is closed: give init a moment to tell how the worker ended, or find that it lives on."""
        self.poll.unregister(self.channel)
        deadline = time.monotonic() + _LAST_WORDS
        with contextlib.suppress(OutOfTime):
            while not {"end", "failed", "limit"} & self.told.keys():
                self.step(deadline)

    def ask_usage(self) -> dict[str, Any]:
        """Ask init what the isolate uses now; the last known answer where it is gone."""
        self.told.pop("usage", None)
        with contextlib.suppress(OSError, OutOfTime, TooMuchOutput):
            self.status.send(b"usage", socket.MSG_NOSIGNAL)
            deadline = time.monotonic() + 5
            while "usage" not in self.told and "end" not in self.told:
                self.step(deadline)
        return self.usage

    def silent(self) -> bool:
        """True while the worker has said nothing that was not asked for, nor closed its channel."""
        return not self.reader.pending and not self._readable()

    def fresh_reader(self, limit: int) -> None:
        """Expect one frame of at most ``limit`` bytes; whatever was left over from before is an offence."""
        if not self.silent():
            raise TransportError("the isolate sent more than one answer", "its worker is not used again")
        self.reader = FrameReader(limit)

    # --- ending ------------------------------------------------------------------------------------------------------

    def alive(self) -> bool:
        """True while init has not ended."""
        if self.status.fileno() < 0 or "end" in self.told:
            return False
        poll = select.poll()
        poll.register(self.status, select.POLLIN)
        while poll.poll(0):
            self.hear()
            if {"end", "failed", "limit"} & self.told.keys():
                return False
        return True

    def end(self) -> None:
        """Kill init, and with it everything in its pid namespace; wait until it is gone; close everything."""
        lifetime.let_go(self)
        if self.channel.fileno() < 0:
            return
        self.kill()
        with contextlib.suppress(TooMuchOutput):
            self.drain()
        self.abandon()
        if self.group is not None:
            self.group.remove()
