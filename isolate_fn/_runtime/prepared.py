"""What all isolates of one policy have in common, made by `isolate_fn._api.prepare`."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from isolate_fn._plan.orders import Plan
from isolate_fn._plan.terms import Terms
from isolate_fn._runtime.report import Enforcement
from isolate_fn._runtime.spawner_client import SpawnerKey
from isolate_fn._sys import constants as k
from isolate_fn._sys.features import Features


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
