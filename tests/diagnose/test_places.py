"""Where a program runs is recognised, and what shows it is named."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from patients import Findings, tree

from isolate_fn import doctor
from isolate_fn._diagnose import doctor_machine, doctor_walls, evidence
from isolate_fn._diagnose.diagnosis import Check
from isolate_fn._plan import remedies
from isolate_fn._runtime import refusal
from isolate_fn._sys import places
from isolate_fn._sys.host_files import HostFiles

MOUNT = "31 25 254:1 {root} {point} rw,relatime - {kind} /dev/vda1 rw"
GVISOR = "Linux version 4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016"

# Files of /proc and others as they were seen there, variables, machine; what is recognised, and words of the evidence.
SEEN = [
    ({"/.dockerenv": ""}, {}, "Docker", "/.dockerenv"),
    ({"/proc/self/cgroup": "12:pids:/docker/8f0c\n0::/docker/8f0c"}, {}, "Docker", "/docker/8f0c"),
    ({"/proc/self/cgroup": "0::/system.slice/docker-8f0c.scope"}, {}, "Docker", "docker-8f0c.scope"),
    (
        {"/proc/self/mountinfo": MOUNT.format(root="/var/lib/docker/containers/8f0c/hosts", point="/etc/hosts", kind="ext4")},
        {}, "Docker", "/etc/hosts comes from /var/lib/docker/containers/8f0c/hosts",
    ),
    ({"/run/.containerenv": ""}, {}, "Podman", "/run/.containerenv"),
    ({}, {"container": "podman"}, "Podman", "container=podman"),
    ({"/proc/self/cgroup": "0::/machine.slice/libpod-1a.scope"}, {}, "Podman", "libpod-1a.scope"),
    ({"/var/run/secrets/kubernetes.io/serviceaccount/token": ""}, {}, "Kubernetes", "serviceaccount"),
    ({}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "Kubernetes", "KUBERNETES_SERVICE_HOST=10.0.0.1"),
    ({"/proc/self/cgroup": "0::/kubepods.slice/kubepods-pod1.slice/cri-1.scope"}, {}, "Kubernetes", "kubepods"),
    (
        {"/proc/self/mountinfo": MOUNT.format(root="/var/lib/kubelet/pods/1/etc-hosts", point="/etc/hosts", kind="ext4")},
        {}, "Kubernetes", "/var/lib/kubelet/pods/1/etc-hosts",
    ),
    ({"/run/systemd/container": "lxc"}, {}, "LXC", "/run/systemd/container: lxc"),
    ({"/proc/1/environ": "A=1\0container=lxc\0B=2"}, {}, "LXC", "/proc/1/environ: container=lxc"),
    ({"/proc/self/cgroup": "0::/lxc.payload.web/init.scope"}, {}, "LXC", "lxc.payload.web"),
    ({"/dev/incus/sock": ""}, {}, "LXC", "/dev/incus/sock"),
    ({"/proc/self/mountinfo": MOUNT.format(root="/", point="/proc/meminfo", kind="fuse.lxcfs")}, {}, "LXC", "is lxcfs"),
    ({"/run/systemd/container": "systemd-nspawn"}, {}, "systemd-nspawn", "systemd-nspawn"),
    ({}, {"container": "oci"}, "a container", "container=oci"),
    ({"/proc/self/cgroup": "0::/system.slice/web.service"}, {}, "systemd unit", "web.service"),
    ({"/proc/self/cgroup": "1:name=systemd:/system.slice/web.service/sub"}, {}, "systemd unit", "web.service/sub"),
    (
        {"/proc/self/cgroup": "0::/user.slice/user-1000.slice/user@1000.service/app.slice/a.service"}, {},
        "systemd unit", "app.slice/a.service",
    ),
    ({"/proc/sys/kernel/osrelease": "5.15.153.1-microsoft-standard-WSL2"}, {}, "WSL 2", "5.15.153.1-microsoft"),
    ({"/proc/sys/kernel/osrelease": "6.6.1-mine", "/proc/sys/fs/binfmt_misc/WSLInterop": ""}, {}, "WSL 2", "WSLInterop"),
    ({"/proc/sys/kernel/osrelease": "4.4.0-19041-Microsoft"}, {}, "WSL 1", "4.4.0-19041-Microsoft"),
    ({"/proc/self/mountinfo": MOUNT.format(root="/", point="/", kind="wslfs")}, {}, "WSL 1", "/ is of type wslfs"),
    ({"/proc/version": GVISOR}, {}, "gVisor", "Sun Jan 10"),
    ({"/proc/version": "Linux version 4.19.0-gvisor #1 SMP"}, {}, "gVisor", "4.19.0-gvisor"),
    ({"/proc/cpuinfo": "vendor_id\t: VirtualApple"}, {}, "an emulator", "Rosetta"),
    ({"/proc/cpuinfo": "CPU implementer\t: 0x41"}, {}, "an emulator", "describes an ARM processor, uname says x86_64"),
    ({"/proc/sys/kernel/arch": "aarch64"}, {}, "an emulator", "sysctl kernel.arch is aarch64"),
    ({}, {"GITHUB_ACTIONS": "true"}, "GitHub Actions", "GITHUB_ACTIONS=true"),
    ({}, {"CODESPACES": "true"}, "GitHub Codespaces", "CODESPACES=true"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "environ", "name", "evidence"), SEEN)
def test_a_place_is_recognised(tmp_path: Path, files: dict[str, str], environ: dict[str, str], name: str, evidence: str) -> None:
    (place,) = places.recognise(HostFiles(str(tree(tmp_path, files)), environ, "x86_64"))
    assert place.name == name
    assert evidence in place.evidence


@pytest.mark.parametrize(
    ("files", "environ"),
    [
        ({}, {}),
        ({"/proc/self/cgroup": "0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope"}, {"INVOCATION_ID": "1"}),
        ({"/proc/cpuinfo": "vendor_id\t: GenuineIntel", "/proc/sys/kernel/arch": "x86_64"}, {"GITHUB_ACTIONS": ""}),
        ({"/proc/sys/kernel/osrelease": "6.18.0-amd64", "/proc/version": "Linux version 6.18.0"}, {"CI": "true"}),
    ],
)
def test_a_plain_machine_is_none(tmp_path: Path, files: dict[str, str], environ: dict[str, str]) -> None:
    assert places.recognise(HostFiles(str(tree(tmp_path, files)), environ, "x86_64")) == ()


def test_an_x86_processor_under_an_arm_python(tmp_path: Path) -> None:
    files = HostFiles(str(tree(tmp_path, {"/proc/cpuinfo": "vendor_id\t: GenuineIntel"})), {}, "aarch64")
    assert [place.name for place in places.recognise(files)] == ["an emulator"]


def test_several_at_once_and_who_is_asked_then(tmp_path: Path) -> None:
    root = tree(tmp_path, {"/.dockerenv": "", "/run/systemd/container": "docker"})
    files = HostFiles(str(root), {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "CODESPACES": "true"}, "x86_64")
    assert {place.name for place in places.recognise(files)} == {"Docker", "Kubernetes", "GitHub Codespaces"}
    assert "securityContext" in remedies.allow(refusal.look(files), "filter")


INSTEAD_OF_LINUX = [
    ({"/proc/version": GVISOR}, "gVisor", "info", "gVisor stands in for the kernel", "runtimeClassName"),
    ({"/proc/sys/kernel/osrelease": "4.4.0-19041-Microsoft"}, "WSL 1", "failed", "translates system calls", "--set-version"),
    ({"/proc/cpuinfo": "vendor_id\t: VirtualApple"}, "an emulator", "failed", "another architecture", "own architecture"),
]


@pytest.mark.needs("namespaces")
@pytest.mark.parametrize(("files", "name", "status", "cause", "fix"), INSTEAD_OF_LINUX)
def test_what_stands_in_for_the_kernel(
    patient: Callable[..., Findings], tmp_path: Path, files: dict[str, str], name: str, status: str, cause: str, fix: str
) -> None:
    """Whatever it refuses, and however, that it is not Linux is the cause."""
    root = tree(tmp_path, {"/proc/self/status": "", **files})
    found = patient("deny('unshare', code=errno.EINVAL)", root=root, machine="x86_64", env={"ISOLATE_FN_PRETEND": "landlock=0"})
    found.assert_found(name, status, cause, fix)
    found.assert_found("user namespaces", "failed", cause, fix)
    found.assert_refused_alike("user namespaces")


# --- what no kernel of ours does: told to the judge ------------------------------------------------------------------


@pytest.mark.needs("namespaces")
def test_walls_that_do_not_hold(healthy: evidence.Evidence) -> None:
    """An emulator may take a filter, or a rule set, and ignore it."""
    loose = {**healthy.tries, "landlock": {"ok": True, "abi": 7, "holds": False}}
    loose["seccomp"] = {"ok": True, "holds": False, "actions": {"kill_process": True, "user_notif": True}}
    seen = healthy._replace(tries=loose, features=dataclasses.replace(healthy.features, landlock=7))
    for check in (doctor_walls.landlock(seen), doctor_walls.seccomp(seen)):
        assert check.status == "failed"
        assert "does not hold" in check.found
        assert check.cause
        assert check.fix


def python_of(healthy: evidence.Evidence, monkeypatch: pytest.MonkeyPatch, **changes: str) -> Check:
    variables = dict.fromkeys(("Py_ENABLE_SHARED", "Py_DEBUG", "Py_GIL_DISABLED"), 0) | changes
    monkeypatch.setattr(doctor_machine.sysconfig, "get_config_var", variables.get)
    return doctor_machine.python(healthy)


@pytest.mark.needs("namespaces")
def test_builds_of_python(healthy: evidence.Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "static" in python_of(healthy, monkeypatch).found
    assert "shared library, debug build" in python_of(healthy, monkeypatch, Py_ENABLE_SHARED=1, Py_DEBUG=1).found
    without = python_of(healthy, monkeypatch, Py_GIL_DISABLED=1)
    assert (without.status, without.cause) == ("weaker", "this build is not tested")
    monkeypatch.setattr(doctor_machine.platform, "python_implementation", lambda: "PyPy")
    other = python_of(healthy, monkeypatch)
    assert (other.status, other.fix) == ("failed", "run with CPython 3.11 or newer")


@pytest.mark.needs("namespaces")
def test_a_32_bit_python(healthy: evidence.Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_machine.sys, "maxsize", 2**31 - 1)
    check = doctor_machine.processor(healthy)
    assert check.status == "failed"
    assert "32-bit Python" in check.found


@pytest.mark.needs("namespaces")
def test_subordinate_ids_are_told_and_not_needed(patient: Callable[..., Findings], tmp_path: Path) -> None:
    found = patient(root=tree(tmp_path, {"/etc/subuid": "1000:100000:65536", "/proc/self/status": ""}))
    assert found["user ids"]["status"] == "ok"
    assert "/etc/subuid has 1000:100000:65536" in found["user ids"]["found"]
    found = patient(root=tree(tmp_path, {"/etc/subuid": "", "/proc/self/status": ""}))
    assert "/etc/subuid has none for this user" in found["user ids"]["found"]


def test_every_remedy_of_every_place_can_be_written() -> None:
    for place in ("Docker", "Podman", "Kubernetes", "LXC", "systemd-nspawn", "systemd unit", "elsewhere"):
        seen = remedies.Seen(places=(place,), unit="web.service", label="my-profile (enforce)")
        for what in ("filter", "apparmor", "selinux", "proc"):
            text = remedies.allow(seen, what)
            assert text
            assert "{{" not in text
            assert text.count("{") == text.count("}")


def test_another_system_than_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    diagnosis = doctor()
    assert not diagnosis.works
    assert diagnosis.why == "this is darwin, not Linux"
    assert diagnosis.problems == diagnosis.checks
