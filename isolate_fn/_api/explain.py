"""What rule sets, a policy or a decorated function come to, for people: in words, as a tree, down to each instruction."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Iterator

from isolate_fn._api.prepare import prepare
from isolate_fn._diagnose.in_words import check_form, in_words
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
from isolate_fn.errors import PolicyError, Unsupported
from isolate_fn.policy.actions import ERRNO, Action
from isolate_fn.policy.policy import Policy
from isolate_fn.policy.rule_sets.base import RuleSet, check_rule_sets

_WIDTH = 120


def explain(
    subject: object,
    *,
    machine: str | None = None,
    bpf: bool = False,
    default: Action | None = None,
    program: bool = False,
    form: str = "text",
) -> str:
    """Say what code may do, what system calls are answered, and on request print the seccomp program that says so.

        print(explain(thumbnail))                                       # a function: words, file tree, filter
        print(explain([SystemIO.nothing().allow_stdout(), Threads().allow_create()], bpf=True))

    Nothing is enforced and nothing is run. Filters are explained for any machine, files for this one.

    Args:
        subject: a `Policy`, a function decorated with `isolated`, or a `sandbox` block: what the code can
            read, write, reach, run and use, which walls stand, its file tree, and the worker's filter. Or rule sets (one, or
            several), as for `SafetyContext` and ``rules=``: who permits what.
        machine: ``"x86_64"`` or ``"aarch64"``; None for the one that this runs on.
        bpf: print the program as well, one instruction a line.
        default: what calls are answered that no rule set permits; EPERM unless given. For rule sets only.
        program: speak of programs that a `sandbox` block runs, and not of functions.
        form: ``"text"``; of a policy also ``"json"``, or ``"html"``: one page with a picture, which loads nothing.

    Raises:
        PolicyError: the subject is none of these, the machine has no tables, or the rule sets cannot be compiled.
    """
    machine = machine or os.uname().machine
    if machine not in numbers.MACHINES:
        raise PolicyError("machine", f"no tables for {machine!r}", f"use {' or '.join(map(repr, numbers.MACHINES))}")
    check_form(form)
    policy = subject if isinstance(subject, Policy) else getattr(subject, "policy", None)
    if isinstance(policy, Policy):
        listing = "\n".join(_policy_text(policy, machine, bpf, program=program))
        return in_words(subject, listing, program=program, form=form)
    if form != "text":
        raise PolicyError("form", f"rule sets have no form {form!r}", 'use "text"')
    sets = check_rule_sets("rules", subject)
    return "\n".join(_rule_sets_text(sets, default or ERRNO(), machine, bpf))


def _policy_text(policy: Policy, machine: str, bpf: bool, *, program: bool) -> Iterator[str]:
    options, _ = base_filter(policy, probe())
    base = worker_policy(**({**options, "exec": True, "fork": None} if program else options))
    yield from _without_namespaces(policy, machine, program=program)
    yield from _section(f"Base filter of every {'program' if program else 'worker'}", _answers(base, machine))
    if bpf:
        yield from _program(compile_filter(base, machine), machine)
    if policy.rules is not None:
        yield "On top of it, so that a call needs the permission of both:"
        default = Action("kill_process") if policy.on_denied == "kill" else ERRNO()
        sets = narrowing.of_tools(policy) if program else narrowing.of_worker(policy)
        yield from _rule_sets_text(sets, default, machine, bpf)


def _without_namespaces(policy: Policy, machine: str, *, program: bool) -> Iterator[str]:
    """Yield what is denied before the base filter is asked, where isolates have no namespaces."""
    try:
        made = prepare(policy, tools=program)
    except (Unsupported, PolicyError):
        return  # which the words above tell
    if made.plan.engine == "landlock":
        from isolate_fn._plan.landlock_engine import confined_options
        from isolate_fn._plan.seccomp_confined import confined_policy

        plan = made.plan
        options = confined_options(made.features, own_id=not plan.processes, children=program or plan.children)
        title = "Asked before the base filter, because there are no namespaces"
        yield from _section(title, _answers(confined_policy(**options), machine))


def _rule_sets_text(sets: tuple[RuleSet | str, ...], default: Action, machine: str, bpf: bool) -> Iterator[str]:
    compiled = compile_rule_sets(sets, default=default)
    listed = [entry if isinstance(entry, str) else _shown(entry) for entry in sets]
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


def _shown(entry: RuleSet) -> str:
    """Return the calls that make a set; its name where it does not print as such: its address would mean nothing."""
    return entry.name if type(entry).__repr__ is object.__repr__ else repr(entry)


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
