"""Which host ids an isolate runs under."""

from __future__ import annotations

import os

from isolate_fn._plan.orders import Start
from isolate_fn._sys.features import Features

TYPE_CHECKING = False
if TYPE_CHECKING:
    from isolate_fn._runtime.prepared import Prepared

# Above what systemd hands to containers (0x80000 to 0x6FFFFFFF) and below the ids that 32-bit signed code takes for
# negative ones (systemd's UIDS-GIDS.md); nobody assigns these.
_FIRST, _COUNT = 0x70000000, 0x0FFF0000


def outer_ids(features: Features) -> tuple[int, int]:
    """Return (user id, group id) for one isolate, as the spawner's user namespace knows them.

    A privileged caller's isolates each get an unused high id of their own: id 0 without any capability still owns
    ``/proc/sys/kernel/core_pattern``, and two isolates with one id could signal each other. An ordinary caller can map
    no id but its own, which its spawner knows as 0.
    """
    if not features.privileged:
        return 0, 0
    first, count = (_FIRST, _COUNT) if features.all_ids else _mapped_range()
    chosen = first + int.from_bytes(os.urandom(8)) % count  # secrets would import hmac and more for this
    return chosen, chosen


def start_for(prepared: Prepared, function: bytes) -> Start:
    """Return what is particular to a new isolate.

    Args:
        prepared: the policy.
        function: as `Start.function`.
    """
    own = (prepared.grants, prepared.grant_rules, prepared.filter)
    if prepared.plan.engine == "landlock":
        from isolate_fn._runtime.host_paths import name_of_private  # of the rarer engine

        uid, gid = own_ids(prepared.features)
        return Start(0, uid, gid, -1, (), function, *own, name_of_private(prepared.plan.scratch))
    uid, gid = outer_ids(prepared.features)
    remap = 0 if prepared.features.privileged and prepared.features.all_ids and uid != 0 else -1
    return Start(0, uid, gid, remap, (), function, *own)


def own_ids(features: Features) -> tuple[int, int]:
    """Return (user id, group id) for one isolate without a user namespace: an unused one where the caller may take it."""
    if not features.changes_ids:
        return os.geteuid(), os.getegid()
    first, count = (_FIRST, _COUNT) if features.all_ids else _mapped_range()
    chosen = first + int.from_bytes(os.urandom(8)) % count
    return chosen, chosen


def host_uid(features: Features, outer: int) -> int:
    """Return the id that the caller's own user namespace knows an isolate by."""
    return outer if features.privileged else os.geteuid()


def _mapped_range() -> tuple[int, int]:
    """Return (first, count) of the upper half of the widest range mapped here; privileged, but in a container."""
    widest = (0, 1)
    with open("/proc/self/uid_map", encoding="ascii") as table:
        for line in table:
            inside, _, count = (int(field) for field in line.split())
            widest = max(widest, (inside, count), key=lambda entry: entry[1])
    first, count = widest
    half = count // 2
    # 65534 is the overflow id; it stands for everybody and must be nobody's own.
    return first + half, max(1, count - half - 2)
