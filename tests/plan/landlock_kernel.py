"""Landlock by native calls, apart from the package's own: what the tests hold its rule sets against."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Callable

from isolate_fn._plan.orders import LandlockOrders
from isolate_fn._sys import numbers

MACHINE = platform.machine()
libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *values: int) -> int:
    registers = [ctypes.c_ulong(value & 2**64 - 1) for value in values]
    result = libc.syscall(ctypes.c_long(numbers.table(MACHINE)[name]), *registers)
    if result == -1:
        raise OSError(ctypes.get_errno(), name)
    return int(result)


def kernel_abi() -> int:
    try:
        return call("landlock_create_ruleset", 0, 0, 1)
    except OSError:
        return 0


ABI = kernel_abi()


def restrict(orders: LandlockOrders) -> None:
    """Put this process under the rules. Cannot be undone: children only."""
    packed = struct.pack("=3Q", orders.handled_fs, orders.handled_net, orders.scoped)
    attributes = ctypes.create_string_buffer(packed, len(packed))
    ruleset = call("landlock_create_ruleset", ctypes.addressof(attributes), orders.attribute_size, 0)
    for path, access in orders.path_rules:
        rule = ctypes.create_string_buffer(struct.pack("=Qi", access, os.open(path, os.O_PATH)), 12)
        call("landlock_add_rule", ruleset, 1, ctypes.addressof(rule), 0)
    for number, access in orders.port_rules:
        rule = ctypes.create_string_buffer(struct.pack("=QQ", access, number), 16)
        call("landlock_add_rule", ruleset, 2, ctypes.addressof(rule), 0)
    libc.prctl(38, 1, 0, 0, 0)
    call("landlock_restrict_self", ruleset, 0)


def code_of(action: Callable[[], object]) -> int:
    try:
        action()
    except OSError as error:
        return error.errno or -1
    return 0
