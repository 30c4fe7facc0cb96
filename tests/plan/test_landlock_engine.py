"""What the engine without namespaces decides: which property holds from which ABI on, and what its filter adds."""

from __future__ import annotations

import os

import pytest

from isolate_fn import Policy
from isolate_fn._plan.engine import choose_engine
from isolate_fn._plan.landlock_engine import given
from isolate_fn._plan.orders import OWN_PID
from isolate_fn._plan.seccomp import ALLOW, EPERM
from isolate_fn._plan.seccomp_confined import confined_filter, confined_policy
from isolate_fn._sys.features import Features
from isolate_fn.errors import Unsupported


def machine(*, landlock: int = 7, userns: bool = False, privileged: bool = False, seccomp: bool = True) -> Features:
    return Features(
        machine="x86_64", kernel=(6, 18), landlock=landlock, landlock_cause="" if landlock else "none here", seccomp=seccomp,
        userns=userns, userns_cause="" if userns else "sysctl kernel.unprivileged_userns_clone is 0", privileged=privileged,
        all_ids=True, mount_setattr=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("abi", "children", "processes"), [(1, False, True), (5, True, False), (5, False, True), (6, True, True)]
)
def test_processes_are_held_by_the_scope_or_where_there_are_none(abi, children, processes):
    assert ("processes" in given(machine(landlock=abi), children=children)) is processes
    assert {"filesystem", "network", "syscalls"} <= given(machine(landlock=abi), children=children)


def test_the_strongest_engine_is_chosen():
    assert choose_engine(Policy(), machine(userns=True), tools=True) == "namespaces"
    assert choose_engine(Policy(), machine(privileged=True), tools=True) == "namespaces"
    assert choose_engine(Policy(), machine(), tools=True) == "landlock"
    assert choose_engine(Policy(), machine(landlock=1), tools=False) == "landlock"
    without = Policy(require={"filesystem", "network", "syscalls"})
    assert choose_engine(without, machine(landlock=1), tools=True) == "landlock"


@pytest.mark.parametrize(
    ("features", "tools"),
    [(machine(landlock=0), False), (machine(seccomp=False), False), (machine(landlock=5), True)],
)
def test_what_no_engine_gives_is_refused_with_the_cause(features, tools):
    with pytest.raises(Unsupported) as refused:
        choose_engine(Policy(), features, tools=tools)

    assert "sysctl kernel.unprivileged_userns_clone is 0" in refused.value.found
    assert "sysctl -w kernel.unprivileged_userns_clone=1" in refused.value.remedy


@pytest.mark.parametrize(
    ("options", "call", "arguments", "answer"),
    [
        ({}, "fchmod", (3, 0o600), EPERM),
        ({"own_id": True}, "fchmod", (3, 0o600), ALLOW),
        ({}, "utimensat", (3, 0), EPERM),
        ({}, "sched_setaffinity", (0,), ALLOW),
        ({}, "sched_setaffinity", (4711,), EPERM),
        ({}, "truncate", (0,), ALLOW),
        ({"truncation": True}, "truncate", (0,), EPERM),
        ({"truncation": True}, "openat", (0, 0, os.O_RDONLY | os.O_TRUNC), EPERM),
        ({"truncation": True}, "openat", (0, 0, os.O_ACCMODE | os.O_TRUNC), EPERM),
        ({"truncation": True}, "openat", (0, 0, os.O_WRONLY | os.O_TRUNC), ALLOW),
        ({"truncation": True}, "openat", (0, 0, os.O_RDONLY), ALLOW),
        ({}, "kill", (4711, 9), ALLOW),
        ({"signals": True}, "kill", (4711, 9), EPERM),
        ({"signals": True}, "tgkill", (OWN_PID, 4711, 9), ALLOW),
    ],
)
def test_what_the_filter_adds(options, call, arguments, answer):
    policy = confined_policy(**{"own_id": False, "truncation": False, "signals": False, **options})

    assert policy.decide("x86_64", call, (*arguments, *[0] * (6 - len(arguments)))) == answer


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_the_place_of_the_process_number_is_found_in_the_program(architecture):
    program = confined_filter(architecture, own_id=False, truncation=True, signals=True)

    assert program.count(OWN_PID.to_bytes(4, "little")) == 1
    assert OWN_PID.to_bytes(4, "little") not in confined_filter(architecture, own_id=False, truncation=True, signals=False)
