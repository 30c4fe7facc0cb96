"""How a call ended, told as the value or the error that names the cause.

Causes come from init and from the kernel, neither of which the code inside can speak for; only what the function
returned or raised comes from the worker.
"""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import socket

from isolate_fn._runtime import ids
from isolate_fn._runtime.explained import denied_in, explain, notice
from isolate_fn._runtime.isolate import Isolate
from isolate_fn._runtime.prepared import Prepared
from isolate_fn._runtime.report import Enforcement, Report
from isolate_fn._transport.codec_decode import decode
from isolate_fn._transport.frames import Frame, FrameReader, Kind
from isolate_fn.errors import (
    CallRejected,
    InternalError,
    IsolationError,
    LimitExceeded,
    PolicyError,
    ResultRejected,
    SetupError,
    TimedOut,
    TransportError,
)

_SAID = 1 << 20  # bytes of what a role says of a failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from isolate_fn._runtime.signature import Signature

    T = TypeVar("T", bound=BaseException)


def enforcement_of(isolate: Isolate, prepared: Prepared) -> Enforcement:
    """Return what is in force in this isolate, with what init and worker had to leave out."""
    from dataclasses import replace

    without = prepared.plan.engine == "landlock"
    notes = [*(isolate.told.get("built") or [[]])[0], *((isolate.ready or {}).get("notes") or [])]
    return replace(
        prepared.enforcement,
        uid=isolate.start.outer_id if without else ids.host_uid(prepared.features, isolate.start.outer_id),
        dropped=(*prepared.enforcement.dropped, *dict.fromkeys(notes)),
    )


def report_of(isolate: Isolate, prepared: Prepared, *, output: Any = None) -> Report:
    """Return what is known about an isolate now; init's last numbers where it is gone."""
    output = output or isolate.output
    isolate.hear_all()
    usage = isolate.usage
    return Report(
        enforcement=enforcement_of(isolate, prepared),
        denied=denied_in(isolate, prepared),
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


def with_report(error: BaseException, isolate: Isolate, prepared: Prepared) -> BaseException:
    """Add to an error of a limit what is known now, where nothing is there yet, and return the error."""
    if isinstance(error, LimitExceeded) and error.report is None:
        error.report = report_now(isolate, prepared)
    return error


def report_now(isolate: Isolate, prepared: Prepared) -> Report:
    """Return what is known about an isolate that is still there, by numbers of now."""
    if isolate.status.fileno() >= 0:
        isolate.ask_usage()
    return report_of(isolate, prepared)


def judge(answer: Frame, isolate: Isolate, prepared: Prepared, signature: Signature) -> Any:
    """Return the function's value, or raise its exception or why there is neither.

    Raises:
        ResultRejected, CallRejected, TransportError; LimitExceeded: a limit is behind the function's exception;
        Exception: the function's own.
    """
    try:
        value = _judge(answer, isolate, prepared, signature)
    except Exception as error:
        explain(error, isolate, prepared)
        raise
    if isolate.news:
        notice(isolate, prepared)
    return value


def _judge(answer: Frame, isolate: Isolate, prepared: Prepared, signature: Signature) -> Any:
    limits = signature.limits
    if answer.kind is Kind.RESULT:
        if signature.trust:
            if not answer.buffers:
                raise TransportError("the isolate's answer holds no pickle")
            return pickle.loads(answer.buffers[0])  # noqa: S301 - TrustResult was accepted by name
        return decode(answer.json, answer.buffers, classes=signature.classes, limits=limits)
    if answer.kind is Kind.EXCEPTION:
        described = decode(answer.json, answer.buffers, classes=signature.classes, limits=limits)
        from isolate_fn._transport.failures_rebuild import rebuild  # most calls return

        exception = rebuild(described, signature.exceptions)
        behind = _limit_behind(exception, isolate, prepared)
        if behind is not None:
            raise behind from exception
        raise exception
    if answer.kind is Kind.REJECTED:
        raise _rejected(decode(answer.json, (), limits=limits))
    raise TransportError(f"the isolate sent {answer.kind.name} where an answer was due")


def _rejected(parts: Any) -> IsolationError:
    from isolate_fn._transport.received import NESTED  # of the worker's side, and so otherwise not loaded here

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
    name = ""
    if code == errno.EFBIG and limits.file_size is not None:
        name = "file_size"
    elif code == errno.EFBIG and prepared.plan.engine == "landlock":
        name = "rootfs_size"
    if code == errno.EMFILE:
        name = "open_files"
    rules = prepared.plan.rules
    no_thread = type(exception) is RuntimeError and str(exception) == "can't start new thread"
    no_thread = no_thread and (rules is None or rules.threads)
    no_process = code == errno.EAGAIN and not getattr(exception, "filename", None)
    if no_thread or no_process:
        name = "processes"
    if type(exception) is MemoryError and limits.address_space is not None:
        name = "address_space"
    if not name:
        return None
    return told_by("function", LimitExceeded(name, getattr(limits, name), None, report_now(isolate, prepared)))


def told_by(who: str, error: LimitExceeded) -> LimitExceeded:
    """Note who found that a limit was reached, and return the error."""
    error.told_by = who
    return error


def full(isolate: Isolate, prepared: Prepared) -> LimitExceeded | None:
    """Tell bytes from inodes by what init sees; a file system granted by a mount may be the full one instead.

    Where init sees room left, the function may have removed its files since, or have made it up: that is its word then.
    """
    usage = isolate.ask_usage()
    limits = prepared.terms.limits
    granted = any(
        order.granted and order.kind in ("bind", "tmpfs") and not order.read_only for order in prepared.plan.mounts
    )
    report = report_of(isolate, prepared)
    if usage.get("inodes_free", 1) == 0:
        return told_by("init", LimitExceeded("rootfs_inodes", limits.rootfs_inodes, usage["inodes"], report))
    if granted and usage.get("disk_free", 0) > 0:
        return None
    who = "init" if usage.get("disk_free", _ROOM) < _ROOM else "function"
    return told_by(who, LimitExceeded("rootfs_size", limits.rootfs_size, max(usage.get("disk", 0), 0), report))


_ROOM = 1 << 16  # bytes, below which a file system is full: some writes take no less


def timed_out(timeout: float, isolate: Isolate, prepared: Prepared) -> TimedOut:
    """Return the error for a call that took too long; the isolate is killed by who raises it."""
    return _explained(TimedOut(timeout, report_now(isolate, prepared)), isolate, prepared)


def too_much_output(isolate: Isolate, prepared: Prepared) -> LimitExceeded:
    """Return the error for an isolate that wrote too much."""
    written = (sum(isolate.output.counts) if isolate.output else 0) + isolate.noticed
    output, isolate.output = isolate.output, None  # or what comes on would keep init from being heard
    isolate.ask_usage()
    isolate.output = output
    return LimitExceeded("output", prepared.terms.limits.output, written, report_of(isolate, prepared))


def _explained(error: T, isolate: Isolate, prepared: Prepared) -> T:
    explain(error, isolate, prepared)
    return error


def ended(isolate: Isolate, prepared: Prepared) -> IsolationError:
    """Return why an isolate ended, or closed its channel, without an answer."""
    from isolate_fn._runtime import deaths

    deaths.take_the_rest(isolate)
    return _explained(deaths.why(isolate, prepared, report_of(isolate, prepared)), isolate, prepared)


def setup_failed(parts: Any) -> IsolationError:
    """Return the error for a step that a role process could not carry out."""
    step = str(parts.get("step", ""))
    return _step_failed(step, str(parts.get("call", "")), int(parts.get("errno", 0)), str(parts.get("detail", "")))


def not_built(isolate: Isolate, prepared: Prepared) -> IsolationError:
    """Return why an isolate ended before it was ready, which is before a call was sent."""
    error = _not_built(isolate, prepared)
    error.ran = False
    return error


def _not_built(isolate: Isolate, prepared: Prepared) -> IsolationError:
    failed = isolate.told.get("failed")
    if failed:
        return _step_failed(*failed)
    said = _last_of_tools(isolate)
    if said is not None and said.kind is Kind.SETUP_FAILED:
        return setup_failed(json.loads(said.json))
    from isolate_fn._runtime import deaths

    limit = deaths.limit_reached(isolate, prepared, report_of(isolate, prepared))
    if limit is not None:
        from dataclasses import replace

        limit.report = replace(limit.report, enforcement=None)
        limit.remedy = f"raise it: Limits({limit.limit}=...) is used up before the function starts"
        return limit
    status = (isolate.told.get("end") or ["", None])[1]
    if status is not None and os.WIFSIGNALED(status):
        how = f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
        return SetupError(
            "build the isolate", how, 0, "a limit is too small for Python itself, or the host is short of memory"
        )
    return SetupError(
        "build the isolate", "it ended without a word", 0, "see whether the host is short of memory or processes"
    )


def _last_of_tools(isolate: Isolate) -> Frame | None:
    """Return what the process that starts tools has said: it may fail, and end, before the worker does for the same reason."""
    if isolate.tools is None:
        return None
    try:
        return FrameReader(_SAID).feed(isolate.tools.recv(_SAID, socket.MSG_DONTWAIT))
    except (OSError, TransportError):
        return None


def _before_the_call(error: InternalError) -> InternalError:
    error.ran = False
    return error


def _step_failed(step: str, call: str, code: int, detail: str) -> SetupError | InternalError:
    if not code and not call and "BlockingIOError" in detail:  # of fork(2), which does not name itself
        call, code = "fork", errno.EAGAIN
    if not code and not call and step in ("worker", "init"):
        return _before_the_call(InternalError(f"{step}: {detail}"))
    from isolate_fn._runtime import refusal  # only where something failed

    return SetupError(step, call or detail, code, refusal.of_step(step, call, code, detail))


def too_big(error: TransportError, isolate: Isolate, prepared: Prepared) -> LimitExceeded | None:
    """Return the limit behind a frame that the reader refused for its size."""
    announced = getattr(error, "announced", None)
    if announced is None:
        return None
    return LimitExceeded("result", prepared.terms.limits.result, announced, report_now(isolate, prepared))
