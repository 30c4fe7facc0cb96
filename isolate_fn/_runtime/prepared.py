"""What all isolates of one policy have in common, made by `isolate_fn._api.prepare`."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

from isolate_fn._plan.orders import Plan
from isolate_fn._plan.terms import Terms
from isolate_fn._runtime.report import Enforcement
from isolate_fn._sys import constants as k
from isolate_fn._sys.features import Features


class SpawnerKey(NamedTuple):
    """What two spawners differ in; calls that agree in all of it share one.

    Attributes:
        interpreter: path of the executable.
        environment: (name, value) pairs, sorted.
        preload: modules it imports once.
        sys_path: where it finds them.
        domain: name of the trust domain; empty for the common one.
        later: it has loaded what CPython imports inside functions, because filters will deny opening files.
        namespaces: CLONE_NEW* flags of those that it enters for its isolates, and so must have of its own to go back to.
        idle_timeout: seconds.
    """

    interpreter: str
    environment: tuple[tuple[str, str], ...]
    preload: tuple[str, ...]
    sys_path: tuple[str, ...]
    domain: str
    idle_timeout: float
    namespaces: int
    later: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """What every isolate of one policy has in common.

    Attributes:
        terms: what the caller's side acts on.
        plan: what the isolates are told.
        spawner: which spawner makes them.
        features: of this kernel.
        enforcement: what will be in force, before an isolate has added its own remarks.
        tools: whether programs can be run.
        cgroup: directory in which groups that limit memory can be made, empty to have init watch it.
        unchecked: do not compare the workers' reports with the plan; only tests that take a wall away do so.
    """

    terms: Terms
    plan: Plan
    spawner: SpawnerKey
    features: Features
    enforcement: Enforcement
    tools: bool
    cgroup: str = ""
    unchecked: bool = False

    @functools.cached_property
    def touches_nothing(self) -> bool:
        """True where no file, device or network of the host's can be changed from inside."""
        granted = [order for order in self.plan.mounts if order.granted and order.kind in ("bind", "device")]
        own_network = bool(self.plan.namespaces & k.CLONE_NEWNET)
        return own_network and not any(order.kind == "device" or not order.read_only for order in granted)
