"""What is decided about the things that one call is given: mounts of its own, and open files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from isolate_fn._plan.landlock import grant_rights, host_rules
from isolate_fn._plan.orders import GRANTS, MountOrder, Plan

#: What the owner of a file may do to it through any descriptor, one opened for reading included: the mode and the times
#: belong to the inode, and a mount's read-only flag, which would prevent it, is the host's own here.
METADATA = "chmod fchmod fchmodat fchmodat2 utimensat utime utimes futimesat"

#: The Landlock ABI from which a file cannot be opened or truncated anew through /proc/self/fd (Linux 6.2).
LANDLOCK_NEEDED = 3


@lru_cache(maxsize=2)
def metadata_filter(machine: str) -> bytes:
    """Return the program that keeps modes and times of files as they are; it allows everything else.

    Args:
        machine: ``"x86_64"`` or ``"aarch64"``.
    """
    from isolate_fn._plan.seccomp import ALLOW, EPERM, Entry, SyscallPolicy, compile_filter  # mounts do without

    denied = dict.fromkeys(METADATA.split(), Entry((), EPERM))
    return compile_filter(SyscallPolicy.of(denied, default=ALLOW, unknown=ALLOW), machine)


def grant_rules(plan: Plan, grants: Sequence[MountOrder]) -> tuple[tuple[str, int], ...]:
    """Return the Landlock rules of one call's mounts: each lies in a directory of its own, which the rule names."""
    if plan.landlock is None:
        return ()
    handled = plan.landlock.handled_fs
    if plan.engine == "landlock":
        rights = host_rules(grants, exec=False)
        return tuple([(path, access & handled) for path, access in rights.items()])
    return tuple([(order.destination.rpartition("/")[0], grant_rights(order) & handled) for order in grants])


def place_for(index: int, name: str) -> str:
    """Return where a grant lies inside.

    Args:
        index: its number among those of the call.
        name: of the file outside, kept for its ending.
    """
    return f"{GRANTS}/{index}/{name}"


def covering_grants(plan: Plan) -> str:
    """Return what of the policy lies where grants are put; empty for nothing."""
    for order in plan.mounts:
        if order.destination == GRANTS or order.destination.startswith(f"{GRANTS}/"):
            return order.origin
    return f"cwd={plan.cwd!r}" if plan.cwd == GRANTS or plan.cwd.startswith(f"{GRANTS}/") else ""
