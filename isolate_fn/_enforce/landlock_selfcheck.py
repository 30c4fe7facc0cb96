"""What a role without namespaces says about itself: each wall is tried, and the kernel's answer is told.

The caller compares it with the plan (`isolate_fn._runtime.verify_landlock`).
"""

from __future__ import annotations

import _socket
import os
import resource

from isolate_fn._enforce import selfcheck
from isolate_fn._enforce.scene import Scene
from isolate_fn._sys import calls
from isolate_fn._sys.constants import CLONE_NEWUSER, PROBE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def before_the_filter(scene: Scene) -> tuple[dict[str, Any], selfcheck.Files]:
    """Try what Landlock alone denies here; under the filter an attempt would show the filter."""
    above = os.path.dirname(scene.start.scratch)
    init = os.getppid()
    found: dict[str, Any] = {
        "landlock": selfcheck.errno_of_mknod((".",)),
        "reading outside": _errno_of(lambda: os.close(os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC))),
        "reading init": _errno_of(lambda: os.close(os.open(f"/proc/{init}/environ", os.O_RDONLY | os.O_CLOEXEC))),
        "listing outside": _errno_of(lambda: os.listdir("/")),
        "writing outside": _errno_of(lambda: os.mkdir(f"{above}/isolate_fn-denied", 0o700)),
    }
    found["rlimits"] = [[name, *resource.getrlimit(name)] for name, _, _ in scene.plan.rlimits]
    found["own_id"] = scene.own_id
    found["groups"] = os.getgroups() if scene.own_id else []
    found["death_signal"] = calls.death_signal()
    return found, []


def under_the_filter(scene: Scene, found: dict[str, Any]) -> None:
    """Complete the report under all walls."""
    found["ids"], found["outer_ids"] = [*os.getresuid(), *os.getresgid()], _planned_ids(scene)
    found["own session"] = os.getsid(0) == os.getpid()
    found["cwd"] = os.getcwd().removeprefix(scene.start.scratch)
    found["descriptors"] = selfcheck.open_descriptors()
    found["terminal"] = [number for number in range(4) if selfcheck.is_terminal(number)]
    found["threads"] = [selfcheck.this_thread()]
    found["signal"] = _errno_of(lambda: os.kill(os.getppid(), 0))
    # Where denials are heard of, by a family that libraries ask for in passing: our own attempt is not worth a report.
    family, kind = (_socket.AF_NETLINK, _socket.SOCK_RAW) if scene.plan.listen else (_socket.AF_INET, _socket.SOCK_STREAM)
    found["socket"] = _errno_of(lambda: _socket.socket(family, kind).close())
    if not scene.own_id:
        found["mode"] = _errno_of(lambda: os.chmod(".", 0o700))
    if scene.plan.open_check:
        found["unshare"] = selfcheck.errno_of_unshare(CLONE_NEWUSER, PROBE)
    # Numbers that differ between isolates of one plan would make every report another one.
    if found["ids"] == found["outer_ids"]:
        found["ids"] = found["outer_ids"] = []


def _planned_ids(scene: Scene) -> list[int]:
    return [scene.start.outer_id] * 3 + [scene.start.outer_group] * 3


def _errno_of(act: Callable[[], object]) -> int:
    """Return the errno with which something is denied, 0 where it is not."""
    try:
        act()
    except OSError as denied:
        return denied.errno or -1
    return 0
