"""What is heard of one isolate: one way to wait for all of its sockets and pipes at once, and what to do about each.

Whatever may wait is a generator (`isolate_fn._runtime.talk`). The status socket belongs to init, which runs none of the
user's code; its words are trusted.
"""

from __future__ import annotations

import _socket
import contextlib
import json
import os
import select
import socket
import sys
import time

from isolate_fn._plan.orders import Start
from isolate_fn._runtime.cgroup import Group
from isolate_fn._runtime.endings import Cancelled, OutOfTime, TooMuchOutput
from isolate_fn._runtime.ends import ONE_DESCRIPTOR, Ends, waiting_in
from isolate_fn._runtime.lifetime import close
from isolate_fn._runtime.output import Output
from isolate_fn._runtime.talk import to_the_end

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from isolate_fn._runtime.cancel import Cancel
    from isolate_fn._runtime.report import Denial
    from isolate_fn._runtime.talk import Events, Talk

_CHUNK = 1 << 18
# What the package puts around it looks for blanks and encodings, which init does not write.
_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
OVER = frozenset({"end", "failed", "limit"})  # what init says last


class Listening(Ends):
    """The caller's ends of one isolate, listened to.

    Args:
        start: what is particular to the isolate.
        tools: it also has a process that starts tools.
        group: cgroup that limits its memory, None for none; removed when the isolate ends.

    Attributes:
        told: what init said, by its first key.
        usage: its last numbers.
        denials: denied system calls, as the spawner tells them, by a number of its own.
        news: which of them have come, or come again, since somebody has looked.
        missing: files that its code looked for and that are not mounted.
        poll: all that is waited for.
        words: only the worker's.
        output: takes what arrives on stdout and stderr.
        answer_event: what ``poll`` says when there is an answer and nothing else.
    """

    def __init__(self, start: Start, *, tools: bool, group: Group | None) -> None:
        self.told: dict[str, Any] = {}
        self.usage: dict[str, Any] = {}
        self.denials: dict[int, dict[str, Any]] = {}
        self.news: list[int] = []
        self.missing: list[Denial] = []
        self._heard: list[tuple[Any, ...]] = []
        self.cancel: Cancel | None = None
        self.output: Output | None = None
        self.poll, self.words = select.epoll(), select.poll()
        try:
            super().__init__(start, tools=tools, group=group)
        except OSError:  # there are no descriptors left
            self._undo()
            raise
        self._watch()

    def _undo(self) -> None:
        """Close what a constructor has made that could not make all."""
        for made in list(vars(self).values()):
            if isinstance(made, _socket.socket):
                made.close()
        close([*self._here, *self._there, *{end for pipe in self._made for end in pipe} - {*self._here, *self._there}])
        self._made.clear()
        self._here.clear()
        self._there.clear()
        self.poll.close()

    def _watch(self) -> None:
        """Register what is waited for: the channel first, so that what poll(2) finds in the pipes is no older than that."""
        self.channel.setblocking(False)
        self._channel = self.channel.fileno()
        self.answer_event = (self._channel, select.POLLIN)  # what poll(2) says when there is an answer and nothing else
        self.words.register(self.channel, select.POLLIN)
        self.poll.register(self.channel, select.POLLIN)
        self.poll.register(self.status, select.POLLIN)
        for pipe in self.pipes:
            self.poll.register(pipe, select.POLLIN)

    def cancelled_by(self, cancel: Cancel | None) -> None:
        """Let a switch end whatever is waited for; None for no longer."""
        if self.cancel is not None and not self.poll.closed:
            self.poll.unregister(self.cancel)
        self.cancel = cancel
        if cancel is not None:
            self.poll.register(cancel, select.POLLIN)

    def _watch_nothing(self) -> None:
        watched = [self.channel.fileno(), self.status.fileno(), *self.pipes]
        for each in (*watched, self.cancel.fileno() if self.cancel is not None else -1):
            with contextlib.suppress(OSError, ValueError):  # it was taken out when it ended
                self.poll.unregister(each)

    def _readable(self) -> bool:
        return any(each == self._channel and event & select.POLLIN for each, event in self.poll.poll(0))

    def step(self, deadline: float | None) -> Talk[dict[int, int]]:
        """Wait for anything to happen and deal with all of it but the channel; return the events by descriptor.

        Raises:
            OutOfTime, TooMuchOutput; Cancelled: by another thread.
        """
        wait = None
        if deadline is not None:
            wait = deadline - time.monotonic()
            if wait <= 0:  # also while there is always something to read: a trickle must not stretch the deadline
                raise OutOfTime
        found: Events = yield wait
        events = dict(found)
        if len(events) == 1 and self._channel in events:
            return events
        if not events:
            raise OutOfTime
        if self.cancel is not None and self.cancel.thrown:
            raise Cancelled
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
            left = waiting_in(pipe)
            while left > 0 and (count := self._read_pipe(pipe)):
                left -= count

    def hear(self) -> None:
        """Take one message of init; the first carries a handle of its process."""
        data = self._message()
        self._keep_handle()
        if not data:
            self.poll.unregister(self.status)
            self.told.setdefault("end", ["", None])
            return
        message = _scan(data.decode(), 0)[0]
        if "denied" in message:
            self._denied(message["denied"])
            return
        self.told[next(iter(message))] = next(iter(message.values()))
        if "peak_memory" in message:
            self.usage = message

    def _message(self) -> bytes:
        """Take one message; empty at the end.

        That init ended without reading a question is told before what it said last (unix(7), ECONNRESET), and only once.
        """
        for _ in range(2):
            with contextlib.suppress(ConnectionResetError):
                # In one step, or an exception of a signal handler's could come between a descriptor and the note of it.
                self._heard.extend(map(self.status.recvmsg, (1 << 16,), (ONE_DESCRIPTOR,), (socket.MSG_CMSG_CLOEXEC,)))
                data: bytes = self._heard[-1][0]
                return data
        return b""

    def _denied(self, told: dict[str, Any]) -> None:
        self.denials.setdefault(told["id"], told)["count"] = told["count"]
        if told["id"] not in self.news:
            self.news.append(told["id"])

    def hear_all(self) -> None:
        """Take every message of init's and the spawner's that is here already."""
        if self.status.fileno() < 0 or "end" in self.told:
            return
        poll = select.poll()
        poll.register(self.status, select.POLLIN)
        while "end" not in self.told and poll.poll(0):
            self.hear()

    def _keep_handle(self) -> None:
        for _, rights, _, _ in self._heard:
            for _, _, packed in rights:
                self.pidfd = int.from_bytes(packed, sys.byteorder)  # init sends one, and knows no other descriptor
                if self.pidfd not in self._here:
                    self._here.append(self.pidfd)
        self._heard.clear()

    def ask_usage(self) -> dict[str, Any]:
        """Ask init what the isolate uses now; the last known answer where it is gone.

        Waited for in any case: init is ours, and answers at once.
        """
        return to_the_end(self, self.asking_usage())

    def asking_usage(self) -> Talk[dict[str, Any]]:
        """Do what `ask_usage` does, with somebody else doing the waiting."""
        self.told.pop("usage", None)
        with contextlib.suppress(OSError, OutOfTime, TooMuchOutput, Cancelled):
            self.status.send(b"usage", socket.MSG_NOSIGNAL)
            deadline = time.monotonic() + 5
            while "usage" not in self.told and "end" not in self.told:
                yield from self.step(deadline)
        return self.usage

    def alive(self) -> bool:
        """True while init has not ended."""
        if self.status.fileno() < 0 or "end" in self.told:
            return False
        poll = select.poll()
        poll.register(self.status, select.POLLIN)
        while poll.poll(0):
            self.hear()
            if self.told.keys() & OVER:
                return False
        return True

    def abandon(self) -> None:
        """Close every descriptor, and nothing else."""
        self._keep_handle()
        self.poll.close()
        super().abandon()
