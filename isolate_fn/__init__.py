"""Run one ordinary function inside its own Linux sandbox, and get back its value or its exception.

General layout: ``policy/`` holds words (frozen values that say what is wanted), ``_plan/`` decides, in the parent, what
this kernel will be told, ``_enforce/`` acts, in the child, with no decisions left, ``_transport/`` carries the call in
and the result out, ``_runtime/`` owns processes and joins the four; ``_sys/`` is the kernel as it is, ``_api/`` the
shapes below. Say, decide, act, carry.

Importing this package imports almost nothing: each name is loaded when it is first used.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False  # type checkers take it for typing's, whose import alone would cost more than all of this file
if TYPE_CHECKING:
    from typing import Any

    from isolate_fn._api.context import sandbox as sandbox
    from isolate_fn._api.decorator import isolated as isolated
    from isolate_fn._api.explain import explain as explain
    from isolate_fn._api.hardening import lock_pid_file as lock_pid_file
    from isolate_fn._api.hardening import restrict_privileges as restrict_privileges
    from isolate_fn._api.isolate import Isolate as Isolate
    from isolate_fn._api.isolate import IsolateOutput as IsolateOutput
    from isolate_fn._api.safety_context import Restrictions as Restrictions
    from isolate_fn._api.safety_context import SafetyContext as SafetyContext
    from isolate_fn._runtime.report import Enforcement as Enforcement
    from isolate_fn._runtime.report import Report as Report
    from isolate_fn.policy.limits import Limits as Limits
    from isolate_fn.policy.mounts import dev as dev
    from isolate_fn.policy.mounts import file as file
    from isolate_fn.policy.mounts import overlay as overlay
    from isolate_fn.policy.mounts import ro as ro
    from isolate_fn.policy.mounts import rw as rw
    from isolate_fn.policy.mounts import symlink as symlink
    from isolate_fn.policy.mounts import tmpfs as tmpfs
    from isolate_fn.policy.network import Network as Network
    from isolate_fn.policy.policy import Policy as Policy

_HOMES = {
    "isolated": "_api.decorator",
    "sandbox": "_api.context",
    "SafetyContext": "_api.safety_context",
    "Restrictions": "_api.safety_context",
    "Isolate": "_api.isolate",
    "IsolateOutput": "_api.isolate",
    "explain": "_api.explain",
    "lock_pid_file": "_api.hardening",
    "restrict_privileges": "_api.hardening",
    "Policy": "policy.policy",
    "Limits": "policy.limits",
    "Network": "policy.network",
    "Enforcement": "_runtime.report",
    "Report": "_runtime.report",
    **dict.fromkeys(("ro", "rw", "tmpfs", "overlay", "file", "dev", "symlink"), "policy.mounts"),
}

__all__ = [
    "Enforcement",
    "Isolate",
    "IsolateOutput",
    "Limits",
    "Network",
    "Policy",
    "Report",
    "Restrictions",
    "SafetyContext",
    "dev",
    "explain",
    "file",
    "isolated",
    "lock_pid_file",
    "overlay",
    "restrict_privileges",
    "ro",
    "rw",
    "sandbox",
    "symlink",
    "tmpfs",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'isolate_fn' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"isolate_fn.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
