"""Have the shared file tree of a plan built by a process of its own, and keep the mount namespace it leaves behind."""

from __future__ import annotations

import marshal
import os
import time

from isolate_fn._enforce.scene import Scene, StepFailed, carry_out
from isolate_fn._enforce.sequence import TEMPLATE_BUILDS
from isolate_fn._plan.orders import Plan, Start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NamedTuple, NoReturn
else:
    from isolate_fn._records import NamedTuple

_LOOK_AGAIN = 1.0  # seconds for which modules of the program count as unchanged


class Template(NamedTuple):
    """The shared tree of one plan.

    Attributes:
        namespace: descriptor of a mount namespace whose root it is.
        modules: what the copied modules looked like before they were copied.
        looked: when, by time.monotonic().
    """

    namespace: int
    modules: tuple[object, ...]
    looked: float


def current(known: Template | None, plan: Plan, start: Start, meanwhile: Callable[[], None]) -> Template:
    """Return the shared tree of a plan: the one there is, or a new one where there is none or its modules have changed.

    Args:
        known: the one there is.
        plan: whose.
        start: of the isolate that needs it.
        meanwhile: called while another process builds a new one.

    Raises:
        StepFailed: a step of the builder failed.
    """
    now = time.monotonic()
    if known is not None and now < known.looked + _LOOK_AGAIN:
        return known
    modules = tuple(_look(order.source) for order in plan.mounts if order.kind == "copy")
    if known is not None and known.modules == modules:
        return known._replace(looked=now)
    made = Template(_build_apart(plan, start, meanwhile), modules, now)
    if known is not None:
        os.close(known.namespace)
    return made


def _look(path: str) -> object:
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def _build_apart(plan: Plan, start: Start, meanwhile: Callable[[], None]) -> int:
    here, there = os.pipe2(os.O_CLOEXEC)
    hold, held = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(held)
        _build(plan, start, there, hold)
    os.close(there)
    os.close(hold)
    try:
        with os.fdopen(here, "rb") as answer:
            meanwhile()
            said = marshal.loads(answer.read())  # noqa: S302 - our own code, before any input
        if said is not None:
            raise StepFailed(*said)
        return os.open(f"/proc/{_visible_pid(pid)}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(held)  # the builder may end now; the spawner collects it with the isolates


def _build(plan: Plan, start: Start, answer: int, hold: int) -> NoReturn:
    try:
        said: tuple[str, str, int, str] | None = ("template", "", 0, "the builder ended early")
        try:
            carry_out(TEMPLATE_BUILDS, Scene(plan, start._replace(idmap_from=-1), {}))
            said = None
        except StepFailed as failure:
            said = (failure.step, failure.call, failure.code, failure.detail)
        os.write(answer, marshal.dumps(said))
        os.close(answer)
        os.read(hold, 1)
    finally:
        os._exit(0)


def _visible_pid(pid: int) -> int:
    """Return the number of a child in the pid namespace of the mounted /proc, which need not be ours."""
    handle = os.pidfd_open(pid)
    try:
        info = os.open(f"/proc/self/fdinfo/{handle}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            lines = os.read(info, 4096).split(b"\n")
        finally:
            os.close(info)
        for line in lines:
            if line.startswith(b"Pid:"):
                return int(line.split()[1])
    finally:
        os.close(handle)
    raise StepFailed("template", "pidfd", 0, "its process is not visible in /proc")
