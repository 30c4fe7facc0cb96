"""Run a seccomp program without a kernel: for tests, and to tell why a call was denied.

It knows the instructions that `bpf.py` emits and refuses others, so it can also serve as a check that nothing
else ever gets into a filter.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import NamedTuple

from isolate_fn._plan.bpf import SOCK_FILTER
from isolate_fn._sys.seccomp_constants import (
    BPF_ALU_AND_K,
    BPF_ALU_XOR_K,
    BPF_JMP_JA,
    BPF_JMP_JEQ_K,
    BPF_JMP_JGE_K,
    BPF_JMP_JGT_K,
    BPF_JMP_JSET_K,
    BPF_LD_W_ABS,
    BPF_RET_K,
)

#: struct seccomp_data { int nr; __u32 arch; __u64 instruction_pointer; __u64 args[6]; }
_SECCOMP_DATA = struct.Struct("<IIQ6Q")
_WORD = struct.Struct("<I")


class SeccompData(NamedTuple):
    """What a filter sees of a call: struct seccomp_data of <linux/seccomp.h>.

    Attributes:
        nr: the number; negative ones are taken in two's complement.
        arch: AUDIT_ARCH_*.
        args: up to six register contents; negative ones are taken in two's complement, missing ones are 0.
        instruction_pointer: where the call was made.
    """

    nr: int
    arch: int
    args: tuple[int, ...] = ()
    instruction_pointer: int = 0

    def pack(self) -> bytes:
        """Return the 64 bytes of the structure."""
        args = [value & 0xFFFFFFFFFFFFFFFF for value in self.args] + [0] * (6 - len(self.args))
        return _SECCOMP_DATA.pack(self.nr & 0xFFFFFFFF, self.arch, self.instruction_pointer, *args)


class Outcome(NamedTuple):
    """What a program decided.

    Attributes:
        verdict: the SECCOMP_RET_* value.
        cost: instructions executed.
    """

    verdict: int
    cost: int


def run(program: bytes, data: SeccompData) -> Outcome:
    """Execute the program for one call.

    Raises:
        ValueError: an instruction that filters of this package never contain, or a jump past the end.
    """
    instructions = _decode(program)
    memory = data.pack()
    accumulator = position = cost = 0
    while position < len(instructions):
        code, jt, jf, k = instructions[position]
        position += 1
        cost += 1
        if code == BPF_RET_K:
            return Outcome(k, cost)
        if code == BPF_LD_W_ABS:
            accumulator = _WORD.unpack_from(memory, k)[0]
        elif code == BPF_ALU_AND_K:
            accumulator &= k
        elif code == BPF_ALU_XOR_K:
            accumulator ^= k
        elif code == BPF_JMP_JA:
            position += k
        else:
            position += jt if _holds(code, accumulator, k) else jf
    raise ValueError("the program runs past its end")


@lru_cache(maxsize=16)
def _decode(program: bytes) -> tuple[tuple[int, ...], ...]:
    return tuple(SOCK_FILTER.iter_unpack(program))


def _holds(code: int, accumulator: int, k: int) -> bool:
    if code == BPF_JMP_JEQ_K:
        return accumulator == k
    if code == BPF_JMP_JGT_K:
        return accumulator > k
    if code == BPF_JMP_JGE_K:
        return accumulator >= k
    if code == BPF_JMP_JSET_K:
        return accumulator & k != 0
    raise ValueError(f"unknown instruction {code:#x}")
