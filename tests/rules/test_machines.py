"""Every set means the same on x86_64 and aarch64: no unknown name, and a modern sibling beside every old one."""

from __future__ import annotations

import pytest
from generate_rules_page import Entry, catalogue

from isolate_fn._plan.rule_sets import compile_rule_sets
from isolate_fn._sys import numbers
from isolate_fn.rules import BasicCapabilities, Custom, Rule

ENTRIES = list(catalogue())
each_entry = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.key)

#: What x86_64 has and aarch64 has not -> the call that does the same there; none for what has no counterpart.
MODERN = {
    "access": "faccessat",
    "alarm": "setitimer",
    "arch_prctl": "",  # segment registers and features of x86
    "chmod": "fchmodat",
    "chown": "fchownat",
    "creat": "openat",
    "dup2": "dup3",
    "epoll_create": "epoll_create1",
    "epoll_wait": "epoll_pwait",
    "eventfd": "eventfd2",
    "fork": "clone",
    "futimesat": "utimensat",
    "getdents": "getdents64",
    "inotify_init": "inotify_init1",
    "lchown": "fchownat",
    "link": "linkat",
    "lstat": "newfstatat",
    "mkdir": "mkdirat",
    "mknod": "mknodat",
    "open": "openat",
    "pause": "ppoll",
    "pipe": "pipe2",
    "poll": "ppoll",
    "readlink": "readlinkat",
    "rename": "renameat",
    "rmdir": "unlinkat",
    "select": "pselect6",
    "signalfd": "signalfd4",
    "stat": "newfstatat",
    "symlink": "symlinkat",
    "time": "gettimeofday",
    "unlink": "unlinkat",
    "utime": "utimensat",
    "utimes": "utimensat",
    "vfork": "clone",
}


def calls(entry: Entry) -> set[str]:
    return {*entry.value.simple_rules(), *entry.value.conditional_rules()}


@each_entry
def test_every_name_is_known(entry: Entry) -> None:
    assert calls(entry) <= {*numbers.table("x86_64")}, "x86_64 has every call, old and new"


@each_entry
def test_a_modern_sibling_is_there(entry: Entry) -> None:
    missing = calls(entry) - set(numbers.table("aarch64"))
    assert missing <= set(MODERN)
    for call in missing:
        assert MODERN[call] in calls(entry) | {""}, f"{call} without {MODERN[call]}"


def test_siblings_are_conditional_alike() -> None:
    """A modern call is not free where the old one has conditions, or the other way round."""
    pairs = {(old, new) for old, new in MODERN.items() if new and (old, new) not in DIFFERENT}
    for entry in ENTRIES:
        simple, conditional = set(entry.value.simple_rules()), set(entry.value.conditional_rules())
        for old, new in pairs:
            if old in simple | conditional:
                assert (old in simple) == (new in simple), f"{entry.key}: {old}, {new}"


#: The modern call does more than the old one, so it alone has conditions.
DIFFERENT = {("fork", "clone"), ("vfork", "clone"), ("rmdir", "unlinkat")}


def test_the_table_names_what_aarch64_lacks() -> None:
    assert not set(MODERN) & set(numbers.table("aarch64"))
    assert set(MODERN.values()) - {""} <= set(numbers.table("aarch64")) & set(numbers.table("x86_64"))


@each_entry
@pytest.mark.parametrize("machine", numbers.MACHINES)
def test_the_filter_permits_what_the_set_says(entry: Entry, machine: str) -> None:
    policy = compile_rule_sets([BasicCapabilities.nothing(), entry.value]).policy
    simple, conditional = set(entry.value.simple_rules()), set(entry.value.conditional_rules())
    for call in numbers.table(machine):
        answer = policy.decide(machine, call, (0xDEAD_BEEF_DEAD_BEEF,) * 6)
        if call in simple:
            assert str(answer) == "allow", call
        elif call not in conditional:
            assert str(answer).startswith("errno"), call
    assert compile_rule_sets([entry.value]).filter(machine)


def test_a_name_that_one_machine_lacks_is_left_out_there() -> None:
    compiled = compile_rule_sets([Custom("both", "open", Rule("arch_prctl"), "openat")])
    assert compiled.filter("aarch64") != compiled.filter("x86_64")
    assert str(compiled.policy.decide("aarch64", "openat", (0,) * 6)) == "allow"
