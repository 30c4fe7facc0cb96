"""The main hook: a fresh, lean, single-threaded interpreter that forks isolates when the caller asks.

It is exec'ed, so nothing of the caller's memory, environment or argument vector is in it; it holds no secret and obeys
only its socket. `os.fork()` is used, not a raw clone(2), so that CPython's own after-fork handlers run (and those that
preloaded libraries registered); the new pid namespace comes from unshare(CLONE_NEWPID) just before, which moves no
process of ours but makes the next child its PID 1, and is undone by setns(2) right after.
"""

from __future__ import annotations

import array
import gc
import os
import pickle
import select
import signal
import socket
import struct
from typing import Any, NoReturn

from isolate_fn._enforce.scene import StepFailed
from isolate_fn._plan.orders import Plan, Start
from isolate_fn._runtime import template
from isolate_fn._sys import calls
from isolate_fn._sys import constants as k

HEADER = struct.Struct("=BI")  # kind, length of the pickled body
PLAN, START = 1, 2
MOST_DESCRIPTORS = 8


class CallerGone(Exception):
    """The control socket ended: time to go."""


class Spawner:
    """Obeys one control socket.

    Args:
        control: descriptor of the stream socket to the caller.
        idle_timeout: seconds without an isolate and without a request after which it ends.
    """

    def __init__(self, control: int, idle_timeout: float) -> None:
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, control)
        self.idle_timeout = idle_timeout
        self.plans: dict[int, Plan] = {}
        self.isolates: set[int] = set()
        self.templates: dict[int, int] = {}
        self.pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self.wake, wake_there = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_there, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def serve(self) -> None:
        """Handle requests until the caller is gone or nothing was asked for long enough."""
        poll = select.poll()
        poll.register(self.control.fileno(), select.POLLIN)
        poll.register(self.wake, select.POLLIN)
        while True:
            wait = None if self.isolates else self.idle_timeout * 1000
            events = dict(poll.poll(wait))
            if not events:
                return
            if self.wake in events:
                self._reap()
            if self.control.fileno() in events:
                try:
                    self._handle(*self._receive())
                except CallerGone:
                    return

    def _reap(self) -> None:
        try:
            while os.read(self.wake, 512):
                pass
        except BlockingIOError:
            pass
        try:
            while (ended := os.waitpid(-1, os.WNOHANG)[0]) > 0:
                self.isolates.discard(ended)
        except ChildProcessError:
            self.isolates.clear()

    def _receive(self) -> tuple[int, Any, list[int]]:
        """Read one message; descriptors travel with its first byte."""
        space = socket.CMSG_SPACE(4 * MOST_DESCRIPTORS)
        data, ancillary, _, _ = self.control.recvmsg(HEADER.size, space, socket.MSG_CMSG_CLOEXEC)
        descriptors: list[int] = []
        for _, _, content in ancillary:
            descriptors.extend(array.array("i", content))
        kind, length = HEADER.unpack(data + self._exactly(HEADER.size - len(data)))
        return kind, pickle.loads(self._exactly(length)), descriptors  # noqa: S301 - the caller is trusted

    def _exactly(self, count: int) -> bytes:
        parts = []
        while count:
            part = self.control.recv(count)
            if not part:
                raise CallerGone
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _handle(self, kind: int, body: Any, descriptors: list[int]) -> None:
        try:
            if kind == PLAN:
                number, plan = body
                self.plans[number] = plan
                for old in [known for known in self.plans if known < number - _PLANS_KEPT]:
                    del self.plans[old]
            elif kind == START:
                self._start(body, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _start(self, start: Start, descriptors: list[int]) -> None:
        """Fork one isolate. Its failures are told by itself; failures here close its sockets, which the caller sees."""
        by_role = dict(zip(start.descriptors, descriptors, strict=True))
        try:
            by_role["template"] = self._template(start)
            calls.unshare(k.CLONE_NEWPID)
            pid = os.fork()
        except StepFailed as failure:
            _say_failed(by_role["status"], failure.step, failure.call, failure.code, failure.detail)
            return
        except OSError as failure:
            step = "fork into a new pid namespace"
            _say_failed(by_role["status"], step, str(failure.filename), failure.errno or 0, str(failure.strerror))
            self._own_pid_namespace()
            return
        if pid == 0:
            self._become(start, by_role)
        self._own_pid_namespace()
        self.isolates.add(pid)

    def _template(self, start: Start) -> int:
        """Return the mount namespace that isolates of this plan share, built on first use."""
        known = self.templates.get(start.plan_id)
        if known is None:
            while len(self.templates) >= _TEMPLATES_KEPT:
                os.close(self.templates.pop(next(iter(self.templates))))
            known = self.templates[start.plan_id] = template.build(self.plans[start.plan_id], start)
        return known

    def _own_pid_namespace(self) -> None:
        """Let the next child be born in our own pid namespace again: a second unshare would be EINVAL otherwise."""
        calls.setns(self.pid_namespace, k.CLONE_NEWPID)

    def _become(self, start: Start, descriptors: dict[str, int]) -> NoReturn:
        try:
            self.control.close()
            signal.set_wakeup_fd(-1)
            from isolate_fn._runtime import init

            init.run(self.plans[start.plan_id], start, descriptors)
        finally:
            os._exit(1)


_PLANS_KEPT = 256
_TEMPLATES_KEPT = 64


def _say_failed(status: int, *parts: object) -> None:
    import json

    try:
        os.write(status, json.dumps({"failed": parts}).encode())
    except OSError:
        pass


def main(control: int, idle_timeout: float) -> NoReturn:
    """Run a spawner on an inherited descriptor. The caller's modules to preload are imported by the launcher."""
    code = 1
    try:
        # Loaded once, shared by every fork: an import in each isolate costs more than the isolate.
        from isolate_fn._runtime import init, serve, worker  # noqa: F401
        from isolate_fn._transport import codec_encode, failures_describe  # noqa: F401

        # A collection in a fork would touch, and so copy, every page of what is shared.
        gc.collect()
        gc.freeze()
        gc.disable()
        Spawner(control, idle_timeout).serve()
        code = 0
    finally:
        os._exit(code)
