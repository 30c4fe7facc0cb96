"""One isolate as the caller sees it: its sockets and pipes, one way to wait for all of them, and its certain end.

Whatever may wait is a generator (`isolate_fn._runtime.talk`). The channel is read with recv(2), which drops descriptors
that a hostile worker attaches; the status socket belongs to init, which runs none of the user's code.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import time
from collections.abc import Sequence

from isolate_fn._plan.orders import Plan, Start
from isolate_fn._runtime import lifetime
from isolate_fn._runtime.cgroup import Group
from isolate_fn._runtime.endings import Ended, OutOfTime, TooMuchOutput
from isolate_fn._runtime.ends import KILL_SECONDS
from isolate_fn._runtime.listening import OVER, Listening
from isolate_fn._transport.frames import Buffer, Frame, FrameReader, length_of
from isolate_fn.errors import TransportError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from isolate_fn._runtime.spawner_client import SpawnerClient
    from isolate_fn._runtime.talk import Talk
    from isolate_fn._transport.frames import Kind

    Aside = Callable[[Frame, float | None], Talk[float | None]]

SETUP_SECONDS = 60.0
_LAST_WORDS = 1.0  # seconds that init may take to tell how the worker ended, once the channel is closed
_CHUNK = 1 << 18
FIRST = 1 << 15  # bytes to ask for first: malloc(3) maps and unmaps a much bigger buffer for each call
_READY_LIMIT = 1 << 20  # bytes of a worker's report about itself


class Isolate(Listening):
    """One isolate, talked to over the caller's ends.

    Args:
        plan: its orders.
        start: what is particular to it.
        tools: it also has a process that starts tools.
        group: cgroup that limits its memory, None for none; removed when the isolate ends.

    Attributes:
        spawner: who made it.
        asides: what to do about frames that come before the answer, by their kind; any other is taken for the answer.
            Each may return a new deadline.
        awaits: an event loop does the waiting, and can await what a host function or an iterator of the caller's returns.
    """

    def __init__(self, plan: Plan, start: Start, *, tools: bool, group: Group | None = None) -> None:
        self.__class__ = _Living
        self.owner = os.getpid()
        with lifetime.making:
            super().__init__(start, tools=tools, group=group)
            lifetime.hold(self)
        self.plan = plan
        self.created = self.idle_since = time.monotonic()
        self.stages: dict[str, float] = {}
        self.spawner: SpawnerClient | None = None
        self.ready: dict[str, Any] | None = None
        self.calls = self.numbered = 0  # functions that were given a number
        self.behind = False  # it was kept ready, and still in the making when it was taken
        self.functions: dict[object, tuple[int, bytes]] = {}  # that the worker has: number, and as it was sent
        self.reader = FrameReader(_READY_LIMIT)
        self._limit = _READY_LIMIT
        self.wrote = self._quiet = False  # more to read beside its answer: call `drain`; nothing had come a moment ago
        self.asides: dict[Kind, Aside] = {}
        self.awaits = False
        self.noticed = 0  # bytes of notices during this call
        self.end_when_idle(plan.idle_timeout)

    # --- talking -----------------------------------------------------------------------------------------------------

    def send(
        self, pieces: Sequence[Buffer], descriptor: int, deadline: float | None, lent: Sequence[int] = ()
    ) -> Talk[None]:
        """Send a request without ever blocking on a worker that does not read, taking its output meanwhile.

        Args:
            pieces: its bytes.
            descriptor: shared memory that comes along, -1 for none.
            deadline: by time.monotonic(), None for none.
            lent: further descriptors that come along.

        Raises:
            OutOfTime, TooMuchOutput, Ended.
        """
        if len(pieces) == 1 and descriptor < 0 and not lent:
            try:
                sent = self.channel.send(pieces[0], socket.MSG_NOSIGNAL)
            except (BlockingIOError, BrokenPipeError, ConnectionResetError):
                sent = 0  # told below; any other may be a signal handler's
            if sent == length_of(pieces[0]):
                return
            pieces = [memoryview(pieces[0])[sent:]]
        views = [memoryview(piece).cast("B") for piece in pieces if length_of(piece)]
        along = [descriptor, *lent] if descriptor >= 0 else lent
        packed = b"".join([each.to_bytes(4, sys.byteorder) for each in along])
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, packed)] if packed else []
        while views:
            try:
                sent = self.channel.sendmsg(views[:64], rights, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                self.poll.modify(self.channel, select.POLLOUT)
                try:
                    yield from self.step(deadline)
                finally:
                    self.poll.modify(self.channel, select.POLLIN)
                continue
            except (BrokenPipeError, ConnectionResetError) as gone:
                yield from self._last_words()
                raise Ended from gone
            rights = []
            while views and sent >= views[0].nbytes:
                sent -= views.pop(0).nbytes
            if sent:
                views[0] = views[0][sent:]

    def receive(self, deadline: float | None, data: bytes = b"") -> Talk[Frame]:
        """Wait for one frame from the worker.

        Args:
            deadline: by time.monotonic(), None for none.
            data: what was received already.

        Raises:
            OutOfTime, TooMuchOutput, Ended; TransportError: its bytes are no frame.
        """
        frame = self.reader.feed(data) if data else self.reader.next()
        if frame is not None:
            self.wrote = True  # perhaps
            return frame
        size = FIRST
        while True:
            events = yield from self.step(deadline)
            if self._channel in events:
                try:
                    data = self.channel.recv(size)
                except BlockingIOError:
                    continue
                except ConnectionResetError:
                    data = b""
                if not data:
                    yield from self._last_words()
                    raise Ended
                frame = self.reader.feed(data)
                if frame is not None:
                    self.wrote = len(events) > 1
                    return frame
                size = _CHUNK
            elif self.told.keys() & OVER and not self._readable():
                raise Ended

    def _last_words(self) -> Talk[None]:
        """The channel is closed: give init a moment to tell how the worker ended, or find that it lives on."""
        self.poll.unregister(self.channel)
        self._channel = -1
        deadline = time.monotonic() + _LAST_WORDS
        with contextlib.suppress(OutOfTime):
            while not self.told.keys() & OVER:
                yield from self.step(deadline)

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
        events = dict(self.poll.poll(0))
        self.behind = self._channel not in events
        if not self.calls and not events.get(self.status.fileno(), 0) & select.EPOLLHUP:
            return True  # what it says of its walls is heard when they are checked
        if events:
            return self.alive() and (not self.calls or self.silent())
        self._quiet = not self.reader.pending
        return self._quiet and not self.told.keys() & OVER

    def dismiss(self) -> None:
        """Kill init, and with it everything in its pid namespace, and close everything, without waiting for the kernel.

        Only for isolates from which nothing of the host's can be changed: what lives for some milliseconds yet can do
        nothing that anybody would see (decision 11).
        """
        if self.pidfd < 0 or self.group is not None:
            self.end()
            return
        self.condemn()
        self.abandon()
        lifetime.let_go(self)

    def ending(self) -> Talk[None]:
        """Kill init, and with it everything in its pid namespace; wait until it is gone; close everything.

        One that is not born yet is waited for: it cannot be killed before the spawner has introduced it.
        """
        latest = time.monotonic() + KILL_SECONDS
        try:
            if self.channel.fileno() >= 0:
                self._watch_nothing()
                if self.pidfd < 0 and not self.told.keys() & OVER:
                    self.poll.register(self.status, select.POLLIN)
                while self.pidfd < 0 and not self.told.keys() & OVER and (yield max(0.0, latest - time.monotonic())):
                    self.hear()
                self.condemn()
                if self.pidfd >= 0:
                    self._watch_nothing()
                    self.poll.register(self.pidfd, select.POLLIN)
                    yield max(0.0, latest - time.monotonic())
        finally:
            self.end()

    def end(self) -> None:
        """Do what `ending` does, waiting in this thread."""
        if self.channel.fileno() < 0:
            lifetime.let_go(self)
            return
        if os.getpid() != self.owner:
            self.abandon()
            return
        self.kill()
        if not lifetime.ending_all:
            with contextlib.suppress(TooMuchOutput):
                self.drain()
        self.abandon()
        lifetime.let_go(self)  # not before: a child that is forked meanwhile has descriptors to close
        if self.group is not None:
            self.group.remove()

    def abandon(self) -> None:
        """Close every descriptor, and nothing else."""
        super().abandon()
        self.__class__ = Isolate


class _Living(Isolate):
    """An isolate that has not ended: one that nobody refers to any more ends itself.

    An exception of a signal handler's may come before anybody can deal with it. A class of its own, because such an
    exception would be lost in a finalizer: those that were ended have none.
    """

    def __del__(self) -> None:
        if hasattr(self, "channel") and self.channel.fileno() >= 0:
            self.pipes.clear()  # nobody asks for its output any more
            self.end()
