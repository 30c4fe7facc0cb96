"""The engine without namespaces: what it gives on this machine, and how a plan for it differs.

Landlock is the wall around files, the system call filter the one around the network and around other processes; both are
needed, and neither can be given up. Nothing is mounted, so everything lies inside where it lies outside; what a policy
says that this cannot mean is refused.

Pure: what only the file system knows comes in as a `HostView`.
"""

from __future__ import annotations

from collections.abc import Sequence

from isolate_fn._frozen import dataclass
from isolate_fn._plan import remedies
from isolate_fn._plan.compile import Compiled, installed_filter
from isolate_fn._plan.landlock import host_rules, landlock_on_host, scratch_rights
from isolate_fn._plan.landlock_differences import SIGNAL_ABI, TRUNCATE_ABI, differences_of
from isolate_fn._plan.landlock_rights import downgrade
from isolate_fn._plan.orders import MountOrder, Plan
from isolate_fn._plan.ready_filters import worker_filter
from isolate_fn._plan.seccomp_confined import confined_filter, supervisor_filter
from isolate_fn._sys.features import Features
from isolate_fn._sys.landlock_constants import AccessFS, Scope
from isolate_fn.errors import Unsupported
from isolate_fn.policy.policy import PROPERTIES, Policy
from isolate_fn.policy.tokens import NoLandlock, NoSeccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from isolate_fn._plan.seccomp_base import BaseOptions
    from isolate_fn._plan.seccomp_confined import ConfinedOptions

ENGINE = "engine 'landlock'"
CWD = "/work"
# Limits that the kernel counts for a user and not for an isolate (setrlimit(2)): only an id of its own makes them ours.
_OF_THE_USER = ("RLIMIT_NPROC", "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE")


@dataclass(frozen=True)
class HostView:
    """What an isolate without mounts of its own may reach of the host.

    Attributes:
        orders: host paths, each where it is: bind and device orders.
        entries: as `Plan.entries`.
        scratch: as `Plan.scratch`.
        differences: sentences about what of the runtime is not shown.
    """

    orders: tuple[MountOrder, ...]
    entries: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    scratch: str
    differences: tuple[str, ...] = ()


def check_landlock_engine(policy: Policy, features: Features, *, tools: bool) -> None:
    """Refuse what this engine cannot do, on this machine or anywhere.

    Raises:
        Unsupported: says why namespaces cannot be had either, and what to change.
    """
    for token in (NoLandlock, NoSeccomp):
        if token in policy.accept:
            raise _refused(f"accept=({token.__name__},)", "it is one of this engine's two walls", "leave it out", features)
    if policy.cwd != CWD:
        problem = "the working directory is a private one of this engine's choosing"
        raise _refused(f"cwd={policy.cwd!r}", problem, "leave cwd= out, and use paths relative to it", features)
    _require(policy, features, children=tools)


def _require(policy: Policy, features: Features, *, children: bool) -> None:
    wanted = frozenset(PROPERTIES) if policy.require is None else policy.require
    if "processes" in wanted and "processes" not in given(features, children=children):
        raise Unsupported(
            "require='processes' where programs or child processes may be started",
            f"user namespaces, or Landlock ABI {SIGNAL_ABI} (Linux 6.12), whose signal scope holds them",
            f"{features.userns_cause or 'no user namespaces'}; Landlock ABI {features.landlock}",
            f"allow namespaces: {_allow(features)}; or run on Linux 6.12 or newer; or, where it is enough, "
            "require={'filesystem', 'network', 'syscalls'}",
        )


def given(features: Features, *, children: bool) -> frozenset[str]:
    """Return the properties that this engine gives on a machine with Landlock and filters.

    Args:
        features: of it.
        children: code inside may start processes. Those can signal, and be left behind, as far as no scope holds them; a
            worker that can start none is held by its filter alone.
    """
    everything = frozenset(PROPERTIES)
    return everything if features.landlock >= SIGNAL_ABI or not children else everything - {"processes"}


def _refused(what: str, problem: str, remedy: str, features: Features) -> Unsupported:
    found = f"{ENGINE}, because {features.userns_cause or 'there are no user namespaces'}: {problem}"
    return Unsupported(what, "engine 'namespaces'", found, f"{remedy}; or allow namespaces: {_allow(features)}")


def _allow(features: Features) -> str:
    return features.userns_remedy or remedies.of_user_namespaces(features.userns_cause)


def check_places(orders: Sequence[MountOrder], real: Sequence[str], features: Features) -> None:
    """Refuse mounts that are not the same inside and outside.

    Args:
        orders: the caller's, in order.
        real: for each where its destination leads on the host.
        features: for the error.

    Raises:
        Unsupported: names the mount, and what to use instead.
    """
    for order, place in zip(orders, real, strict=True):
        what = order.origin
        if order.kind in _INSTEAD:
            raise _refused(what, "it can mount nothing", _INSTEAD[order.kind], features)
        if place != order.source:
            raise _refused(what, "files lie where they lie outside", "leave dst out", features)
        if order.noexec:
            problem = "Landlock does not keep files from being mapped executable"
            raise _refused(f"{what}, noexec", problem, "leave noexec out: no program is executed without box.run()", features)
        for other in orders:
            if order.read_only and not other.read_only and other.kind == "bind" and _within(order.source, other.source):
                problem = "what may be written around it may be written in it as well"
                raise _refused(f"{what} within {other.origin}", problem, "grant the directories beside it one by one", features)


_INSTEAD = {
    "tmpfs": "write to the working directory or to tempfile.gettempdir()",
    "file": "write it with box.put(), or pass its content as an argument",
    "symlink": "pass the path that it should lead to",
    "directory": "make it in the working directory",
}


def _within(path: str, directory: str) -> bool:
    return path != directory and path.startswith(directory.rstrip("/") + "/")


def confine(compiled: Compiled, policy: Policy, features: Features, view: HostView, *, tools: bool) -> Compiled:
    """Return the plan of this engine, made from that of the other.

    Args:
        compiled: from `compile_plan`.
        policy: what is wanted.
        features: of this machine.
        view: what of the host is reached.
        tools: programs shall run.

    Raises:
        Unsupported: see `check_landlock_engine`; or ``rules=`` name paths.
    """
    plan = compiled.plan
    if plan.rules is not None and plan.rules.landlock is not None:
        problem = "whether the imported module has started threads, which a further layer would miss, is not to be seen"
        raise _refused("rules= that name paths, ports or scopes", problem, "let mounts= say which files there are", features)
    children = plan.children or tools
    _require(policy, features, children=children)
    own_id = features.changes_ids
    made = plan._replace(
        engine="landlock",
        mounts=view.orders,
        shared=(),
        mount_points=(),
        file_points=(),
        rlimits=_rlimits(plan, own_id=own_id),
        filter_init=supervisor_filter(features.machine),
        filter_tools=_tools_filter(policy, features) if tools else b"",
        before_worker=(_before(features, own_id=own_id, children=plan.children),),
        before_tools=(_before(features, own_id=own_id, children=True),) if tools else (),
        scratch=view.scratch,
        scratch_rights=scratch_rights(),
        processes=0 if own_id else policy.limits.processes,
        entries=view.entries,
        children=children,
        removed=plan.removed,
    )
    made = _with_landlock(made, policy, features)
    differences = (*differences_of(plan, features, own_id=own_id, children=children), *view.differences)
    dropped = tuple(line for line in compiled.dropped if not line.startswith("landlock:"))
    if "processes" not in given(features, children=children):
        dropped += ("processes: programs inside can signal other processes of this user, and outlive the isolate",)
    return Compiled(made, dropped, _layers(made, own_id=own_id), differences)


def _before(features: Features, *, own_id: bool, children: bool) -> bytes:
    return confined_filter(features.machine, **confined_options(features, own_id=own_id, children=children))


def confined_options(features: Features, *, own_id: bool, children: bool) -> ConfinedOptions:
    """Return what the filter that is stacked before the base filter depends on.

    Args:
        features: of this machine.
        own_id: the isolate has an id that owns nothing outside.
        children: the process may start others, or is the one that starts tools.
    """
    return {
        "own_id": own_id,
        "truncation": features.landlock < TRUNCATE_ABI,
        "signals": features.landlock < SIGNAL_ABI and not children,
    }


def _tools_filter(policy: Policy, features: Features) -> bytes:
    """Return the base filter of tools, which lets each program be put into a Landlock domain of its own."""
    base, _ = installed_filter(policy, features)
    wide: BaseOptions = {**base, "exec": True, "fork": None, "landlock": True}
    return worker_filter(features.machine, **wide)


def _rlimits(plan: Plan, *, own_id: bool) -> tuple[tuple[int, int, int], ...]:
    import resource

    largest = plan.rootfs_size
    shared = () if own_id else tuple(getattr(resource, name) for name in _OF_THE_USER)
    kept = [entry for entry in plan.rlimits if entry[0] != resource.RLIMIT_FSIZE and entry[0] not in shared]
    sizes = [soft for name, soft, _ in plan.rlimits if name == resource.RLIMIT_FSIZE]
    size = min(largest, *sizes) if sizes else largest
    return (*kept, (resource.RLIMIT_FSIZE, size, size))


def _with_landlock(plan: Plan, policy: Policy, features: Features) -> Plan:
    """Add the rule sets. That of init, within which those of the roles lie, lets it read, and write what an isolate may."""
    network = policy.network is True
    written = host_rules([order for order in plan.mounts if order.kind == "device" or not order.read_only], exec=True)
    init = {"/": int(AccessFS.READ_FILE | AccessFS.READ_DIR | AccessFS.EXECUTE), **written}
    init[plan.scratch] = init.get(plan.scratch, 0) | int(AccessFS.REMOVE_DIR)
    made = [
        downgrade(landlock_on_host(rules, network=network), features.landlock)[0]
        for rules in (host_rules(plan.mounts, exec=plan.children), host_rules(plan.mounts, exec=True), init)
    ]
    scope = int(Scope.SIGNAL) if features.landlock >= SIGNAL_ABI else 0
    return plan._replace(landlock=made[0], landlock_tools=made[1], landlock_init=made[2], scope=scope)


def _layers(plan: Plan, *, own_id: bool) -> tuple[str, ...]:
    layers = ["scratch directory", *(["own user id"] if own_id else []), "capabilities", "no_new_privs", "rlimits", "landlock"]
    layers += ["rules"] if plan.rules is not None else []
    layers += ["seccomp"]
    return tuple(layer for layer in layers if layer not in plan.removed)


__all__ = ["CWD", "ENGINE", "HostView", "check_landlock_engine", "check_places", "confine", "given"]
