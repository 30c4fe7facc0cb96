"""What the words can say but this version cannot enforce: refused when used, never silently accepted."""

from __future__ import annotations

from collections.abc import Callable

from isolate_fn._frozen import dataclass
from isolate_fn.errors import Unsupported

from .network import Network
from .policy import Policy


@dataclass(frozen=True)
class Unbuilt:
    """One option, or one value of it, that waits for a later version."""

    feature: str
    used: Callable[[Policy], bool]
    remedy: str


# A feature that gets built loses its line here, and nothing else changes.
UNBUILT = (
    Unbuilt(
        "network=Network(...) with destinations",
        lambda p: isinstance(p.network, Network) and p.network.reaches_something,
        "use network=False, or network=True for the host's whole network",
    ),
    Unbuilt(
        "overlay() mounts",
        lambda p: any(mount.word == "overlay" for mount in p.mounts),
        "use ro() and write to the working directory, or rw() of a copy",
    ),
    Unbuilt(
        "limits.cpus", lambda p: p.limits.cpus is not None, "use limits=Limits(cpu_time=...) or timeout="
    ),
)


def refuse_unbuilt(policy: Policy) -> None:
    """Refuse a policy that asks for what this version cannot enforce.

    Raises:
        Unsupported: with the feature and what to use instead.
    """
    for entry in UNBUILT:
        if entry.used(policy):
            found = "this version, which cannot enforce it"
            raise Unsupported(entry.feature, "a later version of isolate_fn", found, entry.remedy)
