"""The spawner looks on at one isolate, for `learn`: each call that matters is noted before the kernel carries it out.

Whatever is noted is the word of code that may be hostile, and what is read of its memory may be another a moment later.
So nothing is permitted here by what was read: a call that goes on meets every wall of the isolate, and a file outside of
those that every isolate may open is opened here, looked at, and given away as it was looked at (decision 20).
"""

from __future__ import annotations

import errno
import os
import time

from isolate_fn._plan.orders import Learning
from isolate_fn._runtime.learner_files import Files, Given, Refused
from isolate_fn._runtime.learner_processes import number_of, open_files, threads_beside
from isolate_fn._runtime.learner_record import Record
from isolate_fn._runtime.learner_tables import CALLS, Call, is_loopback
from isolate_fn._sys import notification_calls as kernel
from isolate_fn._sys import numbers, observation_calls
from isolate_fn._sys.calls import MACHINE

_names = numbers.names(MACHINE)
_THREAD = 0x00010000  # CLONE_THREAD
_AF_INET, _AF_INET6 = 2, 10
_SHARE = 4  # of the time that counting threads takes, between two counts
_EVERY = 8  # opened files between two looks at how many are open


class Learner:
    """What is known of one isolate.

    Args:
        orders: what it was told.
        ids: user and group that it runs under.

    Raises:
        OSError: the file for what is seen is gone.
    """

    def __init__(self, orders: Learning, ids: tuple[int, int]) -> None:
        self.orders = orders
        self.record = Record(orders.file)
        self.files = Files(orders, self.record, ids)
        self.opened = 0
        self.beside, self.count_again = 0, 0.0
        self.leaders: dict[int, str] = {}
        self.threads: dict[int, str] = {}

    def close(self) -> None:
        """Let go of what is open: the isolate has ended."""
        self.files.close()
        self.record.close()

    def answer(self, listener: int, role: str) -> None:
        """Take one call, note it, and let it go on, fail, or have what it wants."""
        try:
            asked = kernel.receive(listener)
        except OSError:
            return  # its thread was killed meanwhile
        refused, given = 0, None
        try:
            self._note(listener, asked, role)
        except Refused as reason:
            refused = reason.errno
        except Given as gift:
            given = gift
        except Exception:  # noqa: S110 - a process that has ended, a pointer to nothing: the kernel says what is wrong with it
            pass
        try:
            if given is not None:
                observation_calls.give(listener, asked.id, given.descriptor, cloexec=given.cloexec)
            elif refused:
                kernel.deny(listener, asked.id, refused)
            else:
                observation_calls.proceed(listener, asked.id)
        except OSError as failure:
            if given is not None and failure.errno != errno.ENOENT:
                self._deny(listener, asked.id, failure.errno or errno.EPERM)
        finally:
            if given is not None:
                os.close(given.descriptor)

    def _deny(self, listener: int, identity: int, code: int) -> None:
        try:
            kernel.deny(listener, identity, code)
        except OSError:
            pass  # nobody waits for it any more

    def _number(self, tid: int) -> str:
        return number_of(tid, self.leaders, self.threads)

    def _note(self, listener: int, asked: kernel.Notification, role: str) -> None:
        name = _names.get(asked.number, "")
        call = CALLS.get(name)
        self.record.count(name)
        if call is None:
            self._other(name, asked, role)
            return
        paths = self._paths(asked, call)
        if not kernel.still_waits(listener, asked.id):
            return  # what was read may be of another process with the same number
        if call.kind == "open":
            self.opened += 1
            if self.opened % _EVERY == 1:
                self.record.peak("open_files", open_files(self._number(asked.tid)))
            self.files.opened(asked, paths[0], *self._how(asked, call, name))
            return
        for path in paths:
            self.files.noted(call.kind, path, role)
        if call.kind == "run":
            self.record.started(role)

    def _paths(self, asked: kernel.Notification, call: Call) -> list[str]:
        found = []
        for directory, index in call.paths:
            data = kernel.read_memory(asked.tid, asked.arguments[index], 4096)
            text = data.partition(b"\0")[0]
            if not text or len(text) == len(data):
                raise ValueError("no path")
            above = asked.arguments[directory] & 0xFFFFFFFF if directory >= 0 else _AT_FDCWD
            found.append(self._absolute(asked.tid, above, os.fsdecode(text)))
        return found

    def _absolute(self, tid: int, directory: int, path: str) -> str:
        """Return a path from the root, as it was named; ``..`` stays, because a link may be before it."""
        if self.files.root < 0:
            self.files.enter(f"/proc/{self._number(tid)}/root")
        if path.startswith("/"):
            return path
        where = "cwd" if directory == _AT_FDCWD else f"fd/{directory}"
        above = os.readlink(f"/proc/{self._number(tid)}/{where}")
        if not above.startswith("/"):
            raise ValueError("no directory")
        return f"{above.rstrip('/')}/{path}"

    def _how(self, asked: kernel.Notification, call: Call, name: str) -> tuple[int, int]:
        """Return flags and mode of an open."""
        if name == "creat":
            return os.O_CREAT | os.O_WRONLY | os.O_TRUNC, asked.arguments[1]
        if name == "openat2":
            how = kernel.read_memory(asked.tid, asked.arguments[2], 24)
            if int.from_bytes(how[16:24], "little"):
                raise ValueError("resolve flags")  # few programs use them; behind Landlock they get what is plain
            return int.from_bytes(how[:8], "little"), int.from_bytes(how[8:16], "little")
        return asked.arguments[call.flags] & 0xFFFFFFFF, asked.arguments[call.flags + 1] & 0o7777

    def _other(self, name: str, asked: kernel.Notification, role: str) -> None:
        if name in ("clone", "fork", "vfork"):
            if name != "clone" or not asked.arguments[0] & _THREAD:
                self.record.forked(role)
            self._count_threads(asked.tid)
        elif name in ("connect", "bind"):
            self._address(name, kernel.read_memory(asked.tid, asked.arguments[1], min(asked.arguments[2] & 0xFFFFFFFF, 128)))
        elif name == "sendto":
            self._address(name, kernel.read_memory(asked.tid, asked.arguments[4], min(asked.arguments[5] & 0xFFFFFFFF, 128)))
        elif name == "sendmsg":
            header = kernel.read_memory(asked.tid, asked.arguments[1], 16)
            where, size = int.from_bytes(header[:8], "little"), int.from_bytes(header[8:12], "little")
            if where and size:
                self._address(name, kernel.read_memory(asked.tid, where, min(size, 128)))

    def _count_threads(self, tid: int) -> None:
        """Count threads, with the one that is being made; those of other processes not each time, where there are many."""
        name, began = self._number(tid), time.monotonic()
        own = len(os.listdir(f"/proc/{name}/task"))
        if began >= self.count_again:
            self.beside = threads_beside(name) - own
            self.count_again = began + _SHARE * (time.monotonic() - began)
        self.record.peak("processes", own + self.beside + 1)

    def _address(self, how: str, data: bytes) -> None:
        found = address(data)
        if found is None:
            return
        host, port = found
        own = is_loopback(host) or how == "bind"
        self.record.address(host, port, how, reached=own or self.orders.network)
        if not own and not self.orders.network:
            raise Refused(errno.ENETUNREACH)


_AT_FDCWD = 0xFFFFFF9C


def address(data: bytes) -> tuple[str, int] | None:
    """Return host and port of a socket address, None for what has none."""
    family = int.from_bytes(data[:2], "little")
    port = int.from_bytes(data[2:4], "big")
    if family == _AF_INET and len(data) >= 8:
        return ".".join(map(str, data[4:8])), port
    if family == _AF_INET6 and len(data) >= 24:
        import _socket

        text = _socket.inet_ntop(_socket.AF_INET6, data[8:24])
        return text.removeprefix("::ffff:") if "." in text else text, port
    return None
