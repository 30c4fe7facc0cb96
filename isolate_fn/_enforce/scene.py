"""What the steps of one isolate share: its orders, its descriptors, and how a step's failure leaves."""

from __future__ import annotations

import os

from isolate_fn._plan.orders import Plan, Start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NamedTuple, TypeAlias
else:
    from isolate_fn._records import NamedTuple


class Scene:
    """The state of one isolate while it is being built; every step reads it, few write it.

    Attributes:
        plan: the orders.
        start: what is particular to this isolate.
        descriptors: descriptor by role (see ``Start.descriptors``).
        old_proc: descriptor of the host's ``/proc``, open until the id maps are written; -1 afterwards.
        trees: destination index of a mount order -> descriptor of its detached source.
        idmap: descriptor of the user namespace that re-maps granted mounts, -1 for none.
        notes: differences from the request that the caller must hear of.
        role: the process this is: ``"init"``, ``"worker"`` or ``"tools"``.
        has_proc: whether an own /proc could be mounted.
        root: handle of the new root while the tree is built.
        disk: handle of the sized tmpfs, by which init tells how full it is.
        proc: descriptor of the own /proc until it is mounted, -1 for none.
        tree: descriptor of the finished mount namespace until init has entered it.
        granted: destinations of granted mounts that are in place: whoever may write there may have left links.
        own_devices: device numbers of our own tmpfs mounts: only there may a mount point be made.
        moved: the channel has its own number, and nothing else is open.
        score, own_score: descriptor of init's out-of-memory score, and what it was; landlock engine.
        own_id: this process has taken an id that nobody else has; landlock engine.
        tasks: processes and threads of the caller's user when the isolate was ordered; landlock engine.
    """

    def __init__(self, plan: Plan, start: Start, descriptors: dict[str, int]) -> None:
        self.plan = plan
        self.start = start
        self.descriptors = descriptors
        self.old_proc = -1
        self.trees: dict[int, int] = {}
        self.idmap = -1
        self.notes: list[str] = []
        self.role = "init"
        self.has_proc = False
        self.root = self.proc = self.disk = self.tree = -1
        self.own_devices: set[int] = set()
        self.granted: list[str] = []
        self.moved = False
        self.score = -1
        self.own_score = b""
        self.tasks = 0
        self.own_id = False

    def close(self) -> None:
        """Close what the spawner has opened for an isolate that is on its way, or failed."""
        for descriptor in (self.old_proc, self.root, self.disk, self.tree, self.idmap, *self.trees.values()):
            if descriptor >= 0:
                os.close(descriptor)
        self.old_proc = self.root = self.disk = self.tree = self.idmap = -1
        self.trees.clear()


Act: TypeAlias = "Callable[[Scene], None]"
"""What a step does."""


class Step(NamedTuple):
    """One entry of a sequence: its name, why it stands there, and what it does."""

    name: str
    because: str
    act: Act


class StepFailed(Exception):
    """A step could not be carried out; travels to the caller as plain data."""

    def __init__(self, step: str, call: str, code: int, detail: str) -> None:
        super().__init__(step, call, code, detail)
        self.step, self.call, self.code, self.detail = step, call, code, detail


def carry_out(steps: tuple[Step, ...], scene: Scene) -> None:
    """Carry out steps in order; the first that fails ends it.

    Raises:
        StepFailed: naming the step, the call and the errno.
    """
    for step in steps:
        if step.name in scene.plan.removed:
            continue
        try:
            step.act(scene)
        except OSError as failure:
            call = failure.filename if isinstance(failure.filename, str) else ""
            raise StepFailed(step.name, call, failure.errno or 0, str(failure.strerror or failure)) from failure
        except Exception as failure:
            raise StepFailed(step.name, "", 0, f"{type(failure).__name__}: {failure}") from failure
