"""What was put in place, and what happened: the values that users get to see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Enforcement:
    """What was really put in place; ``dropped`` explains every difference from the request.

    Attributes:
        engine: ``"namespaces"``.
        layers: walls in force, in the order they were put up.
        landlock_abi: ABI of the rule set, 0 where there is none.
        uid: host user id the code runs under.
        accepted: weakenings of `isolate_fn.dangerous` that were accepted, by name.
        dropped: sentences, one for each wall or option that is weaker than asked.
        warnings: sentences about grants that reach further than they look, such as a mount with a socket in it.
        memory: how memory is limited: ``"cgroup"``, ``"watched"`` or ``"none"``.
    """

    engine: str
    layers: tuple[str, ...]
    landlock_abi: int
    uid: int
    accepted: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    memory: str = "none"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What one isolate did.

    Attributes:
        enforcement: the walls it ran behind; None if it ended before they stood.
        denied: denied system calls; None where they are not recorded.
        peak_memory: most memory its processes were seen to use together (bytes).
        cpu_seconds: processor time of all its processes.
        disk: bytes on its root tmpfs.
        inodes: files and directories there.
        stdout_bytes: bytes it wrote to stdout.
        stderr_bytes: bytes it wrote to stderr.
        stdout: what was captured with ``output="capture"``.
        stderr: likewise.
        stages: seconds by stage: ``"spawner"`` (waiting for the one that builds it, long only for the first), ``"start"``
            (ordering it), ``"ready"`` (waiting for its walls and checking them), ``"call"`` (the last one).
    """

    enforcement: Enforcement | None = None
    denied: tuple[str, ...] | None = None
    peak_memory: int = 0
    cpu_seconds: float = 0.0
    disk: int = 0
    inodes: int = 0
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    stages: Mapping[str, float] = field(default_factory=dict)
