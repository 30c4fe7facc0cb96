"""The policies under every call, as a specification: what passes and what does not, on both architectures."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from isolate_fn._plan import seccomp_arguments as arguments
from isolate_fn._plan import seccomp_grants as grants
from isolate_fn._plan import seccomp_sockets as sockets
from isolate_fn._plan.bpf import length
from isolate_fn._plan.emulator import SeccompData, run
from isolate_fn._plan.seccomp import (
    ALLOW,
    ENOSYS,
    EPERM,
    KILL_PROCESS,
    NOTIFY,
    Action,
    SyscallPolicy,
    compile_filter,
    fail_with,
)
from isolate_fn._plan.seccomp_base import init_filter, init_policy, tool_policy, worker_filter, worker_policy
from isolate_fn._sys import numbers
from isolate_fn._sys.seccomp_constants import AUDIT_ARCH, AUDIT_ARCH_ARM, AUDIT_ARCH_I386

ENOTTY, ENOTSUP = fail_with(errno.ENOTTY), fail_with(errno.ENOTSUP)
EAFNOSUPPORT = fail_with(errno.EAFNOSUPPORT)
HIGH = 1 << 32  # a bit that the kernel cuts off from an int

POLICIES = {
    "worker": worker_policy(),
    "worker, kill": worker_policy(on_denied="kill"),
    "worker, fork": worker_policy(fork=True),
    "worker, network": worker_policy(network=True),
    "worker, memfd, narrowing": worker_policy(memfd=True, narrowing=True),
    "tools": tool_policy(),
    "tools, network, kill": tool_policy(network=True, on_denied="kill"),
    "init": init_policy(),
}


def granted(*tables: tuple[grants.Grant, ...]) -> set[str]:
    return {name for table in tables for grant in table for name in grant.names.split()}


def checked(*tables: tuple[grants.Checked, ...]) -> set[str]:
    return {name for table in tables for line in table for name in line.names.split()}


def answers(policy: SyscallPolicy, name: str, *values: int) -> Action:
    """Ask the compiled filters of every architecture that has the call; they must agree with each other."""
    found = set()
    for machine in numbers.MACHINES:
        number = numbers.table(machine).get(name)
        if number is not None:
            data = SeccompData(number, AUDIT_ARCH[machine], values)
            found.add(run(compile_filter_once(policy, machine), data).verdict)
    assert len(found) == 1, (name, found)
    return Action(found.pop())


_compiled: dict[tuple[int, str], tuple[SyscallPolicy, bytes]] = {}


def compile_filter_once(policy: SyscallPolicy, machine: str) -> bytes:
    """By identity: hashing a whole policy costs more than running its filter."""
    key = (id(policy), machine)
    if key not in _compiled:
        _compiled[key] = (policy, compile_filter(policy, machine))
    return _compiled[key][1]


# --- argument rules, as a table -----------------------------------------------------------------------------

CASES = [  # policy, call, arguments, answer
    # Threads, never namespaces; children only where asked for.
    ("worker", "clone", (0x3D0F00,), ALLOW),  # glibc's pthread_create
    ("worker", "clone", (HIGH | 0x3D0F00,), ALLOW),
    ("worker", "clone", (0x01200011,), EPERM),  # glibc's fork
    ("worker", "clone", (0x4111,), EPERM),  # vfork, posix_spawn
    ("worker", "clone", (0x3D0F00 | 0x10000000,), EPERM),
    ("worker", "clone", (17,), EPERM),
    ("worker", "fork", (), EPERM),
    ("worker", "vfork", (), EPERM),
    ("worker", "clone3", (), ENOSYS),
    ("worker, kill", "clone3", (), ENOSYS),
    ("worker, kill", "fork", (), KILL_PROCESS),
    ("worker, kill", "clone", (17,), KILL_PROCESS),
    ("worker, fork", "clone", (0x01200011,), ALLOW),
    ("worker, fork", "clone", (0x4111,), ALLOW),
    ("worker, fork", "clone", (0x8011,), EPERM),  # CLONE_PARENT: a child of PID 1
    ("worker, fork", "fork", (), ALLOW),
    ("worker, fork", "execve", (), EPERM),
    *[("tools", "clone", (17 | 1 << bit,), EPERM) for bit in (17, 25, 26, 27, 28, 29, 30)],
    *[("tools", "clone", (HIGH | 17 | 1 << bit,), EPERM) for bit in (17, 28)],
    ("tools", "clone", (17,), ALLOW),
    ("tools", "vfork", (), ALLOW),
    ("tools", "execve", (), ALLOW),
    ("tools", "setsid", (), ALLOW),
    ("worker", "setsid", (), EPERM),
    ("worker", "setpgid", (), EPERM),
    ("worker", "sched_setaffinity", (), EPERM),
    # Files: no set-ID bits, wherever the mode stands.
    ("worker", "openat", (-100, 1, 0o2000000, 0), ALLOW),
    ("worker", "openat", (-100, 1, 0o101, 0o666), ALLOW),
    ("worker", "openat", (-100, 1, 0o101, 0o4755), EPERM),
    ("worker", "openat", (-100, 1, 0o101, 0o2755), EPERM),
    ("worker", "openat", (-100, 1, 0o20200002, 0o4755), EPERM),  # O_TMPFILE
    ("worker", "openat", (-100, 1, 0, 0o4755), ALLOW),  # the mode means nothing without O_CREAT
    ("worker", "openat", (-100, 1, HIGH | 0o101, HIGH | 0o4755), EPERM),
    ("worker", "open", (1, 0o101, 0o6000), EPERM),
    ("worker", "open", (1, 0o101, 0o644), ALLOW),
    ("worker", "creat", (1, 0o4000), EPERM),
    ("worker", "chmod", (1, 0o4755), EPERM),
    ("worker", "chmod", (1, 0o1777), ALLOW),
    ("worker", "fchmod", (1, 0o2755), EPERM),
    ("worker", "fchmod", (1, 0o755), ALLOW),
    ("worker", "fchmodat", (1, 2, 0o4000), EPERM),
    ("worker", "fchmodat2", (1, 2, 0o4000), EPERM),
    ("worker", "fchmodat2", (1, 2, 0o600), ALLOW),
    ("worker", "mkdirat", (1, 2, 0o2700), EPERM),
    ("worker", "mkdir", (1, 0o700), ALLOW),
    ("worker", "openat2", (), ENOSYS),
    ("worker", "mknodat", (1, 2, 0o010600), EPERM),
    # Sockets: stream pairs only, and whole values.
    ("worker", "socketpair", (1, 1), ALLOW),
    ("worker", "socketpair", (1, 0o2004001), ALLOW),
    ("worker", "socketpair", (HIGH | 1, HIGH | 1), ALLOW),
    ("worker", "socketpair", (1, 2), EPERM),  # datagrams reach any socket file by address
    ("worker", "socketpair", (1, HIGH | 2), EPERM),
    ("worker", "socketpair", (1, 3), EPERM),
    ("worker", "socketpair", (1, 5), EPERM),
    ("worker", "socketpair", (2, 1), EPERM),
    ("worker", "socket", (1, 1, 0), EPERM),
    ("worker", "socket", (2, 1, 0), EPERM),
    ("worker", "connect", (), EPERM),
    ("worker", "bind", (), EPERM),
    ("worker", "accept4", (), EPERM),
    ("worker", "sendto", (3, 0, 0, 0x4000), ALLOW),
    ("worker", "sendto", (3, 0, 0, 0x4001), EPERM),  # MSG_OOB
    ("worker", "recvfrom", (3, 0, 0, 0x41), EPERM),
    ("worker", "sendmsg", (3, 0, 1), EPERM),
    ("worker", "recvmsg", (3, 0, 0x40000000), ALLOW),
    ("worker", "recvmsg", (3, 0, 1), EPERM),
    ("worker", "setsockopt", (3, 1, 8), ALLOW),
    ("worker", "setsockopt", (3, 1, 26), EPERM),  # SO_ATTACH_FILTER
    ("worker", "setsockopt", (3, 6, 1), EPERM),
    ("worker", "getsockopt", (3, 1, 3), ALLOW),
    ("worker", "getsockopt", (3, 1, 77), EPERM),  # SO_PEERPIDFD: the caller's process
    ("worker", "getsockopt", (3, 6, 77), EPERM),
    ("worker, network", "socket", (2, 1, 0), ALLOW),
    ("worker, network", "socket", (10, 0o2004001, 6), ALLOW),
    ("worker, network", "socket", (2, 2, 17), ALLOW),
    ("worker, network", "socket", (HIGH | 2, HIGH | 1, HIGH), ALLOW),
    ("worker, network", "socket", (2, 3, 0), EAFNOSUPPORT),  # SOCK_RAW
    ("worker, network", "socket", (2, 2, 1), EAFNOSUPPORT),  # ping
    ("worker, network", "socket", (2, 1, 262), EAFNOSUPPORT),  # MPTCP
    ("worker, network", "socket", (2, 1, 132), EAFNOSUPPORT),  # SCTP
    ("worker, network", "socket", (2, 2, 6), EAFNOSUPPORT),
    ("worker, network", "socket", (HIGH | 40, 1, 0), EAFNOSUPPORT),
    ("worker, network", "connect", (), ALLOW),
    ("worker, network", "setsockopt", (3, 6, 1), ALLOW),  # TCP_NODELAY
    ("worker, network", "setsockopt", (3, 6, 31), EPERM),  # TCP_ULP
    ("worker, network", "setsockopt", (3, 0, 64), EPERM),  # IPT_SO_SET_REPLACE
    ("worker, network", "setsockopt", (3, 0, 1), ALLOW),
    ("worker, network", "setsockopt", (3, 41, 26), ALLOW),  # IPV6_V6ONLY
    ("worker, network", "setsockopt", (3, 1, 50), EPERM),  # SO_ATTACH_BPF
    ("worker, network", "setsockopt", (3, 263, 1), EPERM),
    ("worker, network", "getsockopt", (3, 1, 77), EPERM),
    ("worker, network", "getsockopt", (3, 6, 11), ALLOW),
    ("worker, network", "socketpair", (1, 2), EPERM),
    # One request of many.
    ("worker", "ioctl", (0, 0x5401), ALLOW),
    ("worker", "ioctl", (0, HIGH | 0x5401), ALLOW),
    ("worker", "ioctl", (0, 0x5412), ENOTTY),  # TIOCSTI
    ("worker", "ioctl", (0, HIGH | 0x5412), ENOTTY),
    ("worker", "ioctl", (0, 0x541C), ENOTTY),  # TIOCLINUX
    ("worker, kill", "ioctl", (0, 0x5412), ENOTTY),
    ("worker", "fcntl", (0, 3), ALLOW),
    ("worker", "fcntl", (0, 1030), ALLOW),
    ("worker", "fcntl", (0, 1024), EPERM),  # F_SETLEASE
    ("worker", "fcntl", (0, HIGH | 1024), EPERM),
    ("worker", "fcntl", (0, 1026), EPERM),  # F_NOTIFY
    ("worker", "fcntl", (0, 8), EPERM),  # F_SETOWN
    ("worker", "prlimit64", (0, 7, 0, 1), ALLOW),
    ("worker", "prlimit64", (0, 7, 1, 0), EPERM),
    ("worker", "prlimit64", (0, 7, HIGH, 0), EPERM),
    ("worker", "prlimit64", (1, 7, 0, 1), EPERM),
    ("worker", "prctl", (15,), ALLOW),
    ("worker", "prctl", (HIGH | 15,), ALLOW),
    ("worker", "prctl", (4, 1), EPERM),  # PR_SET_DUMPABLE
    ("worker", "prctl", (1, 9), EPERM),  # PR_SET_PDEATHSIG
    ("worker", "prctl", (22, 2), EPERM),  # PR_SET_SECCOMP
    ("worker", "prctl", (HIGH | 22, 2), EPERM),
    ("worker", "prctl", (35,), EPERM),  # PR_SET_MM
    ("worker", "prctl", (24,), EPERM),  # PR_CAPBSET_DROP
    ("worker", "prctl", (0x53564D41, 0), ALLOW),
    ("worker", "prctl", (0x53564D41, 1), EPERM),
    ("worker", "prctl", (47, 1), ALLOW),
    ("worker", "prctl", (47, 2), EPERM),  # PR_CAP_AMBIENT_RAISE
    ("worker", "prctl", (38, 1), EPERM),
    ("worker", "arch_prctl", (0x1002,), ALLOW),
    ("worker", "arch_prctl", (0x1012,), EPERM),  # ARCH_SET_CPUID
    ("worker", "getrandom", (1, 8, 0), ALLOW),
    ("worker", "getrandom", (1, 8, 2), EPERM),
    ("worker, kill", "getrandom", (1, 8, 2), EPERM),
    ("worker", "kill", (-1, 9), ALLOW),  # the pid namespace bounds it
    ("worker", "tkill", (), EPERM),
    ("worker", "personality", (0xFFFFFFFF,), EPERM),
    # By request.
    ("worker", "memfd_create", (), EPERM),
    ("worker, memfd, narrowing", "memfd_create", (), ALLOW),
    ("worker, memfd, narrowing", "memfd_secret", (), EPERM),
    ("worker", "seccomp", (1, 0), EPERM),
    ("worker, memfd, narrowing", "seccomp", (1, 0), ALLOW),
    ("worker, memfd, narrowing", "seccomp", (1, 7), ALLOW),
    ("worker, memfd, narrowing", "seccomp", (1, 8), EPERM),  # NEW_LISTENER
    ("worker, memfd, narrowing", "seccomp", (1, 9), EPERM),
    ("worker, memfd, narrowing", "seccomp", (1, HIGH | 8), EPERM),
    ("worker, memfd, narrowing", "seccomp", (1, 32), EPERM),
    ("worker, memfd, narrowing", "seccomp", (0, 0), EPERM),
    ("worker, memfd, narrowing", "seccomp", (2, 0), ALLOW),
    ("worker, memfd, narrowing", "prctl", (38, 1), ALLOW),
    ("worker, memfd, narrowing", "prctl", (38, 0), EPERM),
    ("worker, memfd, narrowing", "landlock_restrict_self", (), EPERM),
    # PID 1.
    ("init", "openat", (-100, 1, 0o2000000), ALLOW),
    *[("init", "openat", (-100, 1, flag), EPERM) for flag in (1, 2, 0o100, 0o1000, 0o2000, 0o20000000)],
    ("init", "mmap", (0, 4096, 3), ALLOW),
    ("init", "mmap", (0, 4096, 4), EPERM),
    ("init", "mprotect", (0, 4096, 5), EPERM),
    ("init", "kill", (2, 9), ALLOW),
    ("init", "wait4", (), ALLOW),
    ("init", "ioctl", (0, 0x5401), ENOTTY),
    ("init", "clone", (0x3D0F00,), EPERM),
    ("init", "fork", (), EPERM),
    ("init", "execve", (), EPERM),
    ("init", "unlink", (), EPERM),
    ("init", "chmod", (1, 0o644), EPERM),
    ("init", "socketpair", (1, 1), EPERM),
]


@pytest.mark.parametrize(("policy", "name", "values", "answer"), CASES)
def test_argument_rules(policy: str, name: str, values: tuple[int, ...], answer: Action) -> None:
    assert answers(POLICIES[policy], name, *values) == answer


@pytest.mark.parametrize("family", range(47))
def test_no_family_but_ip_and_none_without_network(family: int) -> None:
    for kind in range(1, 11):
        assert answers(POLICIES["worker"], "socket", family, kind, 0) == EPERM
        ip = family in (2, 10) and kind in (1, 2)
        expected = ALLOW if ip else EAFNOSUPPORT
        assert answers(POLICIES["worker, network"], "socket", family, kind, 0) == expected


# --- the whole of each policy -------------------------------------------------------------------------------


def calls(policy: SyscallPolicy, name: str) -> Iterator[tuple[int, ...]]:
    """Arguments near which the answers of this call change, one argument at a time."""
    yield (0,) * 6
    yield (2**64 - 1,) * 6
    entry = policy.by_name().get(name)
    for rule in entry.rules if entry else ():
        satisfied = [0] * 6
        for condition in rule.conditions:
            matching = [value for value in condition.interesting() if _alone(condition, value)]
            satisfied[condition.index] = matching[0]
        for condition in rule.conditions:
            for value in condition.interesting():
                yield tuple(value if index == condition.index else satisfied[index] for index in range(6))


def _alone(condition: object, value: int) -> bool:
    return condition.matches([value] * 6)  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("machine", numbers.MACHINES)
@pytest.mark.parametrize("label", POLICIES)
def test_every_number_and_every_edge(
    label: str, machine: str, oracle: Callable[[SyscallPolicy, str, SeccompData], int]
) -> None:
    policy = POLICIES[label]
    program, names = compile_filter_once(policy, machine), numbers.names(machine)
    for nr in range(601):
        for values in calls(policy, names.get(nr, "")):
            data = SeccompData(nr, AUDIT_ARCH[machine], values)
            assert run(program, data).verdict == oracle(policy, machine, data), (names.get(nr), values)


@pytest.mark.parametrize("machine", numbers.MACHINES)
@pytest.mark.parametrize("label", POLICIES)
def test_foreign_calls_are_killed(label: str, machine: str) -> None:
    program = compile_filter_once(POLICIES[label], machine)
    for arch in {AUDIT_ARCH_I386, AUDIT_ARCH_ARM, *AUDIT_ARCH.values()} - {AUDIT_ARCH[machine]}:
        for nr in range(0, 601, 7):
            assert run(program, SeccompData(nr, arch)).verdict == KILL_PROCESS.verdict
    if machine == "x86_64":
        for nr in range(0x40000000, 0x40000000 + 601):
            assert run(program, SeccompData(nr, AUDIT_ARCH[machine])).verdict == KILL_PROCESS.verdict


@pytest.mark.parametrize("label", POLICIES)
def test_never_means_never(label: str) -> None:
    for name in grants.NEVER.split():
        for values in ((), (1,) * 6, (-1,) * 6):
            answer = answers(POLICIES[label], name, *values)
            attributes = label.startswith("tools") and name in grants.NO_ATTRIBUTES.split()
            assert answer in ((ENOTSUP,) if attributes else (EPERM, ENOSYS, KILL_PROCESS)), name


def test_a_landlock_layer_only_where_it_is_asked_for() -> None:
    calls = ("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self")
    wide, narrow = worker_policy(narrowing=True, landlock=True), worker_policy(narrowing=True)
    for name in calls:
        assert answers(wide, name) == ALLOW
        assert answers(narrow, name) in (EPERM, ENOSYS)


def test_what_is_asked_for_is_denied_to_plain_workers() -> None:
    asked_for = "execve execveat fork vfork setsid setpgid seccomp memfd_create socket bind listen connect accept"
    for name in asked_for.split():
        assert answers(POLICIES["worker"], name) == EPERM
        assert answers(POLICIES["worker, kill"], name) in (KILL_PROCESS, EPERM)


def test_never_rseq_futex_restart_syscall() -> None:
    """A denied one of these aborts CPython or glibc, whatever the errno."""
    for policy in POLICIES.values():
        for name in ("rseq", "futex", "restart_syscall", "rt_sigreturn", "exit_group", "munmap"):
            assert answers(policy, name, *[2**64 - 1] * 6) == ALLOW


def test_kill_differs_from_errno_only_where_calls_are_denied() -> None:
    plain, strict = POLICIES["worker"], POLICIES["worker, kill"]
    tolerated = set(grants.TOLERATED.split())
    for machine in numbers.MACHINES:
        for name in numbers.table(machine):
            before = plain.decide(machine, name, (0,) * 6)
            after = strict.decide(machine, name, (0,) * 6)
            if before == EPERM and name not in tolerated:
                assert after == KILL_PROCESS, name
            else:
                assert after == before, name


def test_what_does_not_kill_is_written_down() -> None:
    """The page names the calls of the table, and nothing else; each is denied where no rule of the filter permits it."""
    page = (Path(__file__).parents[2] / "docs" / "denials.md").read_text()
    listed = page.partition("and do not kill:\n\n")[2].partition("\n\n")[0]
    assert re.findall(r"`(\w+)`", listed) == sorted(grants.TOLERATED.split())
    for name in grants.TOLERATED.split():
        entry = POLICIES["worker, kill"].by_name()[name]
        assert entry.unconditional is None or entry.unconditional == EPERM, name
        assert entry.otherwise == EPERM, name


def test_denials_can_be_reported_instead() -> None:
    """What `on_denied="report"` needs: one default for every denial, explicit answers untouched."""
    reporting = worker_policy().with_default(NOTIFY)

    assert answers(reporting, "mount") == NOTIFY
    assert answers(reporting, "socket", 2, 1, 0) == NOTIFY
    assert answers(reporting, "prlimit64", 0, 7, 1) == NOTIFY
    assert answers(reporting, "clone3") == ENOSYS
    assert answers(reporting, "ioctl", 0, 0x5412) == ENOTTY
    assert answers(reporting, "read") == ALLOW


# --- the tables themselves ----------------------------------------------------------------------------------


def test_every_name_in_the_tables_exists() -> None:
    names = granted(grants.WORKER, grants.FORK, grants.EXEC, grants.NETWORK, grants.MEMFD, grants.INIT)
    names |= checked(
        arguments.WORKER_CHECKED,
        arguments.THREADS_CHECKED,
        arguments.FORK_CHECKED,
        sockets.PAIRS_CHECKED,
        sockets.NETWORK_CHECKED,
        arguments.narrowing_checked(listening=False),
        arguments.INIT_CHECKED,
    )
    names |= set(f"{grants.NEVER} {grants.FALL_BACK} {grants.TOLERATED}".split())
    assert {name for name in names if not numbers.is_known(name)} == set()


def test_no_call_is_both_granted_and_checked() -> None:
    """A grant would void the conditions; the builder lets the grant win, so the tables must not do it."""
    assert granted(grants.WORKER) & checked(arguments.WORKER_CHECKED, arguments.THREADS_CHECKED) == set()
    assert granted(grants.INIT) & checked(arguments.INIT_CHECKED) == set()
    assert granted(grants.WORKER, grants.NETWORK) & checked(sockets.NETWORK_CHECKED) == set()
    assert granted(grants.WORKER) & checked(sockets.PAIRS_CHECKED, arguments.narrowing_checked(listening=False)) == set()


def test_no_name_is_listed_twice() -> None:
    for tables in ((grants.WORKER, grants.FORK, grants.EXEC, grants.NETWORK), (grants.INIT,)):
        names = [name for table in tables for grant in table for name in grant.names.split()]
        assert len(names) == len(set(names))
    assert len(grants.NEVER.split()) == len(set(grants.NEVER.split()))


def test_nothing_granted_is_on_the_never_list() -> None:
    ever = granted(grants.WORKER, grants.FORK, grants.EXEC, grants.NETWORK, grants.MEMFD, grants.INIT)
    assert ever & set(grants.NEVER.split()) == set()


def test_every_line_has_a_reason() -> None:
    for policy in POLICIES.values():
        for name, entry in policy.entries:
            assert all(rule.reason for rule in entry.rules), name


def test_aarch64_has_a_counterpart_for_what_x86_64_is_granted() -> None:
    """Calls that only x86_64 has, and what aarch64's libc uses in their place."""
    counterparts = {
        "access": "faccessat", "alarm": "setitimer", "arch_prctl": "set_tid_address", "chmod": "fchmodat",
        "creat": "openat", "dup2": "dup3", "epoll_create": "epoll_create1", "epoll_wait": "epoll_pwait",
        "eventfd": "eventfd2", "fork": "clone", "futimesat": "utimensat", "getdents": "getdents64",
        "getpgrp": "getpgid", "link": "linkat", "lstat": "newfstatat", "mkdir": "mkdirat", "open": "openat",
        "pause": "ppoll", "pipe": "pipe2", "poll": "ppoll", "readlink": "readlinkat", "rename": "renameat",
        "rmdir": "unlinkat", "select": "pselect6", "stat": "newfstatat", "symlink": "symlinkat",
        "time": "gettimeofday", "unlink": "unlinkat", "utime": "utimensat", "utimes": "utimensat",
        "vfork": "clone",
    }  # fmt: skip
    for label in ("worker", "tools"):
        listed = POLICIES[label].by_name()
        only_x86 = set(listed) & (numbers.table("x86_64").keys() - numbers.table("aarch64").keys())
        assert only_x86 <= set(counterparts)
        assert all(counterparts[name] in listed for name in only_x86)


def test_options_are_cached_and_the_filters_stay_small() -> None:
    assert worker_filter("x86_64") is worker_filter("x86_64")
    assert init_filter("aarch64") is init_filter("aarch64")
    for machine in numbers.MACHINES:
        assert length(worker_filter(machine, exec=True, network=True, on_denied="kill")) < 400
        assert length(init_filter(machine)) < 150
    assert worker_filter("x86_64", exec=True) == compile_filter(tool_policy(), "x86_64")


def test_common_calls_are_decided_quickly() -> None:
    program, table = worker_filter("x86_64"), numbers.table("x86_64")
    costs = {name: run(program, SeccompData(number, AUDIT_ARCH["x86_64"])).cost for name, number in table.items()}

    assert max(costs[name] for name in ("read", "write", "futex", "mmap", "getppid", "openat")) <= 16
    assert max(costs.values()) <= 30
