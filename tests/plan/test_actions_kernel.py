"""Each answer a filter can give, as the kernel gives it: errno, both kills, trap, log, notify."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable

import pytest

from isolate_fn._plan.seccomp import (
    ALLOW,
    KILL_PROCESS,
    KILL_THREAD,
    LOG,
    NOTIFY,
    Action,
    SyscallPolicy,
    compile_filter,
    fail_with,
    trap_with,
)
from isolate_fn._sys import numbers
from isolate_fn._sys.seccomp_constants import AUDIT_ARCH, FilterFlag, SeccompOperation

MACHINE = platform.machine()
pytestmark = pytest.mark.skipif(MACHINE not in numbers.MACHINES, reason="no system call table for this machine")

Under = Callable[[bytes | None, Callable[[], object]], object]
Native = Callable[[int, tuple[int, ...]], tuple[int, int]]


def number(name: str) -> int:
    return numbers.table(MACHINE)[name]


def answering(action: Action, *names: str) -> bytes:
    """A filter that allows everything but answers these calls in one way."""
    return compile_filter(SyscallPolicy(default=ALLOW, unknown=ALLOW).answering(names, action), MACHINE)


@pytest.mark.parametrize("code", [1, errno.ENOSYS, errno.EACCES, 999, 4095])
def test_errno_arrives_as_it_is(code: int, under: Under, native: Native) -> None:
    program = answering(fail_with(code), "getppid")

    assert under(program, lambda: native(number("getppid"), ())) == (-1, code)
    assert under(None, lambda: native(number("getppid"), ())) == (os.getpid(), 0)


@pytest.mark.parametrize("action", [KILL_PROCESS, KILL_THREAD])
def test_a_kill_ends_a_process_of_one_thread(action: Action, under: Under, native: Native) -> None:
    program = answering(action, "getppid")

    assert under(program, lambda: native(number("getppid"), ())) == -signal.SIGSYS
    assert under(program, lambda: native(number("getpid"), ())[1]) == 0


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


def _call_in_a_thread(native: Native) -> str:
    """Make the denied call in a second thread; say whether the first outlived it."""
    thread = threading.Thread(target=native, args=(number("getppid"), ()), daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while _threads() > 1:
        if time.monotonic() > deadline:
            return "the thread goes on"
        os.sched_yield()
    return "the process goes on"


def test_kill_thread_takes_the_thread_alone_and_kill_process_all(under: Under, native: Native) -> None:
    assert under(answering(KILL_THREAD, "getppid"), lambda: _call_in_a_thread(native)) == "the process goes on"
    assert under(answering(KILL_PROCESS, "getppid"), lambda: _call_in_a_thread(native)) == -signal.SIGSYS


def _record_sigsys() -> list[tuple[int, ...]]:
    """Install a SIGSYS handler with SA_SIGINFO; return the list it fills with (signal, errno, code, call, arch)."""
    seen: list[tuple[int, ...]] = []

    @ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    def handler(_signal: int, info: int, _context: int) -> None:
        # siginfo_t of sigaction(2): signo, errno, code, padding, call address, call number, architecture.
        signo, code, kind, _, _, call, arch = struct.unpack("=iiiiQiI", ctypes.string_at(info, 32))
        seen.append((signo, code, kind, call, arch))

    class SigAction(ctypes.Structure):
        _fields_ = [
            ("handler", ctypes.c_void_p),
            ("mask", ctypes.c_byte * 128),
            ("flags", ctypes.c_int),
            ("restorer", ctypes.c_void_p),
        ]

    action = SigAction(handler=ctypes.cast(handler, ctypes.c_void_p), flags=4)  # SA_SIGINFO
    assert ctypes.CDLL(None).sigaction(signal.SIGSYS, ctypes.byref(action), None) == 0
    seen_handlers.append(handler)  # the C side keeps no reference
    return seen


seen_handlers: list[object] = []


@pytest.mark.parametrize("data", [0, 7, 65535])
def test_trap_tells_the_handler_which_call_it_was(data: int, under: Under, native: Native) -> None:
    def call() -> object:
        seen = _record_sigsys()
        native(number("getppid"), ())
        return seen

    SYS_SECCOMP = 1
    expected = [(signal.SIGSYS, data, SYS_SECCOMP, number("getppid"), AUDIT_ARCH[MACHINE])]
    assert under(answering(trap_with(data), "getppid"), call) == expected
    assert under(answering(trap_with(data), "getppid"), lambda: native(number("getpid"), ())[1]) == 0


def test_trap_without_a_handler_ends_the_process(under: Under, native: Native) -> None:
    assert under(answering(trap_with(1), "getppid"), lambda: native(number("getppid"), ())) == -signal.SIGSYS


def test_log_lets_the_call_through(under: Under, native: Native) -> None:
    assert under(answering(LOG, "getppid"), lambda: native(number("getppid"), ())) == (os.getpid(), 0)


def test_notify_without_a_listener_is_enosys(under: Under, native: Native) -> None:
    assert under(answering(NOTIFY, "getppid"), lambda: native(number("getppid"), ())) == (-1, errno.ENOSYS)


# --- notify with a listener -----------------------------------------------------------------------------------

# <linux/seccomp.h>: SECCOMP_IOWR(0, struct seccomp_notif), SECCOMP_IOWR(1, struct seccomp_notif_resp)
NOTIF_RECV, NOTIF_SEND = 0xC0502100, 0xC0182101
NOTIFICATION = struct.Struct("=QIIiIQ6Q")  # id, pid, flags, then struct seccomp_data
RESPONSE = struct.Struct("=QqiI")  # id, value, error, flags


def _listen(program: bytes, native: Native) -> int:
    """Put this process under a filter; return the descriptor on which its notifications arrive."""
    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer)), 16)
    assert ctypes.CDLL(None).prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    arguments = (SeccompOperation.SET_MODE_FILTER, FilterFlag.NEW_LISTENER, ctypes.addressof(fprog))
    listener, code = native(number("seccomp"), tuple(map(int, arguments)))
    assert code == 0, os.strerror(code)
    return listener


def _answer_one(listener: int, value: int, error: int) -> tuple[int, ...]:
    """Wait for one notification and answer it; return the number, architecture and arguments it told."""
    notification = bytearray(NOTIFICATION.size)
    fcntl.ioctl(listener, NOTIF_RECV, notification)
    identity, _pid, _flags, nr, arch, _ip, *arguments = NOTIFICATION.unpack(notification)
    fcntl.ioctl(listener, NOTIF_SEND, bytearray(RESPONSE.pack(identity, value, error, 0)))
    return nr, arch, *arguments


def test_notify_is_answered_by_whoever_listens(native: Native) -> None:
    """getppid(2) of the child is answered by this process: first with a value, then with an error."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(20)
            listener = _listen(answering(NOTIFY, "getppid"), native)
            socket.send_fds(theirs, [b"listener"], [listener])
            answers = [native(number("getppid"), (7, 2**64 - 1)), native(number("getppid"), ())]
            theirs.sendall(repr(answers).encode())
        finally:
            os._exit(0)
    theirs.close()
    with ours:
        ours.settimeout(20)
        _, descriptors, _, _ = socket.recv_fds(ours, 16, 1)
        try:
            first = _answer_one(descriptors[0], 4242, 0)
            second = _answer_one(descriptors[0], 0, -errno.EXDEV)
        finally:
            os.close(descriptors[0])
        said = ours.recv(256).decode()
    os.waitpid(child, 0)

    assert first[:4] == (number("getppid"), AUDIT_ARCH[MACHINE], 7, 2**64 - 1)
    assert second[:2] == first[:2]
    assert said == repr([(4242, 0), (-1, errno.EXDEV)])
