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
from isolate_fn._runtime.endings import Ended, OutOfTime, TooMuchOutput
from isolate_fn._runtime.ends import Ends
from isolate_fn._runtime.output import Output
from isolate_fn._transport.frames import Buffer, Frame, FrameReader, length_of
from isolate_fn.errors import TransportError

SETUP_SECONDS = 60.0
_LAST_WORDS = 1.0  # seconds that init may take to tell how the worker ended, once the channel is closed
_CHUNK = 1 << 18
FIRST = 1 << 15  # bytes to ask for first: malloc(3) maps and unmaps a much bigger buffer for each call
_OVER = frozenset({"end", "failed", "limit"})  # what init says last
_READY_LIMIT = 1 << 20  # bytes of a worker's report about itself


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
        self.calls = self.numbered = 0  # functions that were given a number
        self.prewarmed = False  # ordered before a call needed it
        self.functions: dict[object, tuple[int, bytes]] = {}  # that the worker has: number, and as it was sent
        self.reader = FrameReader(_READY_LIMIT)
        self._limit = _READY_LIMIT
        self.wrote = self._quiet = False  # more to read beside its answer: call `drain`; nothing had come a moment ago
        self.poll, self.words = select.poll(), select.poll()  # the second has news only of the worker
        self.output: Output | None = None
        self.end_when_idle(plan.idle_timeout)
        lifetime.hold(self)
        self._watch()

    def _watch(self) -> None:
        """Register what is waited for: the channel first, so that what poll(2) finds in the pipes is no older than that."""
        self.channel.setblocking(False)
        self._channel = self.channel.fileno()
        self.answer_event = (self._channel, select.POLLIN)  # what poll(2) says when there is an answer and nothing else
        for poll in (self.words, self.poll):
            poll.register(self.channel, select.POLLIN)
        self.poll.register(self.status, select.POLLIN)
        for pipe in self.pipes:
            self.poll.register(pipe, select.POLLIN)

    # --- talking -----------------------------------------------------------------------------------------------------

    def send(self, pieces: Sequence[Buffer], descriptor: int, deadline: float | None) -> None:
        """Send a request without ever blocking on a worker that does not read, taking its output meanwhile.

        Raises:
            OutOfTime, TooMuchOutput, Ended.
        """
        if len(pieces) == 1 and descriptor < 0:
            try:
                sent = self.channel.send(pieces[0], socket.MSG_NOSIGNAL)
            except (BlockingIOError, BrokenPipeError, ConnectionResetError):
                sent = 0  # told below; any other may be a signal handler's
            if sent == length_of(pieces[0]):
                return
            pieces = [memoryview(pieces[0])[sent:]]
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

    def receive(self, deadline: float | None, data: bytes = b"") -> Frame:
        """Wait for one frame from the worker.

        Args:
            deadline: by time.monotonic(), None for none.
            data: what was received already.

        Raises:
            OutOfTime, TooMuchOutput, Ended; TransportError: its bytes are no frame.
        """
        frame = self.reader.feed(data) if data else None
        if frame is not None:
            self.wrote = True  # perhaps
            return frame
        size = FIRST
        while True:
            events = self.step(deadline)
            if self._channel in events:
                try:
                    data = self.channel.recv(size)
                except BlockingIOError:
                    continue
                except ConnectionResetError:
                    data = b""
                if not data:
                    self._last_words()
                    raise Ended
                frame = self.reader.feed(data)
                if frame is not None:
                    self.wrote = len(events) > 1
                    return frame
                size = _CHUNK
            elif self.told.keys() & _OVER and not self._readable():
                raise Ended

    def _readable(self) -> bool:
        return any(each == self._channel and event & select.POLLIN for each, event in self.poll.poll(0))

    def step(self, deadline: float | None) -> dict[int, int]:
        """Wait for anything to happen and deal with all of it but the channel; return the events by descriptor."""
        wait = None
        if deadline is not None:
            wait = (deadline - time.monotonic()) * 1000
            if wait <= 0:  # also while there is always something to read: a trickle must not stretch the deadline
                raise OutOfTime
        events = dict(self.poll.poll(wait))
        if len(events) == 1 and self._channel in events:
            return events
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
        self._channel = -1
        deadline = time.monotonic() + _LAST_WORDS
        with contextlib.suppress(OutOfTime):
            while not self.told.keys() & _OVER:
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

    def expect_answer(self, limit: int) -> None:
        """Expect one frame of at most ``limit`` bytes; whatever was left over from before is an offence."""
        quiet, self._quiet = self._quiet, False
        if self.reader.pending or (not quiet and self._readable() and not self.closed()):
            raise TransportError("the isolate sent more than one answer", "its worker is not used again")
        if limit != self._limit:
            self.reader, self._limit = FrameReader(limit), limit

    # --- ending ------------------------------------------------------------------------------------------------------

    def rested(self) -> bool:
        """True while it can take a call: init has not ended, and the worker has said no more than it was asked."""
        if self.poll.poll(0):
            return self.alive() and (not self.calls or self.silent())
        self._quiet = not self.reader.pending
        return not self.told.keys() & _OVER and (self._quiet or not self.calls)

    def alive(self) -> bool:
        """True while init has not ended."""
        if self.status.fileno() < 0 or "end" in self.told:
            return False
        poll = select.poll()
        poll.register(self.status, select.POLLIN)
        while poll.poll(0):
            self.hear()
            if self.told.keys() & _OVER:
                return False
        return True

    def dismiss(self) -> None:
        """Kill init, and with it everything in its pid namespace, and close everything, without waiting for the kernel.

        Only for isolates from which nothing of the host's can be changed: what lives for some milliseconds yet can do
        nothing that anybody would see (decision 11).
        """
        if self.pidfd < 0 or self.group is not None:
            self.end()
            return
        lifetime.let_go(self)
        self.condemn()
        self.abandon()

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
