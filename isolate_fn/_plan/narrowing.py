"""What ``rules=[...]`` comes to in an isolate: a second filter on top of the base one, and Landlock where a set names paths.

An explicit list is exactly what is permitted, beside what the worker needs to take a call and to answer it (`Answering`).
The base filter stands below it, so it is chosen wide enough for what the list permits: child processes and programs are
denied by default, and admitted here where a set has them. What no isolate may do at all (mount, ptrace, another network
family) stays denied, and the report says which permissions of the list are void for that reason.
"""

from __future__ import annotations

import mmap
import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from isolate_fn._plan import seccomp_grants as grants
from isolate_fn._plan.landlock_rights import downgrade, landlock_orders, require_rights
from isolate_fn._plan.orders import LandlockOrders, Narrowing
from isolate_fn._plan.rule_sets import Compiled, compile_rule_sets
from isolate_fn._plan.seccomp import EPERM, KILL_PROCESS, NOTIFY, Action, SyscallPolicy, lets_through
from isolate_fn._plan.seccomp_base import BaseOptions, quieten, tool_policy, worker_policy
from isolate_fn._sys import constants as k
from isolate_fn._sys.features import Features
from isolate_fn._sys.landlock_constants import FILE_RIGHTS
from isolate_fn.errors import ConflictingRules, Unsupported
from isolate_fn.policy.conditions import Arg
from isolate_fn.policy.policy import Policy
from isolate_fn.policy.rule_sets.base import Rule, RuleSet
from isolate_fn.policy.rule_sets.kernel_words import ArchPrctl
from isolate_fn.policy.tokens import NoSeccomp

_CHANNEL = 3  # descriptor of the worker's socket
_DENIALS = 4  # of the socket for the filter's listener, closed at once
_AT_EMPTY_PATH = 0x1000  # <linux/fcntl.h>
_DUPFD_CLOEXEC, _GET_SEALS = 1030, 1034
_PROGRAMS = ("execve", "execveat")


class Answering(RuleSet):
    """What the worker itself needs under rules of the user's: its channel, and shared memory for big values.

    Descriptors from 4 up are shared memory that came over the channel, or files that other sets let be opened.
    """

    name = "Answering"

    def simple_rules(self) -> Iterable[str]:
        """Return the calls that wait for the next one."""
        return ("poll", "ppoll")

    def conditional_rules(self) -> Mapping[str, Sequence[Rule]]:
        """Return what is limited to the channel and to what comes over it."""
        channel, opened = Arg(0, 32) == _CHANNEL, Arg(0, 32) > _CHANNEL
        no_code = Arg(2).masked(mmap.PROT_EXEC) == 0
        by_descriptor = Arg(3, 32).masked(_AT_EMPTY_PATH) == _AT_EMPTY_PATH
        needs = (
            Rule("recvmsg", channel, reason="calls", need=True),
            Rule("sendmsg", Arg(0, 32).one_of(_CHANNEL, _DENIALS), reason="answers; this filter's listener", need=True),
            Rule("sendto", channel, Arg(4) == 0, reason="short answers", need=True),
            Rule("fstat", opened, reason="size of shared memory", need=True),
            Rule("newfstatat", opened, by_descriptor, reason="what glibc makes of fstat", need=True),
            Rule("fcntl", opened, Arg(1, 32).one_of(_GET_SEALS, _DUPFD_CLOEXEC), reason="shared memory", need=True),
            Rule("mmap", Arg(4, 32) > _CHANNEL, no_code, reason="shared memory", need=True),
            Rule("pwrite64", opened, reason="shared memory", need=True),
            Rule("close", opened, reason="shared memory", need=True),
        )
        return {rule.syscall: (rule,) for rule in needs}


class Starting(RuleSet):
    """What a program needs from the moment it is started to its first own line, under rules of the user's.

    Its libraries are opened, read and mapped; what it reads and writes from then on is for the user's sets to say, but
    for descriptors from 3 up, which it must have been allowed to open.
    """

    name = "Starting"

    def simple_rules(self) -> Iterable[str]:
        """Return the calls of the loader and of what starts the program."""
        return (
            "execve", "access", "faccessat", "set_tid_address", "prlimit64", "close", "close_range", "getdents64", "lseek",
        )  # fmt: skip

    def conditional_rules(self) -> Mapping[str, Sequence[Rule]]:
        """Return what is limited to reading."""
        opened, no_writing = Arg(0, 32) >= _CHANNEL, os.O_ACCMODE | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        metadata = [Rule(name, reason="libraries", need=True) for name in ("fstat", "newfstatat", "stat", "readlink")]
        descriptors = [
            Rule(name, opened, reason="libraries, and the pipe that tells why it could not start", need=True)
            for name in ("read", "pread64", "write")
        ]
        needs = (
            Rule("sendmsg", Arg(0, 32) == _DENIALS, reason="this filter's listener", need=True),
            *metadata,
            *descriptors,
            Rule("open", Arg(1, 32).masked(no_writing) == 0, reason="libraries", need=True),
            Rule("openat", Arg(2, 32).masked(no_writing) == 0, reason="libraries", need=True),
            Rule("mmap", Arg(3, 32).masked(mmap.MAP_SHARED) == 0, reason="libraries", need=True),
            Rule("arch_prctl", Arg(0, 32).one_of(*ArchPrctl), reason="thread-local storage", need=True),
        )
        return {rule.syscall: (rule,) for rule in needs}


class Narrowed(NamedTuple):
    """Rules of the user's, compiled for an isolate.

    Attributes:
        worker: what the worker takes after its function's module is imported.
        tools: what each program that a sandbox block starts takes.
        programs: the base filter must admit execve(2).
        children: it must admit fork(2).
        permitted: what the worker's rules come to.
        dropped: what this kernel cannot enforce of them.
    """

    worker: Narrowing
    tools: Narrowing
    programs: bool
    children: bool
    permitted: SyscallPolicy
    dropped: tuple[str, ...]


def denial(policy: Policy) -> Action:
    """Return what a call is answered that no rule permits."""
    return KILL_PROCESS if policy.on_denied == "kill" else EPERM


def of_worker(policy: Policy) -> tuple[RuleSet | str, ...]:
    """Return the sets that a worker runs under: the user's, and what answering takes."""
    return (*(policy.rules or ()), Answering())


def of_tools(policy: Policy) -> tuple[RuleSet | str, ...]:
    """Return the sets that a program runs under: the user's, and what starting takes."""
    return (*(policy.rules or ()), Starting())


def base_options(rules: Narrowed) -> BaseOptions:
    """Return the options of `worker_policy` for the base filter: wide enough for what an explicit list permits."""
    layer = rules.worker.landlock is not None
    return {"exec": rules.programs, "fork": rules.children, "narrowing": True, "landlock": layer}


def narrow(policy: Policy, features: Features) -> Narrowed:
    """Return what ``rules`` of a policy come to.

    Raises:
        ConflictingRules: see compile_rule_sets(); or a filter is asked for and given up at once.
        PolicyError: see compile_rule_sets().
        Unsupported: a set names paths, ports or scopes, and the kernel has no Landlock for them.
    """
    if NoSeccomp in policy.accept:
        problem = "rules= asks for a system call filter, accept=(NoSeccomp,) for none"
        raise ConflictingRules("rules", problem, "leave one of them out", ("rules", "NoSeccomp"))
    listen = listening_to_rules(policy, features)
    denies = NOTIFY if listen else denial(policy)
    worker, tools = (compile_rule_sets(sets, default=denies) for sets in (of_worker(policy), of_tools(policy)))
    landlock, dropped = _landlock(worker, features) if worker.wants_landlock else (None, ())
    permits = _permitted(worker.policy)
    programs = not permits.isdisjoint(_PROGRAMS)
    children = programs or _forks(worker.policy)
    network = policy.network is True
    return Narrowed(
        worker=_orders(worker, landlock, features, listen, worker_policy(exec=programs, fork=children, network=network)),
        tools=_orders(tools, landlock, features, listen, tool_policy(network=network)),
        programs=programs,
        children=children,
        permitted=worker.policy,
        dropped=tuple(f"rules: {sentence}" for sentence in (*dropped, *map(str, worker.left_out))),
    )


def listening_to_rules(policy: Policy, features: Features) -> int:
    """Return the flags with which a filter of rules is installed whose denials are heard of; 0 where nobody hears of them."""
    if policy.on_denied != "report" or not features.user_notification or features.kernel < (5, 7):
        return 0
    flags = k.SECCOMP_FILTER_FLAG_NEW_LISTENER | k.SECCOMP_FILTER_FLAG_TSYNC | k.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
    return flags | (k.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV if features.killable_wait else 0)


def _heard(policy: SyscallPolicy, base: SyscallPolicy) -> SyscallPolicy:
    """Return rules that deny by themselves what the base filter leaves to them, and what is no noise."""
    entries = policy.by_name()
    for name in {*grants.LATER.split(), "socket"} - _permitted(base):
        entries.pop(name, None)
    return quieten(replace(policy, entries=tuple(sorted(entries.items(), key=lambda item: item[0]))))


def _orders(
    compiled: Compiled, landlock: LandlockOrders | None, features: Features, listen: int, base: SyscallPolicy
) -> Narrowing:
    if listen:
        compiled = compiled._replace(policy=_heard(compiled.policy, base))
    return Narrowing(
        listen=listen,
        program=compiled.filter(features.machine),
        landlock=landlock,
        file_rights=int(FILE_RIGHTS),
        optional=tuple(wish.path for wish in compiled.landlock if wish.optional),
        threads="clone" in _permitted(compiled.policy),
    )


def _landlock(compiled: Compiled, features: Features) -> tuple[LandlockOrders, tuple[str, ...]]:
    if not features.landlock:
        raise Unsupported(
            "rules= that name paths, ports or scopes",
            "Landlock (Linux 5.13)",
            features.landlock_cause,
            "switch landlock on among the LSMs, or leave these rules out: mounts= decide which files there are",
        )
    require_rights({word for wish in compiled.ports for word in wish.words} | set(compiled.scopes), features.landlock)
    wanted = landlock_orders(compiled.landlock, ports=compiled.ports, scopes=compiled.scopes)
    return downgrade(wanted, features.landlock)


def _permitted(policy: SyscallPolicy) -> set[str]:
    return {name for name, entry in policy.entries if any(lets_through(rule.action) for rule in entry.rules)}


def _forks(policy: SyscallPolicy) -> bool:
    """Tell whether a child process may be made, and not only a thread."""
    by_name = policy.by_name()
    if "fork" in by_name or "vfork" in by_name:
        return True
    plain_fork = (signal.SIGCHLD, 0, 0, 0, 0, 0)
    return "clone" in by_name and any(rule.matches(plain_fork) for rule in by_name["clone"].rules)


def void(permitted: SyscallPolicy, base: SyscallPolicy) -> tuple[str, ...]:
    """Return a sentence about the calls that rules permit and no isolate may make, if there are any."""
    names = sorted(_permitted(permitted) - _permitted(base))
    return (f"rules: no isolate may call {', '.join(names)}, whatever the rules permit",) if names else ()
