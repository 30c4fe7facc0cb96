"""What is known of an isolate that died, in words. Loaded only when one has.

The cause is init's word and the kernel's. What the isolate wrote to stderr is quoted beside it, and is hostile: it may be
anything, and decides nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal

from isolate_fn._runtime.endings import TooMuchOutput
from isolate_fn._runtime.isolate import Isolate
from isolate_fn._runtime.outcome import told_by
from isolate_fn._transport.text import visible
from isolate_fn.errors import Crashed, LimitExceeded, SyscallDenied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from isolate_fn._runtime.prepared import Prepared
    from isolate_fn._runtime.report import Report
    from isolate_fn._runtime.spawner_client import SpawnerClient

_MOST = 12000  # characters quoted
_LAST_LINES = 20  # without a stack
_BEFORE = 5  # lines before a stack: what made native code give up is often said there
_END_MILLISECONDS = 100  # that a killed spawner may take to close its socket
# What faulthandler writes first. Whoever writes it last is believed to have dumped a stack, and nothing else follows from it.
_STACK = re.compile(r"^(?:Fatal Python error: |Current thread 0x|Stack \(most recent call first\))", re.MULTILINE)
# Frames that are below any function; left out because they help nobody.
_OURS = re.compile(r'(?:^  File "[^"\n]*/isolate_fn/_runtime/\w+\.py", line \d+ in [\w<>]+(?:\n|\Z))+', re.MULTILINE)

_MEANING = {
    signal.SIGSEGV: "segmentation fault: native code used memory that it does not have, or its stack overflowed",
    signal.SIGBUS: "bus error: native code used memory with nothing behind it, such as a mapped file that became shorter",
    signal.SIGILL: "illegal instruction: native code was built for another processor, or ran into data",
    signal.SIGFPE: "arithmetic error in native code, such as an integer division by zero",
    signal.SIGABRT: "abort: native code found itself broken and gave up, such as a failed assertion, heap corruption that "
    "malloc noticed, or a C++ exception that nobody caught",
    signal.SIGTRAP: "trap: native code ran into a breakpoint or a failed check",
    signal.SIGSYS: "a system call that the kernel or a filter answers with a signal",
    signal.SIGXFSZ: "a file would have become bigger than a limit",
    signal.SIGXCPU: "the signal of a limit on processor time, which was not reached: somebody inside sent it",
}
_SENT = "a signal that somebody sends: code inside to itself, or from outside an administrator or the host"

# Limits that init of an isolate without namespaces watches, and what it calls their use.
_WATCHED = {"processes": "tasks", "rootfs_size": "disk", "rootfs_inodes": "inodes"}
_NATIVE = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGTRAP})


def why(isolate: Isolate, prepared: Prepared, report: Report) -> Crashed | LimitExceeded | SyscallDenied:
    """Return why an isolate ended, or closed its channel, without an answer: by init's word and the kernel's."""
    limit = limit_reached(isolate, prepared, report)
    if limit is not None:
        return limit
    status = (isolate.told.get("end") or ["", None])[1]
    if status is not None:
        return _by_status(status, isolate, prepared, report)
    if "end" in isolate.told:
        return _of_init(isolate, report)
    return _quoting(Crashed(None, None, "it closed its channel without an answer and lived on", report), isolate)


def limit_reached(isolate: Isolate, prepared: Prepared, report: Report) -> LimitExceeded | None:
    """Return the limit for which init or the kernel has ended an isolate, if one is."""
    limits = prepared.terms.limits
    limit, usage = isolate.told.get("limit"), isolate.usage
    if isolate.group is not None and isolate.group.out_of_memory():
        peak = isolate.group.peak() or limits.memory
        return told_by("kernel", LimitExceeded("memory", limits.memory or 0, peak, report))
    if limit == "memory":
        return told_by("init", LimitExceeded("memory", limits.memory or 0, usage.get("memory", 0), report))
    if limit in _WATCHED:
        used = max(usage.get(_WATCHED[limit], 0), getattr(limits, limit) + 1)
        return told_by("init", LimitExceeded(limit, getattr(limits, limit), used, report))
    if limit == "cpu_time":
        return told_by("init", LimitExceeded("cpu_time", limits.cpu_time or 0.0, usage.get("cpu_seconds", 0.0), report))
    return None


def _by_status(
    status: int, isolate: Isolate, prepared: Prepared, report: Report
) -> Crashed | LimitExceeded | SyscallDenied:
    limits = prepared.terms.limits
    if not os.WIFSIGNALED(status):
        return _by_itself(os.WEXITSTATUS(status), isolate, report)
    number = os.WTERMSIG(status)
    if number == signal.SIGSYS:
        return _by_filter(prepared, report)
    spent = isolate.usage.get("cpu_seconds", 0.0)
    # By what init counted: the signals alone could be sent by anybody inside.
    if limits.cpu_time is not None and number in (signal.SIGXCPU, signal.SIGKILL) and spent >= limits.cpu_time:
        return told_by("init", LimitExceeded("cpu_time", limits.cpu_time, spent, report))
    if number == signal.SIGXFSZ and limits.file_size is not None:
        return told_by("kernel", LimitExceeded("file_size", limits.file_size, None, report))
    if number == signal.SIGXFSZ and prepared.plan.engine == "landlock":
        return told_by("kernel", LimitExceeded("rootfs_size", limits.rootfs_size, None, report))
    return _by_signal(number, isolate, report)


def _by_signal(number: int, isolate: Isolate, report: Report) -> Crashed:
    """Return the error of a worker that a signal has killed."""
    meaning = _MEANING.get(number, _SENT)  # type: ignore[call-overload]
    if number == signal.SIGKILL:
        meaning = _short_of_memory(isolate.spawner) or _SENT
    error = _quoting(Crashed(number, None, meaning, report), isolate)
    if number in _NATIVE:
        error.remedy = (
            "look for the native code that was called: .stack has what the interpreter wrote when it died"
            if error.stack
            else "look for the native code that was called; it left no stack on stderr, its own or one of rules= in the way"
        )
    elif number != signal.SIGKILL:
        error.remedy = "see what sends it"
    else:
        error.remedy = "see what sends it; where the host is short of memory, give the function a limit: Limits(memory=...)"
    return error


def _by_filter(prepared: Prepared, report: Report) -> SyscallDenied:
    """Return the error of a worker that SIGSYS has killed: the filter's way to end it, or a signal that it sent to itself.

    For which system call the kernel tells nobody but its own log; what the worker could tell, the code inside could forge.
    """
    error = SyscallDenied("", (), None, None, report)
    if prepared.plan.open_check:  # denied calls fail with an errno here, but those of another architecture
        error.remedy = "do without system calls of a foreign architecture, such as int 0x80 or x32: no option permits them"
    return error


def _by_itself(code: int, isolate: Isolate, report: Report) -> Crashed:
    """Return the error of a worker that has exited."""
    detail = "something in it called _exit, in C or by os._exit; that is an end without an answer, whatever the status"
    return _quoting(Crashed(None, code, detail, report), isolate)


def _of_init(isolate: Isolate, report: Report) -> Crashed:
    """Return the error of an isolate whose init is gone without a word: nobody inside can do that."""
    spawner = isolate.spawner
    if spawner is not None and spawner.control.fileno() < 0:
        detail = "this process has closed what isolates are made by, with everything that it had made"
        remedy = "let calls end before close(), the end of the interpreter, or a fork of this process"
    elif spawner is not None and _ended(spawner):
        detail = "the spawner was lost, the process that makes isolates and takes them along"
        remedy = "call it again: the next call starts another; find out what has killed it"
    else:
        detail = "its init was killed from outside, which no code inside can do"
        remedy = "call it again; find out what has killed it"
    short = _short_of_memory(spawner)
    error = _quoting(Crashed(signal.SIGKILL, None, f"{detail}; {short}" if short else detail, report), isolate)
    error.remedy = remedy
    return error


def cancelled(report: object) -> Crashed:
    """Return the error of a sandbox that was killed because a call of it was cancelled."""
    error = Crashed(signal.SIGKILL, None, "a call that ran in the sandbox was cancelled, which ends it", report)
    error.remedy = "open another sandbox; or submit to an IsolatedExecutor, where each task has its own isolate"
    return error


def take_the_rest(isolate: Isolate) -> None:
    """Read what a dead isolate left in its pipes."""
    with contextlib.suppress(TooMuchOutput):
        isolate.drain()


def _quoting(error: Crashed, isolate: Isolate) -> Crashed:
    """Add what the isolate wrote last."""
    text = isolate.output.tail.decode("utf-8", "backslashreplace") if isolate.output is not None else ""
    found = list(_STACK.finditer(text))
    if not found:
        error.said = _quoted(_last(text, _LAST_LINES)[-_MOST:])
        return error
    begins = next((each.start() for each in reversed(found) if each[0].startswith("Fatal")), found[0].start())
    stack = _OURS.sub("  (and below it isolate_fn)\n", text[begins:])
    error.stack = _quoted(stack)
    if isolate.output is not None:
        isolate.output.quoted = True
    error.said = _quoted(_last(text[:begins], _BEFORE)[-_MOST:] + stack)
    return error


def _last(text: str, count: int) -> str:
    return "".join(text.splitlines(keepends=True)[-count:])


def _quoted(text: str) -> str:
    return visible(text.rstrip("\n"), _MOST, lines=True)


def _ended(spawner: SpawnerClient) -> bool:
    poll = select.poll()
    poll.register(spawner.control, select.POLLIN)
    return bool(poll.poll(_END_MILLISECONDS))


def _short_of_memory(spawner: SpawnerClient | None) -> str:
    """Tell whether the kernel has killed anything on this machine for want of memory since the spawner was started."""
    if spawner is None or spawner.short_of_memory is None:
        return ""
    from isolate_fn._runtime.spawner_client import killed_for_memory

    now = killed_for_memory()
    if now is None or now <= spawner.short_of_memory:
        return ""
    count = now - spawner.short_of_memory
    spawner.short_of_memory = now  # each is told once
    return f"likely for want of memory: the kernel has killed {count} process(es) of this machine for that in the meantime"


__all__ = ["cancelled", "limit_reached", "take_the_rest", "why"]
