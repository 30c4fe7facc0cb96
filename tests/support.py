"""What the real-kernel tests share: walls that can be taken away, throwaway processes, and counts of what is left over."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from isolate_fn import Policy
from isolate_fn._api.context import Sandbox
from isolate_fn._api.grants import give
from isolate_fn._api.prepare import prepare
from isolate_fn._runtime import call
from isolate_fn._runtime.signature import sign
from isolate_fn._transport.calls import encode_call, function_part, function_reference, unbind

# Seconds. No spawner ends for lack of work while slow tests run elsewhere: a lost one is a finding.
IDLE_TIMEOUT = 900

WALLS: dict[str, tuple[str, ...]] = {
    "mounts": ("file tree", "writable places", "mounts", "/proc mounted", "working directory"),
    "landlock": ("landlock", "init: landlock"),
    "seccomp": ("seccomp", "init: seccomp"),
    "capabilities": ("capability locks", "capabilities"),
    "not dumpable": ("not dumpable", "init: not dumpable"),
    "no new privileges": ("no new privileges",),
    "limits": ("limits",),
    "descriptors": ("descriptors",),
    # Without it the last step would set the limit of the namespace outside.
    "user namespace": ("outer id", "user namespace", "user id", "no nested user namespaces"),
    # Without them the last two steps would change the host's.
    "namespaces": ("namespaces", "cgroup namespace", "loopback", "host name"),
}


def run_without(walls: tuple[str, ...], function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call a function in an isolate that lacks some walls, and nobody checks for them.

    Args:
        walls: names in `WALLS`, or of single steps of `isolate_fn._enforce.sequence`. ``"self-check"`` is the
            comparison with the plan alone; it is left out wherever another wall is.
        function: a function of an importable module or of the test.
        *args: its arguments.
        **options: options of `isolated`.
    """
    removed = _steps(walls)
    policy = Policy(prewarm=0, **{"idle_timeout": IDLE_TIMEOUT, **options})
    prepared = replace(prepare(policy, removed=removed, by_value=True), unchecked=bool(removed))
    plain, args, _ = unbind(function, args, {})
    reference = function_reference(plain)
    encoded = encode_call(reference, args, {})
    return call.run(prepared, sign(reference, prepared), encoded, function_part(reference))


def give_and_run(
    walls: tuple[str, ...], function: Callable[..., Any], *args: Any, unguarded: bool = False, **options: Any
) -> Any:
    """Call a function as `run_without` does, with mount words and open files among its arguments.

    Args:
        walls: see there.
        function: see there.
        *args: its arguments.
        unguarded: leave out the filter that guards modes and times of files that are passed open.
        **options: see there.
    """
    removed = _steps(walls)
    policy = Policy(prewarm=0, **{"idle_timeout": IDLE_TIMEOUT, **options})
    prepared = replace(prepare(policy, removed=removed, by_value=True), unchecked=bool(removed))
    plain, args, _ = unbind(function, args, {})
    reference = function_reference(plain)
    signature = sign(reference, prepared)
    prepared, args, _, loan = give(plain, args, {}, prepared)
    encoded = encode_call(reference, args, {})
    encoded.loan = loan
    prepared = replace(prepared, filter=b"") if unguarded else prepared
    return call.run(prepared, signature, encoded, function_part(reference))


def open_without(walls: tuple[str, ...], **options: Any) -> Sandbox:
    """Return a `sandbox` block, to be entered, whose worker and tools lack some walls."""
    removed = _steps(walls)
    box = Sandbox(Policy(**{"idle_timeout": IDLE_TIMEOUT, **options}))
    box._prepared = replace(
        prepare(box.policy, tools=True, removed=removed, by_value=True), unchecked=bool(removed)
    )
    return box


def _steps(walls: tuple[str, ...]) -> tuple[str, ...]:
    """Return the steps to leave out. The self-check goes as well: it tries what then succeeds, and so spoils the attack."""
    return (*(step for wall in walls for step in WALLS.get(wall, (wall,))), *(("self-check",) if walls else ()))


def python(
    script: str, *, timeout: float = 60, env: dict[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a script in a fresh interpreter of this version, from a directory of its own choosing with ``cwd=``."""
    environment = {**os.environ, **(env or {})}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True, text=True, timeout=timeout, env=environment, check=False, **options,
    )  # fmt: skip
