"""What is asked of `would`, done for real: runs inside isolates, so it needs nothing but the standard library."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess


def attempt(action: str, *arguments: object) -> tuple[bool, int]:
    """Do one thing; return whether the isolate let it happen, and the errno if not."""
    try:
        _DO[action](*arguments)
    except ConnectionRefusedError:  # nobody listens, which the isolate is not to blame for
        return True, 0
    except OSError as error:
        return False, error.errno or 0
    return True, 0


def attempt_all(cases: list[tuple[object, ...]]) -> list[tuple[bool, int]]:
    """Do several things, one after the other."""
    return [attempt(*case) for case in cases]  # type: ignore[arg-type]


def compare(subject: object, cases: list[tuple[object, ...]], seen: list[tuple[bool, int]], **more: object) -> None:
    """Outside: fail where `would` answers otherwise than what was seen."""
    import errno

    from isolate_fn import would

    wrong = []
    for case, (happened, code) in zip(cases, seen, strict=True):
        answer = would(subject, *case, **more)  # type: ignore[arg-type]
        if (answer.permitted, answer.errno) != (happened, code):
            wrong.append(f"{case}: happened: {happened} {errno.errorcode.get(code, code)}; answered: {answer}")
    assert not wrong, "\n".join(wrong)
    kinds = {happened for happened, _ in seen}
    assert kinds == {True, False}, "a table that only knows one answer compares nothing"


def _open(path: str, mode: str = "r") -> None:
    made = not os.path.lexists(path)
    with open(path, mode):
        pass
    if made:
        os.unlink(path)  # the questions are about an isolate in which nothing has happened yet


def _connect(host: str, port: int | None = None) -> None:
    family = socket.AF_UNIX if port is None else socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.connect(host if port is None else (host, port))


def _run(path: str) -> None:
    subprocess.run([path], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def _syscall(name: str, *arguments: int) -> None:
    import platform

    libc = ctypes.CDLL(None, use_errno=True)
    number = NUMBERS[name][platform.machine() == "aarch64"]
    if libc.syscall(*(ctypes.c_long(each) for each in (number, *arguments))) == -1:
        raise OSError(ctypes.get_errno(), name)


_DO = {
    "open": _open,
    "list": os.listdir,
    "stat": os.stat,
    "exec": lambda path: os.execv(path, [path]),
    "run": _run,
    "connect": _connect,
    "syscall": _syscall,
}

# name -> numbers on x86_64 and aarch64
NUMBERS = {
    "getpid": (39, 172),
    "ptrace": (101, 117),
    "mount": (165, 40),
    "unshare": (272, 97),
    "bpf": (321, 280),
    "keyctl": (250, 219),
    "personality": (135, 92),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "setuid": (105, 146),
    "io_uring_setup": (425, 425),
    "clone3": (435, 435),
    "perf_event_open": (298, 241),
    "kexec_load": (246, 104),
    "sched_yield": (24, 124),
    "umask": (95, 166),
    "getppid": (110, 173),
    "sync": (162, 81),
    "prctl": (157, 167),
    "setpriority": (141, 140),
    "memfd_secret": (447, 447),
    "userfaultfd": (323, 282),
    "epoll_create1": (291, 20),
    "timerfd_create": (283, 85),
    "inotify_init1": (294, 26),
    "swapoff": (168, 225),
    "getuid": (102, 174),
}
