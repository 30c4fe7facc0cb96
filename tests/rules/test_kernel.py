"""Corrections of the seeds, with the real kernel: each action succeeds unfiltered and is denied under the set.

Every case runs in a process of its own, once without a filter and once under one.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

PRELUDE = """
import ctypes, errno, mmap, os, platform, resource, signal, socket, sys, tempfile, threading
from isolate_fn.rules import *
from isolate_fn._plan.rule_sets import compile_rule_sets
from isolate_fn._sys import numbers

MACHINE = platform.machine()
CALLS = numbers.table(MACHINE)
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

def raw(name, *arguments):
    result = libc.syscall(ctypes.c_long(CALLS[name]), *(ctypes.c_long(one) for one in arguments))
    if result == -1:
        raise OSError(ctypes.get_errno(), name)
    return result

def lock(*sets):
    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
    ctypes.CDLL("libgcc_s.so.1")
    program = compile_rule_sets(sets).filter(MACHINE)
    buffer = ctypes.create_string_buffer(program, len(program))
    prog = Program(len(program) // 8, ctypes.addressof(buffer))
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    raw("seccomp", 1, 0, ctypes.addressof(prog))
"""

# What a case works on is made by its own process, at a place that pytest clears away.
OBJECTS = """
directory = tempfile.mkdtemp(dir=".")
path = directory + "/file"
with open(path, "wb") as _file:
    _file.write(b"x" * 5000)
opened = os.open(path, os.O_RDWR)
listening = socket.create_server(("127.0.0.1", 0))
here = listening.getsockname()
"""

ANSWER = """
try:
    action()
    answer = 0
except OSError as error:
    answer = 100 + error.errno
except RuntimeError as error:  # "can't start new thread" is all that Python tells
    answer = 100 + errno.EPERM
os._exit(answer)
"""

EPERM = 101


class Case(NamedTuple):
    """One thing to do: the sets it is done under, and how it is done."""

    what: str
    sets: str
    action: str


DENIED = [
    Case("empty a file that may be read", "SystemIO().allow_open_readonly()", "os.open(path, os.O_RDONLY | os.O_TRUNC)"),
    Case(
        "make an unnamed file where files may be read",
        "SystemIO().allow_open_readonly()",
        "os.open(directory, os.O_TMPFILE | os.O_WRONLY)",
    ),
    Case("read an open file by mapping it", "SystemIO().allow_stdin()", "raw('mmap', 0, 4096, 1, mmap.MAP_PRIVATE, opened, 0)"),
    Case("write an open file by mapping it", "SystemIO().allow_read()", "raw('mmap', 0, 4096, 3, mmap.MAP_SHARED, opened, 0)"),
    Case("a socket of another family", "Networking().allow_start_tcp_clients()", "socket.socket(socket.AF_NETLINK, 3)"),
    Case("a pair of datagram sockets", "Networking.everything()", "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)"),
    Case(
        "connect by sending",
        "Networking().allow_start_tcp_servers()",
        "socket.socket().sendto(b'x', socket.MSG_FASTOPEN, here)",
    ),
    Case("accept as a client", "Networking().allow_running_tcp_clients()", "client(); listening.accept()"),
    Case("start a process as a thread", "Threads().allow_create()", "os.fork() or os._exit(0)"),
    Case("write to a file beside sockets", "SystemIO().allow_stdout(), Networking.everything().without('write')",
         "os.write(opened, b'x')"),
    Case("write to a file beside pipes", "SystemIO().allow_stdout(), Pipes()", "os.write(opened, b'x')"),
    Case("write to standard error with sockets alone", "Networking.everything()", "os.write(2, b'')"),
    Case("read a file beside standard input", "SystemIO().allow_stdin(), Networking().allow_start_tcp_clients()",
         "os.read(opened, 1)"),
    Case("change a limit", "SystemIO()",
         "limit = (ctypes.c_ulong * 2)(64, 64); raw('prlimit64', 0, 7, ctypes.addressof(limit), 0)"),
    Case("map executable memory", "BasicCapabilities().without_executable_memory()", "mmap.mmap(-1, 4096, prot=7)"),
    Case("map executable memory by a rule of one's own",
         "Interpreter(), Custom('own', Rule('mmap', Arg(2, 32).has_none(4)))", "mmap.mmap(-1, 4096, prot=7)"),
    Case("signal another process", "Signals().allow_raise(os.getpid())", "os.kill(os.getppid(), 0)"),
    Case("an ioctl that is not Python's", "SystemIO().allow_ioctl()",
         "raw('ioctl', opened, 0x80086601, ctypes.addressof(ctypes.c_long()))"),  # FS_IOC_GETFLAGS
    Case("a lease", "SystemIO().allow_ioctl()", "import fcntl; fcntl.fcntl(opened, fcntl.F_SETLEASE, fcntl.F_WRLCK)"),
    Case("lock memory", "BasicCapabilities()", "raw('mlock', id(directory) & ~4095, 1)"),
]  # fmt: skip

ALLOWED = [
    Case("read only", "SystemIO().allow_open_readonly().allow_read()", "assert open(path, 'rb').read(1) == b'x'"),
    Case("map a file that is read", "SystemIO().allow_file_read(opened).allow_ioctl()",
         "mmap.mmap(opened, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ)"),
    Case("share a file", "Memory().allow_shared_files()", "mmap.mmap(opened, 4096)[:2]"),
    Case("send and receive beside standard output", "SystemIO().allow_stdout().allow_stdin(), Networking.everything()",
         "one, two = socket.socketpair(); one.send(b'x'); two.recv(1); one.shutdown(2); one.close(); os.write(1, b'')"),
    Case("write to sockets", "Networking().allow_running_unix_clients()", "os.write(pair[0].fileno(), b'x')"),
    Case("write to sockets for TLS", "SystemIO().allow_stdout(), Networking().allow_tls()",
         "os.write(pair[0].fileno(), b'x')"),
    Case("start a thread", "Threads().allow_create()", "t = threading.Thread(target=int); t.start(); t.join()"),
    Case("raise a signal", "Signals().allow_raise(os.getpid())", "signal.raise_signal(signal.SIGUSR1)"),
    Case("read a limit", "SystemIO()", "import resource; resource.getrlimit(7)"),
    Case("a narrower BasicCapabilities", "BasicCapabilities().without('mremap').without_executable_memory()",
         "bytearray(50_000_000); mmap.mmap(-1, 4096)"),
    Case("everything", "SystemIO.everything()",
         "os.rename(path, path + '2'); os.link(path + '2', path); os.symlink('x', path + '3'); os.truncate(path, 10); "
         "os.chmod(path, 0o600); os.utime(path); os.mkfifo(path + '4'); os.mkdir(path + '5'); os.rmdir(path + '5'); "
         "os.unlink(path + '3'); os.statvfs(directory); os.listdir(directory); os.ftruncate(opened, 1)"),
]  # fmt: skip


#: Cases that BasicCapabilities covers, which is always there.
BASIC = [case for case in ALLOWED if case.what in ("read a limit", "a narrower BasicCapabilities")]


Run = Callable[[str], Any]


@pytest.fixture
def run(template: Callable[[str], Any], tmp_path: Path) -> Run:
    """Run a script in a process that is forked from an interpreter with the prelude."""
    return lambda script: template(PRELUDE).run(OBJECTS + script, cwd=tmp_path, env=os.environ)


def answer(run: Run, case: Case, *, filtered: bool) -> int:
    script = "\n".join(
        (
            "signal.signal(signal.SIGUSR1, lambda *_: None)",
            "pair = socket.socketpair()",
            "def client():\n    if not FILTERED: socket.create_connection(here)",
            f"FILTERED = {filtered}",
            f"def action():\n    {case.action}",
            f"lock({case.sets})" if filtered else "",
            ANSWER,
        )
    )
    done = run(script)
    assert not done.stderr, f"{case.what}: {done.stderr}"
    status: int = done.returncode
    return status


@pytest.mark.parametrize("case", DENIED, ids=lambda case: case.what)
def test_denied(run: Run, case: Case) -> None:
    assert answer(run, case, filtered=False) == 0, "the action works at all"
    assert answer(run, case, filtered=True) == EPERM


@pytest.mark.parametrize("case", ALLOWED, ids=lambda case: case.what)
def test_allowed(run: Run, case: Case) -> None:
    assert answer(run, case, filtered=True) == 0
    if case not in BASIC:
        assert answer(run, case._replace(sets="Time()"), filtered=True) == EPERM, "it takes these sets"


@pytest.mark.parametrize(
    ("sets", "ending"), [("Time()", signal.SIGSEGV), ("Signals().allow_raise(os.getpid())", signal.SIGABRT)]
)
def test_abort_needs_signals_to_itself(run: Run, sets: str, ending: signal.Signals) -> None:
    script = f"resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); lock({sets}); os.abort()"
    assert run(script).returncode == -ending
