"""What sets mean together: on one value the broader choice wins; between values nothing is silently void."""

from __future__ import annotations

import itertools
import socket

import pytest
from generate_rules_page import Entry, catalogue

from isolate_fn._plan.rule_sets import compile_rule_sets
from isolate_fn.errors import ConflictingRules
from isolate_fn.policy.rule_sets.groups import READING, WRITING
from isolate_fn.rules import (
    Asyncio,
    BasicCapabilities,
    Custom,
    ForkAndExec,
    Networking,
    Pipes,
    Rule,
    RuleSet,
    SystemIO,
    Threads,
)

ENTRIES = {entry.key: entry for entry in catalogue()}


def permits(sets: list[RuleSet | str], call: str, *arguments: int) -> bool:
    filled = (*arguments, *[0] * (6 - len(arguments)))
    return str(compile_rule_sets(sets).policy.decide("x86_64", call, filled)) == "allow"


# --- one value ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "call", "arguments"),
    [
        (SystemIO().allow_read().allow_stdin(), "read", (9,)),
        (SystemIO().allow_stdout().allow_write(), "write", (9,)),
        (SystemIO().allow_open_readonly().allow_open(), "openat", (0, 0, 0o1101)),
        (SystemIO().allow_open_readonly().allow_write_file("/d"), "openat", (0, 0, 0o1)),
        (SystemIO().allow_metadata().allow_file_read(5), "fstat", (9,)),
        (SystemIO.everything().allow_stdout().allow_open_readonly(), "write", (9,)),
        (SystemIO().allow_read_path("/d").allow_file_read(5), "read", (9,)),
        (Networking().allow_start_tcp_clients().allow_tls(), "write", (9,)),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_the_broader_choice_wins(value: RuleSet, call: str, arguments: tuple[int, ...]) -> None:
    assert permits([value], call, *arguments)


@pytest.mark.parametrize("key", [key for key in ENTRIES if key.startswith("SystemIO")])
def test_a_value_is_never_in_conflict_with_itself(key: str) -> None:
    """Whatever is chosen, a call of one value is either simple or conditional."""
    for other in ENTRIES.values():
        if other.owner is SystemIO:
            value = ENTRIES[key].value._with(*other.value._chosen)
            assert not set(value.simple_rules()) & set(value.conditional_rules())


def test_everything_is_everything() -> None:
    """All that any method permits, and none of its restrictions, unlike pyextrasafe's everything()."""
    everything = SystemIO.everything()
    for entry in ENTRIES.values():
        if entry.owner is SystemIO:
            assert set(entry.value.simple_rules()) <= set(everything.simple_rules()), entry.key
    assert set(everything.conditional_rules()) == {"ioctl", "mknod", "mknodat"}
    for request in (0x5401, 0x5413, 0xC0045878, 0):
        assert permits([everything], "ioctl", 0, request)
    for request in (
        0x5412,
        0x541C,
        0x5412 | 1 << 32,
    ):  # TIOCSTI, TIOCLINUX; the kernel cuts the last one's high bit off
        assert not permits([everything], "ioctl", 0, request)
    assert permits([everything], "mknodat", 0, 0, 0o010644)
    assert not permits([everything], "mknodat", 0, 0, 0o060644)


# --- several values: the documented pairs ---------------------------------------------------------------------------

STDOUT = SystemIO().allow_stdout()
CLIENT = Networking().allow_running_tcp_clients().allow_start_tcp_clients()


def test_networking_alone_reads_and_writes_its_sockets() -> None:
    assert permits([CLIENT], "write", 3)
    assert permits([CLIENT], "read", 3)
    for standard in (0, 1, 2):
        assert not permits([CLIENT], "write", standard)
        assert not permits([CLIENT], "read", standard)
    assert not permits([CLIENT], "write", 1 << 32 | 1), "the kernel cuts the high bit off: this is standard output"


@pytest.mark.parametrize("other", [CLIENT, Networking.everything().without("read"), Pipes(), Asyncio()], ids=repr)
def test_stdout_is_all_that_is_written_to(other: RuleSet) -> None:
    tls = "allow_tls" in repr(other) or "everything" in repr(other)
    for order in ([STDOUT, other], [other, STDOUT]):
        assert permits(order, "write", 1)
        assert not permits(order, "write", 2)
        assert permits(order, "write", 7) is tls
        assert permits(order, "writev", 7) is tls
        assert not permits(order, "sendfile", 7)


def test_sockets_still_send_and_receive() -> None:
    for call in ("sendto", "recvfrom", "sendmsg", "recvmsg", "shutdown", "close"):
        assert permits([STDOUT, SystemIO().allow_stdin(), CLIENT], call, 7)


def test_reading_gives_way_to_stdin_and_to_single_files() -> None:
    for restricted in (SystemIO().allow_stdin(), SystemIO().allow_file_read(5)):
        for other in (CLIENT, Pipes(), ForkAndExec()):
            assert not permits([restricted, other], "read", 7)
            assert permits([restricted, other], "read", 0 if restricted == SystemIO().allow_stdin() else 5)
    assert permits([SystemIO().allow_stdin(), CLIENT], "write", 7), "nothing was said about writing"


def test_nothing_gives_way_where_the_call_is_permitted_anyway() -> None:
    assert permits([SystemIO().allow_write(), CLIENT], "sendfile", 7)


def test_tls_is_for_good() -> None:
    sets = [STDOUT, SystemIO().allow_stdin(), CLIENT.allow_tls()]
    assert permits(sets, "write", 7)
    assert permits(sets, "read", 7)
    assert not permits(sets, "write", 2)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (SystemIO().allow_open_readonly(), SystemIO().allow_read_path("/a")),
        (SystemIO().allow_open_readonly(), SystemIO().allow_list_dir("/a")),
        (SystemIO().allow_metadata(), SystemIO().allow_file_read(5)),
        (SystemIO().allow_stdout(), SystemIO().allow_stderr()),
        (Threads().allow_create(), ForkAndExec()),
        (SystemIO.everything(), Networking.everything()),
        (BasicCapabilities(), SystemIO().allow_file_read(3)),
    ],
    ids=repr,
)
def test_pairs_that_go_together(first: RuleSet, second: RuleSet) -> None:
    compile_rule_sets([first, second])
    compile_rule_sets([second, first])


#: Promises of builtin sets, and the calls by which others break them.
PROMISES = {
    "SystemIO().allow_stdin()": {"read", "readv"},
    "SystemIO().allow_stdout()": {"write", "writev"},
    "SystemIO().allow_stderr()": {"write", "writev"},
    "SystemIO().allow_file_read(file)": set(READING.split()),
    "SystemIO().allow_file_write(file)": {*WRITING.split(), "ftruncate"},
    "SystemIO().allow_open_readonly()": {"open", "openat"},
    "BasicCapabilities().without_executable_memory()": {"mmap", "mprotect"},
}


def promises(entry: Entry) -> set[str]:
    found = entry.value.conditional_rules()
    return {call for call, rules in found.items() if any(not rule.need for rule in rules)}


@pytest.mark.parametrize("key", [key for key, entry in ENTRIES.items() if promises(entry)])
def test_builtin_sets_break_few_promises(key: str) -> None:
    """A promise that another builtin set breaks is about data, or about how files are opened: nothing in passing."""
    others = [entry for entry in ENTRIES.values() if promises(ENTRIES[key]) & set(entry.value.simple_rules())]
    broken = {call for other in others for call in promises(ENTRIES[key]) & set(other.value.simple_rules())}
    assert broken <= PROMISES.get(key, set())
    for other in others[:3]:
        with pytest.raises(ConflictingRules) as caught:
            compile_rule_sets([ENTRIES[key].value, other.value])
        assert caught.value.syscall in broken


@pytest.mark.parametrize(
    ("promise", "call"),
    [
        (SystemIO().allow_stdin(), "read"),
        (SystemIO().allow_stdout(), "write"),
        (SystemIO().allow_file_read(5), "pread64"),
        (SystemIO().allow_open_readonly(), "openat"),
        (Networking().allow_start_tcp_clients(), "socket"),
        (Threads().allow_create(), "clone"),
    ],
    ids=repr,
)
def test_a_plain_name_breaks_a_promise(promise: RuleSet, call: str) -> None:
    for sets in ([promise, call], [call, promise], [promise, Custom("plain", call)]):
        with pytest.raises(ConflictingRules) as caught:
            compile_rule_sets(sets)  # type: ignore[arg-type]
        assert caught.value.syscall == call
        assert promise.name in caught.value.sets


@pytest.mark.parametrize("call", ["ioctl", "fcntl", "mmap", "prlimit64", "sendto", "prctl"])
def test_a_plain_name_breaks_no_need(call: str) -> None:
    sets = [BasicCapabilities(), Networking.everything(), Threads.everything(), call]
    assert permits(sets, call, 0, 0x5412, 0xFFFFFFFF, 0xFFFFFFFF)


# --- corrections of the seeds, argument by argument -----------------------------------------------------------------


@pytest.mark.parametrize("flags", [0o1, 0o2, 0o100, 0o200, 0o1000, 0o2000, 0o20000000, 0o1000 | 1 << 32])
def test_read_only_means_read_only(flags: int) -> None:
    for value in (SystemIO().allow_open_readonly(), SystemIO().allow_read_path("/a"), SystemIO().allow_list_dir("/a")):
        assert permits([value], "openat", 0, 0, 0o2000000)
        assert not permits([value], "openat", 0, 0, 0o2000000 | flags)
        assert permits([value], "open", 0, 0o2000000)
        assert not permits([value], "open", 0, flags)
        assert not permits([value], "openat2", 0, 0, 0)


FAMILIES, TYPES = range(47), range(16)
STARTS = {
    "allow_start_tcp_clients": ({socket.AF_INET, socket.AF_INET6}, {socket.SOCK_STREAM}),
    "allow_start_tcp_servers": ({socket.AF_INET, socket.AF_INET6}, {socket.SOCK_STREAM}),
    "allow_start_udp_clients": ({socket.AF_INET, socket.AF_INET6}, {socket.SOCK_DGRAM}),
    "allow_start_udp_servers": ({socket.AF_INET, socket.AF_INET6}, {socket.SOCK_DGRAM}),
    "allow_start_unix_clients": ({socket.AF_UNIX}, {socket.SOCK_STREAM, socket.SOCK_DGRAM}),
    "allow_start_unix_servers": ({socket.AF_UNIX}, {socket.SOCK_STREAM, socket.SOCK_DGRAM}),
}


@pytest.mark.parametrize("method", STARTS)
def test_every_family_and_type(method: str) -> None:
    families, types = STARTS[method]
    policy = compile_rule_sets([getattr(Networking(), method)()]).policy
    for family, kind, more in itertools.product(FAMILIES, TYPES, (0, socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)):
        answer = str(policy.decide("x86_64", "socket", (family, kind | more, 0, 0, 0, 0)))
        assert (answer == "allow") is (family in families and kind in types), (family, kind)


@pytest.mark.parametrize(
    ("method", "protocols"), [("allow_start_tcp_clients", {0, 6}), ("allow_start_udp_servers", {0, 17})]
)
def test_protocols(method: str, protocols: set[int]) -> None:
    kind = socket.SOCK_STREAM if "tcp" in method else socket.SOCK_DGRAM
    value = getattr(Networking(), method)()
    for protocol in (0, 1, 6, 17, 58, 132, 136, 262):  # ICMP, TCP, UDP, ICMPv6, SCTP, UDP-Lite, MPTCP
        assert permits([value], "socket", socket.AF_INET, kind, protocol) is (protocol in protocols)


def test_networking_of_a_kind_permits_no_other() -> None:
    for key, entry in ENTRIES.items():
        if not key.startswith("Networking"):
            continue
        calls = {*entry.value.simple_rules(), *entry.value.conditional_rules()}
        assert ("socket" in calls) is ("allow_start" in key)
        assert ("accept4" in calls) is ("servers" in key and "udp" not in key)
        assert ("bind" in calls) is (("start" in key and "servers" in key) or "bind_ports" in key)
        assert "listen" not in calls or "servers" in key


def test_sending_does_not_connect() -> None:
    """MSG_FASTOPEN: a connection without connect(2), which neither the filter nor Landlock would see."""
    value = Networking().allow_start_tcp_servers()
    for call, place in (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)):
        flags = [0] * 6
        assert permits([value], call, *flags)
        flags[place] = 0x20000000
        assert not permits([value], call, *flags)


THREAD = 0x3D0F00  # what glibc's pthread_create() passes
NAMESPACES = [0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000]


def test_threads_are_threads() -> None:
    value = Threads().allow_create()
    assert permits([value], "clone", THREAD)
    assert permits([value], "clone", THREAD | 1 << 32), "the kernel cuts the high bits off"
    for flags in (17, 0x4111, 0x1200011, THREAD & ~0x10000, *(THREAD | flag for flag in NAMESPACES)):
        assert not permits([value], "clone", flags)
    assert not permits([value], "clone3")
    assert not permits([value], "fork")


def test_processes_get_no_namespaces() -> None:
    value = ForkAndExec()
    for flags in (17, 0x4111, 0x1200011, THREAD):
        assert permits([value], "clone", flags)
    for flag in (*NAMESPACES, 0x8000):
        assert not permits([value], "clone", 17 | flag)
    assert str(compile_rule_sets([value]).policy.decide("x86_64", "clone3", (0,) * 6)) == "errno ENOSYS"


def test_limits_are_read_only() -> None:
    assert permits([SystemIO()], "prlimit64", 0, 7, 0, 0x1000)
    assert not permits([SystemIO()], "prlimit64", 0, 7, 0x1000, 0)
    assert not permits([SystemIO()], "prlimit64", 1, 7, 0, 0x1000)


def test_one_descriptor_only() -> None:
    value = SystemIO().allow_file_read(5).allow_file_write(6)
    for call in READING.split():
        assert permits([value], call, 5)
        assert not permits([value], call, 6)
    for call in (*WRITING.split(), "ftruncate"):
        assert permits([value], call, 6)
        assert not permits([value], call, 5)
    assert permits([value], "mmap", 0, 4096, 1, 2, 5)
    assert not permits([value], "mmap", 0, 4096, 1, 1, 5), "MAP_SHARED could write"
    assert not permits([value], "mmap", 0, 4096, 1, 2, 6)
    assert permits([value], "newfstatat", 5, 0x1000, 0, 0x1000)
    assert not permits([value], "newfstatat", 5, 0x1000, 0, 0)


def test_basic_capabilities_map_no_files() -> None:
    assert permits([SystemIO()], "mmap", 0, 4096, 3, 0x22, 2**32 - 1)
    assert not permits([SystemIO()], "mmap", 0, 4096, 1, 2, 5)
    assert not permits([SystemIO()], "mmap", 0, 4096, 3, 1, 5)


def test_a_need_is_met_by_more_and_unites_with_other_conditions() -> None:
    tty = Custom("tty", Rule("ioctl", *[]))
    assert permits([tty, SystemIO().allow_ioctl()], "ioctl", 0, 0x5412)
