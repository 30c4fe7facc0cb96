"""One denied call, at the spawner: who made it, from which line, with which arguments; told to the caller, then denied.

Imported with the first denial. Everything read here belongs to code that may be hostile: memory is read within bounds and
never waited for, what it says is text, and a call that vanishes while it is looked at is one that nobody has to answer.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import os
import time

from isolate_fn._plan.call_arguments import ARGUMENTS, FREE
from isolate_fn._runtime import stacks
from isolate_fn._runtime.supervision import MOST, Watched
from isolate_fn._sys import notification_calls as kernel
from isolate_fn._sys import numbers
from isolate_fn._sys.calls import MACHINE
from isolate_fn._sys.thread_state import Anchors, anchors
from isolate_fn._transport.json_text import dump_ascii

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST_RECORDS = 64
"""Different denials of one isolate that are told apart; all others are counted together."""

LOOKED_AT = 256
"""Denials in a row whose memory is read; there are more again when some time has passed."""

LOOKED_FOR, LOOKED_AT_ONE_FOR = 0.5, 0.05
"""Seconds for which the memory of one isolate is read, and for one denial. A read waits for a lock (mmap_lock) that threads of
the isolate can hold nearly all the time; once there is too much of that, its denials are told without what memory says."""

_MOST_KEYS = 4 * MOST_RECORDS
_MOST_PATH, _MOST_ADDRESS, _MOST_MESSAGE = 1024, 128, 60_000  # bytes; of a message, fewer than the caller reads at once
_EXACT = 64  # repetitions that are told one by one; then at each doubling
_MOST_UNREAD = 1 << 16  # bytes that the caller has not taken yet
_SIOCOUTQ = 0x5411  # <asm-generic/ioctls.h>: bytes in a socket that were not read

_layout = stacks.find_layout()
_names = numbers.names(MACHINE)


def answer(listener: int, watched: Watched) -> None:
    """Take one denied call, tell the caller, and let the call fail with EPERM, whatever happens in between."""
    try:
        asked = kernel.receive(listener)
    except OSError:
        return  # its thread was killed meanwhile
    try:
        _report(listener, watched, asked)
    except Exception:  # noqa: S110 - a process that has ended, or memory that nothing here expects: others need this process
        pass
    finally:
        try:
            kernel.deny(listener, asked.id, errno.EPERM)
        except OSError:
            pass  # nobody waits for it any more


def _report(listener: int, watched: Watched, asked: kernel.Notification) -> None:
    role, root = watched.listeners[listener]
    words = ARGUMENTS.get(_names.get(asked.number, ""), ("hex",) * 6)
    plain = tuple(value for word, value in zip(words, asked.arguments, strict=False) if word not in FREE)
    brief = (role, asked.number, plain)
    texts: list[str | None] = []
    frames: list[stacks.Frame] = []
    if watched.left >= MOST - LOOKED_AT and watched.looked < LOOKED_FOR:
        began = time.monotonic()
        inside = _inside(root, asked.tid)
        try:
            texts = [_text(asked, index, word) for index, word in enumerate(words)]
            if role == "worker":
                frames = _stack(watched, root, asked.tid, inside[1], began + LOOKED_AT_ONE_FOR)
        finally:
            watched.looked += time.monotonic() - began
        if not kernel.still_waits(listener, asked.id):
            return  # what was read may be of another process with the same number
        key: Any = (brief, tuple(texts), tuple(frames[:1]))
        if len(watched.records) < _MOST_KEYS:
            watched.records.setdefault(brief, key)
    else:
        inside = (0, 0)
        key = watched.records.get(brief, (brief,))
    if key in watched.records:
        _again(watched, key)
        return
    if sum(type(each) is list for each in watched.records.values()) >= MOST_RECORDS:
        key = ("more",)
        if key in watched.records:
            _again(watched, key)
            return
        record: dict[str, Any] = {"number": -1, "arguments": [], "texts": [], "frames": []}
    else:
        record = {"number": asked.number, "arguments": asked.arguments[: len(words)], "texts": texts, "frames": frames}
    identity = len(watched.records)
    record |= {"id": identity, "role": role, "errno": errno.EPERM, "pid": inside[0], "tid": inside[1], "count": 1}
    watched.records[key] = [identity, 1, record]
    _tell(watched, watched.records[key])


def _again(watched: Watched, key: Any) -> None:
    known = watched.records[key]
    known[1] += 1
    if known[2] is not None:
        known[2]["count"] = known[1]
    elif known[1] <= _EXACT or not known[1] & (known[1] - 1):
        _tell(watched, [known[0], known[1], {"id": known[0], "count": known[1]}])
        return
    _tell(watched, known)


def _tell(watched: Watched, known: list[Any]) -> None:
    """Send one record, once; the caller may not read, and then nobody waits for it."""
    if known[2] is None:
        return
    unread = bytearray(4)
    fcntl.ioctl(watched.status, _SIOCOUTQ, unread, True)
    if int.from_bytes(unread, "little") > _MOST_UNREAD:
        return
    message = dump_ascii({"denied": known[2]})
    if len(message) > _MOST_MESSAGE:
        message = dump_ascii({"denied": {**known[2], "texts": [], "frames": []}})
    status = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, watched.status)
    try:
        status.send(message, _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)
        known[2] = None
    finally:
        status.detach()


def _text(asked: kernel.Notification, index: int, word: str) -> str | None:
    """Return what a pointer points to, where that is text or a socket address."""
    address = asked.arguments[index]
    if word in ("path", "text"):
        data = kernel.read_memory(asked.tid, address, _MOST_PATH)
        return data.partition(b"\0")[0].decode("utf-8", "surrogateescape") if data else None
    if word == "address":
        size = asked.arguments[index + 1] & 0xFFFFFFFF
        return kernel.read_memory(asked.tid, address, min(size, _MOST_ADDRESS)).hex()
    return None


# --- who ---------------------------------------------------------------------------------------------------------------


def _inside(made_by: int, tid: int) -> tuple[int, int]:
    """Return the numbers of a process and a thread in the isolate's own pid namespace, 0 for those that nobody knows."""
    try:
        leader = _numbers(tid)
        if leader is not None:
            return leader[-1], leader[-1]
        root = _numbers(made_by)
        if root is None:
            return 0, 0
        for name in os.listdir(f"/proc/{root[0]}/task"):
            found = _namespaced(f"/proc/{root[0]}/task/{name}/status")
            if found[-2:-1] == [tid]:
                return root[-1], found[-1]
    except (OSError, ValueError, IndexError):
        pass
    return 0, 0


def _numbers(pid: int) -> list[int] | None:
    """Return the numbers of a process from the namespace of the mounted /proc inwards; None for no process's first thread."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return None
    try:
        return _namespaced(f"/proc/self/fdinfo/{handle}") or None
    finally:
        os.close(handle)


def _namespaced(path: str) -> list[int]:
    with open(path, "rb") as file:
        for line in file.read(8192).split(b"\n"):
            if line.startswith(b"NSpid:"):
                return [int(each) for each in line.split()[1:]]
    return []


# --- from where --------------------------------------------------------------------------------------------------------


def _stack(watched: Watched, root: int, tid: int, inside: int, latest: float) -> list[stacks.Frame]:
    if _layout is None:
        return []
    at = _own
    if watched.fresh_exec:
        at = watched.anchors and Anchors(*watched.anchors)
    if at is None or (tid != root and not inside):
        return []
    return stacks.Stacks(_layout, at, latest).of(tid, 0 if tid == root else inside)


_own: Anchors = anchors()
