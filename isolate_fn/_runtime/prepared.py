"""What all isolates of one policy have in common, made by `isolate_fn._api.prepare`."""

from __future__ import annotations

import functools
from collections.abc import Callable

from isolate_fn._frozen import dataclass
from isolate_fn._plan.orders import MountOrder, Plan, with_grants
from isolate_fn._plan.terms import Terms
from isolate_fn._runtime.report import Enforcement
from isolate_fn._sys import constants as k
from isolate_fn._sys.features import Features

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@dataclass(frozen=True, kw_only=True)
class SpawnerKey:
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
        engine: ``"namespaces"`` or ``"landlock"``.
    """

    interpreter: str
    environment: tuple[tuple[str, str], ...]
    preload: tuple[str, ...]
    sys_path: tuple[str, ...]
    domain: str
    idle_timeout: float
    namespaces: int
    later: bool = False
    engine: str = "namespaces"


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
        hear: takes what workers say beside their answers; None where they have nothing to say.
        unchecked: do not compare the workers' reports with the plan; only tests that take a wall away do so.
        grants: mounts of one call alone, as `Start.grants`; the isolate is made for that call and serves no other.
        grant_rules: as `Start.grant_rules`.
        filter: as `Start.filter`; isolates with one and without do not wait together.
        lends: files of the caller's are passed open, and something of the host's may change through them.
    """

    terms: Terms
    plan: Plan
    spawner: SpawnerKey
    features: Features
    enforcement: Enforcement
    tools: bool
    cgroup: str = ""
    hear: Callable[[Any], None] | None = None
    unchecked: bool = False
    grants: tuple[MountOrder, ...] = ()
    grant_rules: tuple[tuple[str, int], ...] = ()
    filter: bytes = b""
    lends: bool = False

    def for_call(self, **changes: Any) -> Prepared:
        """Return the same for one call, or for calls of one kind, which are given more; the plan stays the same object."""
        from dataclasses import replace  # few calls are

        return replace(self, **changes)

    @functools.cached_property
    def whole_plan(self) -> Plan:
        """What its isolates should report: the plan, and the grants of one call."""
        return with_grants(self.plan, self.grants, self.grant_rules)

    @functools.cached_property
    def touches_nothing(self) -> bool:
        """True where no file, device or network of the host's can be changed from inside, so that nobody waits for its end."""
        if self.plan.engine == "landlock":  # whose private directory is in a file system of the host's
            return False
        granted = [order for order in self.whole_plan.mounts if order.granted and order.kind in ("bind", "device")]
        own_network = bool(self.plan.namespaces & k.CLONE_NEWNET)
        return not self.lends and own_network and not any(order.kind == "device" or not order.read_only for order in granted)
