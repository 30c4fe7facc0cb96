"""What weakens isolation, or leaves it no room: /proc, Landlock, seccomp, cgroups, rlimits, directories."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from patients import Findings, tree

pytestmark = pytest.mark.needs("namespaces")

Patient = Callable[..., Findings]
Ourselves = Callable[..., Findings]
MASKED = "own_mounts()\ncover('/proc/driver' if os.path.isdir('/proc/driver') else '/proc/fs')\n"


# --- /proc and /sys --------------------------------------------------------------------------------------------------


def test_a_masked_proc(patient: Patient) -> None:
    """Mounted over for real: the kernel then refuses a fresh one. Calls are isolated all the same, without /proc."""
    found = patient(MASKED)
    found.assert_found("own /proc", "weaker", "parts of it are covered: /proc/", "")
    assert "fsmount: EPERM" in found["own /proc"]["found"]
    assert "covered" in found["the caller's /proc and /sys"]["found"]
    assert "none: neither a cgroup nor a /proc" in found["memory limit"]["found"] or found["memory limit"]["status"] == "ok"
    assert found.works
    assert any("no /proc inside" in sentence for sentence in found.document["enforcement"]["dropped"])


@pytest.mark.parametrize(
    ("files", "fix"),
    [
        ({"/.dockerenv": ""}, "docker run --security-opt systempaths=unconfined"),
        ({"/run/.containerenv": ""}, "podman run --security-opt unmask=ALL"),
        ({"/var/run/secrets/kubernetes.io/serviceaccount/token": ""}, "procMount: Unmasked"),
    ],
    ids=["docker", "podman", "kubernetes"],
)
def test_the_remedy_for_a_masked_proc(patient: Patient, tmp_path: Path, files: dict[str, str], fix: str) -> None:
    mounts = "30 25 0:20 / /proc rw - proc proc rw\n31 30 0:21 / /proc/kcore rw - tmpfs tmpfs rw\n32 25 0:9 / / rw - ext4 x rw"
    root = tree(tmp_path, {**files, "/proc/self/mountinfo": mounts, "/proc/self/status": ""})
    found = patient(MASKED, root=root)
    found.assert_found("own /proc", "weaker", "covered: /proc/kcore", fix)


def test_a_read_only_proc_sys_and_sys(patient: Patient) -> None:
    found = patient("own_mounts()\nread_only('/proc/sys')\nread_only('/sys')")
    found.assert_found("the caller's /proc and /sys", "weaker", "cannot be set to 0", "")
    assert "/sys is read-only" in found["the caller's /proc and /sys"]["found"]
    assert found.works


def test_no_proc(ourselves: Ourselves, tmp_path: Path) -> None:
    """Told by a tree without: an interpreter whose library is found beside it does not even start without /proc."""
    found = ourselves(tree(tmp_path, {"/etc/passwd": ""}))
    found.assert_found("the caller's /proc and /sys", "failed", "id maps", "mount -t proc")


# --- Landlock --------------------------------------------------------------------------------------------------------


def test_no_landlock_in_this_kernel(patient: Patient) -> None:
    found = patient("deny('landlock_create_ruleset', code=errno.ENOSYS)")
    found.assert_found("Landlock", "weaker", "this kernel has no Landlock", "CONFIG_SECURITY_LANDLOCK")
    assert found.works
    assert "landlock" not in found.document["enforcement"]["layers"]


def test_landlock_switched_off_at_boot(patient: Patient) -> None:
    found = patient("deny('landlock_create_ruleset', code=errno.EOPNOTSUPP)")
    found.assert_found("Landlock", "weaker", "switched off (boot parameter lsm=", "lsm=landlock,")


def test_landlock_that_a_filter_denies(patient: Patient) -> None:
    found = patient("deny('landlock_create_ruleset')")
    found.assert_found("Landlock", "weaker", "a seccomp filter denies landlock_create_ruleset(2)", "landlock_restrict_self")


@pytest.mark.needs("landlock")
def test_landlock_that_cannot_be_put_in_force(patient: Patient) -> None:
    found = patient("deny('landlock_restrict_self')")
    found.assert_found("Landlock", "failed", "cannot be put in force", "landlock_restrict_self")
    assert not found.works


@pytest.mark.needs("landlock>=4")
def test_an_older_landlock_and_what_it_costs(patient: Patient) -> None:
    found = patient(env={"ISOLATE_FN_PRETEND": "landlock=3"})
    found.assert_found("Landlock", "ok", "ABI 4 (Linux 6.7): binding a TCP port, connecting to a TCP port", "newer kernel")
    assert "signals to processes of other domains" in found["Landlock"]["cause"]


# --- seccomp and what was given --------------------------------------------------------------------------------------


def test_no_filters(patient: Patient) -> None:
    found = patient(env={"ISOLATE_FN_PRETEND": "seccomp=0"})
    found.assert_found("seccomp filters", "failed", "this kernel has none", "CONFIG_SECCOMP_FILTER")
    assert found.call["fix"] == found["seccomp filters"]["fix"]


def test_filters_that_an_emulator_does_not_take(patient: Patient, tmp_path: Path) -> None:
    """What qemu-user answers, by a filter that gives its answer; and a processor of another architecture."""
    files = {"/proc/self/status": "Seccomp_filters:\t0", "/proc/cpuinfo": "CPU implementer\t: 0x41"}
    found = patient("deny('seccomp', code=errno.EINVAL)", root=tree(tmp_path, files), machine="x86_64")
    found.assert_found("seccomp filters", "failed", "an emulator of another architecture", "image of the machine's own")
    found.assert_found("an emulator", "failed", "stands in for the kernel", "image of the machine's own")


def test_filters_that_another_filter_denies(patient: Patient) -> None:
    found = patient("deny('seccomp')")
    found.assert_found("seccomp filters", "failed", "a filter that is in force already denies it", "seccomp, prctl")
    assert not found.works


def test_filters_that_no_kernel_takes(patient: Patient, tmp_path: Path) -> None:
    found = patient("deny('seccomp', code=errno.ENOSYS)", root=tree(tmp_path, {"/proc/self/status": "Seccomp:\t0"}))
    found.assert_found("seccomp filters", "failed", "neither the kernel nor", "CONFIG_SECCOMP_FILTER")


def test_no_user_notification(patient: Patient) -> None:
    found = patient("deny_flags('seccomp', 8, argument=1)")  # SECCOMP_FILTER_FLAG_NEW_LISTENER
    found.assert_found("seccomp answers", "weaker", "cannot be reported", "NEW_LISTENER")
    assert found["seccomp filters"]["status"] == "ok"
    assert found.works


def test_answers_that_this_kernel_does_not_know(patient: Patient) -> None:
    found = patient("deny_flags('seccomp', 2, code=errno.EOPNOTSUPP)")  # SECCOMP_GET_ACTION_AVAIL, and no other operation
    found.assert_found("seccomp answers", "failed", "cannot end the process", "Linux 4.14")


def test_a_process_that_is_filtered_already(patient: Patient) -> None:
    found = patient("deny('reboot')\ndeny('kexec_load')")
    assert "under 2 seccomp filter(s)" in found["this process"]["found"]
    assert "no_new_privs is set" in found["this process"]["found"]
    assert found.works


def test_no_memory_files(patient: Patient) -> None:
    found = patient("deny('memfd_create')")
    found.assert_found("sealed memory files", "failed", "results of many bytes", "memfd_create")


# --- limits ----------------------------------------------------------------------------------------------------------

CGROUPS = [  # files, variables; words of the cause, of the remedy
    ({"/proc/self/cgroup": "4:memory:/a\n0::/"}, {}, "with cgroup v1", "systemd.unified_cgroup_hierarchy=1"),
    ({"/proc/self/cgroup": "0::/user.slice"}, {}, "no cgroup v2 is mounted", "Delegate=yes"),
    (
        {"/proc/self/cgroup": "0::/", "/proc/self/mountinfo": "9 1 0:3 / /sys/fs/cgroup ro - cgroup2 c rw", "/.dockerenv": ""},
        {}, "/sys/fs/cgroup is read-only", "docker run --security-opt writable-cgroups=true",
    ),
    (
        {"/proc/self/cgroup": "0::/system.slice/a.service", "/proc/self/mountinfo": "9 1 0:3 / /sys/fs/cgroup rw - cgroup2 c rw"},
        {}, "delegated to this user", "systemctl edit a.service, and below [Service]: Delegate=memory",
    ),
    ({"/proc/self/cgroup": "0::/"}, {"ISOLATE_FN_CGROUP": "/nowhere"}, "names /nowhere", "Delegate=yes"),
    ({"/proc/self/cgroup": "4:memory:/\n", "/run/WSL/x": ""}, {}, "with cgroup v1", "cgroup_no_v1=all"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "environ", "cause", "fix"), CGROUPS)
def test_memory_without_a_delegated_cgroup(
    ourselves: Ourselves, tmp_path: Path, files: dict[str, str], environ: dict[str, str], cause: str, fix: str
) -> None:
    found = ourselves(tree(tmp_path, {"/proc/self/status": "", **files}), environ)
    found.assert_found("memory limit", "weaker", cause, fix)
    assert "by watching" in found["memory limit"]["found"]


@pytest.mark.needs("user")
def test_few_processes(patient: Patient) -> None:
    """In a user namespace of its own the kernel counts from one; the doctor counts what /proc shows of this user."""
    found = patient("resource.setrlimit(resource.RLIMIT_NPROC, (40, 40))")
    check = found["RLIMIT_NPROC"]
    assert check["status"] in ("weaker", "failed")
    assert "isolated code may start" in check["cause"]
    assert "ulimit -u" in check["fix"]


@pytest.mark.needs("user")
def test_no_process_left(patient: Patient) -> None:
    """Not even one to try things in: the doctor says so, and goes on."""
    found = patient("resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))", ordinary=False)
    found.assert_found("RLIMIT_NPROC", "failed", "an isolate and its spawner take", "LimitNPROC")
    found.assert_found("user namespaces", "failed", "could not be started", "checks of limits")
    assert not found.works
    assert "ulimit -u" in found.call["fix"]


@pytest.mark.needs("user")
def test_processes_that_suffice_for_a_part(patient: Patient) -> None:
    """However far the set-up gets, the error speaks of the limit and of nothing else."""
    for most in (2, 3, 4, 5, 6, 8):
        found = patient(f"resource.setrlimit(resource.RLIMIT_NPROC, ({most}, {most}))")
        assert "an isolate and its spawner take" in found["RLIMIT_NPROC"]["cause"]
        assert found.works or "limit on processes" in found.call["fix"], (most, found.call)


def test_few_descriptors(patient: Patient) -> None:
    found = patient("resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))")
    found.assert_found("RLIMIT_NOFILE", "weaker", "each isolate that is alive takes about seven", "ulimit -n 4096")
    assert found.works
    found = patient("resource.setrlimit(resource.RLIMIT_NOFILE, (40, 4096))")
    found.assert_found("RLIMIT_NOFILE", "failed", "each isolate", "resource.setrlimit")


PIDS = {"/proc/self/status": "", "/proc/sys/kernel/pid_max": "32768"}


def test_few_processes_by_cgroup(ourselves: Ourselves, tmp_path: Path) -> None:
    files = {
        **PIDS, "/proc/self/cgroup": "0::/system.slice/a.service",
        "/proc/self/mountinfo": "9 1 0:3 / /sys/fs/cgroup rw - cgroup2 c rw",
        "/sys/fs/cgroup/system.slice/a.service/pids.max": "50", "/sys/fs/cgroup/system.slice/a.service/pids.current": "45",
    }  # fmt: skip
    found = ourselves(tree(tmp_path, files))
    found.assert_found("pids.max of /sys/fs/cgroup/system.slice/a.service", "failed", "take 8 processes", "TasksMax=infinity")


def test_few_processes_by_the_first_cgroups(ourselves: Ourselves, tmp_path: Path) -> None:
    files = {
        **PIDS, "/proc/self/cgroup": "8:pids:/docker/abc\n0::/", "/.dockerenv": "",
        "/proc/self/mountinfo": "9 1 0:3 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids",
        "/sys/fs/cgroup/pids/docker/pids.max": "100", "/sys/fs/cgroup/pids/docker/pids.current": "60",
    }  # fmt: skip
    found = ourselves(tree(tmp_path, files))
    found.assert_found("pids.max of /sys/fs/cgroup/pids/docker", "weaker", "may start 64 more", "--pids-limit=-1")


def test_few_process_ids(ourselves: Ourselves, tmp_path: Path) -> None:
    found = ourselves(tree(tmp_path, {**PIDS, "/proc/sys/kernel/pid_max": "301"}))
    found.assert_found("pids.max, kernel.pid_max", "weaker", "share so few process ids", "sysctl -w kernel.pid_max=")


# --- directories -----------------------------------------------------------------------------------------------------


def test_a_temporary_directory_where_nothing_can_be_run(patient: Patient, tmp_path: Path) -> None:
    place = tmp_path / "scratch"
    place.mkdir()
    found = patient(
        f"own_mounts()\ncalls.mount('tmpfs', {str(place)!r}, 'tmpfs', k.MS_NOEXEC, 'mode=1777')", env={"TMPDIR": str(place)}
    )
    found.assert_found("temporary directory", "weaker", "cannot be run", f"mount -o remount,exec {place}")


def test_no_temporary_directory(patient: Patient) -> None:
    """Every place that Python tries is read-only: mounted so, for real."""
    found = patient(
        "own_mounts()\nfor place in ('/tmp', '/var/tmp', '/usr/tmp'):\n"
        "    if os.path.isdir(place): calls.mount('tmpfs', place, 'tmpfs', k.MS_RDONLY)\n"
        "os.chdir('/proc')\nos.environ['TMPDIR'] = '/proc'"
    )  # fmt: skip
    found.assert_found("temporary directory", "weaker", "isolates have a /tmp of their own", "export TMPDIR=")


def test_packages_on_a_mount_where_nothing_can_be_run(patient: Patient, tmp_path: Path) -> None:
    place = tmp_path / "packages"
    place.mkdir()
    found = patient(f"""
        own_mounts()
        calls.mount('tmpfs', {str(place)!r}, 'tmpfs', k.MS_NOEXEC)
        os.environ['PYTHONPATH'] += ':' + {str(place)!r}
    """)
    found.assert_found("interpreter and packages", "weaker", "compiled modules", f"mount -o remount,exec {place}")


# --- kernel, processor, Python ---------------------------------------------------------------------------------------


def test_an_old_kernel(patient: Patient) -> None:
    found = patient(env={"ISOLATE_FN_PRETEND": "kernel=5.4"})
    found.assert_found("kernel", "failed", "Linux 5.10 is the oldest", "Linux 5.10 or newer")
    assert found.call["fix"] == found["kernel"]["fix"]
    assert found.document["why"] == "it needs Linux 5.10; found: Linux 5.4"


def test_another_architecture(patient: Patient) -> None:
    found = patient(env={"ISOLATE_FN_PRETEND": "machine=riscv64"})
    found.assert_found("architecture", "failed", "x86_64 and aarch64", "x86_64 or aarch64")
    assert found.call["fix"] == found["architecture"]["fix"]


def test_what_is_pretended_is_named(patient: Patient) -> None:
    found = patient(env={"ISOLATE_FN_PRETEND": "userns=0,privileged=0,landlock=0"})
    found.assert_found("user namespaces", "failed", "ISOLATE_FN_PRETEND=userns=0", "unset ISOLATE_FN_PRETEND")
    found.assert_refused_alike("user namespaces")


@pytest.mark.needs("root")
def test_no_id_mapped_mounts(patient: Patient) -> None:
    found = patient(ordinary=False, env={"ISOLATE_FN_PRETEND": "mount_setattr=0"})
    found.assert_found("id-mapped mounts", "weaker", "read only what others may read", "Linux 5.12")
    assert found.works


def test_root_of_a_namespace_with_few_ids(patient: Patient) -> None:
    found = patient("become_root()", ordinary=False)
    found.assert_found("id-mapped mounts", "weaker", "read only what others may read", "not as root")
    assert "a part of the ids only" in found["id-mapped mounts"]["found"]
    assert found.works


@pytest.mark.needs("root")
def test_a_file_system_that_takes_no_id_mapping(patient: Patient, tmp_path: Path) -> None:
    """Overlayfs, the root of most containers, takes none."""
    for name in ("lower", "upper", "work", "place"):
        (tmp_path / name).mkdir()
    at = str(tmp_path)
    found = patient(f"""
        own_mounts()
        calls.mount('tmpfs', {at!r} + '/upper', 'tmpfs')
        for name in ('u', 'w'): os.mkdir({at!r} + '/upper/' + name)
        layers = 'lowerdir={at}/lower,upperdir={at}/upper/u,workdir={at}/upper/w'
        calls.mount('overlay', {at!r} + '/place', 'overlay', 0, layers)
    """, ordinary=False, env={"TMPDIR": f"{at}/place"})  # fmt: skip
    found.assert_found("id-mapped mounts", "weaker", "cannot write what they are granted", "another file system")
    assert f"not for {at}/place (overlay)" in found["id-mapped mounts"]["found"]


def test_an_embedded_python_without_an_executable(patient: Patient, tmp_path: Path) -> None:
    """A frozen program has no interpreter that could be started."""
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text("import sys\nsys.frozen = True\n")
    found = patient(f"os.environ['PYTHONPATH'] += ':' + {str(hook)!r}")
    found.assert_found("Python", "failed", "isolates need an interpreter", "installed Python")
    assert found.call["fix"] == found["Python"]["fix"]
