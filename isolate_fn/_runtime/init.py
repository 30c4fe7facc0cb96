"""PID 1 of an isolate: builds it, starts its roles, then waits. It never runs a line of the user's.

It exists because the kernel drops default-action signals for PID 1: with the user's function there, ``os.abort()``
loops or lies. It also tells how the worker really ended, watches memory and CPU time of the whole tree, and when it
exits, for whatever reason, the kernel kills everything else in the pid namespace.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import select

from isolate_fn._enforce import selfcheck
from isolate_fn._enforce.scene import Scene, StepFailed, carry_out
from isolate_fn._enforce.sequence import INIT_BUILDS, INIT_LOCKS
from isolate_fn._runtime.watch import Watch
from isolate_fn._sys import calls
from isolate_fn._transport.json_text import dump_ascii

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

_STATUS, _DISK = 3, 4  # where init keeps its two descriptors


def run(scene: Scene) -> NoReturn:
    """Build the isolate and stay until it ends. Never returns into the spawner's code."""
    code = 1
    try:
        code = run_safely(scene, _run)
    finally:
        os._exit(code)


def run_safely(scene: Scene, stay: Callable[[Scene], int]) -> int:
    """Return what `stay` returns, or 1 once the caller was told why it could not."""
    try:
        return stay(scene)
    except StepFailed as failure:
        say(scene.descriptors["status"], {"failed": [failure.step, failure.call, failure.code, failure.detail]})
    except BaseException as failure:  # a bug of ours: told to the caller, then gone
        text = f"{type(failure).__name__}: {failure}"
        say(scene.descriptors["status"], {"failed": ["init", "", 0, text]})
    return 1


def _run(scene: Scene) -> int:
    carry_out(INIT_BUILDS, scene)
    if scene.plan.memory and not scene.has_proc and "cgroup" not in scene.descriptors:
        raise StepFailed("memory limit", "", 0, "memory can be watched neither through /proc nor by a cgroup here")
    roles = {start_role(scene, role): role for role in scene.plan.roles}
    memory = 0 if "cgroup" in scene.descriptors else scene.plan.memory
    watch = Watch(memory, scene.plan.cpu_time, has_proc=scene.has_proc, disk=_DISK if scene.disk >= 0 else -1)
    _let_go(scene)
    status, wake = scene.descriptors["status"], wake_on_child()
    *locks, last = INIT_LOCKS
    carry_out(tuple(locks), scene)
    found = selfcheck.init_before_the_filter(scene)
    carry_out((last,), scene)
    say(status, {"built": [scene.notes, selfcheck.init_under_the_filter(found)]})
    return _wait(status, wake, roles, watch)


def wake_on_child() -> int:
    """Return a pipe that becomes readable when a child ends; made before the filter denies pipes."""
    wake, wake_there = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    _signal.set_wakeup_fd(wake_there, warn_on_full_buffer=False)
    _signal.signal(_signal.SIGCHLD, lambda number, frame: None)
    return wake


def start_role(scene: Scene, role: str) -> int:
    """Fork a role process and return its number."""
    pid = os.fork()
    if pid == 0:
        from isolate_fn._runtime import worker

        scene.role = role
        worker.run(scene)
    return pid


def _let_go(scene: Scene) -> None:
    """Close everything but two: init holding the worker's channel would hide its end from the caller."""
    keep([descriptor for descriptor in (scene.descriptors["status"], scene.disk) if descriptor >= 0])
    scene.descriptors["status"] = _STATUS
    scene.old_proc = scene.disk = -1


def keep(descriptors: list[int]) -> None:
    """Move these to the first numbers after standard error, and close everything else."""
    kept = [os.dup(descriptor) for descriptor in descriptors]
    while min(kept) < _STATUS + len(kept):
        kept = [os.dup(descriptor) for descriptor in kept]
    for number, descriptor in enumerate(kept, _STATUS):
        os.dup2(descriptor, number, inheritable=False)
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(_STATUS):
        os.dup2(null, number)
    calls.close_from(_STATUS + len(kept))


def say(status: int, message: dict[str, Any]) -> None:
    """Tell the caller."""
    try:
        os.write(status, dump_ascii(message))
    except OSError:
        pass  # the caller is gone, and with it everybody who could have listened


def _wait(status: int, wake: int, roles: dict[int, str], watch: Watch) -> int:
    """Wait for the worker's end, the caller's end or a limit, whichever comes first."""
    poll = select.poll()
    poll.register(status, select.POLLIN)
    poll.register(wake, select.POLLIN)
    while True:
        if reap(status, roles, watch):
            return 0
        exceeded = watch.look()
        if exceeded:
            say(status, {"limit": exceeded, **watch.usage()})
            return 0
        events = dict(poll.poll(watch.delay_ms()))
        if wake in events:
            drain(wake)
        if status in events and not answer(status, watch):
            return 0


def drain(wake: int) -> None:
    """Empty the pipe that wakes init up."""
    try:
        while os.read(wake, 512):
            pass
    except BlockingIOError:
        pass


def reap(status: int, roles: dict[int, str], watch: Watch) -> bool:
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
            say(status, {"end": [role, wait_status], **watch.usage()})
        if role == "worker":
            return True


def answer(status: int, watch: Watch) -> bool:
    """Answer the caller's question for usage; False when the caller is gone."""
    try:
        question = os.read(status, 16)
    except OSError:
        return False
    if question == b"usage":
        say(status, {"usage": 1, **watch.usage()})
    return bool(question)
