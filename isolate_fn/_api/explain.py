"""What a filter does, for people: rule sets, a policy or a decorated function as text, down to each instruction."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Iterator

from isolate_fn._plan import narrowing
from isolate_fn._plan.bpf import length
from isolate_fn._plan.compile import base_filter
from isolate_fn._plan.landlock_rights import right_of
from isolate_fn._plan.listing import describe, disassemble
from isolate_fn._plan.rule_sets import Compiled, compile_rule_sets
from isolate_fn._plan.seccomp import SyscallPolicy, compile_filter
from isolate_fn._plan.seccomp_base import worker_policy
from isolate_fn._sys import numbers
from isolate_fn._sys.features import probe
from isolate_fn.errors import PolicyError
from isolate_fn.policy.actions import ERRNO, Action
from isolate_fn.policy.policy import Policy
from isolate_fn.policy.rule_sets.base import RuleSet, check_rule_sets

_WIDTH = 120


def explain(subject: object, *, machine: str | None = None, bpf: bool = False, default: Action | None = None) -> str:
    """Say what system calls are answered, and on request print the seccomp program that says so.

        print(explain([SystemIO.nothing().allow_stdout(), Threads().allow_create()], bpf=True))
        print(explain(thumbnail))

    Nothing is enforced, and the machine need not be the one that this runs on.

    Args:
        subject: rule sets (one, or several), as for `SafetyContext` and ``rules=``; a `Policy`; or a function decorated
            with `isolated`. Of the last two it is the worker's filter that is explained.
        machine: ``"x86_64"`` or ``"aarch64"``; None for the one that this runs on.
        bpf: print the program as well, one instruction a line.
        default: what calls are answered that no rule set permits; EPERM unless given. For rule sets only.

    Raises:
        PolicyError: the subject is none of these, the machine has no tables, or the rule sets cannot be compiled.
    """
    machine = machine or os.uname().machine
    if machine not in numbers.MACHINES:
        raise PolicyError("machine", f"no tables for {machine!r}", f"use {' or '.join(map(repr, numbers.MACHINES))}")
    policy = subject if isinstance(subject, Policy) else getattr(subject, "policy", None)
    if isinstance(policy, Policy):
        return "\n".join(_policy_text(policy, machine, bpf))
    sets = check_rule_sets("rules", subject)
    return "\n".join(_rule_sets_text(sets, default or ERRNO(), machine, bpf))


def _policy_text(policy: Policy, machine: str, bpf: bool) -> Iterator[str]:
    options, _ = base_filter(policy, probe())
    base = worker_policy(**options)
    yield from _section("Base filter of every worker", _answers(base, machine))
    if bpf:
        yield from _program(compile_filter(base, machine), machine)
    if policy.rules is not None:
        yield "On top of it, so that a call needs the permission of both:"
        default = Action("kill_process") if policy.on_denied == "kill" else ERRNO()
        yield from _rule_sets_text(narrowing.of_worker(policy), default, machine, bpf)


def _rule_sets_text(sets: tuple[RuleSet | str, ...], default: Action, machine: str, bpf: bool) -> Iterator[str]:
    compiled = compile_rule_sets(sets, default=default)
    listed = [entry if isinstance(entry, str) else repr(entry) for entry in sets]
    if any(permission.owner < 0 for permission in compiled.permissions):
        listed.append("BasicCapabilities(), added by itself")
    yield from _section("Rule sets", listed)
    if compiled.left_out:
        yield from _section("Left out", map(str, compiled.left_out))
    if compiled.wants_landlock:
        yield from _section("Landlock", _landlock(compiled))
    yield from _section("Permitted by", _by_set(compiled))
    yield from _section(f"System calls on {machine}", _answers(compiled.policy, machine))
    absent = sorted(set(compiled.origins) - set(numbers.table(machine)))
    if absent:
        yield from _section(f"Permitted, but {machine} has no such call", [" ".join(absent)])
    if bpf:
        yield from _program(compiled.filter(machine), machine)


def _answers(policy: SyscallPolicy, machine: str) -> list[str]:
    return describe(policy, machine).splitlines()


def _by_set(compiled: Compiled) -> Iterator[str]:
    for name in dict.fromkeys(permission.origin for permission in compiled.permissions):
        yield f"{name}: {' '.join(call for call, origins in compiled.origins.items() if name in origins)}"


def _landlock(compiled: Compiled) -> Iterator[str]:
    for path in compiled.landlock:
        optional = ", where it exists" if path.optional else ""
        yield f"{path.path}: {_words(path.words)}    # {path.origin}{optional}"
    if compiled.landlock:
        yield "every other path: nothing"
    for port in compiled.ports:
        yield f"port {port.port}: {_words(port.words)}    # {port.origin}"
    for scope in sorted(compiled.scopes):
        yield f"stays inside: {scope} (Landlock ABI {right_of(scope).abi})"


def _words(words: Iterable[str]) -> str:
    newest = max(right_of(word).abi for word in words)
    return f"{', '.join(sorted(words))}" + (f" (all since Landlock ABI {newest})" if newest > 1 else "")


def _program(program: bytes, machine: str) -> Iterator[str]:
    title = f"Program for {machine}, {length(program)} instructions"
    yield from _section(title, disassemble(program, machine).splitlines())


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    """Yield a heading and the lines below it, indented and wrapped, then an empty line."""
    yield f"{title}:"
    for line in lines:
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        yield textwrap.fill(
            line.strip(),
            _WIDTH,
            initial_indent=indent,
            subsequent_indent=f"{indent}    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    yield ""
