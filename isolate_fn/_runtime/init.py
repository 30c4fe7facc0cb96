"""PID 1 of an isolate: builds it, starts its roles, then waits. It never runs a line of the user's.

It exists because the kernel drops default-action signals for PID 1: with the user's function there, ``os.abort()``
loops or lies. It also tells how the worker really ended, watches memory and CPU time of the whole tree, and when it
exits, for whatever reason, the kernel kills everything else in the pid namespace.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import json
import os
import select
from typing import Any, NoReturn

from isolate_fn._enforce import selfcheck
from isolate_fn._enforce.scene import Scene, StepFailed, carry_out
from isolate_fn._enforce.sequence import INIT_BUILDS, INIT_LOCKS
from isolate_fn._runtime.watch import Watch
from isolate_fn._sys import calls

_STATUS, _DISK = 3, 4  # where init keeps its two descriptors


def run(scene: Scene) -> NoReturn:
    """Build the isolate and stay until it ends. Never returns into the spawner's code."""
    code = 1
    try:
        code = _run(scene)
    except StepFailed as failure:
        _say(scene.descriptors["status"], {"failed": [failure.step, failure.call, failure.code, failure.detail]})
    except BaseException as failure:  # a bug of ours: told to the caller, then gone
        text = f"{type(failure).__name__}: {failure}"
        _say(scene.descriptors["status"], {"failed": ["init", "", 0, text]})
    finally:
        os._exit(code)


def _run(scene: Scene) -> int:
    carry_out(INIT_BUILDS, scene)
    if scene.plan.memory and not scene.has_proc and "cgroup" not in scene.descriptors:
        raise StepFailed("memory limit", "", 0, "memory can be watched neither through /proc nor by a cgroup here")
    roles = {_start_role(scene, role): role for role in scene.plan.roles}
    memory = 0 if "cgroup" in scene.descriptors else scene.plan.memory
    watch = Watch(memory, scene.plan.cpu_time, has_proc=scene.has_proc, disk=_DISK if scene.disk >= 0 else -1)
    _let_go(scene)
    status, wake = scene.descriptors["status"], _wake_on_child()
    *locks, last = INIT_LOCKS
    carry_out(tuple(locks), scene)
    found = selfcheck.init_before_the_filter(scene)
    carry_out((last,), scene)
    _say(status, {"built": [scene.notes, selfcheck.init_under_the_filter(found)]})
    return _wait(status, wake, roles, watch)


def _wake_on_child() -> int:
    """Return a pipe that becomes readable when a child ends; made before the filter denies pipes."""
    wake, wake_there = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    _signal.set_wakeup_fd(wake_there, warn_on_full_buffer=False)
    _signal.signal(_signal.SIGCHLD, lambda number, frame: None)
    return wake


def _start_role(scene: Scene, role: str) -> int:
    pid = os.fork()
    if pid == 0:
        from isolate_fn._runtime import worker

        scene.role = role
        worker.run(scene)
    return pid


def _let_go(scene: Scene) -> None:
    """Close everything but two: init holding the worker's channel would hide its end from the caller."""
    kept = [os.dup(descriptor) for descriptor in (scene.descriptors["status"], scene.disk) if descriptor >= 0]
    while min(kept) < _STATUS + len(kept):
        kept = [os.dup(descriptor) for descriptor in kept]
    for number, descriptor in enumerate(kept, _STATUS):
        os.dup2(descriptor, number, inheritable=False)
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(_STATUS):
        os.dup2(null, number)
    calls.close_from(_STATUS + len(kept))
    scene.descriptors["status"] = _STATUS
    scene.old_proc = scene.disk = -1


def _say(status: int, message: dict[str, Any]) -> None:
    try:
        os.write(status, json.dumps(message).encode())
    except OSError:
        pass  # the caller is gone, and with it everybody who could have listened


def _wait(status: int, wake: int, roles: dict[int, str], watch: Watch) -> int:
    """Wait for the worker's end, the caller's end or a limit, whichever comes first."""
    poll = select.poll()
    poll.register(status, select.POLLIN)
    poll.register(wake, select.POLLIN)
    while True:
        if _reap(status, roles, watch):
            return 0
        exceeded = watch.look()
        if exceeded:
            _say(status, {"limit": exceeded, **watch.usage()})
            return 0
        events = dict(poll.poll(watch.delay_ms()))
        if wake in events:
            _drain(wake)
        if status in events and not _answer(status, watch):
            return 0


def _drain(wake: int) -> None:
    try:
        while os.read(wake, 512):
            pass
    except BlockingIOError:
        pass


def _reap(status: int, roles: dict[int, str], watch: Watch) -> bool:
    """Collect ended children; True when the worker was among them."""
    while True:
        try:
            pid, wait_status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        if pid == 0:
            return False
        watch.collected(usage)
        role = roles.pop(pid, "")
        if role:
            _say(status, {"end": [role, wait_status], **watch.usage()})
        if role == "worker":
            return True


def _answer(status: int, watch: Watch) -> bool:
    """Answer the caller's question for usage; False when the caller is gone."""
    try:
        question = os.read(status, 16)
    except OSError:
        return False
    if question == b"usage":
        _say(status, {"usage": 1, **watch.usage()})
    return bool(question)
