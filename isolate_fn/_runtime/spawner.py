"""The main hook: a fresh, lean, single-threaded interpreter that forks isolates when the caller asks.

It is exec'ed, so nothing of the caller's memory, environment or argument vector is in it; it holds no secret and obeys
only its socket. `os.fork()` is used, not a raw clone(2), so that CPython's own after-fork handlers run (and those that
preloaded libraries registered); the new pid namespace comes from unshare(CLONE_NEWPID) just before, which moves no
process of ours but makes the next child its PID 1, and is undone by setns(2) right after. Likewise it builds an isolate's
file tree itself, in a mount namespace that it enters for that and leaves again (decision 9).
"""

from __future__ import annotations

import array
import gc
import os
import pickle
import select
import signal
import socket
import sys
from typing import Any, NoReturn

from isolate_fn._enforce import limits
from isolate_fn._enforce.scene import Scene, StepFailed, carry_out
from isolate_fn._enforce.sequence import SPAWNER_BUILDS
from isolate_fn._plan.orders import Plan, Start
from isolate_fn._runtime import template
from isolate_fn._runtime.control import HEADER, PLAN, START
from isolate_fn._sys import calls
from isolate_fn._sys import constants as k

MOST_DESCRIPTORS = 8


class CallerGone(Exception):
    """The control socket ended: time to go."""


class Spawner:
    """Obeys one control socket.

    Args:
        control: descriptor of the stream socket to the caller.
        idle_timeout: seconds without an isolate and without a request after which it ends.
        namespaces: CLONE_NEW* flags of those that it enters for an isolate, and has of its own to go back to.
    """

    def __init__(self, control: int, idle_timeout: float, namespaces: int) -> None:
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, control)
        self.idle_timeout = idle_timeout
        self.plans: dict[int, Plan] = {}
        self.isolates: set[int] = set()
        self.templates: dict[int, template.Template] = {}
        self.own_namespaces = {
            kind: os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for kind, name in _NAMESPACES.items()
        }
        self.short_stays = tuple(kind for kind in (k.CLONE_NEWNET, k.CLONE_NEWIPC, k.CLONE_NEWUTS) if namespaces & kind)
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
        scene = Scene(self.plans[start.plan_id], start, by_role)
        try:
            by_role["template"] = self._template(start)
            try:
                self._build(scene)
                self._fork(scene)
            finally:
                # The next child shall be born in our own again: a second unshare of the pid namespace would be EINVAL.
                self._go_back(k.CLONE_NEWPID, *self.short_stays)
        except StepFailed as failure:
            _say_failed(by_role["status"], failure.step, failure.call, failure.code, failure.detail)
        except OSError as failure:
            step = "fork into a new pid namespace"
            call = failure.filename or "pidfd_open or fork"  # the two that do not name themselves
            _say_failed(by_role["status"], step, str(call), failure.errno or 0, str(failure.strerror))
        finally:
            scene.close()

    def _build(self, scene: Scene) -> None:
        """Make what one isolate has of its own, and be back in our own mount namespace whatever happens."""
        try:
            carry_out(SPAWNER_BUILDS, scene)
        finally:
            self._go_back(k.CLONE_NEWNS)

    def _go_back(self, *kinds: int) -> None:
        """Enter namespaces of our own again; where that fails all ends here: nothing may be built in somebody's tree."""
        try:
            for kind in kinds:
                calls.setns(self.own_namespaces[kind], kind)
        except OSError:
            os._exit(1)

    def _fork(self, scene: Scene) -> None:
        """Fork init as PID 1 of a new pid namespace, and introduce it: kills by a handle cannot hit a reused pid."""
        # What it tells of the host's directories is of no use inside; emptied there, it would be copied first.
        sys.path_importer_cache.clear()
        calls.unshare(k.CLONE_NEWPID)
        pid = os.fork()
        if pid == 0:
            self._become(scene)
        self.isolates.add(pid)
        handle = os.pidfd_open(pid)
        try:
            with _borrowed(scene.descriptors["status"]) as status:
                socket.send_fds(status, [b'{"hello": 1}'], [handle])  # Python ignores SIGPIPE
                status.detach()
        finally:
            os.close(handle)

    def _template(self, start: Start) -> int:
        """Return the mount namespace that isolates of this plan share, built on first use."""
        known = self.templates.pop(start.plan_id, None)
        while len(self.templates) >= _TEMPLATES_KEPT:
            os.close(self.templates.pop(next(iter(self.templates))).namespace)
        try:
            known = template.current(known, self.plans[start.plan_id], start)
        finally:
            if known is not None:
                self.templates[start.plan_id] = known
        return known.namespace

    def _become(self, scene: Scene) -> NoReturn:
        try:
            self.control.close()
            signal.set_wakeup_fd(-1)
            from isolate_fn._runtime import init

            init.run(scene)
        finally:
            os._exit(1)


def _borrowed(descriptor: int) -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, descriptor)


_NAMESPACES = {
    k.CLONE_NEWNS: "mnt",
    k.CLONE_NEWPID: "pid",
    k.CLONE_NEWNET: "net",
    k.CLONE_NEWIPC: "ipc",
    k.CLONE_NEWUTS: "uts",
}
_PLANS_KEPT = 256
_TEMPLATES_KEPT = 64


def _say_failed(status: int, *parts: object) -> None:
    import json

    try:
        os.write(status, json.dumps({"failed": parts}).encode())
    except OSError:
        pass


def main(control: int, idle_timeout: float, namespaces: int) -> NoReturn:
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
        limits.to_the_background()
        Spawner(control, idle_timeout, namespaces).serve()
        code = 0
    finally:
        os._exit(code)
