"""Which engine isolates are built by on this machine, if any can, and which namespaces they have."""

from __future__ import annotations

from isolate_fn._sys import constants as k
from isolate_fn._sys.features import Features
from isolate_fn.errors import Unsupported
from isolate_fn.policy.policy import Policy
from isolate_fn.policy.tokens import HostNetwork, NoSeccomp

OLDEST_KERNEL = (5, 10)
MACHINES = ("x86_64", "aarch64")
SPAWNER_NAMESPACES = k.CLONE_NEWNET | k.CLONE_NEWIPC | k.CLONE_NEWUTS
"""Those that the spawner enters for an isolate, and so must have of its own to go back to."""

def own_namespaces(policy: Policy) -> int:
    """Return CLONE_NEW* flags of what an isolate has of its own beside users, mounts and processes."""
    network = policy.network is True or HostNetwork in policy.accept
    return k.CLONE_NEWIPC | k.CLONE_NEWUTS | k.CLONE_NEWCGROUP | (0 if network else k.CLONE_NEWNET)


def choose_engine(policy: Policy, features: Features, *, tools: bool) -> str:
    """Return the strongest engine that gives what the policy requires: ``"namespaces"``, else ``"landlock"``.

    Args:
        policy: what is wanted.
        features: of this machine.
        tools: programs shall run.

    Raises:
        Unsupported: none does; says what was found, and what to change.
    """
    problem = missing(features)
    if problem is not None:
        raise problem
    if features.privileged or features.userns:
        _need_the_filter(policy, features)
        return "namespaces"
    from isolate_fn._plan.landlock_engine import check_landlock_engine  # most machines have namespaces

    check_landlock_engine(policy, features, tools=tools)
    return "landlock"


def _need_the_filter(policy: Policy, features: Features) -> None:
    needs_filter = policy.require is None or "syscalls" in policy.require
    if not features.seccomp and needs_filter and NoSeccomp not in policy.accept:
        from isolate_fn._plan import remedies

        raise Unsupported(
            "require='syscalls'", "seccomp filters (CONFIG_SECCOMP_FILTER)", "none", remedies.NO_FILTERS
        )


def missing(features: Features) -> Unsupported | None:
    """Return why this machine has no engine, None where it has one as far as can be told without trying."""
    if features.machine in MACHINES and features.kernel >= OLDEST_KERNEL and _has_walls(features):
        return None
    from isolate_fn._plan import remedies  # only where something is missing

    what = "engine 'namespaces'"
    if features.machine not in MACHINES:
        needs, found, remedy = " or ".join(MACHINES), features.machine, remedies.OTHER_MACHINE
    elif features.kernel < OLDEST_KERNEL:
        needs, found = ("Linux {}.{}".format(*kernel) for kernel in (OLDEST_KERNEL, features.kernel))
        remedy = remedies.NEW_KERNEL
    else:
        what = "engines 'namespaces' and 'landlock'"
        needs = "user namespaces, or root with CAP_SYS_ADMIN; or else Landlock (Linux 5.13) and system call filters"
        lacks = "no system call filters" if features.landlock else features.landlock_cause or "no Landlock"
        found = f"{features.userns_cause or 'neither'}; {lacks}"
        remedy = features.userns_remedy or remedies.of_user_namespaces(features.userns_cause)
    return Unsupported(what, needs, found, remedy)


def _has_walls(features: Features) -> bool:
    return features.privileged or features.userns or (features.landlock > 0 and features.seccomp)
