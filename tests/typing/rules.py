"""What a user of rule sets, `SafetyContext` and `Isolate` writes, as a type checker sees it; nothing here is run.

Every public method is called once. mypy in strict mode must accept every line; lines with `type: ignore[...]` must be
errors.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import assert_type

from isolate_fn import (
    Isolate,
    IsolateOutput,
    Restrictions,
    SafetyContext,
    isolated,
    lock_pid_file,
    restrict_privileges,
    sandbox,
)
from isolate_fn.rules import (
    ERRNO,
    KILL_PROCESS,
    LOG,
    NOTIFY,
    TRAP,
    Arg,
    Asyncio,
    BasicCapabilities,
    Compare,
    CompareOp,
    Custom,
    FileChanges,
    ForkAndExec,
    Interpreter,
    LandlockRule,
    Memory,
    Multiprocessing,
    Networking,
    Pipes,
    PortRule,
    Rule,
    RuleSet,
    Signals,
    Sqlite,
    SystemIO,
    Threads,
    Time,
    UserId,
    access,
    sysno,
)


def sets() -> list[RuleSet]:
    files = SystemIO.nothing().allow_read().allow_write().allow_unlink().allow_open().allow_open_readonly()
    files = files.allow_metadata().allow_ioctl().allow_close().allow_stdin().allow_stdout().allow_stderr()
    with open("/dev/null") as file:
        files = files.allow_file_read(file).allow_file_write(1).allow_file_write(file)
    assert_type(files, SystemIO)
    assert_type(SystemIO.everything().yes_really(), SystemIO)

    paths = SystemIO().allow_read_path("/a").allow_write_file(Path("/a")).allow_create_in_dir("/a").allow_list_dir("/a")
    paths = paths.allow_create_dir("/a").allow_remove_file("/a").allow_remove_dir("/a").allow_move_in_dir("/a")
    paths = paths.allow_link_in_dir("/a").allow_create_socket_in_dir("/a").allow_execute_path("/usr")
    paths = paths.allow_ssl_files().allow_dns_files()
    assert_type(paths, SystemIO)

    changes = FileChanges().allow_rename().allow_links().allow_directories().allow_truncate().allow_modes()
    changes = changes.allow_owners().allow_times().allow_attributes().allow_copy()

    running = Networking().allow_running_tcp_clients().allow_running_tcp_servers().allow_running_udp_sockets()
    running = running.allow_running_unix_clients().allow_running_unix_servers().allow_socketpair().allow_tls()
    starting = Networking().allow_start_tcp_clients().allow_start_tcp_servers().allow_start_udp_clients()
    starting = starting.allow_start_udp_servers().allow_start_unix_clients().allow_start_unix_servers().allow_connect()
    starting = starting.allow_connect_ports(80, 443).allow_bind_ports(8080).keep_abstract_sockets_inside()

    threads = Threads().allow_create().allow_sleep().allow_affinity()
    time = Time().allow_gettime().allow_cpu_time()
    signals = Signals().allow_wait().allow_timers().allow_raise(os.getpid()).allow_kill().keep_inside()
    users = UserId().allow_everything().allow_get().allow_set().allow_getuid().allow_geteuid().allow_getresuid()
    users = users.allow_setuid().allow_setreuid().allow_setresuid().allow_setfsuid()
    users = users.allow_get_groups().allow_set_groups()
    assert_type(UserId.get(), UserId)
    assert_type(UserId.set(), UserId)
    memory = Memory().allow_shared_files().allow_memory_files().allow_locking().allow_placement()
    memory = memory.allow_protection_keys()
    tight = BasicCapabilities().without("mremap").without_executable_memory()
    tight = tight.restrict(Rule("mprotect", Arg(2, 32).has_none(4)))
    ready: list[RuleSet] = [ForkAndExec(), Pipes(), Interpreter(), Asyncio(), Multiprocessing(), Sqlite()]
    SystemIO().allow_raed()  # type: ignore[attr-defined]
    SystemIO().allow_file_read("name")  # type: ignore[arg-type]
    return [files, paths, changes, running, starting, threads, time, signals, users, memory, tight, *ready]


class Mine(RuleSet):
    """A set of one's own."""

    def simple_rules(self) -> list[str]:
        return ["reboot"]

    def conditional_rules(self) -> dict[str, list[Rule]]:
        return {"socket": [Rule("socket", Arg(0) == socket.AF_INET, Arg(1, 32).masked(0xF) == socket.SOCK_STREAM)]}

    def landlock_rules(self) -> list[LandlockRule]:
        return [LandlockRule("/etc", access.read_path() | access.list_dir(), optional=True)]


def own() -> Custom:
    rule = Rule("getpgid", Arg(0) >= 1, reason="why").and_condition(Arg(0).one_of(1, 2, 3))
    assert_type(rule.matches((1, 0, 0, 0, 0, 0)), bool)
    compared = Rule(sysno["open"], [Compare(0, CompareOp.MaskedEqual(7), 3), Compare(1, "<=", 3)])
    made = Custom("mine", "reboot", rule, compared, LandlockRule("/etc", {"list_dir"}), PortRule(443, {"connect_tcp"}))
    made = made.add_simple("sync", "syncfs").add_conditional(rule, ("open", [(1, "==", 0)]))
    assert_type(made.yes_really().name, str)
    for each in (made, Mine()):
        calls: Iterable[str] = each.simple_rules()
        conditional: Mapping[str, Sequence[Rule]] = each.conditional_rules()
        landlock: Iterable[LandlockRule] = each.landlock_rules()
        print(calls, conditional, landlock, list(each.landlock_ports()), list(each.landlock_scopes()))
    Custom(Rule("reboot"))  # type: ignore[arg-type]
    return made


def context() -> Restrictions:
    made = SafetyContext().enable(*sets()).enable(own(), Mine(), "getpgid").enable()
    made = made.with_errno(13).with_action(ERRNO(13)).with_action(KILL_PROCESS).with_action(TRAP(1))
    made = made.with_action(LOG).with_action(NOTIFY).landlock_only().seccomp_only().require("truncate")
    assert_type(len(made), int)
    assert_type(list(made), list[RuleSet | str])
    made.enable(5)  # type: ignore[arg-type]
    made.enable([SystemIO()])  # type: ignore[arg-type]
    made.apply_to_current_thread()
    return made.apply_to_all_threads()


def isolate() -> IsolateOutput:
    def setup(name: str) -> Isolate:
        made = Isolate(name, lambda: print("hello")).add_bind_mount("/data", Path("/cooldir"), read_only=True)
        return made.set_rootfs_size(10).new_network(True).options(timeout=5)

    Isolate.main_hook("name", setup)
    output = Isolate.run("name", {"COOL_DIRECTORY": "/data"})
    assert_type(output, IsolateOutput)
    assert_type((output.returncode, output.stdout, output.stderr, output.success), tuple[int, bytes, bytes, bool])
    return setup("other").run()


def hardening(path: Path) -> FileIO:
    restrict_privileges(unshare=True)
    return lock_pid_file(path, closefd=False, cloexec=True, mode=0o640, contents=b"1\n")


@isolated(rules=[SystemIO().allow_stdout(), "getpgid", Mine()])
def under_rules(number: int) -> int:
    return number


def box() -> int:
    with sandbox(rules=[Threads().allow_create()]) as made:
        return made.call(under_rules, 3)
