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
    from isolate_fn._api.executor import IsolatedExecutor as IsolatedExecutor
    from isolate_fn._api.explain import explain as explain
    from isolate_fn._api.hardening import lock_pid_file as lock_pid_file
    from isolate_fn._api.hardening import restrict_privileges as restrict_privileges
    from isolate_fn._api.isolate import Isolate as Isolate
    from isolate_fn._api.isolate import IsolateOutput as IsolateOutput
    from isolate_fn._api.safety_context import Restrictions as Restrictions
    from isolate_fn._api.safety_context import SafetyContext as SafetyContext
    from isolate_fn._diagnose.answers import Answer as Answer
    from isolate_fn._diagnose.diagnosis import Diagnosis as Diagnosis
    from isolate_fn._diagnose.doctor import doctor as doctor
    from isolate_fn._diagnose.learn.front import learn as learn
    from isolate_fn._diagnose.learn.seen import Seen as Seen
    from isolate_fn._diagnose.learn.session import Learning as Learning
    from isolate_fn._diagnose.selftest.result import SelfTest as SelfTest
    from isolate_fn._diagnose.selftest.running import selftest as selftest
    from isolate_fn._diagnose.would import would as would
    from isolate_fn._runtime.report import Denial as Denial
    from isolate_fn._runtime.report import Enforcement as Enforcement
    from isolate_fn._runtime.report import Report as Report
    from isolate_fn.policy.host import Host as Host
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
    "IsolatedExecutor": "_api.executor",
    "explain": "_api.explain",
    "selftest": "_diagnose.selftest.running",
    "SelfTest": "_diagnose.selftest.result",
    "doctor": "_diagnose.doctor",
    "Diagnosis": "_diagnose.diagnosis",
    "learn": "_diagnose.learn.front",
    "Learning": "_diagnose.learn.session",
    "Seen": "_diagnose.learn.seen",
    "lock_pid_file": "_api.hardening",
    "restrict_privileges": "_api.hardening",
    "Answer": "_diagnose.answers",
    "would": "_diagnose.would",
    "Policy": "policy.policy",
    "Host": "policy.host",
    "Limits": "policy.limits",
    "Network": "policy.network",
    "Denial": "_runtime.report",
    "Enforcement": "_runtime.report",
    "Report": "_runtime.report",
    **dict.fromkeys(("ro", "rw", "tmpfs", "overlay", "file", "dev", "symlink"), "policy.mounts"),
}

__all__ = [
    "Answer",
    "Diagnosis",
    "Denial",
    "Enforcement",
    "Host",
    "Isolate",
    "IsolateOutput",
    "IsolatedExecutor",
    "Learning",
    "Limits",
    "Network",
    "Policy",
    "Report",
    "Restrictions",
    "SafetyContext",
    "Seen",
    "SelfTest",
    "dev",
    "doctor",
    "explain",
    "file",
    "isolated",
    "learn",
    "lock_pid_file",
    "overlay",
    "restrict_privileges",
    "ro",
    "rw",
    "sandbox",
    "selftest",
    "symlink",
    "tmpfs",
    "would",
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
