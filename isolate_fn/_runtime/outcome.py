"""How a call ended, told as the value or the error that names the cause.

Causes come from init and from the kernel, neither of which the code inside can speak for; only what the function
returned or raised comes from the worker.
"""

from __future__ import annotations

import errno
import os
import pickle
import signal
from typing import TYPE_CHECKING, Any

from isolate_fn._runtime import ids
from isolate_fn._runtime.isolate import Isolate
from isolate_fn._runtime.prepared import Prepared
from isolate_fn._runtime.report import Enforcement, Report
from isolate_fn._transport.codec import decode
from isolate_fn._transport.failures import rebuild
from isolate_fn._transport.frames import Frame, Kind
from isolate_fn._transport.received import NESTED
from isolate_fn.errors import (
    CallRejected,
    Crashed,
    InternalError,
    IsolationError,
    LimitExceeded,
    PolicyError,
    ResultRejected,
    SetupError,
    SyscallDenied,
    TimedOut,
    TransportError,
)

if TYPE_CHECKING:
    from isolate_fn._runtime.signature import Signature


def enforcement_of(isolate: Isolate, prepared: Prepared) -> Enforcement:
    """Return what is in force in this isolate, with what init and worker had to leave out."""
    from dataclasses import replace

    notes = [*(isolate.told.get("built") or [[]])[0], *((isolate.ready or {}).get("notes") or [])]
    return replace(
        prepared.enforcement,
        uid=ids.host_uid(prepared.features, isolate.start.outer_id),
        dropped=(*prepared.enforcement.dropped, *dict.fromkeys(notes)),
    )


def report_of(isolate: Isolate, prepared: Prepared, *, output: Any = None) -> Report:
    """Return what is known about an isolate now; init's last numbers where it is gone."""
    output = output or isolate.output
    usage = isolate.usage
    return Report(
        enforcement=enforcement_of(isolate, prepared),
        denied=None,
        peak_memory=(isolate.group.peak() if isolate.group is not None else 0) or usage.get("peak_memory", 0),
        cpu_seconds=usage.get("cpu_seconds", 0.0),
        disk=usage.get("disk", 0),
        inodes=usage.get("inodes", 0),
        stdout_bytes=output.counts[0] if output else 0,
        stderr_bytes=output.counts[1] if output else 0,
        stdout=bytes(output.captured[0]) if output else b"",
        stderr=bytes(output.captured[1]) if output else b"",
        stages=dict(isolate.stages),
    )


def judge(answer: Frame, isolate: Isolate, prepared: Prepared, signature: Signature) -> Any:
    """Return the function's value, or raise its exception or why there is neither.

    Raises:
        ResultRejected, CallRejected, TransportError; LimitExceeded: a limit is behind the function's exception;
        Exception: the function's own.
    """
    limits = signature.limits
    if answer.kind is Kind.RESULT:
        if signature.trust:
            if not answer.buffers:
                raise TransportError("the isolate's answer holds no pickle")
            return pickle.loads(answer.buffers[0])  # noqa: S301 - TrustResult was accepted by name
        return decode(answer.json, answer.buffers, classes=signature.classes, limits=limits)
    if answer.kind is Kind.EXCEPTION:
        described = decode(answer.json, answer.buffers, classes=signature.classes, limits=limits)
        exception = rebuild(described, signature.exceptions)
        behind = _limit_behind(exception, isolate, prepared)
        if behind is not None:
            raise behind from exception
        raise exception
    if answer.kind is Kind.REJECTED:
        raise _rejected(decode(answer.json, (), limits=limits))
    raise TransportError(f"the isolate sent {answer.kind.name} where an answer was due")


def _rejected(parts: Any) -> IsolationError:
    def text(name: str) -> str:
        from isolate_fn._transport.text import visible

        return visible(str(parts.get(name, "")), 4096, lines=True) if isinstance(parts, dict) else ""

    if text("field") == NESTED:
        nested = PolicyError(NESTED, text("problem"), text("remedy"))
        nested.ran = True
        return nested
    if text("what"):
        return CallRejected(text("what"), text("problem"), text("remedy"))
    return ResultRejected(text("type_name") or "unknown type", text("remedy"), text("where"))


def _limit_behind(exception: BaseException, isolate: Isolate, prepared: Prepared) -> LimitExceeded | None:
    """Name the limit that an exception of the function is the sign of, if one is."""
    limits = prepared.terms.limits
    code = exception.errno if isinstance(exception, OSError) else None
    if code in (errno.ENOSPC, errno.EDQUOT):
        return full(isolate, prepared)
    if code == errno.EFBIG and limits.file_size is not None:
        return LimitExceeded("file_size", limits.file_size, limits.file_size, report_of(isolate, prepared))
    if code == errno.EMFILE:
        return LimitExceeded("open_files", limits.open_files, limits.open_files, report_of(isolate, prepared))
    rules = prepared.plan.rules
    no_thread = type(exception) is RuntimeError and str(exception) == "can't start new thread"
    no_thread = no_thread and (rules is None or rules.threads)
    no_process = code == errno.EAGAIN and not getattr(exception, "filename", None)
    if no_thread or no_process:
        return LimitExceeded("processes", limits.processes, limits.processes, report_of(isolate, prepared))
    if type(exception) is MemoryError and limits.address_space is not None:
        return LimitExceeded("address_space", limits.address_space, limits.address_space, report_of(isolate, prepared))
    return None


def full(isolate: Isolate, prepared: Prepared) -> LimitExceeded | None:
    """Tell bytes from inodes by what init sees; a file system granted by a mount may be the full one instead."""
    usage = isolate.ask_usage()
    limits = prepared.terms.limits
    granted = any(
        order.granted and order.kind in ("bind", "tmpfs") and not order.read_only for order in prepared.plan.mounts
    )
    report = report_of(isolate, prepared)
    if usage.get("inodes_free", 1) == 0:
        return LimitExceeded("rootfs_inodes", limits.rootfs_inodes, usage["inodes"], report)
    if granted and usage.get("disk_free", 0) > 0:
        return None
    return LimitExceeded("rootfs_size", limits.rootfs_size, max(usage.get("disk", 0), 0), report)


def timed_out(timeout: float, isolate: Isolate, prepared: Prepared) -> TimedOut:
    """Return the error for a call that took too long; the isolate is killed by who raises it."""
    isolate.ask_usage()
    return TimedOut(timeout, report_of(isolate, prepared))


def too_much_output(isolate: Isolate, prepared: Prepared) -> LimitExceeded:
    """Return the error for an isolate that wrote too much."""
    written = sum(isolate.output.counts) if isolate.output else 0
    return LimitExceeded("output", prepared.terms.limits.output, written, report_of(isolate, prepared))


def ended(isolate: Isolate, prepared: Prepared) -> IsolationError:
    """Return why an isolate ended, or closed its channel, without an answer."""
    report = report_of(isolate, prepared)
    limits = prepared.terms.limits
    limit = isolate.told.get("limit")
    if isolate.group is not None and isolate.group.out_of_memory():
        return LimitExceeded("memory", limits.memory or 0, isolate.group.peak() or limits.memory, report)
    if limit == "memory":
        return LimitExceeded("memory", limits.memory or 0, isolate.usage.get("memory", 0), report)
    if limit == "cpu_time":
        return LimitExceeded("cpu_time", limits.cpu_time or 0.0, isolate.usage.get("cpu_seconds", 0.0), report)
    status = (isolate.told.get("end") or ["", None])[1]
    if status is None:
        if "end" in isolate.told:
            return Crashed(signal.SIGKILL, None, "its init was killed from outside, or the spawner was", report)
        return Crashed(None, None, "it closed its channel without an answer and lived on", report)
    return _by_status(status, isolate, prepared, report)


def _by_status(status: int, isolate: Isolate, prepared: Prepared, report: Report) -> IsolationError:
    limits = prepared.terms.limits
    if not os.WIFSIGNALED(status):
        return Crashed(None, os.WEXITSTATUS(status), "it exited without an answer", report)
    number = os.WTERMSIG(status)
    if number == signal.SIGSYS:
        return SyscallDenied("", (), None, None, report)
    spent = isolate.usage.get("cpu_seconds", 0.0)
    if limits.cpu_time is not None and (number == signal.SIGXCPU or spent >= limits.cpu_time):
        return LimitExceeded("cpu_time", limits.cpu_time, spent, report)
    if number == signal.SIGXFSZ and limits.file_size is not None:
        return LimitExceeded("file_size", limits.file_size, limits.file_size, report)
    return Crashed(number, None, "", report)


_REMEDIES = {
    "sources": "see that the source still exists and has not become a symbolic link since the first call",
    "mounts": "see that the mount point exists inside the mount that covers it",
    "user namespace": "the caller's user namespace must allow one more below it, with one id mapped",
    "memory limit": "run where /proc is not masked or a cgroup is delegated, or leave Limits(memory=...) out",
    "cgroup": "see that the delegated cgroup still exists",
    "namespaces": "this user may create too few namespaces; see the sysctls user.max_*_namespaces",
    "fork into a new pid namespace": "see the sysctl user.max_pid_namespaces and the limit on processes",
}


def setup_failed(parts: Any) -> IsolationError:
    """Return the error for a step that a role process could not carry out."""
    step = str(parts.get("step", ""))
    return _step_failed(step, str(parts.get("call", "")), int(parts.get("errno", 0)), str(parts.get("detail", "")))


def not_built(isolate: Isolate) -> IsolationError:
    """Return why an isolate ended before its walls stood."""
    failed = isolate.told.get("failed")
    if failed:
        return _step_failed(*failed)
    limit = isolate.told.get("limit")
    if limit:
        return SetupError(
            "build the isolate", "", 0, f"raise Limits({limit}=...): it is used up before the function starts"
        )
    status = (isolate.told.get("end") or ["", None])[1]
    if status is not None and os.WIFSIGNALED(status):
        how = f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
        return SetupError(
            "build the isolate", how, 0, "a limit is too small for Python itself, or the host is short of memory"
        )
    return SetupError(
        "build the isolate", "it ended without a word", 0, "see whether the host is short of memory or processes"
    )


def _before_the_call(error: InternalError) -> InternalError:
    error.ran = False
    return error


def _step_failed(step: str, call: str, code: int, detail: str) -> SetupError | InternalError:
    if not code and not call and step in ("worker", "init"):
        return _before_the_call(InternalError(f"{step}: {detail}"))
    return SetupError(step, call or detail, code, _REMEDIES.get(step, f"{detail}; see docs/troubleshooting.md"))


def too_big(error: TransportError, isolate: Isolate, prepared: Prepared) -> LimitExceeded | None:
    """Return the limit behind a frame that the reader refused for its size."""
    announced = getattr(error, "announced", None)
    if announced is None:
        return None
    return LimitExceeded("result", prepared.terms.limits.result, announced, report_of(isolate, prepared))
