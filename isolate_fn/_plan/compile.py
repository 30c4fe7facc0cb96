"""Policy and features in, orders out. Pure: the kernel and the file system were looked at before."""

from __future__ import annotations

import math
import resource
from collections.abc import Sequence

from isolate_fn._frozen import dataclass
from isolate_fn._plan import sharing
from isolate_fn._plan.engine import own_namespaces
from isolate_fn._plan.landlock import downgrade, landlock_for_init, landlock_wanted
from isolate_fn._plan.orders import LandlockOrders, MountOrder, Plan
from isolate_fn._plan.ready_filters import init_filter, worker_filter
from isolate_fn._sys import constants as k
from isolate_fn._sys.features import Features
from isolate_fn.policy.limits import Limits
from isolate_fn.policy.policy import Policy
from isolate_fn.policy.tokens import NoLandlock, NoSeccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from isolate_fn._plan.narrowing import Narrowed
    from isolate_fn._plan.seccomp_base import BaseOptions

INNER_ID = 1000
UNHEARD = "on_denied='report': denied system calls fail with their errno, and are not recorded"

# Beside the user's own processes: interpreter and libraries may not be able to do without a few.
_STACK = 8 << 20
_MEMLOCK = 64 << 10
_IDLE_MARGIN = 5.0  # seconds
_DEVICES = tuple(
    MountOrder("device", f"/dev/{name}", f"/dev/{name}", is_directory=False)
    for name in ("null", "zero", "full", "random", "urandom")
)


@dataclass(frozen=True)
class Compiled:
    """A plan, and what it could not include.

    Attributes:
        plan: the orders.
        dropped: sentences for the report.
        layers: walls that the plan puts up, by name.
        differences: sentences about what is not as with the namespaces engine.
    """

    plan: Plan
    dropped: tuple[str, ...]
    layers: tuple[str, ...]
    differences: tuple[str, ...] = ()


@dataclass(frozen=True)
class Surroundings:
    """What was found out about the caller's interpreter, for the worker.

    Attributes:
        sys_path: directories and archives to import from, as seen inside.
        editable: (module, path) of editable installs with an import finder.
        prefixes: (prefix, exec_prefix).
        interpreter: path of the executable.
    """

    sys_path: tuple[str, ...]
    editable: tuple[tuple[str, str], ...]
    prefixes: tuple[str, str]
    interpreter: str


def base_filter(policy: Policy, features: Features) -> tuple[BaseOptions, Narrowed | None]:
    """Return the options of the base filter, and what ``rules`` come to that it must be wide enough for; None without any.

    Raises:
        ConflictingRules, PolicyError, Unsupported: see `isolate_fn._plan.narrowing.narrow`.
    """
    base: BaseOptions = {"network": policy.network is True, "on_denied": "kill" if policy.on_denied == "kill" else "errno"}
    if policy.rules is None:
        return base, None
    from isolate_fn._plan.narrowing import base_options, narrow  # most policies do without

    rules = narrow(policy, features)
    return {**base, **base_options(rules)}, rules


def listening(policy: Policy, features: Features) -> int:
    """Return the flags with which a filter is installed whose denials are heard of; 0 where nobody hears of them."""
    if policy.on_denied != "report" or not (features.seccomp and features.user_notification) or NoSeccomp in policy.accept:
        return 0
    killable = k.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV if features.killable_wait else 0
    return k.SECCOMP_FILTER_FLAG_NEW_LISTENER | killable


def installed_filter(policy: Policy, features: Features) -> tuple[BaseOptions, Narrowed | None]:
    """Return `base_filter`, as it is installed: whoever is asked answers the same, so this is no matter for explanations."""
    base, rules = base_filter(policy, features)
    if listening(policy, features):
        base["on_denied"] = "report" if rules is None else "later" if rules.worker.listen else "errno"
    return base, rules


def compile_plan(
    policy: Policy,
    features: Features,
    mounts: Sequence[MountOrder],
    surroundings: Surroundings,
    *,
    tools: bool,
    removed: tuple[str, ...] = (),
) -> Compiled:
    """Decide everything that one policy's isolates are told by the namespaces engine; `choose_engine` has been asked.

    Args:
        policy: what is wanted.
        features: what this kernel can do.
        mounts: the file tree, in order.
        surroundings: of the interpreter.
        tools: also start the process that runs programs (``sandbox`` blocks).
        removed: walls to take away, by step name; only tests do.

    Raises:
        Unsupported: the kernel lacks what ``policy.require`` needs; says what was found and what to do.
    """
    writable = sharing.own_places(policy.cwd)
    once = sharing.shared(mounts, policy.cwd)
    mounts = sharing.without_own_copies(mounts, once)
    base, rules = installed_filter(policy, features)
    for_tools: BaseOptions = {**base, "exec": True, "fork": None}
    programs = rules is not None and rules.programs
    landlock, landlock_tools, landlock_init, dropped = _landlock(
        policy, features, (*mounts, *_DEVICES), writable, programs=programs
    )
    seccomp = features.seccomp and NoSeccomp not in policy.accept
    listen = listening(policy, features)
    if rules is not None:
        from isolate_fn._plan.narrowing import void
        from isolate_fn._plan.seccomp_base import worker_policy

        dropped += (*rules.dropped, *void(rules.permitted, worker_policy(**base)))
        listen = rules.worker.listen if seccomp else 0
    if policy.on_denied == "report" and seccomp and not listen:
        needed = "5.0" if rules is None else "5.7 with rules="
        dropped += (f"{UNHEARD}: this kernel has no seccomp user notification (Linux {needed})",)
    namespaces = own_namespaces(policy)
    directories, files = sharing.mount_points(mounts, once, policy.cwd)
    plan = Plan(
        name=policy.name or "",
        mounts=mounts,
        shared=once,
        mount_points=directories,
        file_points=files,
        rootfs_size=policy.limits.rootfs_size,
        rootfs_inodes=policy.limits.rootfs_inodes,
        cwd=policy.cwd,
        hostname="isolate",
        namespaces=namespaces,
        inner_id=INNER_ID,
        mount_api="detached" if features.mount_setattr else "classic",
        rlimits=rlimits(policy.limits),
        landlock=landlock,
        landlock_tools=landlock_tools,
        landlock_init=landlock_init,
        filter_worker=worker_filter(features.machine, **base) if seccomp else b"",
        filter_tools=worker_filter(features.machine, **for_tools) if seccomp and tools else b"",
        filter_init=init_filter(features.machine) if seccomp else b"",
        roles=("worker", "tools") if tools else ("worker",),
        memory=policy.limits.memory or 0,
        cpu_time=policy.limits.cpu_time or 0.0,
        idle_timeout=0.0 if tools else policy.idle_timeout + _IDLE_MARGIN,
        sys_path=surroundings.sys_path,
        editable=surroundings.editable,
        prefixes=surroundings.prefixes,
        open_check=policy.on_denied != "kill" and seccomp,
        interpreter=surroundings.interpreter,
        fresh_exec=policy.fresh_exec,
        rules=rules.worker if rules is not None else None,
        rules_tools=rules.tools if rules is not None and tools else None,
        removed=removed,
        listen=listen,
        children=rules is not None and rules.children,
    )
    return Compiled(plan, dropped, _layers(plan, own_network=bool(namespaces & k.CLONE_NEWNET)))


def _landlock(
    policy: Policy, features: Features, mounts: Sequence[MountOrder], writable: Sequence[str], *, programs: bool
) -> tuple[LandlockOrders | None, LandlockOrders | None, LandlockOrders | None, tuple[str, ...]]:
    """Return the rule sets of worker, tools and init, and what this kernel's Landlock lacks of them."""
    if NoLandlock in policy.accept:
        return None, None, None, ()
    if not features.landlock:
        return None, None, None, (f"landlock: {features.landlock_cause}; the mounts alone guard files",)
    network = policy.network is True
    wanted = landlock_wanted(mounts, writable, exec=programs, network=network)
    worker, dropped = downgrade(wanted, features.landlock)
    tools, _ = downgrade(landlock_wanted(mounts, writable, exec=True, network=network), features.landlock)
    init, _ = landlock_for_init(features.landlock)
    return worker, tools, init, tuple(f"landlock: {sentence}" for sentence in dropped)


def rlimits(limits: Limits) -> tuple[tuple[int, int, int], ...]:
    """Return (resource, soft, hard) of the worker, soft and hard alike.

    RLIMIT_CORE is 1 and not 0: a piped core handler still runs at 0, and does not at 1 (core(5)). CPU time is rounded
    up to whole seconds here; the exact limit is init's to watch.
    """
    table = {
        resource.RLIMIT_NPROC: limits.processes,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_CORE: 1,
        resource.RLIMIT_STACK: _STACK,
        resource.RLIMIT_MEMLOCK: _MEMLOCK,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_NICE: 0,
        resource.RLIMIT_RTPRIO: 0,
        resource.RLIMIT_SIGPENDING: 256,
    }
    if limits.file_size is not None:
        table[resource.RLIMIT_FSIZE] = limits.file_size
    if limits.cpu_time is not None:
        table[resource.RLIMIT_CPU] = math.ceil(limits.cpu_time) + 1
    if limits.address_space is not None:
        table[resource.RLIMIT_AS] = limits.address_space
    return tuple((name, value, value) for name, value in table.items())


def _layers(plan: Plan, *, own_network: bool) -> tuple[str, ...]:
    layers = [
        "user namespace",
        "mount namespace",
        "pid namespace",
        "ipc namespace",
        "uts namespace",
        "cgroup namespace",
    ]
    layers += ["network namespace"] if own_network else []
    layers += ["capabilities", "no_new_privs", "rlimits"]
    layers += ["landlock"] if plan.landlock is not None else []
    layers += ["rules"] if plan.rules is not None else []
    layers += ["seccomp"] if plan.filter_worker else []
    return tuple(layer for layer in layers if layer not in plan.removed)
