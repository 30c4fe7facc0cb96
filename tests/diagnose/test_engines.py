"""Where namespaces are refused the doctor names the other engine, and what the stronger one lacks fails nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from patients import Findings

pytestmark = [pytest.mark.needs("namespaces"), pytest.mark.needs("landlock>=6")]
Patient = Callable[..., Findings]


@pytest.mark.parametrize(
    "refusal",
    ["deny(*DOCKER_DENIES)", "deny_flags('unshare', 0x7E020000)", "refuse_as_the_kernel_does(errno.EACCES)", "deny('mount')"],
)
def test_behind_a_filter_the_other_engine_is_used(patient: Patient, refusal: str) -> None:
    found = patient(refusal)
    assert found.works
    assert found.document["engine"] == found.document["enforcement"]["engine"] == "landlock"
    assert "without namespaces" in found.document["why"]
    assert {check["status"] for check in found.document["checks"]} <= {"ok", "weaker", "info"}
    assert "denied to isolates" in found["/dev/shm"]["found"]
    assert found.document["enforcement"]["properties"] == ["filesystem", "network", "processes", "syscalls"]


def test_what_is_refused_first_says_that_there_is_another_engine(patient: Patient) -> None:
    found = patient("deny('unshare')")
    found.assert_found("user namespaces", "weaker", "engine 'landlock' instead", "unshare")
    assert found.document["why"].count("a seccomp filter answers unshare(2)") == 1


def test_a_limit_that_is_reached_changes_no_engine(patient: Patient) -> None:
    """It may be free at the next call; the filter refuses nothing."""
    found = patient("set_sysctl('user.max_user_namespaces', 1)\ncalls.unshare(k.CLONE_NEWUSER)\ndeny('bpf')")
    assert not found.works
    found.assert_found("user namespaces", "failed", "is reached", "sysctl -w user.max_user_namespaces=10000")
    assert "ISOLATE_FN_PRETEND=userns=0" in found.call["fix"]


def test_a_filter_that_kills_kills_no_caller(patient: Patient) -> None:
    found = patient("deny('unshare', code=0)")
    assert not found.works
    assert "before the function ran" in found.call["found"]


def test_without_either_engine_landlock_is_what_is_missing(patient: Patient) -> None:
    found = patient("deny('unshare', 'landlock_create_ruleset')")
    assert not found.works
    found.assert_found("Landlock", "failed", "a seccomp filter denies landlock_create_ruleset(2)", "without namespaces")
    assert found.document["engine"] == "none"


def test_an_older_landlock_says_what_it_cannot_hold(patient: Patient) -> None:
    found = patient("deny('unshare')", env={"ISOLATE_FN_PRETEND": "landlock=5"})
    found.assert_found("Landlock", "weaker", "box.run()", "Linux 6.12")


@pytest.mark.needs("root", "interpreter")
def test_root_in_a_container_gets_ids_that_nobody_has(patient: Patient) -> None:
    found = patient(ordinary=False, env={"ISOLATE_FN_PRETEND": "userns=0,privileged=0"})
    assert found.works
    assert "readable by every user" in found["user ids"]["found"]
    assert "own user id" in found.document["enforcement"]["layers"]
