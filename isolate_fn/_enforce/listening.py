"""A filter whose denials somebody hears of: the listener is made with it, and goes to the spawner at once.

Whoever holds the listener answers what the filter denies, and could permit it. So it is made before any code of the
user's runs, is in this process for the moment between two system calls, and there can be no second one: the kernel
refuses it (EBUSY), and the filter denies seccomp(2) by itself.
"""

from __future__ import annotations

import _socket
import errno
import os
import select
import struct
import time

from isolate_fn._enforce.limits import DENIALS
from isolate_fn._enforce.scene import Scene
from isolate_fn._plan.unheard import unheard
from isolate_fn._sys import calls

_INT = struct.Struct("i")
_PATIENCE = 10.0  # seconds
NOTE = "on_denied='report': denied system calls fail with their errno, and are not recorded"
"""How the note about it begins where there can be no listener."""


def install(scene: Scene, program: bytes) -> None:
    """Put this process, which has one thread, under a filter, and hand its listener to the spawner.

    Where the kernel makes no listener, as under a container runtime that has one itself, the filter answers by itself.

    Raises:
        OSError: the kernel refused the filter.
    """
    door = scene.descriptors.pop("denials")
    try:
        try:
            listener = calls.install_filter(program, scene.plan.listen)
        except OSError as refused:
            scene.notes.append(f"{NOTE}: seccomp(2) gives no listener here ({refused.strerror})")
            calls.seccomp_filter(unheard(program))
            return
        hand_over(listener, door, _introduction(scene))
    finally:
        os.close(door)


def look_on(scene: Scene, program: bytes, flags: int) -> None:
    """Put this process under a filter that denies nothing, whose listener the spawner looks on by (`learn`).

    Raises:
        OSError: the kernel makes no listener: EBUSY under a container runtime that has one itself.
    """
    door = scene.descriptors.pop("denials")
    try:
        hand_over(calls.install_filter(program, flags), door, scene.role.encode(), _socket.MSG_EOR)
    finally:
        os.close(door)


def install_later(program: bytes, flags: int, role: str) -> None:
    """Put every thread of this process under a further filter, and hand its listener to the spawner.

    What can be made is made before: from the filter on until the spawner has the listener, a call that it denies would
    wait for ever.

    Raises:
        OSError: the kernel refused the filter, or a thread cannot be brought along.
    """
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, DENIALS)
    name = [role.encode()]
    try:
        try:
            listener = calls.install_filter(program, flags)
        except OSError:  # no listener, or no filter at all, which the next line tells
            calls.seccomp_filter(unheard(program))
            return
        send(socket, name, listener)
        os.close(listener)
    finally:
        socket.close()


def _introduction(scene: Scene) -> bytes:
    """Say which process this is, and, of one that is no fork of the spawner, where its interpreter keeps its frames."""
    if not scene.plan.fresh_exec or scene.role != "worker":
        return scene.role.encode()
    from isolate_fn._sys.thread_state import anchors

    at = anchors()
    return b"worker\0" + struct.pack("=4Q", at.thread, at.code, at.text, at.data)


def send(socket: _socket.socket, parts: list[bytes], descriptor: int, flags: int = 0) -> None:
    """Send a descriptor, once there is room for it.

    The kernel counts the descriptors that are on their way between all processes of a user, and holds that against this
    process's own limit on open files (ETOOMANYREFS in unix(7)), which is low here, while many isolates are ordered at once.
    Waits by poll(2), which no filter of ours denies.

    Raises:
        OSError: it cannot be sent.
    """
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, _INT.pack(descriptor))]
    pause, latest = select.poll(), time.monotonic() + _PATIENCE
    while True:
        try:
            socket.sendmsg(parts, rights, flags)
            return
        except OSError as refused:
            if refused.errno != errno.ETOOMANYREFS or time.monotonic() > latest:
                raise
        pause.poll(1)


def hand_over(listener: int, door: int, introduction: bytes, flags: int = 0) -> None:
    """Send a listener to the spawner, and keep no copy."""
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, door)
    try:
        send(socket, [introduction], listener, flags)
    finally:
        socket.detach()
        os.close(listener)
