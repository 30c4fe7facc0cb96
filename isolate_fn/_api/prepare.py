"""A policy made ready to run: sources looked at, plan compiled, spawner chosen; kept while nothing it rests on changes."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import Any

from isolate_fn._plan.engine import SPAWNER_NAMESPACES, check_engine, own_namespaces
from isolate_fn._plan.mounts import compile_mounts
from isolate_fn._plan.terms import terms_of
from isolate_fn._runtime import cgroup, launch
from isolate_fn._runtime.discover import RuntimeView, discover_runtime, runtime_key
from isolate_fn._runtime.prepared import Prepared, SpawnerKey
from isolate_fn._runtime.sources import check_mount_points, resolve_sources
from isolate_fn._sys.features import PRETEND, probe
from isolate_fn.policy.policy import Policy
from isolate_fn.policy.unsupported import refuse_unbuilt

MOST_KEPT = 128
_CATEGORIES = "ALL CTYPE NUMERIC TIME COLLATE MONETARY MESSAGES PAPER NAME ADDRESS TELEPHONE MEASUREMENT IDENTIFICATION"
_INHERITED = ("LANG", "LANGUAGE", "TZ", *(f"LC_{category}" for category in _CATEGORIES.split()))  # locale(7)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LOOKED_AT = tuple(map(os.fsencode, (*_INHERITED, PRETEND, cgroup.VARIABLE, "LD_LIBRARY_PATH")))

_cache: OrderedDict[tuple[object, ...], Prepared] = OrderedDict()
_views: OrderedDict[tuple[object, ...], RuntimeView] = OrderedDict()
_lock = threading.Lock()


def circumstances() -> tuple[object, ...]:
    """Return what a preparation rests on beside its policy, in some microseconds; while it is equal, so is the other."""
    # The dict behind os.environ has the bytes as they are: asking for text would decode 17 names for each call.
    environment: Any = getattr(os.environ, "_data", None)
    if type(environment) is not dict:
        environment = {os.fsencode(name): value for name, value in os.environ.items()}
    return runtime_key(), tuple(map(environment.get, _LOOKED_AT))


def prepare(
    policy: Policy,
    *,
    tools: bool = False,
    by_value: bool = False,
    removed: tuple[str, ...] = (),
    ahead: bool = True,
) -> Prepared:
    """Return the policy's preparation, made on first use.

    Args:
        policy: what is wanted.
        tools: also for running programs.
        by_value: functions will be sent by value: the spawner imports cloudpickle once for all isolates.
        removed: walls to take away; only tests do.
        ahead: a call follows: its spawner is started meanwhile.

    Raises:
        PolicyError: a mount's source is missing or must not be granted.
        Unsupported: this machine or this version cannot do what is asked.
    """
    refuse_unbuilt(policy)
    around = circumstances()
    key = (policy, tools, by_value, removed, around)
    with _lock:
        known = _cache.get(key)
        if known is not None:
            _cache.move_to_end(key)
            return known
    made = _prepare(policy, around[0], tools=tools, by_value=by_value, removed=removed, ahead=ahead)
    with _lock:
        made = _cache.setdefault(key, made)
        while len(_cache) > MOST_KEPT:
            _cache.popitem(last=False)
    return made


def _inherited() -> tuple[tuple[str, str], ...]:
    """Return the few variables that say how text and time look; none of them holds a secret."""
    values = zip(_INHERITED, map(os.environ.get, _INHERITED), strict=True)
    return tuple((name, value) for name, value in values if value is not None)


def _view(surroundings: object, *, tools: bool, network: bool) -> RuntimeView:
    key = (surroundings, tools, network)
    with _lock:
        known = _views.get(key)
    if known is None:
        known = discover_runtime(tools=tools, network=network)
        with _lock:
            _views[key] = known
            while len(_views) > MOST_KEPT:
                _views.popitem(last=False)
    return known


def _prepare(
    policy: Policy, surroundings: object, *, tools: bool, by_value: bool, removed: tuple[str, ...], ahead: bool
) -> Prepared:
    features = probe()
    resolution = resolve_sources(policy)
    view = _view(surroundings, tools=tools, network=policy.network is True)
    mounts = compile_mounts(
        policy, view.orders, resolved_sources=resolution.sources, importable=resolution.importable
    )
    check_mount_points(mounts)
    environment = _environment(policy)
    # Nothing is wrong with what was asked as far as we can see: a spawner starts while the rest is compiled.
    own = 0 if "namespaces" in removed else own_namespaces(policy) & SPAWNER_NAMESPACES
    wanted = launch.LaunchKey(view.interpreter, environment, features.privileged, own)
    check_engine(policy, features)
    if ahead and policy.rules is None:  # they may contradict each other
        launch.ahead(wanted)
    try:
        from isolate_fn._plan.compile import Surroundings, compile_plan
        from isolate_fn._runtime.report import Enforcement

        around = Surroundings(view.sys_path, view.editable, (view.prefix, view.exec_prefix), view.interpreter)
        compiled = compile_plan(policy, features, mounts, around, tools=tools, removed=removed)
    except BaseException:
        launch.drop(wanted)
        raise
    group = cgroup.delegated() if policy.limits.memory else ""
    enforcement = Enforcement(
        engine="namespaces",
        layers=compiled.layers,
        landlock_abi=features.landlock if compiled.plan.landlock is not None else 0,
        uid=-1,
        accepted=tuple(sorted(token.__name__ for token in policy.accept)),
        dropped=(*compiled.dropped, *(f"{word}: left out, its source is missing" for word in resolution.dropped)),
        warnings=resolution.warnings,
        memory=("cgroup" if group else "watched") if policy.limits.memory else "none",
    )
    key = SpawnerKey(
        interpreter=view.interpreter,
        environment=environment,
        preload=(*policy.preload, *(("cloudpickle",) if by_value else ())),
        sys_path=view.sys_path,
        domain="",
        idle_timeout=policy.idle_timeout,
        namespaces=own,
        later=policy.rules is not None,
    )
    return Prepared(
        terms=terms_of(policy),
        plan=compiled.plan,
        spawner=key,
        features=features,
        enforcement=enforcement,
        tools=tools,
        cgroup=group,
    )


def _environment(policy: Policy) -> tuple[tuple[str, str], ...]:
    values: dict[str, Any] = {"PATH": _PATH, "LANG": "C.UTF-8", **dict(_inherited()), **dict(policy.env)}
    return tuple(sorted((values | _library_path()).items()))


def _library_path() -> dict[str, str]:
    """Return where libpython lies, for an interpreter that is only found to work by LD_LIBRARY_PATH (ld.so(8))."""
    directories = list(filter(os.path.isabs, os.environ.get("LD_LIBRARY_PATH", "").split(":")))
    if not directories:
        return {}
    import sysconfig

    library = str(sysconfig.get_config_var("INSTSONAME"))
    for directory in directories:
        if os.path.isfile(os.path.join(directory, library)):
            return {"LD_LIBRARY_PATH": directory}
    return {}
