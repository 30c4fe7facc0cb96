"""The floor of a fresh isolate that is forked from an interpreter: two forks, eight namespaces, and nothing else.

A warm interpreter, as lean as a spawner (the same modules are loaded), leaves its namespaces, forks a PID 1, which forks a
worker, which leaves the user namespace and adds one to a number; both end. No file tree, no /proc, no limits, no
Landlock, no filter, no capabilities dropped, no check of anything, no function sent: whatever an isolate costs beyond this
is what its walls cost. Needs root. Run as a script it is the warm interpreter; `Floor` starts it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
from typing import NoReturn

ENOUGH = 64


class Floor:
    """One warm interpreter that forks two processes for every number it is sent."""

    def __init__(self) -> None:
        self.ours, theirs = socket.socketpair()
        import isolate_fn

        package = os.path.dirname(os.path.dirname(os.path.abspath(isolate_fn.__file__)))
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, package, str(theirs.fileno())], pass_fds=[theirs.fileno()]
            )

    def __call__(self, number: int) -> int:
        """Return what a worker makes of a number."""
        self.ours.sendall(b"%d" % number)
        return int(self.ours.recv(ENOUGH))

    def close(self) -> None:
        """End it."""
        self.ours.shutdown(socket.SHUT_RDWR)
        self.ours.close()
        self.process.wait()


def serve(descriptor: int) -> None:
    """Be the warm interpreter until the socket ends."""
    from isolate_fn._runtime import init, serve, spawner, worker  # noqa: F401 - for their size in memory
    from isolate_fn._sys import calls
    from isolate_fn._sys import constants as k

    kinds = (k.CLONE_NEWNS, k.CLONE_NEWNET, k.CLONE_NEWIPC, k.CLONE_NEWUTS, k.CLONE_NEWPID)
    own = [
        (os.open(f"/proc/self/ns/{name}", os.O_RDONLY), kind)
        for name, kind in zip(("mnt", "net", "ipc", "uts", "pid"), kinds, strict=True)
    ]
    gc.collect()
    gc.freeze()
    gc.disable()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for what was killed
    with socket.socket(fileno=descriptor) as other:
        while message := other.recv(ENOUGH):
            calls.unshare(sum(kinds))
            if os.fork() == 0:
                _become_init(other, int(message))
            for namespace, kind in own:
                calls.setns(namespace, kind)


def _become_init(other: socket.socket, number: int) -> NoReturn:
    from isolate_fn._sys import calls
    from isolate_fn._sys import constants as k

    calls.unshare(k.CLONE_NEWCGROUP)
    if os.fork() == 0:
        calls.unshare(k.CLONE_NEWUSER)
        other.sendall(b"%d" % (number + 1))
        os._exit(0)
    with contextlib.suppress(ChildProcessError):
        os.wait()
    os._exit(0)


if __name__ == "__main__":
    sys.path.append(sys.argv[1])
    serve(int(sys.argv[2]))
