"""One side's files: a secret that nobody grants, and two directories that are granted."""

from __future__ import annotations

import ctypes
import os
import socket
from pathlib import Path

from isolate_fn._diagnose.selftest import native

TOLD_TO_NOBODY = "the secret of the host"
SHARED = "shared with the isolate, read-only"


class Scene:
    """Files and unix sockets in a directory of their own, all of them open to every user: only walls keep anybody out.

    Args:
        directory: where to make it; must not exist.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.shared, self.drop, self.scratch = directory / "shared", directory / "drop", directory / "scratch"
        self.secret, self.beside = directory / "secret", directory / "made"
        for path in (directory, self.shared, self.drop, self.scratch):
            path.mkdir()
            path.chmod(0o777)
        self._files = [self.secret, *(self.shared / name for name in ("file", "linked", "leased"))]
        for path in self._files:
            path.write_text(TOLD_TO_NOBODY if path is self.secret else SHARED)
            path.chmod(0o666)
        (self.shared / "absolute").symlink_to(self.secret)
        (self.shared / "relative").symlink_to("../secret")
        (self.shared / "up").symlink_to("..")
        self._sockets = (self._bind("stream", socket.SOCK_STREAM), self._bind("datagrams", socket.SOCK_DGRAM))
        self._before = self._state()

    def _bind(self, name: str, kind: socket.SocketKind) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, kind)
        # By the number of the directory: paths of sockets are short.
        directory = os.open(self.shared, os.O_RDONLY | os.O_DIRECTORY)
        try:
            made.bind(f"/proc/self/fd/{directory}/{name}")
        finally:
            os.close(directory)
        (self.shared / name).chmod(0o777)
        if kind == socket.SOCK_STREAM:
            made.listen()
        made.setblocking(False)
        return made

    def _state(self) -> dict[str, tuple[int, int, bytes]]:
        found = {}
        for path in self._files:
            about = path.stat()
            found[path.name] = about.st_mode, about.st_mtime_ns, path.read_bytes()
        return found

    def harm(self) -> str:
        """Say what was done to the files that may not be written; "" for nothing."""
        try:
            changed = self._state() != self._before
        except OSError as missing:
            return f"a file is gone: {missing.filename}"
        if changed:
            return "a file of the host was changed"
        if self.beside.exists():
            return "a file was made on the host"
        wrong = [path.name for path in self.drop.iterdir() if path.lstat().st_mode & 0o6000]
        return f"set-id files were left behind: {', '.join(wrong)}" if wrong else ""

    def contacted(self) -> str:
        """Say whether somebody reached one of the sockets; "" for nobody."""
        return heard(*self._sockets)

    def handle(self) -> str:
        """Return the secret's file handle (hexadecimal), "" where its file system gives none."""
        buffer = ctypes.create_string_buffer(b"\x80\0\0\0", 136)
        mount = ctypes.c_int()
        made = native.call("name_to_handle_at", native.AT_FDCWD, str(self.secret), buffer, ctypes.byref(mount), 0)
        return buffer.raw.hex() if made == 0 else ""

    def close(self) -> None:
        """Close the sockets."""
        for each in self._sockets:
            each.close()


def heard(*sockets: socket.socket) -> str:
    """Say what arrived on listening and datagram sockets that do not block; "" for nothing."""
    for each in sockets:
        try:
            if each.type & 15 == socket.SOCK_DGRAM:
                each.recv(100)
                return "a datagram arrived"
            each.accept()[0].close()
            return "a connection arrived"
        except BlockingIOError:
            continue
    return ""
