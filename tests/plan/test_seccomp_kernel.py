"""The same filters in the real kernel: every answer of the emulator is held against what a child really gets.

Calls are made as raw system calls with register contents, by forked children that are thrown away. A call
that the filter allows is compared with the same call under a filter that allows everything, so nothing here
depends on what the kernel thinks of its arguments.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import signal
from collections.abc import Callable

import pytest
from harmless import BAD, HARMLESS, HIGH, OWN_ANSWERS
from hypothesis import given, settings
from hypothesis import strategies as st

from isolate_fn._plan import seccomp_grants as grants
from isolate_fn._plan.emulator import SeccompData, run
from isolate_fn._plan.seccomp import ALLOW, Entry, Rule, SyscallPolicy, compile_filter, fail_with
from isolate_fn._plan.seccomp_base import init_filter, worker_filter
from isolate_fn._sys import numbers
from isolate_fn._sys.seccomp_constants import (
    AUDIT_ARCH,
    SECCOMP_RET_ALLOW,
    SECCOMP_RET_DATA,
    SECCOMP_RET_ERRNO,
)
from isolate_fn.policy.conditions import Arg

MACHINE = platform.machine()
pytestmark = pytest.mark.skipif(MACHINE not in numbers.MACHINES, reason="no system call table for this machine")

Under = Callable[[bytes | None, Callable[[], object]], object]
Native = Callable[[int, tuple[int, ...]], tuple[int, int]]


def programs() -> dict[str, bytes]:
    return {
        "worker": worker_filter(MACHINE),
        "worker, fork, memfd": worker_filter(MACHINE, fork=True, memfd=True),
        "worker, network": worker_filter(MACHINE, network=True),
        "worker, narrowing": worker_filter(MACHINE, narrowing=True),
        "tools": worker_filter(MACHINE, exec=True),
        "init": init_filter(MACHINE),
    }


def emulate(program: bytes, number: int, values: tuple[int, ...] = ()) -> int:
    return run(program, SeccompData(number, AUDIT_ARCH[MACHINE], values)).verdict


#: Entered by the kernel's own trampolines only. Kernels since 6.14 do not ask filters about them and answer a
#: call from anywhere else with SIGILL.
TRAMPOLINES = ("uretprobe", "uprobe")


@pytest.mark.parametrize("label", programs())
def test_emulator_and_kernel_agree(label: str, under: Under, native: Native) -> None:
    program, table = programs()[label], numbers.table(MACHINE)
    everything = compile_filter(SyscallPolicy(default=ALLOW, unknown=ALLOW), MACHINE)

    def calls() -> list[tuple[int, int]]:
        answers = [native(table[name], (*values, *[0] * (6 - len(values)))) for name, values in HARMLESS]
        return [
            (0, code) if name in OWN_ANSWERS else (result, code)
            for (name, _), (result, code) in zip(HARMLESS, answers, strict=True)
        ]

    filtered, free = under(program, calls), under(everything, calls)
    assert isinstance(filtered, list), filtered
    assert isinstance(free, list), free
    for (name, values), answer, control in zip(HARMLESS, filtered, free, strict=True):
        verdict = emulate(program, table[name], values)
        if verdict == SECCOMP_RET_ALLOW:
            assert answer == control, (name, values)
        else:
            assert verdict & ~SECCOMP_RET_DATA == SECCOMP_RET_ERRNO
            assert answer[1] == verdict & SECCOMP_RET_DATA, (name, values)


@pytest.mark.parametrize("label", programs())
def test_every_denied_call_is_denied_by_the_kernel(label: str, under: Under, native: Native) -> None:
    """All numbers to 600 whose answer is an errno: none of them reaches the kernel's own code."""
    program = programs()[label]
    names = numbers.names(MACHINE)
    denied = {
        number: verdict & SECCOMP_RET_DATA
        for number in range(601)
        if names.get(number) not in TRAMPOLINES
        and (verdict := emulate(program, number)) & ~SECCOMP_RET_DATA == SECCOMP_RET_ERRNO
    }
    answers = under(program, lambda: {number: native(number, (0,) * 6) for number in denied})

    assert len(denied) > 250
    assert answers == {number: (-1, code) for number, code in denied.items()}


@pytest.mark.parametrize("label", programs())
def test_the_never_list_in_the_kernel(label: str, under: Under, native: Native) -> None:
    """KS-01: anything but EPERM and ENOSYS would mean that the code behind the call was reached."""
    table = numbers.table(MACHINE)
    names = [name for name in grants.NEVER.split() if name in table and name not in TRAMPOLINES]
    answers = under(programs()[label], lambda: {name: native(table[name], (0,) * 6) for name in names})

    assert isinstance(answers, dict), answers
    assert len(answers) > 100
    denials = {errno.EPERM, errno.ENOSYS}
    if label == "tools":
        denials.add(errno.ENOTSUP)
    assert {name: answer for name, answer in answers.items() if answer[1] not in denials} == {}


def test_without_the_filter_the_same_calls_reach_the_kernel(under: Under, native: Native) -> None:
    """The control: what the tests above see is the filter's doing."""
    table = numbers.table(MACHINE)
    names = [
        "ptrace",
        "kcmp",
        "perf_event_open",
        "keyctl",
        "inotify_rm_watch",
        "signalfd4",
        "mq_notify",
        "splice",
    ]
    answers = under(None, lambda: {name: native(table[name], (BAD,) * 6)[1] for name in names})

    assert isinstance(answers, dict)
    assert set(answers.values()) - {errno.EPERM, errno.ENOSYS} != set()


def test_a_denial_kills_where_that_is_asked(under: Under, native: Native) -> None:
    program, table = worker_filter(MACHINE, on_denied="kill"), numbers.table(MACHINE)
    for name in ("ptrace", "mount", "unshare", "bpf", "execve", "keyctl", "setuid"):
        assert under(program, lambda number=table[name]: native(number, (0,) * 6)) == -signal.SIGSYS, name
    for name in ("clone3", "mbind", "socket", "memfd_create"):
        answer = under(program, lambda number=table[name]: native(number, (0,) * 6))
        assert answer in ((-1, errno.EPERM), (-1, errno.ENOSYS)), name


def test_a_killed_thread_takes_the_process_with_it(under: Under, native: Native) -> None:
    import threading

    def thread() -> str:
        worker = threading.Thread(target=native, args=(numbers.table(MACHINE)["ptrace"], (0,) * 6))
        worker.start()
        worker.join()
        return "survived"

    assert under(worker_filter(MACHINE, on_denied="kill"), thread) == -signal.SIGSYS


@pytest.mark.skipif(MACHINE != "x86_64", reason="x32 is an ABI of x86_64")
@pytest.mark.parametrize("label", programs())
def test_x32_is_killed(label: str, under: Under, native: Native) -> None:
    for number in (39, 0, 57, 101, 512, 547, 600):
        assert under(programs()[label], lambda number=number: native(number | 0x40000000, (0,) * 6)) == -signal.SIGSYS
    assert under(programs()[label], lambda: native(-1, (0,) * 6)) == -signal.SIGSYS


@pytest.mark.skipif(MACHINE != "x86_64", reason="int 0x80 is an instruction of x86")
def test_32_bit_calls_are_killed(under: Under) -> None:
    def int_0x80() -> int:
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, 20 (getpid of i386); int 0x80; ret
        return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()

    if under(None, lambda: int_0x80() > 0) is not True:
        pytest.skip("this kernel runs no 32-bit calls")
    assert under(worker_filter(MACHINE), int_0x80) == -signal.SIGSYS


def test_a_further_filter_can_only_take_away(under: Under, native: Native) -> None:
    """`narrowing=True`: a filter that allows everything changes nothing, one that denies more works."""
    table = numbers.table(MACHINE)

    def stack(extra: SyscallPolicy) -> Callable[[], object]:
        program = compile_filter(extra, MACHINE)

        def act() -> object:
            class Program(ctypes.Structure):
                _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

            buffer = ctypes.create_string_buffer(program, len(program))
            fprog = Program(len(program) // 8, ctypes.addressof(buffer))
            installed = native(table["seccomp"], (1, 0, ctypes.addressof(fprog), 0, 0, 0))
            return installed, native(table["ptrace"], (0,) * 6)[1], native(table["getcwd"], (0,) * 6)[1]

        return act

    everything = SyscallPolicy(default=ALLOW)
    less = everything.answering(["getcwd"], fail_with(errno.EACCES))
    narrowing = worker_filter(MACHINE, narrowing=True)

    assert under(narrowing, stack(everything)) == ((0, 0), errno.EPERM, errno.ERANGE)
    assert under(narrowing, stack(less)) == ((0, 0), errno.EPERM, errno.EACCES)
    assert under(worker_filter(MACHINE), stack(less)) == ((-1, errno.EPERM), errno.EPERM, errno.ERANGE)


values = st.integers(0, 6) | st.sampled_from([HIGH, HIGH | 2, 2**64 - 1, 1 << 63])
conditions = st.builds(
    lambda arg, members: arg.one_of(*members),
    st.builds(Arg, st.integers(0, 2), st.sampled_from([32, 64])),
    st.lists(st.integers(0, 6), min_size=1, max_size=6),
) | st.builds(
    lambda arg, method, limit, signed: getattr(arg, method)(limit, signed=signed),
    st.builds(Arg, st.integers(0, 2), st.sampled_from([32, 64])),
    st.sampled_from(["gt", "ge", "lt", "le"]),
    st.integers(0, 6),
    st.booleans(),
)
denials = st.sampled_from([ALLOW, fail_with(errno.EACCES), fail_with(errno.EXDEV), fail_with(4095)])
rule_lists = st.lists(st.builds(Rule, st.lists(conditions, max_size=3).map(tuple), denials), max_size=4).map(tuple)


@settings(max_examples=25)
@given(
    rules=rule_lists,
    otherwise=denials,
    calls=st.lists(st.tuples(values, values, values), min_size=20, max_size=40),
)
def test_random_rules_in_the_kernel(
    under: Under,
    native: Native,
    rules: tuple[Rule, ...],
    otherwise: object,
    calls: list[tuple[int, int, int]],
) -> None:
    """getppid(2) ignores its arguments, so any rule can be tried on it."""
    number = numbers.table(MACHINE)["getppid"]
    policy = SyscallPolicy(default=ALLOW).with_({"getppid": Entry(rules, otherwise)})  # type: ignore[arg-type]
    program = compile_filter(policy, MACHINE)
    answers = under(program, lambda: [native(number, (*call, 0, 0, 0)) for call in calls])

    expected = []
    for call in calls:
        verdict = emulate(program, number, call)
        code = verdict & SECCOMP_RET_DATA
        expected.append((-1, code) if verdict != SECCOMP_RET_ALLOW else (os.getpid(), 0))
    assert answers == expected


def test_the_longest_filter_is_accepted(under: Under) -> None:
    """4096 instructions, jumps of every length: what the assembler calls valid, the kernel does too."""
    wide = Entry((Rule((Arg(0).one_of(*range(0, 2 * 1300, 2)),)),))
    policy = SyscallPolicy(default=ALLOW).with_({"mkdirat": wide})

    assert under(compile_filter(policy, MACHINE), lambda: "installed") == "installed"
