"""Seccomp user notification for whoever looks on and lets go on: what `notification_calls` cannot do, and must not.

Only for calls that a second filter, and every other wall, answers by itself: to let a call continue is no permission, and
what was read of its arguments may have changed by then (seccomp_unotify(2)).
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

# <linux/seccomp.h>: _IOWR('!', 1, 24), _IOW('!', 3, 24)
_SEND, _ADDFD = 0xC0182101, 0x40182103
_ANSWER = struct.Struct("=QqiI")
_GIVEN = struct.Struct("=QIIII")
_CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE, Linux 5.5
_AT_ONCE = 2  # SECCOMP_ADDFD_FLAG_SEND, Linux 5.14


def proceed(listener: int, identity: int) -> None:
    """Let the kernel carry the call out, behind all other walls.

    Raises:
        OSError: ENOENT: nobody waits for it any more.
    """
    fcntl.ioctl(listener, _SEND, bytearray(_ANSWER.pack(identity, 0, 0, _CONTINUE)), True)


def give(listener: int, identity: int, descriptor: int, *, cloexec: bool) -> int:
    """Answer the call with a descriptor that its process gets a copy of; return its number there.

    Raises:
        OSError: ENOENT: nobody waits for it any more; EMFILE: the process may not have more.
    """
    flags = os.O_CLOEXEC if cloexec else 0
    try:
        return int(fcntl.ioctl(listener, _ADDFD, bytearray(_GIVEN.pack(identity, _AT_ONCE, descriptor, 0, flags)), True))
    except OSError as refused:
        if refused.errno != errno.EINVAL:
            raise
    number = int(fcntl.ioctl(listener, _ADDFD, bytearray(_GIVEN.pack(identity, 0, descriptor, 0, flags)), True))
    fcntl.ioctl(listener, _SEND, bytearray(_ANSWER.pack(identity, number, 0, 0)), True)
    return number
