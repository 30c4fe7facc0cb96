"""What hostile code in an isolate tries; each function returns what it got, or minus the errno."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from typing import Any

import native


def attempt(act: Callable[..., Any], *args: Any) -> Any:
    """Return what an act returns, or minus its errno."""
    try:
        return act(*args)
    except OSError as denied:
        return -(denied.errno or 0)


def all_of(planned: list[tuple[str, str, tuple[Any, ...]]]) -> dict[str, Any]:
    """Attack in each way; return what each got."""
    return {name: globals()[function](*args) for name, function, args in planned}


def read(path: str) -> Any:
    """Read a file of the host."""
    return attempt(lambda: open(path, "rb").read(64).decode("latin-1"))


def listing(path: str) -> Any:
    """List a directory of the host."""
    return attempt(lambda: len(os.listdir(path)))


def write(path: str) -> Any:
    """Write into a file of the host."""
    return attempt(lambda: open(path, "r+b").write(b"changed"))


def create(path: str) -> Any:
    """Make a file on the host."""
    return attempt(lambda: open(path, "xb").close() or "made")


def truncate(path: str) -> Any:
    """Empty a file of the host, by each call that can."""
    flags = (os.O_RDONLY | os.O_TRUNC, os.O_ACCMODE | os.O_TRUNC)
    tries = [native.call("truncate", path, 0), *(native.call("openat", native.AT_FDCWD, path, each, 0) for each in flags)]
    return max(tries)


def mode(path: str) -> Any:
    """Change a mode."""
    return native.call("fchmodat", native.AT_FDCWD, path, 0o666)


def times(path: str) -> Any:
    """Change times."""
    return attempt(lambda: os.utime(path, (1, 1)) or "done")


def attribute(path: str) -> Any:
    """Read an extended attribute of a file whose content is denied."""
    return native.call("listxattr", path, 0, 0)


def link(path: str) -> Any:
    """Give a file of the host a name in the private directory."""
    return attempt(lambda: os.link(path, "mine") or "done")


def tcp(port: int) -> Any:
    """Connect to a service of the host's."""
    with socket.socket() as asked:
        return attempt(lambda: asked.connect(("127.0.0.1", port)) or "connected")


def tcp_or_not(port: int) -> Any:
    """The same, where there may be no socket at all."""
    return attempt(tcp, port)


def udp(port: int) -> Any:
    """Send a datagram to a service of the host's."""

    def act() -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            return asked.sendto(b"x", ("127.0.0.1", port))

    return attempt(act)


def unix(address: str) -> Any:
    """Connect to a unix socket of the host's; a name that begins with @ is abstract."""

    def act() -> str:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked:
            asked.connect("\0" + address[1:] if address.startswith("@") else address)
        return "connected"

    return attempt(act)


def send_signal(pid: int) -> Any:
    """Send a signal to a process of the same user, each way there is."""
    number = int(signal.SIGWINCH)  # which nobody minds
    handle = native.call("pidfd_open", pid, 0)
    tries = [
        native.call("kill", pid, number),
        native.call("tgkill", pid, pid, number),
        native.call("tkill", pid, number),
        native.call("rt_sigqueueinfo", pid, number, bytes(128)),
        native.call("pidfd_send_signal", handle, number, 0, 0) if handle >= 0 else handle,
    ]
    return max(tries)


def send_signal_to_init(number: int) -> Any:
    """Send a signal to whatever watches this isolate."""
    return native.call("kill", os.getppid(), number)


def trace(pid: int) -> Any:
    """Attach to a process of the same user."""
    return native.call("ptrace", 0x4206, pid, 0, 0)  # PTRACE_SEIZE


def environment(pid: int) -> Any:
    """Read the environment of a process of the same user."""
    return read(f"/proc/{pid}/environ")


def memory(pid: int) -> Any:
    """Open the memory of a process of the same user."""
    return attempt(lambda: os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY)) or "opened")


def command(pid: int) -> Any:
    """Read the command line of a process of the same user."""
    return read(f"/proc/{pid}/cmdline")


def affinity(pid: int) -> Any:
    """Keep a process of the same user from a processor."""
    return native.call("sched_setaffinity", pid, 8, b"\1" + bytes(7))


def descriptors() -> Any:
    """Return the numbers of what is open beside the usual four."""
    return [number for number in range(4, 256) if attempt(os.fstat, number) != -9]


def fork() -> Any:
    """Start a process."""
    pid = native.call("fork") if "fork" in native_table() else native.call("clone", 17, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return pid


def native_table() -> Any:
    """Return the calls of this machine."""
    from isolate_fn._sys.numbers import table

    return table(os.uname().machine)
