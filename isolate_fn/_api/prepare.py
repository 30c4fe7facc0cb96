"""A policy made ready to run: sources looked at, plan compiled, spawner chosen; kept while nothing it rests on changes."""

from __future__ import annotations

import os
from collections import OrderedDict

from isolate_fn._api.ahead import INHERITED, environment
from isolate_fn._api.observing import hearing, observer, orders, preload
from isolate_fn._plan.compile import Compiled, Surroundings, compile_plan
from isolate_fn._plan.engine import SPAWNER_NAMESPACES, choose_engine, own_namespaces
from isolate_fn._plan.mounts import compile_mounts
from isolate_fn._plan.orders import MountOrder, Plan
from isolate_fn._plan.terms import terms_of
from isolate_fn._runtime import cgroup, lifetime
from isolate_fn._runtime.discover import RuntimeView, discover_runtime, runtime_key
from isolate_fn._runtime.prepared import Prepared, SpawnerKey
from isolate_fn._runtime.report import Enforcement
from isolate_fn._runtime.sources import resolve_sources, settle_mount_points
from isolate_fn._sys.features import PRETEND, Features, is_filtered, probe
from isolate_fn.policy.policy import Policy
from isolate_fn.policy.tokens import HostNetwork
from isolate_fn.policy.unsupported import refuse_unbuilt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST_KEPT = 128
_LOOKED_AT = tuple(map(os.fsencode, (*INHERITED, PRETEND, cgroup.VARIABLE, "LD_LIBRARY_PATH", "TMPDIR")))

_cache: OrderedDict[tuple[object, ...], Prepared] = OrderedDict()
_views: OrderedDict[tuple[object, ...], RuntimeView] = OrderedDict()


def circumstances() -> tuple[Any, ...]:
    """Return what a preparation rests on beside its policy, in some microseconds; while it is equal, so is the other."""
    # The dict behind os.environ has the bytes as they are: asking for text would decode 17 names for each call.
    variables: Any = getattr(os.environ, "_data", None)
    if type(variables) is not dict:
        variables = {os.fsencode(name): value for name, value in os.environ.items()}
    return runtime_key(), tuple(map(variables.get, _LOOKED_AT)), observer()


def prepare(
    policy: Policy,
    *,
    tools: bool = False,
    by_value: bool = False,
    awaited: bool = False,
    removed: tuple[str, ...] = (),
) -> Prepared:
    """Return the policy's preparation, made on first use.

    Args:
        policy: what is wanted.
        tools: also for running programs.
        by_value: functions will be sent by value: the spawner imports cloudpickle once for all isolates.
        awaited: functions will be coroutine functions: likewise asyncio.
        removed: walls to take away; only tests do.

    Raises:
        PolicyError: a mount's source is missing or must not be granted.
        Unsupported: this machine or this version cannot do what is asked.
    """
    refuse_unbuilt(policy)
    around = circumstances()
    more = (*(("cloudpickle",) if by_value else ()), *(("asyncio",) if awaited else ()))
    key = (policy, tools, more, removed, around)
    with lifetime.making:
        known = _cache.get(key)
        if known is not None:
            _cache.move_to_end(key)
            return known
    made = _prepare(policy, around, tools=tools, more=more, removed=removed)
    with lifetime.making:
        made = _cache.setdefault(key, made)
        while len(_cache) > MOST_KEPT:
            _cache.popitem(last=False)
    return made


def _view(surroundings: object, *, tools: bool, network: bool) -> RuntimeView:
    key = (surroundings, tools, network)
    with lifetime.making:
        known = _views.get(key)
    if known is None:
        known = discover_runtime(tools=tools, network=network)
        with lifetime.making:
            _views[key] = known
            while len(_views) > MOST_KEPT:
                _views.popitem(last=False)
    return known


def _prepare(
    policy: Policy, circumstances: tuple[Any, ...], *, tools: bool, more: tuple[str, ...], removed: tuple[str, ...]
) -> Prepared:
    features = probe()
    if features.privileged or not is_filtered():
        return _prepared(policy, features, circumstances, tools=tools, more=more, removed=removed)
    from isolate_fn._runtime import engines  # few machines have a filter around their programs

    features = engines.known(features)
    made = _prepared(policy, features, circumstances, tools=tools, more=more, removed=removed)
    if made.plan.engine == "namespaces" and engines.must_be_tried():
        found = engines.tried(made)
        if found is not features:
            made = _prepared(policy, found, circumstances, tools=tools, more=more, removed=removed)
    return made


def _prepared(
    policy: Policy,
    features: Features,
    circumstances: tuple[Any, ...],
    *,
    tools: bool,
    more: tuple[str, ...],
    removed: tuple[str, ...],
) -> Prepared:
    surroundings, _, observed = circumstances
    resolution = resolve_sources(policy)
    view = _view(surroundings, tools=tools, network=policy.network is True)
    mounts = compile_mounts(
        policy, view.orders, resolved_sources=resolution.sources, importable=resolution.importable
    )
    engine = choose_engine(policy, features, tools=tools)
    if engine == "namespaces":
        mounts = settle_mount_points(mounts)
    around = Surroundings(view.sys_path, view.editable, (view.prefix, view.exec_prefix), view.interpreter)
    compiled = compile_plan(policy, features, mounts, around, tools=tools, removed=removed)
    if engine == "landlock":
        compiled = _without_namespaces(compiled, policy, features, view, mounts, tools=tools)
    group = cgroup.delegated() if policy.limits.memory else ""
    enforcement = Enforcement(
        engine=engine,
        layers=compiled.layers,
        landlock_abi=features.landlock if compiled.plan.landlock is not None else 0,
        uid=-1,
        accepted=tuple(sorted(token.__name__ for token in policy.accept)),
        properties=properties(policy, features, compiled.plan),
        differences=compiled.differences,
        dropped=(*compiled.dropped, *(f"{word}: left out, its source is missing" for word in resolution.dropped)),
        warnings=resolution.warnings,
        memory=("cgroup" if group else "watched") if policy.limits.memory else "none",
    )
    key = SpawnerKey(
        interpreter=view.interpreter,
        environment=environment(policy),
        preload=(*policy.preload, *more, *(preload() if observed else ())),
        sys_path=view.sys_path,
        domain="",
        idle_timeout=policy.idle_timeout,
        namespaces=(
            0 if "namespaces" in removed or engine == "landlock" else own_namespaces(policy) & SPAWNER_NAMESPACES
        ),
        later=policy.rules is not None,
        engine=engine,
    )
    plan = compiled.plan._replace(observer=orders(observed)) if observed else compiled.plan
    return Prepared(
        terms=terms_of(policy),
        plan=plan,
        spawner=key,
        features=features,
        enforcement=enforcement,
        tools=tools,
        cgroup=group,
        hear=hearing(plan) if observed else None,
    )


def _without_namespaces(
    compiled: Compiled,
    policy: Policy,
    features: Features,
    view: RuntimeView,
    mounts: tuple[MountOrder, ...],
    *,
    tools: bool,
) -> Compiled:
    """Return the plan of the landlock engine. What was started ahead was of the other."""
    from isolate_fn._plan.landlock_engine import confine
    from isolate_fn._runtime import host_paths, launch

    launch.drop_all()
    looked = host_paths.look(view, mounts, features, fresh_exec=policy.fresh_exec)
    return confine(compiled, policy, features, looked, tools=tools)


def properties(policy: Policy, features: Features, plan: Plan) -> tuple[str, ...]:
    """Return the properties of ``require=`` that calls of a policy have, sorted."""
    if plan.engine == "landlock":
        from isolate_fn._plan.landlock_engine import given

        return tuple(sorted(given(features, children=plan.children)))
    lost = {"syscalls"} if not plan.filter_worker else set()
    lost |= {"network"} if HostNetwork in policy.accept else set()
    return tuple(sorted({"filesystem", "network", "processes", "syscalls"} - lost))
