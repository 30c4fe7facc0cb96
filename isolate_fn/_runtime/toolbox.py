"""The caller's side of a sandbox block's tool process: files in and out, and one program at a time."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import socket
import time
from collections.abc import Sequence
from typing import Any

from isolate_fn._runtime import outcome
from isolate_fn._runtime.endings import Ended, OutOfTime, TooMuchOutput
from isolate_fn._runtime.isolate import SETUP_SECONDS, Isolate
from isolate_fn._runtime.prepared import Prepared
from isolate_fn._runtime.verify import verify
from isolate_fn._transport.channel import sendmsg_all
from isolate_fn._transport.frames import Buffer, Frame, FrameReader, Kind, pack
from isolate_fn.errors import InternalError, LimitExceeded, TransportError

_CHUNK = 1 << 18


class Toolbox:
    """Talks to the tool process of one isolate.

    Args:
        isolate: the isolate; its worker is ready.
        prepared: what it was made from.
    """

    def __init__(self, isolate: Isolate, prepared: Prepared) -> None:
        assert isolate.tools is not None
        self.isolate, self.prepared = isolate, prepared
        self.connection: socket.socket = isolate.tools
        self.reader = FrameReader(1 << 20)

    def make_ready(self) -> None:
        """Wait until the tool process stands behind its walls, and check them.

        Raises:
            SetupError: a step failed, or the self-check is not as planned.
        """
        frame = self._answer(time.monotonic() + SETUP_SECONDS)
        if frame.kind is Kind.SETUP_FAILED:
            raise outcome.setup_failed(json.loads(frame.json))
        if frame.kind is not Kind.READY:
            raise InternalError(f"the tool process said {frame.kind.name} before it was ready")
        if not self.prepared.unchecked:
            verify(frame, self.prepared.plan)

    def order(self, what: dict[str, Any], buffers: Sequence[Buffer] = (), descriptors: Sequence[int] = ()) -> None:
        """Send one order with its descriptors."""
        self.connection.setblocking(True)
        pieces = pack(Kind.CALL, json.dumps(what).encode(), buffers)
        try:
            if descriptors:
                first = memoryview(pieces[0]).cast("B")
                sent = socket.send_fds(self.connection, [first], descriptors, socket.MSG_NOSIGNAL)
                pieces[0] = first[sent:]
            sendmsg_all(self.connection, pieces)
        except (BrokenPipeError, ConnectionResetError) as gone:
            raise self._gone() from gone

    def answer(self, limit: int = 1 << 20) -> Frame:
        """Wait for the answer to an order other than a program's.

        Raises:
            OSError: the operation failed inside.
        """
        self.reader = FrameReader(limit)
        frame = self._answer(None)
        if frame.kind is Kind.EXCEPTION:
            parts = json.loads(frame.json)
            raise OSError(int(parts["errno"]), str(parts["text"]))
        if frame.kind is not Kind.RESULT:
            raise TransportError(f"the tool process sent {frame.kind.name} where an answer was due")
        return frame

    def _answer(self, deadline: float | None) -> Frame:
        poll = select.poll()
        poll.register(self.connection, select.POLLIN)
        while True:
            wait = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            if not poll.poll(wait):
                raise OutOfTime
            frame = self.read()
            if frame is not None:
                return frame

    def read(self) -> Frame | None:
        """Read once from the tool process; None while its message is incomplete."""
        try:
            data = self.connection.recv(_CHUNK)
        except ConnectionResetError:
            data = b""
        if not data:
            raise self._gone()
        return self.reader.feed(data)

    def _gone(self) -> Exception:
        """Return why the tool process is gone: the whole isolate, or itself alone."""
        with contextlib.suppress(OutOfTime, Ended, TooMuchOutput):
            deadline = time.monotonic() + 2
            while not {"end", "failed", "limit"} & self.isolate.told.keys():
                self.isolate.step(deadline)
        if "failed" in self.isolate.told:
            return outcome.not_built(self.isolate)
        return outcome.ended(self.isolate, self.prepared)

    def put(self, path: str, data: Buffer) -> None:
        """Write a file inside.

        Raises:
            OSError: it cannot be written there.
            LimitExceeded: the isolate's file system is full.
        """
        self.order({"op": "put", "path": path}, [data])
        try:
            self.answer()
        except OSError as failure:
            if failure.errno in (errno.ENOSPC, errno.EDQUOT):
                full = outcome.full(self.isolate, self.prepared)
                if full is not None:
                    raise full from failure
            raise OSError(failure.errno, failure.strerror, path) from None

    def get(self, path: str) -> bytes:
        """Read a regular file inside.

        Raises:
            OSError: it does not exist, is not a regular file, or may not be read.
            LimitExceeded: it is bigger than ``limits.result``.
        """
        limit = self.prepared.terms.limits.result
        self.order({"op": "get", "path": path, "limit": limit})
        try:
            frame = self.answer(limit + 4096)
        except OSError as failure:
            if failure.errno == errno.EFBIG:
                raise LimitExceeded("result", limit, int(failure.strerror or 0)) from None
            raise OSError(failure.errno, failure.strerror, path) from None
        return b"".join(frame.buffers)

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: str | None,
        env: dict[str, str] | None,
        descriptors: Sequence[int],
        pump: Pump,
        deadline: float | None,
    ) -> int:
        """Run one program to its end and return its code, negative for a signal, as `subprocess` does.

        Args:
            argv: program and arguments.
            cwd: directory inside, None for the policy's.
            env: its whole environment, None for the isolate's.
            descriptors: its stdin, stdout and stderr; closed here once they are sent.
            pump: moves data between the caller and the program meanwhile.
            deadline: on the monotonic clock.

        Raises:
            OutOfTime, TooMuchOutput: it was killed for it; OSError: it could not be started.
        """
        self.reader = FrameReader(1 << 20)
        try:
            self.order({"op": "run", "argv": list(argv), "cwd": cwd, "env": env}, (), descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        try:
            return self._until_end(pump, deadline)
        except (OutOfTime, TooMuchOutput, KeyboardInterrupt):
            self.order({"op": "kill"})
            while self._answer(time.monotonic() + 10).kind is Kind.NOTICE:
                pass
            with contextlib.suppress(TooMuchOutput):
                pump.drain()
            raise

    def _until_end(self, pump: Pump, deadline: float | None) -> int:
        self.connection.setblocking(False)
        poll = select.poll()
        poll.register(self.connection, select.POLLIN)
        poll.register(self.isolate.status, select.POLLIN)
        pump.register(poll)
        while True:
            wait = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            events = dict(poll.poll(wait))
            if not events:
                raise OutOfTime
            pump.move(events, poll)
            if self.connection.fileno() not in events:
                if self.isolate.status.fileno() in events:
                    self.isolate.hear()
                    if {"end", "limit"} & self.isolate.told.keys():
                        raise self._gone()
                continue
            frame = self.read()
            while frame is not None:
                parts = json.loads(frame.json)
                if frame.kind is Kind.EXCEPTION:
                    raise OSError(int(parts["errno"]), str(parts["text"]), argv_of(parts))
                if frame.kind is Kind.RESULT:
                    pump.drain()
                    return int(parts["returncode"])
                frame = self.reader.next()


def argv_of(parts: dict[str, Any]) -> str | None:
    """Return the file an error is about, where the tool process named one."""
    name = parts.get("filename")
    return name if isinstance(name, str) else None


class Pump:
    """Moves a program's input and output without a thread and without ever blocking on one of them.

    Args:
        data: what goes to its stdin.
        stdin: our end of the pipe, -1 for none.
        outputs: our end of a pipe -> what to do with what arrives; returns False when that is too much.
    """

    def __init__(self, data: Buffer, stdin: int, outputs: dict[int, Any]) -> None:
        self.left = memoryview(data).cast("B")
        self.stdin = stdin
        self.outputs = outputs
        for descriptor in (*outputs, *([stdin] if stdin >= 0 else [])):
            os.set_blocking(descriptor, False)

    def register(self, poll: select.poll) -> None:
        """Watch all ends."""
        for pipe in self.outputs:
            poll.register(pipe, select.POLLIN)
        if self.stdin >= 0:
            poll.register(self.stdin, select.POLLOUT)

    def move(self, events: dict[int, int], poll: select.poll) -> None:
        """Move what can be moved."""
        for pipe in [pipe for pipe in self.outputs if pipe in events]:
            if not self._read(pipe):
                poll.unregister(pipe)
                os.close(pipe)
        if self.stdin in events and not self._write():
            poll.unregister(self.stdin)
            os.close(self.stdin)
            self.stdin = -1

    def _read(self, pipe: int) -> bool:
        try:
            data = os.read(pipe, _CHUNK)
        except BlockingIOError:
            return True
        if not data:
            del self.outputs[pipe]
            return False
        if not self.outputs[pipe](data):
            raise TooMuchOutput
        return True

    def _write(self) -> bool:
        try:
            written = os.write(self.stdin, self.left[:65536]) if self.left else 0
        except BlockingIOError:
            return True
        except BrokenPipeError:  # it does not want the rest; subprocess ignores that too
            return False
        self.left = self.left[written:]
        return bool(self.left)

    def drain(self) -> None:
        """Read what a program that has ended left in its pipes."""
        for pipe in list(self.outputs):
            poll = select.poll()
            poll.register(pipe, select.POLLIN)
            while pipe in self.outputs and poll.poll(0):
                if not self._read(pipe):
                    os.close(pipe)

    def close(self) -> None:
        """Close every end that is left."""
        for pipe in self.outputs:
            os.close(pipe)
        self.outputs.clear()
        if self.stdin >= 0:
            os.close(self.stdin)
            self.stdin = -1
