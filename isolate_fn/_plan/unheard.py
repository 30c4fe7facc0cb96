"""A filter that answers by itself, made of one that asks a listener: both deny the same calls."""

from __future__ import annotations

import struct

_INSTRUCTION = 8
_ASK = struct.pack("<HBBI", 0x06, 0, 0, 0x7FC00000)  # return SECCOMP_RET_USER_NOTIF
_FAIL = struct.pack("<HBBI", 0x06, 0, 0, 0x00050001)  # return SECCOMP_RET_ERRNO | EPERM


def unheard(program: bytes) -> bytes:
    """Return the program with EPERM in place of every question.

    Args:
        program: an array of struct sock_filter.
    """
    each = [program[at : at + _INSTRUCTION] for at in range(0, len(program), _INSTRUCTION)]
    return b"".join([_FAIL if instruction == _ASK else instruction for instruction in each])
