"""Throwaway processes for checks that cannot be taken back, and what they ask in them; needs no pytest."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import pickle
import signal
import threading
from collections.abc import Callable
from queue import Queue
from types import TracebackType

from isolate_fn._sys import numbers

MACHINE = os.uname().machine
#: Room for what a child answers, bytes, and the seconds it has: emulated machines are slow.
_ANSWER, _PATIENCE = 1 << 20, 120

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class Failed(Exception):
    """A check does not hold; the text says why."""


class Skipped(Exception):
    """A check means nothing here; the text says what is missing."""


def in_child(action: Callable[[], object]) -> object:
    """Run action() in a forked child; return what it returned.

    The answer comes through memory, so a filter need not let anything be written.

    Raises:
        Failed: it raised something (with the line), or it was ended by a signal.
        Skipped: it raised that.
    """
    with mmap.mmap(-1, _ANSWER) as answer:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGSYS, signal.SIG_DFL)
            signal.alarm(_PATIENCE)
            try:
                told = pickle.dumps(("", action()))
            except Skipped as reason:
                told = pickle.dumps(("skipped", str(reason)))
            except BaseException as error:
                told = pickle.dumps(("failed", f"{where(error.__traceback__)}: {type(error).__name__}: {error}"))
            answer[: len(told)] = told  # a pickle never begins with a zero
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status < 0:
            raise Failed(f"ended by {signal.Signals(-status).name}")
        if status or answer[0] == 0:
            raise Failed(f"ended with status {status} and no answer")
        how, result = pickle.loads(answer[:])
    if how:
        raise (Skipped if how == "skipped" else Failed)(result)
    return result


def where(traceback: TracebackType | None) -> str:
    """Return the last lines that an exception came through, outermost first, without opening a file."""
    lines = []
    while traceback is not None:
        name = os.path.basename(traceback.tb_frame.f_code.co_filename)
        lines.append(f"{name}:{traceback.tb_lineno}")
        traceback = traceback.tb_next
    return " > ".join(lines[-3:])


def native(call: str | int, *arguments: int) -> tuple[int, int]:
    """Make a system call with register contents; return (result, errno), errno 0 on success."""
    number = call if isinstance(call, int) else numbers.table(MACHINE)[call]
    registers = [ctypes.c_ulong(value & 2**64 - 1) for value in (*arguments, *[0] * (6 - len(arguments)))]
    result = _libc.syscall(ctypes.c_long(number), *registers)
    return result, ctypes.get_errno() if result == -1 else 0


def expect(found: object, wanted: object) -> None:
    """Compare.

    Raises:
        Failed: they are not equal.
    """
    if found != wanted:
        raise Failed(f"found {found!r}, wanted {wanted!r}")


def denied(action: Callable[[], object], *codes: int) -> None:
    """Make sure that action() fails with one of these errnos, EPERM if none is given.

    Raises:
        Failed: it succeeds, or fails otherwise.
    """
    try:
        result = action()
    except OSError as error:
        if error.errno not in (codes or (errno.EPERM,)):
            raise Failed(f"denied with {error}, wanted {[errno.errorcode[code] for code in codes]}") from None
        return
    raise Failed(f"not denied, returned {result!r}")


def refused(kind: type[Exception], action: Callable[[], object], *words: str) -> Exception:
    """Make sure that action() raises this error, with these words in it, and that nothing was applied to this thread.

    Raises:
        Failed: it does not, or something is in force.
    """
    try:
        result = action()
    except kind as error:
        missing = [word for word in words if word not in str(error)]
        if missing:
            raise Failed(f"{missing} not in: {error}") from None
        expect((status("Seccomp"), status("NoNewPrivs")), ("0", "0"))
        return error
    raise Failed(f"{kind.__name__} was not raised, returned {result!r}")


def status(field: str, task: str = "thread-self") -> str:
    """Return one word of /proc/.../status."""
    with open(f"/proc/{task}/status") as file:
        return next(line.split()[1] for line in file if line.startswith(field + ":"))


def here(action: Callable[[], object]) -> object:
    """Run action() in this thread: the counterpart of `Other.run`."""
    return action()


class Other:
    """Another thread, which runs what it is asked to."""

    def __init__(self) -> None:
        self._asked: Queue[Callable[[], object]] = Queue()
        self._answers: Queue[tuple[object, BaseException | None]] = Queue()
        self.thread = threading.Thread(target=self._work, name="the other one", daemon=True)
        self.thread.start()

    def run(self, action: Callable[[], object]) -> object:
        """Return what action() returns there, or raise what it raises."""
        self._asked.put(action)
        result, error = self._answers.get()
        if error is not None:
            raise error
        return result

    def _work(self) -> None:
        while True:
            try:
                self._answers.put((self._asked.get()(), None))
            except BaseException as error:
                self._answers.put((None, error))
