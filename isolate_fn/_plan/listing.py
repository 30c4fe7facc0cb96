"""Filters for people: the policy by answer, and the program line by line with system call names."""

from __future__ import annotations

from isolate_fn._plan.bpf import SOCK_FILTER
from isolate_fn._plan.seccomp import Action, SyscallPolicy
from isolate_fn._sys import numbers
from isolate_fn._sys.seccomp_constants import (
    AUDIT_ARCH,
    BPF_ALU_AND_K,
    BPF_ALU_XOR_K,
    BPF_JMP_JA,
    BPF_JMP_JEQ_K,
    BPF_JMP_JGE_K,
    BPF_JMP_JGT_K,
    BPF_JMP_JSET_K,
    BPF_LD_W_ABS,
    BPF_RET_K,
    DATA_ARCH,
    DATA_ARGS,
    DATA_NR,
    X32_SYSCALL_BIT,
)

_TESTS = {BPF_JMP_JEQ_K: "==", BPF_JMP_JGT_K: ">", BPF_JMP_JGE_K: ">=", BPF_JMP_JSET_K: "&"}


def describe(policy: SyscallPolicy, machine: str) -> str:
    """Return the policy as text: calls with one answer in groups, then each of the others with its rules.

    Args:
        policy: what to print.
        machine: calls that this architecture does not have are left out.
    """
    native = numbers.table(machine)
    groups: dict[str, list[str]] = {}
    conditional: list[str] = []
    for name, entry in policy.entries:
        if name not in native:
            continue
        answer = entry.unconditional
        if answer is not None:
            groups.setdefault(str(answer), []).append(name)
            continue
        conditional.append(f"{name}:")
        for rule in entry.rules:
            conditional.append(f"    {rule}" + (f"    # {rule.reason}" if rule.reason else ""))
        conditional.append(f"    otherwise -> {entry.otherwise or policy.default}")
    lines = [f"{machine}: {answer}: {' '.join(listed)}" for answer, listed in sorted(groups.items())]
    lines += conditional
    lines += [
        f"every other call -> {policy.default}",
        f"numbers beyond the table -> {policy.unknown}",
        f"other architectures, x32 -> {policy.foreign}",
    ]
    return "\n".join(lines) + "\n"


def disassemble(program: bytes, machine: str) -> str:
    """Return the program as text, one instruction a line, jumps as line numbers.

    Args:
        program: as from compile_filter().
        machine: whose system call names to write beside the numbers.
    """
    instructions = list(SOCK_FILTER.iter_unpack(program))
    loaded = _what_is_loaded(instructions)
    lines = []
    for index, (code, jt, jf, k) in enumerate(instructions):
        if code == BPF_RET_K:
            text = f"return {Action(k)}"
        elif code == BPF_LD_W_ABS:
            text = f"load {_field(k)}"
        elif code == BPF_ALU_AND_K:
            text = f"and {k:#x}"
        elif code == BPF_ALU_XOR_K:
            text = f"xor {k:#x}"
        elif code == BPF_JMP_JA:
            text = f"go to {index + 1 + k}"
        else:
            constant = _constant(k, loaded[index], machine)
            text = f"if {loaded[index]} {_TESTS.get(code, hex(code))} {constant} "
            text += f"go to {index + 1 + jt} else {index + 1 + jf}"
        lines.append(f"{index:4}  {text}")
    return "\n".join(lines) + "\n"


def _field(offset: int) -> str:
    if offset in (DATA_NR, DATA_ARCH):
        return "number" if offset == DATA_NR else "architecture"
    index, byte = divmod(offset - DATA_ARGS, 8)
    return f"arg{index}.{'high' if byte else 'low'}"


def _constant(k: int, loaded: str, machine: str) -> str:
    if loaded == "number":
        label = "x32" if k == X32_SYSCALL_BIT else numbers.names(machine).get(k)
        return f"{k:#x} ({label})" if k == X32_SYSCALL_BIT else f"{k} ({label or 'no such call'})"
    if loaded == "architecture":
        label = next((name for name, value in AUDIT_ARCH.items() if value == k), None)
        return f"{k:#x} ({label})"
    return f"{k:#x}"


def _what_is_loaded(instructions: list[tuple[int, ...]]) -> list[str]:
    """Say for each instruction what is in the accumulator. Jumps only go forward, so one pass is enough."""
    loaded = ["?"] * (len(instructions) + 1)
    for index, (code, jt, jf, k) in enumerate(instructions):
        state = loaded[index]
        if code == BPF_RET_K:
            continue
        if code == BPF_LD_W_ABS:
            state = _field(k)
        elif code == BPF_ALU_AND_K:
            state = f"({state} & {k:#x})"
        elif code == BPF_ALU_XOR_K:
            state = f"({state} ^ {k:#x})"
        targets = {k} if code == BPF_JMP_JA else {jt, jf} if code in _TESTS else {0}
        for skip in targets:
            loaded[index + 1 + skip] = state
    return loaded
