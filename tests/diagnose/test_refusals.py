"""What refuses namespaces is found, named, and told with its remedy: by the doctor and by the error at a call alike."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from patients import Findings, tree

pytestmark = pytest.mark.needs("namespaces")

Patient = Callable[..., Findings]


@pytest.fixture
def patient(patient: Patient) -> Patient:
    """Give one that has no other engine, so that what is refused is told by the error at a call."""

    def examine(*arguments: object, env: dict[str, str] | None = None, **options: object) -> Findings:
        return patient(*arguments, env={"ISOLATE_FN_PRETEND": "landlock=0", **(env or {})}, **options)

    return examine
KINDS = {"mount": "mnt", "pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "cgroup": "cgroup"}


@pytest.mark.parametrize("ordinary", [True, False], ids=["ordinary", "as-we-are"])
def test_a_healthy_machine(patient: Patient, ordinary: bool) -> None:
    found = patient(ordinary=ordinary)
    assert found.works
    assert found.document["engine"] == "namespaces"
    assert {check["status"] for check in found.document["checks"] if check["group"] == "namespaces"} == {"ok"}
    assert "seccomp" in found.document["enforcement"]["layers"]


# --- switches --------------------------------------------------------------------------------------------------------


def test_no_user_namespaces_by_sysctl(patient: Patient) -> None:
    found = patient("set_sysctl('user.max_user_namespaces', 0)")
    found.assert_found("user namespaces", "failed", "user.max_user_namespaces is 0", "sysctl -w user.max_user_namespaces=10000")
    assert not found.works
    assert found.call["fix"] == found["user namespaces"]["fix"]
    assert "user.max_user_namespaces is 0" in found.call["cause"]


@pytest.mark.parametrize("name", KINDS)
def test_no_namespaces_of_one_kind_by_sysctl(patient: Patient, name: str) -> None:
    """The sysctl of this user namespace counts for those below it."""
    sysctl = f"user.max_{KINDS[name]}_namespaces"
    found = patient(f"set_sysctl({sysctl!r}, 0)")
    found.assert_found(f"{name} namespace", "failed", f"sysctl {sysctl} is 0", f"sysctl -w {sysctl}=10000")
    assert "ENOSPC" in found[f"{name} namespace"]["found"]
    assert found["user namespaces"]["status"] == "ok"
    assert not found.works


def test_a_limit_that_is_reached(patient: Patient) -> None:
    """One is allowed, and it is the one in which the spawner lives: the worker's is one too many."""
    found = patient("set_sysctl('user.max_user_namespaces', 1)\ncalls.unshare(k.CLONE_NEWUSER)")
    found.assert_found("user namespaces", "failed", "is reached", "sysctl -w user.max_user_namespaces=10000")
    assert "ENOSPC" in found["user namespaces"]["found"]


def test_debian_s_switch(patient: Patient, tmp_path: Path) -> None:
    root = tree(tmp_path, {"/proc/sys/kernel/unprivileged_userns_clone": "0", "/proc/self/status": "Seccomp_filters:\t0"})
    found = patient("refuse_as_the_kernel_does(errno.EPERM)", root=root)
    words = ("unprivileged_userns_clone is 0", "sysctl -w kernel.unprivileged_userns_clone=1")
    found.assert_found("user namespaces", "failed", *words)
    found.assert_refused_alike("user namespaces")


UBUNTU = {
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1",
    "/proc/self/attr/apparmor/current": "unconfined",
    "/proc/self/status": "Seccomp_filters:\t0",
}


@pytest.mark.parametrize("code", ["EPERM", "EACCES"])
def test_apparmor_s_restriction_on_ubuntu(patient: Patient, tmp_path: Path, code: str) -> None:
    """With its profile unprivileged_userns loaded the next capability is refused, without it unshare(2) itself."""
    found = patient(f"refuse_as_the_kernel_does(errno.{code})", root=tree(tmp_path, UBUNTU))
    found.assert_found("user namespaces", "failed", "apparmor_restrict_unprivileged_userns is 1", "apparmor_parser -r")
    found.assert_refused_alike("user namespaces")
    assert "flags=(unconfined) { userns, }" in found.call["fix"]
    assert "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0" in found.call["fix"]


def test_apparmor_s_restriction_after_the_namespace_was_made(patient: Patient, tmp_path: Path) -> None:
    """unshare(2) works, and the namespace comes without the capabilities to do anything in it."""
    found = patient("refuse_as_the_kernel_does(errno.EPERM, k.CLONE_NEWNS)", root=tree(tmp_path, UBUNTU))
    assert found["user namespaces"]["status"] == "ok"
    found.assert_found("mount namespace", "failed", "AppArmor restricts", "apparmor_parser -r")
    found.assert_refused_alike("mount namespace")


def test_apparmor_s_restriction_in_a_workflow(patient: Patient, tmp_path: Path) -> None:
    root = tree(tmp_path, UBUNTU)
    found = patient("refuse_as_the_kernel_does(errno.EPERM)", root=root, environ={"GITHUB_ACTIONS": "true"})
    found.assert_found("user namespaces", "failed", "AppArmor", "run: sudo sysctl -w kernel.apparmor_restrict")
    found.assert_refused_alike("user namespaces")


def test_a_profile_of_apparmor_s(patient: Patient, tmp_path: Path) -> None:
    files = {"/proc/self/attr/apparmor/current": "docker-default (enforce)", "/.dockerenv": "", "/proc/self/status": ""}
    found = patient("deny('mount', code=errno.EACCES)", root=tree(tmp_path, files))
    assert not found.works
    found = patient("refuse_as_the_kernel_does(errno.EACCES)", root=tree(tmp_path, files))
    found.assert_found("user namespaces", "failed", "'docker-default (enforce)' denies", "--security-opt apparmor=unconfined")
    found.assert_refused_alike("user namespaces")


def test_selinux(patient: Patient, tmp_path: Path) -> None:
    files = {"/sys/fs/selinux/enforce": "1", "/run/.containerenv": "", "/proc/self/status": ""}
    found = patient("refuse_as_the_kernel_does(errno.EACCES)", root=tree(tmp_path, files))
    found.assert_found("user namespaces", "failed", "SELinux", "podman run --security-opt label=disable")
    found.assert_refused_alike("user namespaces")


def test_a_chroot(patient: Patient, tmp_path: Path) -> None:
    files = {"/proc/self/mountinfo": "30 25 0:20 / /proc rw - proc proc rw", "/proc/self/status": ""}
    found = patient("refuse_as_the_kernel_does(errno.EPERM)", root=tree(tmp_path, files))
    found.assert_found("user namespaces", "failed", "in a chroot", "pivot_root")
    found.assert_refused_alike("user namespaces")


def test_a_refusal_of_unknown_cause(patient: Patient, tmp_path: Path) -> None:
    found = patient("refuse_as_the_kernel_does(errno.EPERM)", root=tree(tmp_path, {"/proc/self/status": ""}))
    found.assert_found("user namespaces", "failed", "does not know", "journalctl -k")
    found.assert_refused_alike("user namespaces")


# --- filters ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ordinary", [True, False], ids=["ordinary", "as-we-are"])
def test_docker_s_default_filter(patient: Patient, tmp_path: Path, ordinary: bool) -> None:
    """A real filter that refuses what Docker's default profile refuses; only the evidence of Docker is made up."""
    files = {"/.dockerenv": "", "/proc/self/status": "Seccomp:\t2\nSeccomp_filters:\t1"}
    found = patient("deny(*DOCKER_DENIES)", ordinary=ordinary, root=tree(tmp_path, files))
    found.assert_found("user namespaces", "failed", "a seccomp filter answers unshare(2)", "--security-opt seccomp=")
    found.assert_found("system calls of the set-up", "failed", "a seccomp filter answers them", "unshare, ")
    for call in ("unshare", "mount", "setns", "keyctl"):
        assert f"{call} (EPERM)" in found["system calls of the set-up"]["found"]
    found.assert_refused_alike("user namespaces")


KUBERNETES, PODMAN = {"/var/run/secrets/kubernetes.io/serviceaccount/token": ""}, {"/run/.containerenv": ""}
UNIT = {"/proc/self/cgroup": "0::/system.slice/web.service"}
LXC = {"/run/systemd/container": "lxc"}


@pytest.mark.parametrize(
    ("files", "fix"),
    [
        (KUBERNETES, "seccompProfile: {type: Localhost"), (PODMAN, "podman run --security-opt seccomp="),
        (UNIT, "systemctl edit web.service"), (LXC, "security.nesting true"), ({}, "find the program that started"),
    ],
    ids=["kubernetes", "podman", "systemd", "lxc", "unknown"],
)  # fmt: skip
def test_the_remedy_for_a_filter_is_in_the_words_of_who_runs_it(
    patient: Patient, tmp_path: Path, files: dict[str, str], fix: str
) -> None:
    root = tree(tmp_path, {**files, "/proc/self/status": "Seccomp_filters:\t1"})
    found = patient("deny(*DOCKER_DENIES)", root=root)
    found.assert_found("user namespaces", "failed", "a seccomp filter answers unshare(2)", fix)
    found.assert_refused_alike("user namespaces")


def test_restrict_namespaces_of_systemd(patient: Patient, tmp_path: Path) -> None:
    """Its filter looks at flags, so that a call with none would pass; and systemd is asked for the unit's settings."""
    systemctl = tmp_path / "bin" / "systemctl"
    systemctl.parent.mkdir()
    systemctl.write_text("#!/bin/sh\nprintf 'NoNewPrivileges=yes\\nRestrictNamespaces=yes\\nPrivateUsers=no\\n'\n")
    systemctl.chmod(0o755)
    root = tree(tmp_path, {**UNIT, "/proc/self/status": "Seccomp_filters:\t3"})
    path = f"{systemctl.parent}:{os.environ['PATH']}"
    found = patient("deny_flags('unshare', 0x7E020000)", root=root, env={"PATH": path})
    words = ("the unit has NoNewPrivileges=yes, RestrictNamespaces=yes", "RestrictNamespaces=no")
    found.assert_found("user namespaces", "failed", *words)
    found.assert_refused_alike("user namespaces")
    assert "web.service with NoNewPrivileges=yes" in found["systemd unit"]["found"]


@pytest.mark.parametrize("call", ["setns", "pivot_root", "open_tree", "keyctl", "umount2", "sethostname"])
def test_a_filter_that_refuses_one_call(patient: Patient, call: str) -> None:
    """Docker with --cap-add SYS_ADMIN is like that: most of the set-up works."""
    found = patient(f"deny({call!r})")
    found.assert_found("system calls of the set-up", "failed", f"a seccomp filter answers {call}(2)", call)
    assert f"refused: {call} (EPERM)" in found["system calls of the set-up"]["found"]
    assert not found.works
    assert found.call["fix"], found.call
    if call != "setns":  # without which the spawner is lost, and with it what it could tell
        assert "seccomp filter" in found.call["fix"]


def test_a_filter_that_kills(patient: Patient) -> None:
    found = patient("deny('unshare', code=0)")
    found.assert_found("user namespaces", "failed", "a seccomp filter kills", "allow")
    assert "killed by signal 31" in found["user namespaces"]["found"]
    assert not found.works


def test_calls_that_a_filter_does_not_know(patient: Patient) -> None:
    found = patient("deny('openat2', 'close_range', code=errno.ENOSYS)")
    found.assert_found("system calls of the set-up", "failed", "a seccomp filter answers them", "openat2, close_range")
    assert not found.works


def test_no_user_namespaces_for_root_in_a_namespace_of_its_own(patient: Patient) -> None:
    """What rootless containers give: privileged there, and the worker's namespace is the one that is refused."""
    found = patient("become_root()\nset_sysctl('user.max_user_namespaces', 0)", ordinary=False)
    found.assert_found("user namespaces", "failed", "user.max_user_namespaces is 0", "sysctl -w user.max_user_namespaces=10000")
    assert not found.works
    assert found["user namespaces"]["fix"] in found.call["fix"]
    assert "user.max_user_namespaces is 0" in found.call["fix"]
