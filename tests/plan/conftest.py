"""What the tests of filters share: an oracle without BPF, and children that put themselves under a filter."""

from __future__ import annotations

import ctypes
import mmap
import os
import pickle
import platform
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from isolate_fn._plan.emulator import SeccompData
from isolate_fn._plan.seccomp import SyscallPolicy
from isolate_fn._sys import numbers

HERE = Path(__file__).parent

if str(HERE) not in sys.path:
    sys.path.append(str(HERE))

import filter_oracle  # noqa: E402 - found only now

MACHINE = platform.machine()

# Cases are small and the same in every run: nothing is kept beside the sources, which a test user may not write to. On a
# busy machine any single one may take long.
settings.register_profile("plan", database=None, deadline=None, derandomize=True)
settings.load_profile("plan")


@pytest.fixture(scope="session")
def oracle() -> Callable[[SyscallPolicy, str, SeccompData], int]:
    """Answers of a policy, from dictionaries and plain integers."""
    return filter_oracle.answer


#: Room for what a child answers, bytes.
_ANSWER = 1 << 20

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def _native(number: int, arguments: tuple[int, ...]) -> tuple[int, int]:
    """Make a system call with register contents; return (result, errno), errno 0 on success."""
    registers = [ctypes.c_ulong(value & 2**64 - 1) for value in arguments]
    result = libc.syscall(ctypes.c_long(number), *registers)
    return result, ctypes.get_errno() if result == -1 else 0


def _install(program: bytes) -> None:
    """Put this process under a filter. Cannot be undone: children only."""
    PR_SET_NO_NEW_PRIVS, SECCOMP_SET_MODE_FILTER = 38, 1

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = Program(len(program) // 8, ctypes.addressof(buffer))
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    seccomp = numbers.table(MACHINE)["seccomp"]
    if libc.syscall(ctypes.c_long(seccomp), SECCOMP_SET_MODE_FILTER, 0, ctypes.byref(fprog)) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")


def _under(program: bytes | None, action: Callable[[], object]) -> object:
    """Run action() in a forked child under a filter; return what it returned, or -signal if that ended it.

    The answer comes through memory, so the filter need not let anything be written.
    """
    with mmap.mmap(-1, _ANSWER) as answer:
        pid = os.fork()
        if pid == 0:
            try:
                signal.signal(signal.SIGSYS, signal.SIG_DFL)
                signal.alarm(20)
                if program is not None:
                    _install(program)
                pickled = pickle.dumps(action())
            except BaseException as error:
                pickled = pickle.dumps(f"{type(error).__name__}: {error}")
            answer[: len(pickled)] = pickled  # a pickle never begins with a zero
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status != 0:
            return status
        if answer[0] == 0:
            raise EOFError("the child ended without an answer")
        return pickle.loads(answer[:])


@pytest.fixture(scope="session")
def native() -> Callable[[int, tuple[int, ...]], tuple[int, int]]:
    """A raw system call: (number, arguments) -> (result, errno)."""
    return _native


@pytest.fixture(scope="session")
def under() -> Callable[[bytes | None, Callable[[], object]], object]:
    """Run something in a throwaway child under a filter: (program or None, action) -> result or -signal."""
    return _under
