"""What ``rules=`` adds in the worker, between the import of the function's module and its arguments: Landlock, then a filter."""

from __future__ import annotations

import os
import stat
from functools import partial

from isolate_fn._enforce import listening, locks
from isolate_fn._enforce.scene import StepFailed
from isolate_fn._plan.orders import LandlockOrders, Narrowing
from isolate_fn._sys import calls
from isolate_fn._sys import constants as k

STEP = "rules"


def narrow(orders: Narrowing, role: str = "worker") -> None:
    """Put this process under further rules, for good.

    Args:
        orders: what they come to.
        role: whose process this is.

    Raises:
        StepFailed: a path is missing, a module that was imported has started threads that Landlock cannot reach, or the
            kernel refused. Nothing runs then.
    """
    try:
        if orders.landlock is not None:
            _restrict(orders.landlock, orders)
        if orders.listen:
            listening.install_later(orders.program, orders.listen, role)
        else:
            calls.seccomp_filter(orders.program)
    except OSError as failure:
        call = failure.filename if isinstance(failure.filename, str) else "seccomp"
        raise StepFailed(STEP, call, failure.errno or 0, str(failure.strerror)) from None


def _restrict(landlock: LandlockOrders, orders: Narrowing) -> None:
    # landlock_restrict_self(2) reaches the calling thread alone.
    if len(os.listdir("/proc/self/task")) > 1:
        detail = "importing the function's module has started threads, which Landlock does not reach"
        raise StepFailed(STEP, "landlock_restrict_self", 0, detail)
    locks.restrict(landlock, partial(_allow, orders))


def _allow(orders: Narrowing, ruleset: int, path: str, access: int) -> None:
    try:
        beneath = os.open(path, k.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError as missing:
        if path in orders.optional:
            return
        detail = f"{path!r} does not exist inside; mount it: mounts=[ro({path!r})]"
        raise StepFailed(STEP, "open", missing.errno or 0, detail) from None
    try:
        if not stat.S_ISDIR(os.fstat(beneath).st_mode):
            access &= orders.file_rights
        if access:
            calls.landlock_add_path(ruleset, access, beneath)
    finally:
        os.close(beneath)
