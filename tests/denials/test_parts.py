"""The pure parts: lines of code objects, words for arguments, fixes, and filters that ask against filters that answer."""

from __future__ import annotations

import ast
import errno
import os
import random
import select
import struct
import types

import pytest

from isolate_fn import rules
from isolate_fn._enforce import listening
from isolate_fn._plan import argument_names, call_arguments, fixes, seccomp_base
from isolate_fn._plan.emulator import SeccompData, run
from isolate_fn._plan.seccomp import lets_through
from isolate_fn._plan.unheard import unheard
from isolate_fn._runtime import stacks, supervision
from isolate_fn._runtime.missing import _quoted
from isolate_fn._runtime.stacks import find_layout, line_at
from isolate_fn._sys import numbers
from isolate_fn._sys.seccomp_constants import AUDIT_ARCH, SECCOMP_RET_USER_NOTIF
from isolate_fn._sys.thread_state import anchors

EPERM = 0x00050001


def code_objects(code):
    yield code
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            yield from code_objects(each)


@pytest.mark.parametrize("module", [ast, os, argument_names])
def test_lines_are_those_that_python_finds(module):
    with open(module.__file__, encoding="utf-8") as file:
        top = compile(file.read(), module.__file__, "exec")
    checked = 0
    for code in code_objects(top):
        for index, (line, *_) in enumerate(code.co_positions()):
            assert line_at(code.co_linetable, 2 * index, code.co_firstlineno) == (line or 0)
            checked += 1
    assert checked > 1000


@pytest.mark.parametrize("table", [b"", b"\x80", b"\xf0\xff\xff\xff", bytes(range(256)), b"\x80" * 1000])
def test_a_table_of_lines_may_be_anything(table):
    assert isinstance(line_at(table, 1 << 62, 5), int)


def test_memory_may_be_anything(monkeypatch):
    """Frames, code and text are looked for in what hostile code has written; seeds are fixed."""
    layout, at = stacks.find_layout(), anchors()
    chance = random.Random(5)
    plausible = [at.thread, at.code, at.data, at.text, 0, 1, 7, 0xFF, 4096, 1 << 47, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]

    def memory(pid, address, size):
        if chance.random() < 0.05:
            return chance.randbytes(chance.randrange(size + 1))
        words = (chance.choice(plausible) if chance.random() < 0.8 else chance.getrandbits(64) for _ in range(size // 8 + 1))
        return struct.pack(f"={size // 8 + 1}Q", *words)[:size]

    monkeypatch.setattr(stacks, "read_memory", memory)
    found = [frame for native in (0, 7) * 5000 for frame in stacks.Stacks(layout, at).of(1, native)]
    assert found
    assert all(len(file) <= stacks.MOST_TEXT and len(name) <= stacks.MOST_TEXT for file, _, name in found)


def test_this_interpreter_is_as_expected():
    assert find_layout() is not None


def test_every_word_is_of_a_call_that_exists():
    assert [name for name in call_arguments.ARGUMENTS if not numbers.is_known(name)] == []


@pytest.mark.parametrize(
    ("call", "arguments", "texts", "shown"),
    [
        ("socket", (2, 0o2000001, 6), (), ("AF_INET", "SOCK_STREAM|SOCK_CLOEXEC", "6")),
        ("socket", (99, 77, 0), (), ("0x63", "0x4d", "0")),
        ("open", (1, 0o2000101, 0o644), ("/a", None), ("'/a'", "O_WRONLY|O_CREAT|O_CLOEXEC", "0o644")),
        ("openat", (2**64 - 100, 5, 0, 0), (None, None), ("AT_FDCWD", "0x5", "O_RDONLY", "0o0")),
        ("clone", (17, 0, 0, 0, 0), (), ("SIGCHLD", "0", "0", "0", "0")),
        ("unshare", (0x10020000,), (), ("CLONE_NEWNS|CLONE_NEWUSER",)),
        ("kill", (2**64 - 1, 9), (), ("-1", "9")),
        ("connect", (3, 1, 16), (None, "0a00005000000000" + "20010db8" + "0" * 22 + "01" + "0" * 8, None), None),
        ("connect", (3, 1, 5), (None, "0100002f61"), ("3", "'@/a'", "5")),
        ("no_such_call", (11, 2), (), ("0xb", "2")),
    ],
)
def test_arguments_are_written_as_somebody_would(call, arguments, texts, shown):
    if shown is None:
        shown = ("3", "[2001:db8:0:0:0:0:0:1]:80", "16")
    assert argument_names.decoded(call, arguments, texts) == shown


@pytest.mark.parametrize("text", ["", "01", "0200", "0a00", "ffff00", "01002f" + "61" * 100])
def test_any_address_has_a_text(text):
    assert argument_names.address(text)


@pytest.mark.parametrize("path", ["/a b", '/a"b', "/a'b", "/é\\x", "/\udcff", "/\n\x1b", "/\U0001f600"])
def test_paths_in_advice_are_python(path):
    assert ast.literal_eval(_quoted(path)) == path
    assert _quoted(path).isascii()
    assert _quoted(path).isprintable()


CASES = [
    ("openat", (0, 0, 0o2000000)), ("openat", (0, 0, 0o102, 0o644)), ("clone", (0x3D0F00,)), ("clone", (17,)),
    ("execve", ()), ("unlink", ()), ("clock_nanosleep", ()), ("write", (1,)), ("mkdir", (0, 0o755)), ("kill", (5, 9)),
]  # fmt: skip


@pytest.mark.parametrize(("call", "arguments"), CASES)
def test_advised_rule_sets_permit_the_call(call, arguments):
    advised = eval(f"dict({fixes.fixes('x86_64', [(call, arguments)], network=False, rules=())[0]})", vars(rules))
    six = (*arguments, *(0,) * (6 - len(arguments)))
    (chosen,) = advised["rules"]
    conditional = chosen.conditional_rules().get(call, ())
    assert call in chosen.simple_rules() or any(rule.matches(six) for rule in conditional)


def test_what_no_option_permits_is_not_advised():
    for call in ("ptrace", "mount", "bpf", "setuid"):
        for given in (True, False):
            assert fixes.fixes("x86_64", [(call, ())], network=given, rules=() if given else None) == [""]


READING, WRITING = ("openat", (0, 0, os.O_RDONLY)), ("openat", (0, 0, os.O_WRONLY | os.O_CREAT))
CUSTOM = rules.Custom("mine", rules.Rule("openat", rules.Arg(1) == 3))


def advised(*calls, given=()):
    return fixes.fixes("x86_64", calls, network=False, rules=given)


def test_advice_goes_with_the_rules_that_there_are():
    assert advised(WRITING) == ["rules=[SystemIO().allow_open()]"]
    assert advised(WRITING, given=(rules.SystemIO().allow_read(),)) == ["rules=[SystemIO().allow_open()]"]
    (told,) = advised(WRITING, given=(rules.Pipes(), rules.SystemIO().allow_open_readonly().allow_read()))
    old, new = told.removeprefix("in place of ").split(": ")
    assert eval(old, vars(rules)) == rules.SystemIO().allow_open_readonly().allow_read()
    assert eval(new, vars(rules)) == rules.SystemIO().allow_open_readonly().allow_read().allow_open()
    assert advised(WRITING, given=(CUSTOM,)) == ["in place of what mine says of openat: SystemIO().allow_open()"]
    without = rules.SystemIO().allow_open().without("openat").restrict(rules.Rule("open", rules.Arg(1) == 3))
    assert "SystemIO().allow_open()" in advised(WRITING, given=(without,))[0]


def test_advice_for_several_calls_goes_together():
    assert advised(READING) == ["rules=[SystemIO().allow_open_readonly()]"]
    assert advised(READING, WRITING) == ["rules=[SystemIO().allow_open()]"] * 2
    assert advised(READING, ("close", ())) == ["rules=[SystemIO().allow_open_readonly()]", "rules=[SystemIO().allow_close()]"]


def test_what_only_a_whole_set_permits_is_advised_last():
    assert advised(("flock", ())) == ["rules=[SystemIO.everything()]"]
    assert advised(("mmap", (0, 0, 3, 1, 5, 0))) == ["rules=[Memory().allow_memory_files()]"]


@pytest.mark.parametrize("machine", numbers.MACHINES)
@pytest.mark.parametrize("options", [{}, {"exec": True}, {"network": True}, {"exec": True, "network": True}], ids=str)
def test_asking_denies_exactly_what_answering_does(machine, options):
    asks = seccomp_base.worker_filter(machine, on_denied="report", **options)
    answers = seccomp_base.worker_filter(machine, **options)
    quiet, asked = unheard(asks), 0
    for number in [*numbers.table(machine).values(), 460, 470, 4000]:
        for arguments in ((0,) * 6, (2, 1, 0, 0, 0, 0), (1, 0x80801, 0, 0, 0, 0), (17, 0, 0, 0, 0, 0), (~0 & 2**64 - 1,) * 6):
            said = verdict(asks, machine, number, arguments)
            assert verdict(quiet, machine, number, arguments) == verdict(answers, machine, number, arguments)
            assert said in (verdict(answers, machine, number, arguments), SECCOMP_RET_USER_NOTIF)
            if said == SECCOMP_RET_USER_NOTIF:
                assert verdict(answers, machine, number, arguments) == EPERM
                asked += 1
    assert asked > 100


def test_what_could_make_a_listener_never_asks():
    for options in ({}, {"exec": True}, {"narrowing": True}):
        policy = seccomp_base.worker_policy(on_denied="report", **options)
        for flags in range(64):
            assert policy.decide("x86_64", "seccomp", (1, flags, 0, 0, 0, 0)).verdict != SECCOMP_RET_USER_NOTIF


def test_below_rules_only_what_options_permit_asks():
    policy = seccomp_base.worker_policy(on_denied="later", narrowing=True)
    widest = seccomp_base.worker_policy(exec=True, network=True, memfd=True)
    asks = 0
    for call in numbers.table("x86_64"):
        for arguments in ((0,) * 6, (2, 1, 0, 0, 0, 0), (17, 0, 0, 0, 0, 0), (0x10000011, 0, 0, 0, 0, 0), (38, 5, 0, 0, 0, 0)):
            if policy.decide("x86_64", call, arguments).verdict == SECCOMP_RET_USER_NOTIF:
                assert lets_through(widest.decide("x86_64", call, arguments)), (call, arguments)
                asks += 1
    assert asks > 10


def verdict(program, machine, number, arguments):
    return run(program, SeccompData(number, AUDIT_ARCH[machine], arguments)).verdict


def test_nothing_of_an_isolate_that_ended_stays_open():
    before = os.listdir("/proc/self/fd")
    watching = supervision.Supervision(select.poll())
    status = os.open("/dev/null", os.O_RDONLY)
    for pid in range(5):
        here, there = watching.door()
        watching.watch(pid, status, here, 1, fresh_exec=False)
        there.close()
    watching.forget(99)
    for pid in range(5):
        watching.forget(pid)
    os.close(status)
    assert os.listdir("/proc/self/fd") == before


class _Crowded:
    """A socket of a user with many descriptors on their way."""

    def __init__(self, refusals, code):
        self.refusals, self.code, self.sent = refusals, code, []

    def sendmsg(self, *message):
        if self.refusals:
            self.refusals -= 1
            raise OSError(self.code, "")
        self.sent.append(message)


def test_a_listener_waits_until_there_is_room_for_it(monkeypatch):
    """Its process may have few files open, and all descriptors of a user that are on their way count."""
    socket = _Crowded(3, errno.ETOOMANYREFS)
    listening.send(socket, [b"worker"], 7)
    assert [parts for parts, *_ in socket.sent] == [[b"worker"]]
    with pytest.raises(OSError, match=str(errno.EPIPE)):
        listening.send(_Crowded(1, errno.EPIPE), [b"worker"], 7)
    monkeypatch.setattr(listening, "_PATIENCE", -1)
    with pytest.raises(OSError, match=str(errno.ETOOMANYREFS)):
        listening.send(_Crowded(1, errno.ETOOMANYREFS), [b"worker"], 7)
