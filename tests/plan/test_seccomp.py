"""Policies as values, and the compiler against an oracle that knows nothing of BPF."""

from __future__ import annotations

import errno
import pickle
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isolate_fn._plan.bpf import length
from isolate_fn._plan.emulator import SeccompData, run
from isolate_fn._plan.listing import describe, disassemble
from isolate_fn._plan.seccomp import (
    ALLOW,
    ENOSYS,
    EPERM,
    KILL_PROCESS,
    KILL_THREAD,
    LOG,
    NOTIFY,
    TRAP,
    Action,
    Entry,
    Rule,
    SyscallPolicy,
    compile_filter,
    fail_with,
    trap_with,
)
from isolate_fn._sys import numbers
from isolate_fn._sys.seccomp_constants import AUDIT_ARCH, AUDIT_ARCH_ARM, AUDIT_ARCH_I386
from isolate_fn.errors import PolicyError
from isolate_fn.policy.conditions import Arg

NUMBERS = range(600)


Oracle = Callable[[SyscallPolicy, str, SeccompData], int]


def emulated(program: bytes, data: SeccompData) -> int:
    return run(program, data).verdict


MIXED = (
    SyscallPolicy()
    .allowing(["read", "write", "exit_group", "rt_sigreturn", "fork"])
    .answering(["clone3", "io_uring_setup"], ENOSYS)
    .answering(["ptrace"], KILL_PROCESS)
    .with_(
        {
            "socket": Entry((Rule((Arg(0, 32).eq(2), Arg(1, 32).one_of(1, 2, mask=0xF))),)),
            "ioctl": Entry((Rule((Arg(1, 32).one_of(1, 2, 3, 4, 5, 6),)),), fail_with(errno.ENOTTY)),
            "write": Entry((Rule((Arg(0, 32).eq(1),)), Rule((Arg(0, 32).eq(2), Arg(2).le(100)), LOG))),
            "kill": Entry((Rule((Arg(0, 32).le(0, signed=True),), TRAP),), ALLOW),
        }
    )
)

ARGUMENTS = [
    (0, 0, 0, 0, 0, 0),
    (1, 1, 1, 1, 1, 1),
    (2, 1, 100, 0, 0, 0),
    (2, 2, 101, 0, 0, 0),
    (2, 0x80801, 0, 0, 0, 0),
    (2, 3, 0, 0, 0, 0),
    (1 << 32 | 2, 1, 0, 0, 0, 0),
    (-1, -1, -1, -1, -1, -1),
    (5, 6, 0, 0, 0, 0),
    (5, 7, 0, 0, 0, 0),
    (5, 1 << 32 | 6, 0, 0, 0, 0),
]


@pytest.mark.parametrize("machine", numbers.MACHINES)
def test_every_number(machine: str, oracle: Oracle) -> None:
    program = compile_filter(MIXED, machine)
    for nr in NUMBERS:
        for arguments in ARGUMENTS:
            data = SeccompData(nr, AUDIT_ARCH[machine], arguments)
            assert emulated(program, data) == oracle(MIXED, machine, data), data


def test_readable_expectations() -> None:
    program, table = compile_filter(MIXED, "x86_64"), numbers.table("x86_64")

    def answer(name: str, *arguments: int) -> Action:
        return Action(emulated(program, SeccompData(table[name], AUDIT_ARCH["x86_64"], arguments)))

    assert answer("read") == ALLOW
    assert answer("mount") == EPERM
    assert answer("clone3") == ENOSYS
    assert answer("ptrace") == KILL_PROCESS
    assert answer("socket", 2, 1) == answer("socket", 2, 0x80802) == ALLOW
    assert answer("socket", 38, 1) == answer("socket", 2, 3) == EPERM
    assert answer("ioctl", 0, 7) == fail_with(errno.ENOTTY)
    assert answer("write", 1) == ALLOW
    assert answer("write", 2, 0, 100) == LOG
    assert answer("write", 2, 0, 101) == answer("write", 3) == EPERM
    assert answer("kill", -1) == TRAP
    assert answer("kill", 2) == ALLOW


@pytest.mark.parametrize("machine", numbers.MACHINES)
def test_foreign_architectures_are_killed_whatever_the_number(machine: str) -> None:
    program = compile_filter(MIXED, machine)
    others = {0, AUDIT_ARCH_I386, AUDIT_ARCH_ARM, *AUDIT_ARCH.values()} - {AUDIT_ARCH[machine]}
    for arch in others:
        assert all(emulated(program, SeccompData(nr, arch)) == KILL_PROCESS.verdict for nr in NUMBERS)


def test_x32_is_killed_and_its_number_range_ends_nowhere() -> None:
    program = compile_filter(MIXED, "x86_64")
    for nr in [*(0x40000000 | low for low in NUMBERS), 0x7FFFFFFF, 0x80000000, -1]:
        assert emulated(program, SeccompData(nr, AUDIT_ARCH["x86_64"])) == KILL_PROCESS.verdict
    assert emulated(program, SeccompData(0x3FFFFFFF, AUDIT_ARCH["x86_64"])) == ENOSYS.verdict


def test_numbers_beyond_the_table_look_like_an_older_kernel() -> None:
    for machine in numbers.MACHINES:
        program = compile_filter(MIXED, machine)
        for nr in (472, 599, 100000):
            assert emulated(program, SeccompData(nr, AUDIT_ARCH[machine])) == ENOSYS.verdict


def test_calls_of_one_architecture_are_absent_from_the_other() -> None:
    assert MIXED.decide("x86_64", "fork", (0,) * 6) == ALLOW
    assert MIXED.decide("aarch64", "fork", (0,) * 6) == ENOSYS


conditions = st.builds(
    lambda arg, values, mask: arg.one_of(*(value & mask for value in values), mask=mask),
    st.builds(Arg, st.integers(0, 2), st.sampled_from([32, 64])),
    st.lists(st.integers(0, 9), min_size=1, max_size=7),
    st.sampled_from([0xFFFFFFFF, 0xF, 0x5]),
) | st.builds(
    lambda arg, method, limit: getattr(arg, method)(limit),
    st.builds(Arg, st.integers(0, 2), st.sampled_from([32, 64])),
    st.sampled_from(["gt", "ge", "lt", "le"]),
    st.integers(0, 9),
)
actions = st.sampled_from([ALLOW, EPERM, ENOSYS, KILL_PROCESS, KILL_THREAD, TRAP, LOG, NOTIFY, fail_with(errno.EACCES)])
rules = st.builds(Rule, st.lists(conditions, max_size=3).map(tuple), actions)
entries = st.builds(Entry, st.lists(rules, max_size=4).map(tuple), st.none() | actions)
names = st.sampled_from(sorted(numbers.table("x86_64").keys() | numbers.table("aarch64").keys()))
policies = st.builds(
    lambda listed, default, unknown: SyscallPolicy.of(listed, default=default, unknown=unknown),
    st.dictionaries(names, entries, max_size=60),
    actions,
    actions,
)
values = st.integers(0, 10) | st.sampled_from([1 << 32 | 3, 2**64 - 1, 1 << 63])


@settings(max_examples=60)
@given(policy=policies, machine=st.sampled_from(numbers.MACHINES), data=st.data())
def test_random_policies_and_calls(oracle: Oracle, policy: SyscallPolicy, machine: str, data: st.DataObject) -> None:
    program = compile_filter(policy, machine)
    listed = [numbers.table(machine)[name] for name, _ in policy.entries if name in numbers.table(machine)]
    nrs = [*listed, *(nr + 1 for nr in listed), *data.draw(st.lists(st.integers(0, 480), max_size=20))]
    calls = data.draw(st.lists(st.tuples(values, values, values), min_size=1, max_size=6))
    for nr in nrs:
        for call in calls:
            asked = SeccompData(nr, AUDIT_ARCH[machine], call)
            assert emulated(program, asked) == oracle(policy, machine, asked)


@settings(max_examples=40)
@given(policy=policies, name=names, arguments=st.tuples(values, values, values, values, values, values))
def test_decide_is_the_meaning_of_the_filter(
    oracle: Oracle, policy: SyscallPolicy, name: str, arguments: tuple[int, ...]
) -> None:
    for machine in numbers.MACHINES:
        number = numbers.table(machine).get(name, 5000)
        data = SeccompData(number, AUDIT_ARCH[machine], arguments)
        assert policy.decide(machine, name, arguments).verdict == oracle(policy, machine, data)


def test_policies_are_values() -> None:
    one, two = SyscallPolicy().allowing(["read", "write"]), SyscallPolicy().allowing(["write", "read"])

    assert one == two
    assert hash(one) == hash(two)
    assert pickle.loads(pickle.dumps(MIXED)) == MIXED
    with pytest.raises(AttributeError):
        one.default = ALLOW  # type: ignore[misc]
    assert compile_filter(one, "x86_64") == compile_filter(two, "x86_64")


def test_a_reason_is_not_part_of_a_rule() -> None:
    assert Rule((), ALLOW, "because") == Rule((), ALLOW, "why not")


def test_denying_in_another_way_keeps_explicit_answers() -> None:
    stricter = MIXED.with_default(KILL_PROCESS)

    assert stricter.decide("x86_64", "mount", (0,) * 6) == KILL_PROCESS
    assert stricter.decide("x86_64", "socket", (38, 0, 0, 0, 0, 0)) == KILL_PROCESS
    assert stricter.decide("x86_64", "clone3", (0,) * 6) == ENOSYS
    assert stricter.decide("x86_64", "ioctl", (0, 99, 0, 0, 0, 0)) == fail_with(errno.ENOTTY)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(PolicyError, match="'sockett'") as refusal:
        SyscallPolicy().allowing(["sockett"])
    assert "'socket'" in refusal.value.remedy


def test_entries_must_be_sorted_and_unique() -> None:
    with pytest.raises(PolicyError, match="sorted"):
        SyscallPolicy((("write", Entry()), ("read", Entry())))
    with pytest.raises(PolicyError, match="twice"):
        SyscallPolicy((("read", Entry()), ("read", Entry())))


@pytest.mark.parametrize("code", [0, -1, 4096, 70000])
def test_errnos_the_kernel_would_change_are_refused(code: int) -> None:
    with pytest.raises(PolicyError, match="errno"):
        fail_with(code)


@pytest.mark.parametrize("data", [-1, 65536])
def test_trap_data_that_does_not_fit_is_refused(data: int) -> None:
    with pytest.raises(PolicyError, match="trap data"):
        trap_with(data)


def test_answers_print_as_words() -> None:
    printed = [
        str(action) for action in (ALLOW, fail_with(13), fail_with(4095), trap_with(7), KILL_THREAD, LOG, NOTIFY)
    ]

    assert printed == ["allow", "errno EACCES", "errno 4095", "trap 7", "kill thread", "log", "notify"]


def test_too_many_rules() -> None:
    wide = Entry((Rule((Arg(0).one_of(*range(0, 200_000, 40)),)),))
    with pytest.raises(PolicyError, match="4096"):
        compile_filter(SyscallPolicy().with_({"read": wide}), "x86_64")


def test_equal_rules_share_code() -> None:
    entry = Entry((Rule((Arg(0).one_of(*range(0, 100, 2)),)),))
    one = SyscallPolicy().with_({"mkdir": entry})
    many = SyscallPolicy().with_(dict.fromkeys(["mkdir", "rmdir", "creat", "link", "unlink", "symlink"], entry))

    assert length(compile_filter(many, "x86_64")) - length(compile_filter(one, "x86_64")) <= 4


def test_what_the_kernel_can_cache_reads_no_argument() -> None:
    """Since 5.11 a call whose answer depends on its number alone never runs the filter again."""
    text = disassemble(compile_filter(SyscallPolicy().allowing(["read", "getppid"]), "x86_64"), "x86_64")

    assert "arg" not in text
    assert text.splitlines()[0].split() == ["0", "load", "architecture"]


def test_describe() -> None:
    text = describe(MIXED, "x86_64")

    assert "x86_64: allow: exit_group fork read rt_sigreturn\n" in text
    assert "x86_64: errno ENOSYS: clone3 io_uring_setup\n" in text
    assert "socket:\n    low32(arg0) == 0x2 and low32(arg1) & 0xf in {0x1, 0x2} -> allow\n" in text
    assert "    otherwise -> errno ENOTTY\n" in text
    assert "fork" not in describe(MIXED, "aarch64")


def test_disassemble_names_calls_and_fields() -> None:
    text = disassemble(compile_filter(MIXED, "x86_64"), "x86_64")

    assert "architecture == 0xc000003e (x86_64)" in text
    assert "0x40000000 (x32)" in text
    assert "(ptrace)" in text
    assert "load arg1.low" in text
    assert "return kill process" in text
    assert "return errno EPERM" in text
