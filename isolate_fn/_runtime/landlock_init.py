"""Init of an isolate without namespaces: an ordinary process that holds all others of it in a Landlock domain of its own.

It does what PID 1 does with namespaces, and what the kernel does there when PID 1 ends: it kills everything that runs in the
isolate, and removes what was written. It ends when the worker does, when the caller lets go of its status socket, when a
limit is passed, or when the spawner is gone. Should it be killed itself, from outside, the spawner does both.
"""

from __future__ import annotations

import os
import select

from isolate_fn._enforce import ending, scratch, selfcheck
from isolate_fn._enforce.landlock_sequence import INIT_BUILDS, INIT_LOCKS
from isolate_fn._enforce.scene import Scene, StepFailed, carry_out
from isolate_fn._runtime.init import answer, drain, keep, reap, run_safely, say, start_role, wake_on_child
from isolate_fn._runtime.tree_watch import TreeWatch
from isolate_fn._sys import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_STATUS, _LIFE, _SCRATCH = 3, 4, 5  # where init keeps its three descriptors


def run(scene: Scene) -> NoReturn:
    """Build the isolate, stay until it ends, leave nothing. Never returns into the spawner's code.

    Args:
        scene: its descriptors have ``life``: a pipe that ends with the spawner.
    """
    supervisor = _Supervisor(scene)
    code = 1
    try:
        try:
            code = run_safely(scene, supervisor.stay)
        finally:
            supervisor.end_all()
    finally:
        os._exit(code)


class _Supervisor:
    """Init's state.

    Args:
        scene: of its isolate.

    Attributes:
        held: kill(-1) was found to reach this isolate's processes and no others.
        roles: processes it has started, by number.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.held = False
        self.roles: dict[int, str] = {}

    def stay(self, scene: Scene) -> int:
        """Build, then wait for the first reason to end."""
        spawner = os.getppid()
        carry_out(INIT_BUILDS, scene)
        self._see_who_is_held(spawner)
        if not os.access(f"/proc/{os.getpid()}/stat", os.R_OK):
            raise StepFailed("limits", "", 0, "there is no /proc, in which they could be watched")
        for role in scene.plan.roles:
            self.roles[start_role(scene, role)] = role
        memory = 0 if "cgroup" in scene.descriptors else scene.plan.memory
        watch = TreeWatch(memory, scene.plan, _SCRATCH, tuple(map(str, self.roles)))
        carry_out(INIT_LOCKS[:1], scene)
        self._let_go()
        wake = wake_on_child()
        carry_out(INIT_LOCKS[1:-1], scene)
        watch.maps.start()
        found = selfcheck.init_before_the_filter(scene)
        found["held"] = self.held
        carry_out(INIT_LOCKS[-1:], scene)
        say(_STATUS, {"built": [scene.notes, selfcheck.init_under_the_filter(found)]})
        return self._wait(wake, watch)

    def _see_who_is_held(self, spawner: int) -> None:
        """Find out whether kill(-1) is safe: by an id of our own, or by a scope that keeps us from the spawner, of our id."""
        if self.scene.own_id:
            self.held = calls.capabilities() == (0, 0, 0)
        elif self.scene.plan.scope and "init: landlock" not in self.scene.plan.removed:
            self.held = ending.signals_are_held(spawner) and os.getppid() == spawner
            if not self.held:
                raise StepFailed("init: landlock", "kill", 0, "the spawner can be signalled from inside the domain, or is gone")

    def _let_go(self) -> None:
        scene = self.scene
        keep([scene.descriptors["status"], scene.descriptors["life"], scene.disk])
        scene.descriptors["status"], scene.descriptors["life"], scene.disk = _STATUS, _LIFE, _SCRATCH

    def _wait(self, wake: int, watch: TreeWatch) -> int:
        poll = select.poll()
        for descriptor in (_STATUS, _LIFE, wake):
            poll.register(descriptor, select.POLLIN)
        while True:
            if reap(_STATUS, self.roles, watch):
                return 0
            exceeded = watch.look()
            if exceeded:
                say(_STATUS, {"limit": exceeded, **watch.usage()})
                return 0
            events = dict(poll.poll(watch.delay_ms()))
            if wake in events:
                drain(wake)
            if _LIFE in events or (_STATUS in events and not answer(_STATUS, watch)):
                return 0

    def end_all(self) -> None:
        """Kill everything that runs in the isolate, then remove what it has written."""
        if self.held:
            ending.kill_domain(self.held)
            ending.collect_all()
        else:
            ending.kill_children()
        try:
            if self.scene.disk >= 0:
                scratch.empty(self.scene.disk)
                os.rmdir(self.scene.start.scratch)
        except OSError:
            pass  # the spawner tries as well, with the caller's id
