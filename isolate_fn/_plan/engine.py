"""Whether this machine can isolate at all, and which namespaces an isolate has: what is decided before anything is started."""

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


def check_engine(policy: Policy, features: Features) -> None:
    """Refuse early, with the cause, what this machine cannot do.

    Raises:
        Unsupported: kernel too old, architecture without tables, no user namespaces, no seccomp.
    """
    if features.machine not in MACHINES:
        needs = " or ".join(MACHINES)
        raise Unsupported("engine 'namespaces'", needs, features.machine, "run on one of these architectures")
    if features.kernel < OLDEST_KERNEL:
        found = "Linux {}.{}".format(*features.kernel)
        raise Unsupported("engine 'namespaces'", "Linux 5.10", found, "run on a newer kernel")
    if not (features.privileged or features.userns):
        raise Unsupported(
            "engine 'namespaces'",
            "user namespaces, or root with CAP_SYS_ADMIN",
            features.userns_cause or "neither",
            "allow them: sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces=10000, "
            "kernel.apparmor_restrict_unprivileged_userns=0",
        )
    needs_filter = policy.require is None or "syscalls" in policy.require
    if not features.seccomp and needs_filter and NoSeccomp not in policy.accept:
        raise Unsupported(
            "require='syscalls'", "seccomp filters (CONFIG_SECCOMP_FILTER)", "none", "run on a kernel that has them"
        )
