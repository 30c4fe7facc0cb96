"""Throwaway processes without a start of the interpreter each: forked from one that has run a prelude and nothing else.

An interpreter that starts and imports the package takes a quarter of a second of processor time, a fork of one that has
done so takes milliseconds. Each script still has a process of its own, with one thread, the descriptors 0 to 2, its own
environment and working directory, and ends as ``python -c`` does, with the interpreter's finalisation. What a fork
cannot show (the start itself, options of the interpreter, PYTHON* variables) needs a fresh one.
"""

from __future__ import annotations

import marshal
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

# Runs as `python -c`: the prelude, then one fork for each request. A child returns to the last line and executes the
# script there, as __main__. Nothing may be imported here that a script could be found to lack: the modules are those
# that an interpreter has built in, and _socket, which has no Python in it.
_SERVER = """
def _template(descriptor):
    import _socket, marshal, os, sys
    channel = _socket.socket(fileno=descriptor)
    def receive(size):
        data = b""
        while len(data) < size and (more := channel.recv(size - len(data))):
            data += more
        return data
    exec(compile(receive(int.from_bytes(receive(4), "little")), "<string>", "exec"), globals())
    channel.sendall(b"ready")
    while True:
        size, rights, _, _ = channel.recvmsg(4, _socket.CMSG_SPACE(12))
        if not size:
            os._exit(0)
        descriptors = rights[0][2]
        standard = [int.from_bytes(descriptors[at : at + 4], sys.byteorder) for at in (0, 4, 8)]
        request = receive(int.from_bytes(size, "little"))
        if (pid := os.fork()) == 0:
            break
        for number in standard:
            os.close(number)
        channel.sendall(pid.to_bytes(4, "little"))
        channel.sendall(os.waitpid(pid, 0)[1].to_bytes(4, "little"))
    channel.close()
    for target, number in enumerate(standard):
        os.dup2(number, target)
        os.close(number)
    script, directory, environment = marshal.loads(request)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    return compile(script, "<string>", "exec")
exec(globals().pop("_template")(int(__import__("sys").argv.pop())))
"""


class Template:
    """An interpreter that has run a prelude, and processes forked from it.

    Args:
        prelude: Python, run once as ``__main__``; it leaves one thread and no open descriptor.
        environment: of the interpreter; forks are given their own.
    """

    def __init__(self, prelude: str, environment: Mapping[str, str]) -> None:
        self._channel, theirs = socket.socketpair()
        with theirs:
            # Its standard streams are of the kind that the scripts will have.
            self._process = subprocess.Popen(
                [sys.executable, "-c", _SERVER, str(theirs.fileno())], pass_fds=(theirs.fileno(),), cwd="/",
                env=dict(environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
        self._channel.settimeout(60)
        self._send(prelude.encode())
        self._receive(5)  # "ready"

    def run(
        self, script: str, *, cwd: str | Path, env: Mapping[str, str], timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a script in a fork; like `subprocess.run` with captured text and nothing to read.

        Raises:
            subprocess.TimeoutExpired: it took more than so many seconds, and was killed.
            RuntimeError: the script ended the interpreter that it was forked from.
        """
        (stdin, none), *outputs = os.pipe(), os.pipe(), os.pipe()
        os.close(none)
        readers, writers = zip(*outputs, strict=True)
        try:
            self._send(marshal.dumps((script, str(cwd), dict(env))), (stdin, *writers))
        finally:
            for number in (stdin, *writers):
                os.close(number)
        pid = int.from_bytes(self._receive(4), "little")
        try:
            texts = [data.decode() for data in _read(readers, time.monotonic() + timeout)]
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            self._receive(4)
            raise subprocess.TimeoutExpired(script, timeout) from None
        finally:
            for number in readers:
                os.close(number)
        status = int.from_bytes(self._receive(4), "little")
        return subprocess.CompletedProcess(script, os.waitstatus_to_exitcode(status), *texts)

    def alive(self) -> bool:
        """Tell whether scripts can be run: one may have ended the interpreter."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the interpreter."""
        self._channel.close()
        self._process.communicate(timeout=30)

    def _send(self, data: bytes, descriptors: tuple[int, ...] = ()) -> None:
        socket.send_fds(self._channel, [len(data).to_bytes(4, "little")], descriptors)
        self._channel.sendall(data)

    def _receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._channel.recv(size - len(data))
            if not more:
                raise RuntimeError(f"the template ended: {self._process.communicate(timeout=30)[1].decode()}")
            data += more
        return data


def _read(descriptors: tuple[int, ...], deadline: float) -> list[bytes]:
    """Read each to its end: that of the last process that has it."""
    parts: dict[int, list[bytes]] = {number: [] for number in descriptors}
    with selectors.DefaultSelector() as selector:
        for number in descriptors:
            selector.register(number, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(deadline - time.monotonic())
            if not ready and time.monotonic() >= deadline:
                raise TimeoutError
            for key, _ in ready:
                if data := os.read(key.fd, 1 << 16):
                    parts[key.fd].append(data)
                else:
                    selector.unregister(key.fd)
    return [b"".join(parts[number]) for number in descriptors]
