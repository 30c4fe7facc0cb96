"""The policies that stand under every call: one for the worker, one for tools it runs, one for PID 1.

The tables are in `seccomp_grants.py`, `seccomp_arguments.py` and `seccomp_sockets.py`; here they are put
together.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal, TypedDict

from isolate_fn._plan import seccomp_arguments as arguments
from isolate_fn._plan import seccomp_grants as grants
from isolate_fn._plan import seccomp_sockets as sockets
from isolate_fn._plan.seccomp import (
    ENOSYS,
    EPERM,
    KILL_PROCESS,
    NOTIFY,
    Entry,
    Rule,
    SyscallPolicy,
    compile_filter,
    fail_with,
)

OnDenied = Literal["report", "later", "errno", "kill"]


class BaseOptions(TypedDict, total=False):
    """Options of `worker_policy` and `worker_filter`."""

    network: bool
    on_denied: OnDenied
    exec: bool
    fork: bool | None
    narrowing: bool
    landlock: bool

ENOTSUP = fail_with(errno.ENOTSUP)


def _entries(granted: Iterable[grants.Grant], checked: Iterable[grants.Checked]) -> dict[str, Entry]:
    """Turn tables into name -> entry.

    A call granted without conditions in one table ignores conditions that another gives.
    """
    entries: dict[str, Entry] = {}
    for line in checked:
        rule = Rule(line.conditions, reason=line.reason)
        for name in line.names.split():
            before = entries.get(name, Entry())
            entries[name] = Entry((*before.rules, rule), before.otherwise or line.otherwise)
    for grant in granted:
        entry = Entry((Rule(reason=grant.reason),), reason=grant.reason)
        entries.update(dict.fromkeys(grant.names.split(), entry))
    return entries


def quieten(policy: SyscallPolicy) -> SyscallPolicy:
    """Return a policy that answers by itself what would only be noise in a report."""
    entries = policy.by_name()
    for name in grants.QUIET.split():
        entry = entries.get(name, Entry())
        if entry.unconditional is None:
            entries[name] = Entry(entry.rules, entry.otherwise or EPERM, entry.reason)
    _quieten(entries)
    return policy.with_(entries)


def _quieten(entries: dict[str, Entry]) -> None:
    for line in arguments.QUIET_CHECKED:
        entry = entries.get(line.names, Entry())
        rule = Rule(line.conditions, entry.otherwise or EPERM, line.reason)
        entries[line.names] = Entry((*entry.rules, rule), entry.otherwise)


def policy_of(granted: Iterable[grants.Grant], checked: Iterable[grants.Checked]) -> SyscallPolicy:
    """Return the policy that tables come to, with the usual answers to what is denied."""
    return _policy(_entries(granted, checked), "errno")


def _policy(entries: dict[str, Entry], on_denied: OnDenied) -> SyscallPolicy:
    """Add the answers that are neither yes nor the default."""
    for name in grants.FALL_BACK.split():
        entries.setdefault(name, Entry((), ENOSYS))
    quiet = {"kill": grants.TOLERATED, "report": grants.QUIET}.get(on_denied, "")
    for name in quiet.split():
        entry = entries.get(name, Entry())
        entries[name] = Entry(entry.rules, entry.otherwise or EPERM, entry.reason)
    if on_denied == "report":
        _quieten(entries)
    if on_denied == "later":
        for name in grants.LATER.split():
            entry = entries.get(name, Entry())
            entries[name] = Entry(entry.rules, entry.otherwise or NOTIFY, entry.reason)
        for line in arguments.LATER_CHECKED:
            entry = entries.get(line.names, Entry())
            rule = Rule(line.conditions, entry.otherwise or NOTIFY, line.reason)
            entries[line.names] = Entry((*entry.rules, rule), entry.otherwise)
    return SyscallPolicy.of(entries, default=_DEFAULTS[on_denied])


_DEFAULTS = {"report": NOTIFY, "later": EPERM, "errno": EPERM, "kill": KILL_PROCESS}


@lru_cache(maxsize=64)
def worker_policy(
    *,
    exec: bool = False,  # noqa: A002 - the word that the options use
    network: bool = False,
    on_denied: OnDenied = "errno",
    fork: bool | None = None,
    memfd: bool = False,
    narrowing: bool = False,
    landlock: bool = False,
) -> SyscallPolicy:
    """Return what a CPython 3.11-3.13 worker may do: threads, numpy, Pillow, lxml, asyncio, sqlite3.

    Args:
        exec: admit execve(2), and what tools started that way need. This is the policy of tools.
        network: admit TCP and UDP over IPv4 and IPv6. The network namespace decides what they reach.
        on_denied: ``"errno"`` answers EPERM. ``"report"`` asks the listener, which answers the same, except for calls
            that would only be noise (QUIET in the tables). ``"kill"`` ends the process with SIGSYS, except for calls
            that ordinary programs try and do without (TOLERATED). ``"later"`` is for a base filter that rules are put on,
            whose filter gets the listener: what an option could permit (LATER) asks, which the kernel answers ENOSYS until
            then, and everything else fails by itself.
        fork: admit child processes; by default only together with `exec`. Threads are always admitted.
        memfd: admit memfd_create(2). Its pages are in no limit but a cgroup's.
        narrowing: admit stacking a further filter, which can only take away.
        landlock: admit a further Landlock layer, which can only take away as well.
    """
    granted, checked = list(grants.WORKER), list(arguments.WORKER_CHECKED)
    if exec if fork is None else fork:
        granted += grants.FORK
        checked += arguments.FORK_CHECKED
    else:
        checked += arguments.THREADS_CHECKED
    if exec:
        granted += grants.EXEC
        checked += arguments.EXEC_CHECKED
    if network:
        granted += grants.NETWORK
        checked += sockets.NETWORK_CHECKED
    else:
        checked += sockets.PAIRS_CHECKED
    if memfd:
        granted += grants.MEMFD
    if narrowing:
        checked += arguments.narrowing_checked(listening=on_denied == "later")
    if landlock:
        granted += grants.LANDLOCK
    entries = _entries(granted, checked)
    if exec:
        entries.update(dict.fromkeys(grants.NO_ATTRIBUTES.split(), Entry((), ENOTSUP)))
    return _policy(entries, on_denied)


def tool_policy(*, network: bool = False, on_denied: OnDenied = "errno", memfd: bool = False) -> SyscallPolicy:
    """Return what programs started in the isolate may do: a shell, coreutils, ffmpeg, another Python."""
    return worker_policy(exec=True, network=network, on_denied=on_denied, memfd=memfd)


@lru_cache(maxsize=1)
def init_policy() -> SyscallPolicy:
    """Return what PID 1 may do: wait, read /proc, talk to its two sockets, reap, kill, exit.

    It holds no file of the isolate and starts nothing: the worker is forked before this filter stands.
    """
    return _policy(_entries(grants.INIT, arguments.INIT_CHECKED), "errno")


@lru_cache(maxsize=64)
def worker_filter(
    machine: str,
    *,
    exec: bool = False,  # noqa: A002 - the word that the options use
    network: bool = False,
    on_denied: OnDenied = "errno",
    fork: bool | None = None,
    memfd: bool = False,
    narrowing: bool = False,
    landlock: bool = False,
) -> bytes:
    """Return worker_policy() compiled for `machine`; the same options give the same bytes object."""
    policy = worker_policy(
        exec=exec, network=network, on_denied=on_denied, fork=fork, memfd=memfd, narrowing=narrowing, landlock=landlock
    )
    return compile_filter(policy, machine)


@lru_cache(maxsize=2)
def init_filter(machine: str) -> bytes:
    """Return init_policy() compiled for `machine`."""
    return compile_filter(init_policy(), machine)
