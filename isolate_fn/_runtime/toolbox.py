"""The caller's side of a sandbox block's tool process: files in and out, and programs, any number at a time."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

from isolate_fn._runtime import outcome
from isolate_fn._runtime.endings import Ended, OutOfTime, TooMuchOutput
from isolate_fn._runtime.isolate import SETUP_SECONDS, Isolate
from isolate_fn._runtime.listening import OVER
from isolate_fn._runtime.prepared import Prepared
from isolate_fn._runtime.program import Program
from isolate_fn._runtime.talk import to_the_end
from isolate_fn._runtime.verify import verify
from isolate_fn._transport.channel import sendmsg_all
from isolate_fn._transport.frames import Buffer, Frame, FrameReader, Kind, pack
from isolate_fn.errors import Crashed, InternalError, LimitExceeded, TransportError

_CHUNK = 1 << 18


class Toolbox:
    """Talks to the tool process of one isolate: an order, its answer, and then the next order.

    Args:
        isolate: the isolate; its worker is ready.
        prepared: what it was made from.

    Attributes:
        lock: taken for an order together with its answer.
    """

    def __init__(self, isolate: Isolate, prepared: Prepared) -> None:
        assert isolate.tools is not None
        self.isolate, self.prepared = isolate, prepared
        self.connection: socket.socket = isolate.tools
        self.lock = threading.Lock()
        # Programs can stop the tool process, as it is of the same user. Then sending takes for ever as well.
        self.connection.settimeout(SETUP_SECONDS)

    def make_ready(self) -> None:
        """Wait until the tool process stands behind its walls, and check them.

        Raises:
            SetupError: a step failed, or the self-check is not as planned. LimitExceeded: a limit is too small for it.
        """
        try:
            frame = self._receive(1 << 20)
        except Ended:
            self._hear_why()
            raise outcome.not_built(self.isolate, self.prepared) from None
        if frame.kind is Kind.SETUP_FAILED:
            raise outcome.setup_failed(json.loads(frame.json))
        if frame.kind is not Kind.READY:
            raise InternalError(f"the tool process said {frame.kind.name} before it was ready")
        if not self.prepared.unchecked:
            verify(frame, self.prepared.plan)

    def order(
        self, what: dict[str, Any], buffers: Sequence[Buffer] = (), descriptors: Sequence[int] = (), *, limit: int = 1 << 20
    ) -> Frame:
        """Send one order with its descriptors and return its answer, of at most ``limit`` bytes.

        Raises:
            OSError: the operation failed inside.
            Ended: the tool process is gone, or does not answer; `gone` says why.
        """
        pieces = pack(Kind.CALL, json.dumps(what).encode(), buffers)
        with self.lock:
            try:
                if descriptors:
                    first = memoryview(pieces[0]).cast("B")
                    sent = socket.send_fds(self.connection, [first], descriptors, socket.MSG_NOSIGNAL)
                    pieces[0] = first[sent:]
                sendmsg_all(self.connection, pieces)
            except OSError as gone:
                raise Ended from gone
            frame = self._receive(limit)
        if frame.kind is Kind.EXCEPTION:
            parts = json.loads(frame.json)
            raise OSError(int(parts["errno"]), str(parts["text"]))
        if frame.kind is not Kind.RESULT:
            raise TransportError(f"the tool process sent {frame.kind.name} where an answer was due")
        return frame

    def _receive(self, limit: int) -> Frame:
        reader = FrameReader(limit)
        while True:
            try:
                data = self.connection.recv(_CHUNK)
            except OSError as gone:  # its end, or the time is over
                raise Ended from gone
            if not data:
                raise Ended
            frame = reader.feed(data)
            if frame is not None:
                return frame

    def gone(self) -> Exception:
        """Return why the tool process is gone: the whole isolate, or itself alone."""
        self._hear_why()
        if "failed" in self.isolate.told:
            return outcome.not_built(self.isolate, self.prepared)
        if self.isolate.told.keys() & {"end", "limit"}:
            return outcome.ended(self.isolate, self.prepared)
        report = outcome.report_of(self.isolate, self.prepared)
        return Crashed(None, None, "a program stopped the processes that start and end programs", report)

    def _hear_why(self) -> None:
        """Give init a moment to tell how the isolate ended, or find that it lives on."""
        with contextlib.suppress(OutOfTime, Ended, TooMuchOutput):
            deadline = time.monotonic() + 2
            while not OVER & self.isolate.told.keys():
                to_the_end(self.isolate, self.isolate.step(deadline))

    def put(self, path: str, data: Buffer) -> None:
        """Write a file inside.

        Raises:
            OSError: it cannot be written there.
            LimitExceeded: the isolate's file system is full.
            Ended: see `order`.
        """
        try:
            self.order({"op": "put", "path": path}, [data])
        except OSError as failure:
            if failure.errno in (errno.ENOSPC, errno.EDQUOT):
                full = outcome.full(self.isolate, self.prepared)
                if full is not None:
                    raise outcome.told_by("tools", full) from failure
            raise OSError(failure.errno, failure.strerror, path) from None

    def get(self, path: str) -> bytes:
        """Read a regular file inside.

        Raises:
            OSError: it does not exist, is not a regular file, or may not be read.
            LimitExceeded: it is bigger than ``limits.result``.
            Ended: see `order`.
        """
        limit = self.prepared.terms.limits.result
        try:
            frame = self.order({"op": "get", "path": path, "limit": limit}, limit=limit + 4096)
        except OSError as failure:
            if failure.errno == errno.EFBIG:
                raise LimitExceeded("result", limit, int(failure.strerror or 0)) from None
            raise OSError(failure.errno, failure.strerror, path) from None
        return b"".join(frame.buffers)

    def start(self, argv: Sequence[str], *, cwd: str | None, env: dict[str, str] | None, streams: Sequence[int]) -> Program:
        """Have one program started; the answer is to be waited for.

        Args:
            argv: program and arguments.
            cwd: directory inside, None for the policy's.
            env: its whole environment, None for the isolate's.
            streams: its stdin, stdout and stderr; closed here once they are sent.

        Raises:
            OSError: no keeper could be started; Ended: see `order`.
        """
        program = Program()
        try:
            order = {"op": "run", "argv": list(argv), "cwd": cwd, "env": env}
            self.order(order, (), (program.end_for_the_keeper(), *streams))
        finally:
            for descriptor in streams:
                os.close(descriptor)
        program.sent()
        return program

    def answers(self) -> bool:
        """True while the tool process lives and answers."""
        try:
            self.order({"op": "answer"})
        except Ended:
            return False
        return True
