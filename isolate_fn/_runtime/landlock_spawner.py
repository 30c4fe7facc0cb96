"""The spawner of isolates without namespaces: makes their private directories, forks their inits, outlives them.

Where init is killed by somebody outside, what it held together becomes this process's: orphans come here, and are killed,
and the directory is removed.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import sys
import time

from isolate_fn._enforce import confinement, ending, limits, scratch
from isolate_fn._enforce.landlock_sequence import SPAWNER_BUILDS
from isolate_fn._enforce.scene import Scene, StepFailed, carry_out
from isolate_fn._plan.orders import Plan, Start, with_grants
from isolate_fn._runtime.loading import Loading
from isolate_fn._runtime.spawner import Spawner, say_failed
from isolate_fn._sys import calls
from isolate_fn._sys import constants as k

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_COUNT_AGAIN = 10.0  # seconds for which the number of this user's processes is taken as it was
_LAST_WAIT = 10.0  # seconds that inits get to end when the caller is gone


class LandlockSpawner(Spawner):
    """Obeys one control socket. See `isolate_fn._runtime.spawner.Spawner` for the arguments."""

    def __init__(self, control: int, idle_timeout: float, namespaces: int, loading: Loading) -> None:
        super().__init__(control, idle_timeout, namespaces, loading)
        calls.prctl(k.PR_SET_CHILD_SUBREAPER, 1)
        self.life, self.life_there = os.pipe2(os.O_CLOEXEC)
        self.starts: dict[int, Start] = {}  # of inits that live
        self.counted = (-_COUNT_AGAIN, 0)
        self.swept: set[str] = set()

    def keep_namespaces(self, namespaces: int) -> None:
        """There are none to go back to."""

    def ended(self, pid: int, status: int) -> None:
        """See to what an init has left, which is nothing unless it was killed itself."""
        start = self.starts.pop(pid, None)
        if start is None:
            return
        if not os.WIFEXITED(status):
            if start.outer_id != os.geteuid():
                ending.kill_user(start.outer_id)
            ending.kill_children(self.starts)
        try:
            scratch.remove(start.scratch)
        except OSError:
            pass  # a later spawner sweeps it

    def start(self, start: Start, by_role: dict[str, int]) -> None:
        """Make a private directory and fork one init."""
        plan = with_grants(self.plans[start.plan_id], start.grants, start.grant_rules)
        scene = Scene(plan, start, by_role)
        doors = list(self.supervision.door() if plan.listen else ())
        try:
            if doors:
                by_role["denials"] = doors[1].fileno()
            self.loading.needed()
            _needed()
            if start.grants:
                self.loading.paths()
            self._sweep(plan)
            scene.tasks = self._tasks(plan)
            carry_out(SPAWNER_BUILDS, scene)
            pid = self._fork_init(scene)
            if doors:
                self.listen(pid, scene, doors[0])
                del doors[0]
        except StepFailed as failure:
            self._forget(start)
            say_failed(by_role["status"], failure.step, failure.call, failure.code, failure.detail)
        except OSError as failure:
            self._forget(start)
            say_failed(by_role["status"], "fork", str(failure.filename or "fork"), failure.errno or 0, str(failure.strerror))
        finally:
            scene.close()
            for door in doors:
                door.close()

    def _forget(self, start: Start) -> None:
        if start not in self.starts.values():
            try:
                scratch.remove(start.scratch)
            except OSError:
                pass

    def _fork_init(self, scene: Scene) -> int:
        sys.path_importer_cache.clear()
        pid = os.fork()
        if pid == 0:
            os.close(self.life_there)
            scene.descriptors["life"] = self.life
            self.become(scene)
        self.starts[pid] = scene.start
        self.introduce(pid, scene)
        return pid

    def run_init(self, scene: Scene) -> NoReturn:
        """Become init."""
        from isolate_fn._runtime import landlock_init

        landlock_init.run(scene)

    def _tasks(self, plan: Plan) -> int:
        """Return how many processes and threads this user has, counted anew now and then where somebody asks."""
        if plan.processes and time.monotonic() - self.counted[0] >= _COUNT_AGAIN:
            self.counted = (time.monotonic(), confinement.count_tasks())
        return self.counted[1]

    def _sweep(self, plan: Plan) -> None:
        if plan.scratch not in self.swept:
            self.swept.add(plan.scratch)
            scratch.sweep(plan.scratch)

    def close(self) -> None:
        """Let every init end its isolate, and see to those that do not."""
        os.close(self.life_there)
        deadline = time.monotonic() + _LAST_WAIT
        while self.starts and time.monotonic() < deadline:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid:
                self.ended(pid, status)
            else:
                time.sleep(0.002)
        for pid in self.starts:
            os.kill(pid, _signal.SIGKILL)
        while self.starts:
            self.ended(*os.waitpid(-1, 0))


def _needed() -> None:
    """Load what init and the roles run, and what they would look for in vain behind their walls."""
    from isolate_fn._runtime import landlock_init, tools  # noqa: F401
    from isolate_fn._transport import known_entries  # noqa: F401


def main(control: int, idle_timeout: float, loading: Loading) -> Any:
    """Run a spawner on an inherited descriptor. The caller's modules to preload are imported before."""
    code = 1
    try:
        limits.to_the_background()
        spawner = LandlockSpawner(control, idle_timeout, 0, loading)
        try:
            spawner.serve()
        finally:
            spawner.close()
        code = 0
    finally:
        os._exit(code)
