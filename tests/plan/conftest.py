"""What the tests of filters share: an oracle without BPF, and children that put themselves under a filter."""

from __future__ import annotations

import ctypes
import functools
import os
import pickle
import platform
import signal
from collections.abc import Callable

import pytest
from hypothesis import settings

from isolate_fn._plan.conditions import Condition, Member
from isolate_fn._plan.emulator import SeccompData
from isolate_fn._plan.seccomp import Entry, SyscallPolicy
from isolate_fn._sys import numbers
from isolate_fn._sys.seccomp_constants import AUDIT_ARCH

MACHINE = platform.machine()

# Cases are small and are drawn afresh: nothing is kept beside the sources, which a test user may not write to. On a
# busy machine any single one may take long.
settings.register_profile("plan", database=None, deadline=None)
settings.load_profile("plan")


def holds(condition: Condition, arguments: tuple[int, ...]) -> bool:
    """The oracle's own reading of a condition."""
    value = arguments[condition.index] % 2**condition.bits
    if isinstance(condition, Member):
        return (value & condition.mask in set(condition.values)) != condition.negated
    limit = condition.value
    if condition.signed:
        half, whole = 2 ** (condition.bits - 1), 2**condition.bits
        value, limit = (number - whole if number >= half else number for number in (value, limit))
    return (value >= limit if condition.inclusive else value > limit) != condition.negated


@functools.cache
def _names(machine: str) -> dict[int, str]:
    return {number: name for name, number in numbers.table(machine).items()}


def _oracle(policy: SyscallPolicy, machine: str, data: SeccompData) -> int:
    """What the filter must say, from dictionaries and plain integers."""
    if data.arch != AUDIT_ARCH[machine] or (machine == "x86_64" and data.nr >= 0x40000000):
        return policy.foreign.verdict
    name = _names(machine).get(data.nr)
    if name is None:
        return policy.unknown.verdict
    entry = dict(policy.entries).get(name, Entry())
    arguments = (*data.args, *[0] * (6 - len(data.args)))
    for rule in entry.rules:
        if all(holds(condition, arguments) for condition in rule.conditions):
            return rule.action.verdict
    return (entry.otherwise or policy.default).verdict


@pytest.fixture(scope="session")
def oracle() -> Callable[[SyscallPolicy, str, SeccompData], int]:
    """Answers of a policy, from dictionaries and plain integers."""
    return _oracle


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
    """Run action() in a forked child under a filter; return what it returned, or -signal if that ended it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGSYS, signal.SIG_DFL)
            signal.alarm(20)
            if program is not None:
                _install(program)
            os.write(writer, pickle.dumps(action()))
            os._exit(0)
        except BaseException as error:
            os.write(writer, pickle.dumps(f"{type(error).__name__}: {error}"))
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as stream:
        answer = stream.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return pickle.loads(answer) if status == 0 else status


@pytest.fixture(scope="session")
def native() -> Callable[[int, tuple[int, ...]], tuple[int, int]]:
    """A raw system call: (number, arguments) -> (result, errno)."""
    return _native


@pytest.fixture(scope="session")
def under() -> Callable[[bytes | None, Callable[[], object]], object]:
    """Run something in a throwaway child under a filter: (program or None, action) -> result or -signal."""
    return _under
