"""The floor of any call into another process: two Python processes, one socket pair, pickle, nothing checked.

Run as a script it is the other side; `PingPong` starts it.
"""

from __future__ import annotations

import pickle
import socket
import subprocess
import sys

ENOUGH = 65536


class PingPong:
    """One other process that adds one to what it is sent."""

    def __init__(self) -> None:
        self.ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()]
            )

    def __call__(self, number: int) -> int:
        """Return what the other process makes of a number: one write and one read on each side."""
        self.ours.sendall(pickle.dumps(number, 5))
        answer: int = pickle.loads(self.ours.recv(ENOUGH))
        return answer

    def close(self) -> None:
        """End it."""
        self.ours.shutdown(socket.SHUT_RDWR)  # closing is not enough: forked pools have copies of it
        self.ours.close()
        self.process.wait()


def serve(descriptor: int) -> None:
    """Be the other process until the socket ends."""
    with socket.socket(fileno=descriptor) as other:
        while message := other.recv(ENOUGH):
            other.sendall(pickle.dumps(pickle.loads(message) + 1, 5))


if __name__ == "__main__":
    serve(int(sys.argv[1]))
