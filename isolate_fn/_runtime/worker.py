"""A role process of an isolate: puts itself behind the last walls, reports what they are, then serves.

Everything up to ``READY`` is code of ours that has seen no input. The user's function, its module and its arguments
come afterwards.
"""

from __future__ import annotations

import os
import signal
from typing import Any, NoReturn

from isolate_fn._enforce import limits, selfcheck
from isolate_fn._enforce.scene import Scene, StepFailed, carry_out
from isolate_fn._enforce.sequence import WORKER_BUILDS, WORKER_LOCKS
from isolate_fn._runtime import interpreter
from isolate_fn._transport.channel import WorkerChannel
from isolate_fn._transport.frames import Kind


def run(scene: Scene) -> NoReturn:
    """Become the role that the scene names, serve until the caller closes, exit. Never returns into init's code."""
    code = 1
    try:
        _ordinary_signals()
        ready = _stand_behind_walls(scene)
        channel = WorkerChannel(limits.CHANNEL)
        channel.send(Kind.READY, _json(ready))
        if scene.role == "tools":
            from isolate_fn._runtime import tools

            tools.serve(channel)
        else:
            import gc

            from isolate_fn._runtime import serve

            gc.enable()
            serve.serve(channel, scene.plan.idle_timeout)
        code = 0
    except StepFailed as failure:
        _tell_failure(scene, failure)
    except BaseException as failure:  # a bug of ours, or the caller went away while we spoke
        _tell_failure(scene, StepFailed("worker", "", 0, f"{type(failure).__name__}: {failure}"))
    finally:
        os._exit(code)


def _json(value: Any) -> bytes:
    import json

    return json.dumps(value).encode()


def _ordinary_signals() -> None:
    """Undo what the spawner set: code inside may expect the usual dispositions and an empty mask."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _stand_behind_walls(scene: Scene) -> dict[str, Any]:
    carry_out(WORKER_BUILDS, scene)
    interpreter.prepare(scene.plan, tools=scene.role == "tools")
    found = selfcheck.before_the_filter(scene)
    carry_out(WORKER_LOCKS, scene)
    return {"notes": scene.notes, **selfcheck.under_the_filter(scene, found)}


def _tell_failure(scene: Scene, failure: StepFailed) -> None:
    """Send a failed step over the channel, wherever it is by now: before "descriptors" it has its own number."""
    moved = scene.old_proc < 0 and "descriptors" not in scene.plan.removed
    try:
        channel = WorkerChannel(limits.CHANNEL if moved else scene.descriptors[scene.role])
        parts = {"step": failure.step, "call": failure.call, "errno": failure.code, "detail": failure.detail}
        channel.send(Kind.SETUP_FAILED, _json(parts))
    except OSError:
        pass
