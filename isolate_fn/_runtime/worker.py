"""A role process of an isolate: puts itself behind the last walls, reports what they are, then serves.

Everything up to ``READY`` is code of ours that has seen no input. The user's function, its module and its arguments
come afterwards.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import fcntl
import gc
import marshal
import os

from isolate_fn._enforce import limits, selfcheck
from isolate_fn._enforce import sequence as of_namespaces
from isolate_fn._enforce.scene import Scene, StepFailed, carry_out
from isolate_fn._plan.orders import plain, plan_of, start_of
from isolate_fn._runtime import interpreter, launcher
from isolate_fn._transport.channel import WorkerChannel
from isolate_fn._transport.frames import Kind
from isolate_fn._transport.json_text import dump_ascii

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, NoReturn

ORDERS = 5  # where the orders lie across the exec, right above the channel and the socket for the listener


def run(scene: Scene) -> NoReturn:
    """Become the role that the scene names, serve until the caller closes, exit. Never returns into init's code."""
    try:
        _ordinary_signals()
        carry_out(_sequence(scene).WORKER_BUILDS, scene)
        if scene.plan.fresh_exec and scene.role == "worker":
            _execute_anew(scene)
        _serve(scene)
        os._exit(0)
    except BaseException as failure:
        _last_words(scene, failure)


def _sequence(scene: Scene) -> ModuleType:
    """Return the order of set-up of the plan's engine."""
    if scene.plan.engine != "landlock":
        return of_namespaces
    from isolate_fn._enforce import landlock_sequence

    return landlock_sequence


def resume() -> NoReturn:
    """Go on after `_execute_anew`: the orders lie at `ORDERS`, the channel where it was."""
    with os.fdopen(ORDERS, "rb") as file:
        plan, start, notes, has_proc = marshal.load(file)  # noqa: S302 - written by ourselves, before any input
    scene = Scene(plan_of(plan), start_of(start), {})
    scene.role, scene.notes, scene.has_proc = "worker", notes, has_proc
    if scene.plan.listen:
        scene.descriptors["denials"] = limits.DENIALS
    scene.own_id = scene.plan.engine == "landlock" and not scene.plan.processes
    try:
        os.set_inheritable(limits.CHANNEL, False)
        _serve(scene)
        os._exit(0)
    except BaseException as failure:
        _last_words(scene, failure)


def _execute_anew(scene: Scene) -> NoReturn:
    """Execute the interpreter that is mounted inside: own address layout, stack canary and hash seed."""
    payload = marshal.dumps((plain(scene.plan), plain(scene.start), scene.notes, scene.has_proc))
    here, there = os.pipe2(os.O_CLOEXEC)
    # The pipe must hold all of it, because nobody reads while it is written.
    fcntl.fcntl(there, fcntl.F_SETPIPE_SZ, max(65536, len(payload)))
    os.write(there, payload)
    os.close(there)
    os.dup2(here, ORDERS)
    os.set_inheritable(ORDERS, True)  # dup2(2) onto itself leaves close-on-exec as it was
    os.set_inheritable(limits.CHANNEL, True)
    if "denials" in scene.descriptors:
        os.set_inheritable(limits.DENIALS, True)
    path = scene.plan.interpreter
    os.execv(path, [path, "-I", "-S", launcher.__file__, "3", "worker"])  # noqa: S606 - no shell


def _last_words(scene: Scene, failure: BaseException) -> NoReturn:
    """Tell over the channel what went wrong, and end this process; nothing unwinds any further."""
    try:
        if not isinstance(failure, StepFailed):  # a bug of ours, or the caller went away while we spoke
            failure = StepFailed("worker", "", 0, f"{type(failure).__name__}: {failure}")
        _tell_failure(scene, failure)
    finally:
        os._exit(1)


def _serve(scene: Scene) -> None:
    ready, files = _stand_behind_walls(scene)
    channel = WorkerChannel(limits.CHANNEL)
    channel.send_inline(Kind.READY, dump_ascii({**ready, "files": [name for name, _ in files]}), [text for _, text in files])
    interpreter.prepare(scene.plan, scene.start.scratch, tools=scene.role == "tools")  # while the caller looks at the report
    if scene.role == "tools":
        from isolate_fn._runtime import tools

        tools.serve(channel, scene.plan.rules_tools, scene.plan.scope)
        return
    from isolate_fn._runtime import serve

    gc.enable()
    if scene.plan.observer[0]:
        from isolate_fn._runtime import asides, observing  # few callers ask for it

        asides.observer[:] = [observing.begin(*scene.plan.observer)]
    serve.serve(channel, scene.plan.rules, scene.start.function)


def _ordinary_signals() -> None:
    """Undo what the spawner set: code inside may expect the usual dispositions.

    By the module below ``signal``, which converts nothing to enums; the mask has been empty since the spawner's start.
    """
    _signal.set_wakeup_fd(-1)
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)


def _stand_behind_walls(scene: Scene) -> tuple[dict[str, Any], list[tuple[str, bytes]]]:
    sequence = _sequence(scene)
    carry_out(sequence.WORKER_RESTRICTS, scene)
    # What it tries would succeed, and change what is found, where a test has taken the wall away.
    checked = "self-check" not in scene.plan.removed
    if scene.plan.engine == "landlock" and checked:
        return _stand_behind_landlock(scene, sequence)
    found, files = selfcheck.before_the_filter(scene) if checked else ({}, [])
    carry_out(sequence.WORKER_LOCKS, scene)
    if checked:
        selfcheck.under_the_filter(scene, found, files)
    return {"notes": scene.notes, **found}, files


def _stand_behind_landlock(scene: Scene, sequence: ModuleType) -> tuple[dict[str, Any], list[tuple[str, bytes]]]:
    from isolate_fn._enforce import landlock_selfcheck

    found, files = landlock_selfcheck.before_the_filter(scene)
    carry_out(sequence.WORKER_LOCKS, scene)
    landlock_selfcheck.under_the_filter(scene, found)
    return {"notes": scene.notes, **found}, files


def _tell_failure(scene: Scene, failure: StepFailed) -> None:
    """Send a failed step over the channel, wherever it is by now: before "descriptors" it has its own number."""
    moved = scene.role not in scene.descriptors or scene.moved
    try:
        channel = WorkerChannel(limits.CHANNEL if moved else scene.descriptors[scene.role])
        parts = {"step": failure.step, "call": failure.call, "errno": failure.code, "detail": failure.detail}
        channel.send(Kind.SETUP_FAILED, dump_ascii(parts))
    except OSError:
        pass
