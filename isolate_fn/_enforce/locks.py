"""The two locks that code inside cannot open: Landlock, then the seccomp filter."""

from __future__ import annotations

import os

from isolate_fn._enforce import listening
from isolate_fn._enforce.scene import Scene
from isolate_fn._plan.orders import LandlockOrders
from isolate_fn._sys import calls
from isolate_fn._sys import constants as k

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

Allow: TypeAlias = "Callable[[int, str, int], None]"


def landlock(scene: Scene) -> None:
    """Restrict files, TCP ports and scopes. After all mounts, which it forbids; while single-threaded.

    Paths are opened inside the new root; the rights were computed in the parent.
    """
    plan = scene.plan
    orders = {"init": plan.landlock_init, "worker": plan.landlock, "tools": plan.landlock_tools}[scene.role]
    if orders is not None:
        restrict(orders)


def restrict(orders: LandlockOrders, allow: Allow | None = None) -> None:
    """Build a rule set from plain integers and put this thread under it (landlock(7), Linux 5.13).

    Args:
        orders: see there.
        allow: see build_ruleset(); by default a path that does not exist allows nothing.
    """
    ruleset = build_ruleset(orders, allow or _allow_beneath)
    try:
        calls.landlock_restrict_self(ruleset)
    finally:
        os.close(ruleset)


def build_ruleset(orders: LandlockOrders, allow: Allow) -> int:
    """Return a descriptor of a rule set, which restricts nobody yet.

    Args:
        orders: see there.
        allow: called for each path rule, with the descriptor, the path and the rights.
    """
    ruleset = calls.landlock_create_ruleset(
        orders.handled_fs, orders.handled_net, orders.scoped, size=orders.attribute_size
    )
    try:
        for path, access in orders.path_rules:
            allow(ruleset, path, access)
        for port, access in orders.port_rules:
            calls.landlock_add_port(ruleset, access, port)
    except BaseException:
        os.close(ruleset)
        raise
    return ruleset


def _allow_beneath(ruleset: int, path: str, access: int) -> None:
    try:
        beneath = os.open(path, k.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # a module removed meanwhile, or no /proc where the host's is masked: nothing to allow
    try:
        calls.landlock_add_path(ruleset, access, beneath)
    finally:
        os.close(beneath)


def filter_calls(scene: Scene) -> None:
    """Install the base filter, last: it takes away the calls that every step before it used."""
    plan = scene.plan
    program = {"init": plan.filter_init, "worker": plan.filter_worker, "tools": plan.filter_tools}[scene.role]
    if program:
        if scene.role != "init" and plan.learning is not None:
            listening.look_on(scene, plan.learning.program, plan.learning.flags)  # before the one that denies any more
        if scene.role == "worker" and scene.start.filter:
            calls.seccomp_filter(scene.start.filter)  # before the one that denies any more
        if scene.role != "init" and "denials" in scene.descriptors and plan.rules is None and plan.learning is None:
            listening.install(scene, program)
        else:
            calls.seccomp_filter(program)
