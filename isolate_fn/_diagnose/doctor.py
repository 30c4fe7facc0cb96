"""``isolate_fn.doctor()``: what this machine offers, what is wrong, and what to do about it."""

from __future__ import annotations

import sys

from isolate_fn._diagnose import doctor_limits, doctor_machine, doctor_namespaces, doctor_walls
from isolate_fn._diagnose.diagnosis import FAILED, OK, WEAKER, Check, Diagnosis
from isolate_fn._diagnose.evidence import Evidence, gather
from isolate_fn._plan.engine import missing
from isolate_fn._runtime.report import Enforcement
from isolate_fn.errors import IsolationError

CALL = "a real call"
_SECONDS = 60.0


def doctor() -> Diagnosis:
    """Find out what this machine offers to isolated calls, and make one.

    ::

        diagnosis = doctor()
        if not diagnosis.works:
            for check in diagnosis.problems:
                print(f"{check.name}: {check.cause}; {check.fix}")

    What can be tried is tried, in processes that are thrown away; nothing is changed. It takes a second or two.
    ``isolate-fn doctor`` prints the same.

    Returns:
        A value with all checks, the engine that calls will use and why, and the enforcement of the call that was made.

    Raises:
        PolicyError: ``ISOLATE_FN_PRETEND`` names a feature that does not exist.
    """
    if sys.platform != "linux":
        check = Check(
            group=doctor_machine.MACHINE, name="kernel", status=FAILED, found=sys.platform,
            cause="isolates are made of namespaces, Landlock and seccomp, which only Linux has",
            fix="run it on Linux: in a virtual machine, WSL 2 or a container",
        )  # fmt: skip
        return Diagnosis(checks=(check,), engine="none", why=f"this is {sys.platform}, not Linux", enforcement=None)
    seen = gather()
    enforcement, call = real_call()
    checks = (*_by_engine(judge(seen), enforcement), call)
    return Diagnosis(checks=checks, **_engine(seen, enforcement, checks), enforcement=enforcement)


def judge(seen: Evidence) -> tuple[Check, ...]:
    """Return the judgements on what was found out."""
    return (
        *doctor_machine.where(seen),
        *doctor_machine.machine(seen),
        *doctor_namespaces.checks(seen),
        *doctor_walls.checks(seen),
        *doctor_limits.checks(seen),
        *doctor_machine.files(seen),
    )


def real_call() -> tuple[Enforcement | None, Check]:
    """Make one isolated call; return what was in force, and how it went."""
    from isolate_fn._api.context import sandbox
    from isolate_fn._diagnose.sample import sample

    try:
        with sandbox(timeout=_SECONDS, idle_timeout=1) as box:
            told = box.call(sample)
            enforcement = box.report().enforcement
    except IsolationError as error:
        what = str(error).splitlines()[0]
        found = f"{type(error).__name__}, {'after' if error.ran else 'before'} the function ran"
        return None, Check(group=CALL, name="isolated", status=FAILED, found=found, cause=what, fix=error.remedy)
    except OSError as failure:
        fix = "see the checks of limits"
        return None, Check(group=CALL, name="isolated", status=FAILED, found="OSError", cause=str(failure), fix=fix)
    shown = "/ denied" if told["files"] < 0 else f"{told['files']} entries in /"
    found = f"process {told['pid']} of its own, user {told['uid']}, {shown}"
    return enforcement, Check(group=CALL, name="isolated", status=OK, found=found)


def _by_engine(checks: tuple[Check, ...], enforcement: Enforcement | None) -> tuple[Check, ...]:
    """Return the checks, of which those that only the other engine fails are none that keep calls from being isolated."""
    if enforcement is None or enforcement.engine != "landlock":
        return checks
    from dataclasses import replace

    instead = "; calls are isolated by the engine 'landlock' instead, which needs none"
    return tuple(
        replace(check, status=WEAKER, cause=f"{check.cause}{instead if check.name == 'user namespaces' else ''}")
        if check.group == doctor_namespaces.GROUP and check.status == FAILED
        else check
        for check in checks
    )


def _why_not(seen: Evidence, checks: tuple[Check, ...]) -> str:
    """Return why there are no namespaces: what was found by trying, else what is known without."""
    tried = next((check for check in checks if check.group == doctor_namespaces.GROUP and check.status == WEAKER), None)
    return seen.features.userns_cause or (tried.cause.partition(";")[0] if tried is not None else "they are refused")


def _engine(seen: Evidence, enforcement: Enforcement | None, checks: tuple[Check, ...]) -> dict[str, str]:
    if enforcement is not None:
        if enforcement.engine == "landlock":
            return {"engine": "landlock", "why": f"a real call was isolated, without namespaces: {_why_not(seen, checks)}"}
        by = "as root with CAP_SYS_ADMIN" if seen.features.privileged else "as an ordinary user, in user namespaces"
        return {"engine": enforcement.engine, "why": f"a real call was isolated, {by}"}
    refused = missing(seen.features)
    if refused is not None:
        return {"engine": "none", "why": f"it needs {refused.needs}; found: {refused.found}"}
    failed = [check.name for check in checks[:-1] if check.status == FAILED]
    return {"engine": "none", "why": f"failed: {', '.join(failed)}" if failed else checks[-1].cause}
