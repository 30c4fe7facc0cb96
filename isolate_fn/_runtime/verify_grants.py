"""The caller's check of an isolate that was made for one call: its own mounts by themselves, the rest like any other's."""

from __future__ import annotations

import json
from collections.abc import Sequence

from isolate_fn._plan.orders import GRANTS, MountOrder, Plan
from isolate_fn._runtime.said import mounts_of, refuse
from isolate_fn._runtime.verify import verify
from isolate_fn._transport.frames import Frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HERE = GRANTS.encode()


def verify_granted(frame: Frame, plan: Plan, grants: Sequence[MountOrder]) -> dict[str, Any]:
    """Return what a worker says about itself, or refuse one whose walls do not stand as planned.

    Without the mounts of this one call its report is that of every isolate of the plan, which `verify` knows already.

    Args:
        frame: the report.
        plan: the plan, without them.
        grants: `Start.grants`.

    Raises:
        SetupError: names every check that failed. The function has not been sent.
    """
    names = json.loads(frame.json).get("files", [])
    if "mounts" not in names:
        return verify(frame, plan)  # which asks for a reason
    place = names.index("mounts")
    own: list[bytes] = []
    others: list[bytes] = []
    for line in bytes(frame.buffers[place]).split(b"\n"):
        if not line:
            continue
        point = line.split(b" ", 2)[1]
        (own if point == _HERE or point.startswith(_HERE + b"/") else others).append(line + b"\n")
    refuse("self-check of the worker", [f"mounts: {wrong}" for wrong in wrong_grants(b"".join(own), grants)])
    buffers = list(frame.buffers)
    buffers[place] = b"".join(others)
    return verify(frame._replace(buffers=buffers), plan)


def wrong_grants(mounts: bytes, grants: Sequence[MountOrder]) -> list[str]:
    """Return a sentence for each mount of the call that is not as granted, and for each that is missing.

    Args:
        mounts: the lines of mountinfo that speak of places for grants.
        grants: `Start.grants`.
    """
    wanted = {order.destination: order.read_only for order in grants}
    wrong = []
    there = set()
    for point, options, tags, _ in mounts_of(mounts):
        there.add(point)
        words = options.split(",")
        above = next((place for place in wanted if point == place or point.startswith(place + "/")), None)
        if tags:
            wrong.append(f"{point} propagates ({tags})")
        if not {"nosuid", "nodev"} <= set(words):
            wrong.append(f"{point} is not nosuid and nodev")
        if wanted.get(above or "", True) and "ro" not in words:
            wrong.append(f"{point} is writable")
        if above is None and point != GRANTS:
            wrong.append(f"{point} was not granted")
    return wrong + [f"{point} is missing" for point in sorted({GRANTS, *wanted} - there)]
