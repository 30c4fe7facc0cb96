"""Which grants of a policy no run has used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isolate_fn._plan.mounts import is_within
from isolate_fn.policy.mounts import Mount
from isolate_fn.policy.policy import Policy
from isolate_fn.policy.rule_sets.processes import ForkAndExec

if TYPE_CHECKING:
    from isolate_fn._diagnose.learn.seen import Seen

_USED = {"read", "listed", "looked", "run", "secret read", "written", "changed"}
_CHANGED = {"written", "changed"}


def unused(policy: Policy, seen: Seen) -> tuple[str, ...]:
    """Return a sentence for each grant of a policy that nothing of what was seen has used.

    Mounts, the network, and leave to start programs are looked at; single rule sets, variables and limits are not.

    Args:
        policy: which policy.
        seen: of all runs.
    """
    found = []
    for index, mount in enumerate(policy.mounts):
        if not is_used(mount, seen):
            found.append(f"mounts[{index}] {mount!r}: nothing of it was used")
        elif mount.word in ("rw", "overlay") and not _touched(mount, seen, _CHANGED):
            found.append(f"mounts[{index}] {mount!r}: nothing in it was changed; ro() would do")
    if policy.network is True and not any(how != "bind" for _, _, how in seen.addresses):
        found.append("network=True: no address was reached or wanted")
    starts = seen.program or seen.said & {"forked worker", "started worker"}
    if policy.rules is not None and not starts:
        found += [f"rules: {each!r}: no process was started" for each in policy.rules if isinstance(each, ForkAndExec)]
    return tuple(found)


def is_used(mount: Mount, seen: Seen) -> bool:
    """Tell whether anything in a mount was used."""
    if mount.word in ("symlink", "dev"):  # followed by the kernel, which tells nobody
        return True
    return _touched(mount, seen, _USED)


def _touched(mount: Mount, seen: Seen, kinds: set[str]) -> bool:
    for path, touched in seen.paths.items():
        if not touched.what & kinds:
            continue
        for each in (path, touched.real):
            inside = is_within(each, mount.destination)
            if inside or (each == mount.destination and (touched.kind != "directory" or touched.what & kinds - {"looked"})):
                return True
            if mount.source and (each == mount.source or is_within(each, mount.source)) and touched.what & (kinds - {"looked"}):
                return True
    return False
