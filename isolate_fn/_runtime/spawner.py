"""The main hook: a fresh, lean, single-threaded interpreter that forks isolates when the caller asks.

It is exec'ed, so nothing of the caller's memory, environment or argument vector is in it; it holds no secret and obeys
only its socket. `os.fork()` is used, not a raw clone(2), so that CPython's own after-fork handlers run (and those that
preloaded libraries registered); the new pid namespace comes from unshare(CLONE_NEWPID) just before, which moves no
process of ours but makes the next child its PID 1, and is undone by setns(2) right after. Likewise it builds an isolate's
file tree itself, in a mount namespace that it enters for that and leaves again (decision 9).
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket  # it and the one above: what they are named after makes their numbers enums, which the first call waits for
import marshal
import os
import select
import struct
import sys

from isolate_fn._enforce import limits
from isolate_fn._enforce.scene import Scene, StepFailed, carry_out
from isolate_fn._enforce.sequence import SPAWNER_BUILDS
from isolate_fn._plan.orders import Plan, Start, plan_of, start_of, with_grants
from isolate_fn._runtime import template
from isolate_fn._runtime.control import HEADER, PLAN, START
from isolate_fn._runtime.loading import IDLE, Loading
from isolate_fn._runtime.supervision import Supervision
from isolate_fn._sys import calls
from isolate_fn._sys import constants as k

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

MOST_DESCRIPTORS = 8


class CallerGone(Exception):
    """The control socket ended: time to go."""


class Spawner:
    """Obeys one control socket.

    Args:
        control: descriptor of the stream socket to the caller.
        idle_timeout: seconds without an isolate and without a request after which it ends.
        namespaces: CLONE_NEW* flags of those that it enters for an isolate, and has of its own to go back to.
        loading: what it has loaded.
    """

    def __init__(self, control: int, idle_timeout: float, namespaces: int, loading: Loading) -> None:
        self.control = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, control)
        self.loading = loading
        self.started = 0
        self.idle_timeout = idle_timeout
        self.plans: dict[int, Plan] = {}
        self.isolates: set[int] = set()
        self.poll = select.poll()
        self.supervision = Supervision(self.poll)
        self.templates: dict[int, template.Template] = {}
        self.keep_namespaces(namespaces)
        self.wake, wake_there = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        _signal.set_wakeup_fd(wake_there, warn_on_full_buffer=False)
        _signal.signal(_signal.SIGCHLD, lambda number, frame: None)

    def keep_namespaces(self, namespaces: int) -> None:
        """Hold our own namespaces by descriptor, to go back to."""
        self.own_namespaces = {
            kind: os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for kind, name in _NAMESPACES.items()
        }
        self.short_stays = tuple(kind for kind in (k.CLONE_NEWNET, k.CLONE_NEWIPC, k.CLONE_NEWUTS) if namespaces & kind)

    def serve(self) -> None:
        """Handle requests until the caller is gone or nothing was asked for long enough; load more when there is time."""
        poll = self.poll
        poll.register(self.control.fileno(), select.POLLIN)
        poll.register(self.wake, select.POLLIN)
        while True:
            if not self.loading.complete and not poll.poll(IDLE):
                self.loading.often()
                continue
            events = dict(poll.poll(None if self.isolates else self.idle_timeout * 1000))
            if not events:
                return
            if self.wake in events:
                self._reap()
            if self.control.fileno() in events:
                try:
                    self._handle(*self._receive())
                except CallerGone:
                    return
            self.supervision.hear(events)

    def _reap(self) -> None:
        try:
            while os.read(self.wake, 512):
                pass
        except BlockingIOError:
            pass
        try:
            while (waited := os.waitpid(-1, os.WNOHANG))[0] > 0:
                self.isolates.discard(waited[0])
                self.supervision.forget(waited[0])
                self.ended(*waited)
        except ChildProcessError:
            self.isolates.clear()

    def ended(self, pid: int, status: int) -> None:
        """A child has ended. With a pid namespace of its own, all of its isolate has."""

    def _receive(self) -> tuple[int, Any, list[int]]:
        """Read one message; descriptors travel with its first byte."""
        space = _socket.CMSG_SPACE(4 * MOST_DESCRIPTORS)
        data, ancillary, _, _ = self.control.recvmsg(HEADER.size, space, _socket.MSG_CMSG_CLOEXEC)
        descriptors: list[int] = []
        for _, _, content in ancillary:
            descriptors.extend(struct.unpack(f"{len(content) // 4}i", content))
        kind, length = HEADER.unpack(data + self._exactly(HEADER.size - len(data)))
        return kind, marshal.loads(self._exactly(length)), descriptors  # noqa: S302 - the caller is trusted

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
                self.plans[number] = plan_of(plan)
                for old in [known for known in self.plans if known < number - _PLANS_KEPT]:
                    del self.plans[old]
            elif kind == START:
                start = start_of(body)
                self.start(start, dict(zip(start.descriptors, descriptors, strict=True)))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def start(self, start: Start, by_role: dict[str, int]) -> None:
        """Fork one isolate. Its failures are told by itself; failures here close its sockets, which the caller sees."""
        plan = with_grants(self.plans[start.plan_id], start.grants, start.grant_rules)
        scene = Scene(plan, start, by_role)
        doors = list(self.supervision.door() if plan.listen or plan.learning else ())
        try:
            if doors:
                by_role["denials"] = doors[1].fileno()
            if self.started == _FEW:
                self.loading.often()  # many will follow
            self.started += 1
            by_role["template"] = self._template(start)
            self.loading.needed()
            if start.grants:
                self.loading.paths()
            try:
                self._build(scene)
                pid = self._fork(scene)
                if doors:
                    self.listen(pid, scene, doors[0])
                    del doors[0]
            finally:
                # The next child shall be born in our own again: a second unshare of the pid namespace would be EINVAL.
                self._go_back(k.CLONE_NEWPID, *self.short_stays)
        except StepFailed as failure:
            say_failed(by_role["status"], failure.step, failure.call, failure.code, failure.detail)
        except OSError as failure:
            step = "fork into a new pid namespace"
            call = failure.filename or "pidfd_open or fork"  # the two that do not name themselves
            say_failed(by_role["status"], step, str(call), failure.errno or 0, str(failure.strerror))
        finally:
            scene.close()
            for door in doors:
                door.close()

    def listen(self, pid: int, scene: Scene, door: _socket.socket) -> None:
        """Hear of what the filters of an isolate deny, from now until its init ends."""
        plan, start = scene.plan, scene.start
        roles = len(plan.roles) if plan.rules is None else 0
        learning = plan.learning and (plan.learning, (start.outer_id, start.outer_group))
        status = scene.descriptors["status"]
        self.supervision.watch(pid, status, door, roles, fresh_exec=plan.fresh_exec, learning=learning)

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

    def _fork(self, scene: Scene) -> int:
        """Fork init as PID 1 of a new pid namespace, and introduce it: kills by a handle cannot hit a reused pid."""
        # What it tells of the host's directories is of no use inside; emptied there, it would be copied first.
        sys.path_importer_cache.clear()
        calls.unshare(k.CLONE_NEWPID)
        pid = os.fork()
        if pid == 0:
            self.become(scene)
        self.introduce(pid, scene)
        return pid

    def introduce(self, pid: int, scene: Scene) -> None:
        """Send the caller a handle of init, with which it cannot hit another process."""
        self.isolates.add(pid)
        handle = os.pidfd_open(pid)
        try:
            status = _borrowed(scene.descriptors["status"])
            try:
                rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", handle))
                status.sendmsg([b'{"hello": 1}'], [rights])  # Python ignores SIGPIPE
            finally:
                status.detach()
        finally:
            os.close(handle)

    def _template(self, start: Start) -> int:
        """Return the mount namespace that isolates of this plan share, built on first use."""
        known = self.templates.pop(start.plan_id, None)
        while len(self.templates) >= _TEMPLATES_KEPT:
            os.close(self.templates.pop(next(iter(self.templates))).namespace)
        try:
            known = template.current(known, self.plans[start.plan_id], start, self.loading.needed)
        finally:
            if known is not None:
                self.templates[start.plan_id] = known
        return known.namespace

    def become(self, scene: Scene) -> NoReturn:
        """Become init, in the child."""
        try:
            self.control.close()
            _signal.set_wakeup_fd(-1)
            self.run_init(scene)
        finally:
            os._exit(1)

    def run_init(self, scene: Scene) -> NoReturn:
        """Build the isolate and stay until it ends."""
        from isolate_fn._runtime import init

        init.run(scene)


def _borrowed(descriptor: int) -> _socket.socket:
    return _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, descriptor)


_NAMESPACES = {
    k.CLONE_NEWNS: "mnt",
    k.CLONE_NEWPID: "pid",
    k.CLONE_NEWNET: "net",
    k.CLONE_NEWIPC: "ipc",
    k.CLONE_NEWUTS: "uts",
}
_PLANS_KEPT = 256
_TEMPLATES_KEPT = 64
_FEW = 2  # isolates for which it does not pay to load what they are only likely to import


def say_failed(status: int, *parts: object) -> None:
    """Tell the caller that an isolate could not be built."""
    from isolate_fn._transport.json_text import dump_ascii

    try:
        os.write(status, dump_ascii({"failed": parts}))
    except OSError:
        pass


def main(control: int, idle_timeout: float, namespaces: int, loading: Loading) -> NoReturn:
    """Run a spawner on an inherited descriptor. The caller's modules to preload are imported before."""
    code = 1
    try:
        limits.to_the_background()
        Spawner(control, idle_timeout, namespaces, loading).serve()
        code = 0
    finally:
        os._exit(code)
