"""Judgements on limits: how memory is limited, and how many processes and descriptors there may be."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator

from isolate_fn._diagnose.diagnosis import FAILED, OK, WEAKER, Check
from isolate_fn._diagnose.evidence import Evidence
from isolate_fn._runtime import cgroup
from isolate_fn._sys import places

GROUP = "limits"
# Spawner, init and worker; an isolate that is kept ready beside the one that is busy; and what the isolate may start.
_BARE, _WANTED = 8, 72
_DESCRIPTORS_NEEDED, _DESCRIPTORS_WANTED = 64, 256  # an isolate that is alive takes about seven of the caller's
_LOW_PID_MAX = 4096
# A group with processes in it cannot hand controllers down (cgroups(7), "no internal processes").
_HAND_DOWN = (
    "and before the program starts, in the container: mkdir /sys/fs/cgroup/all; for p in $(cat /sys/fs/cgroup/cgroup.procs); "
    "do echo $p > /sys/fs/cgroup/all/cgroup.procs; done; echo +memory > /sys/fs/cgroup/cgroup.subtree_control"
)


def checks(seen: Evidence) -> Iterator[Check]:
    """Yield the group's checks."""
    yield memory(seen)
    yield processes(seen)
    yield pids(seen)
    yield descriptors(seen)


def memory(seen: Evidence) -> Check:
    """Judge how ``Limits(memory=...)`` is kept: exactly by a cgroup, or by watching."""
    name, found = "memory limit", "by watching: exceeded for a moment before the isolate is killed"
    directory = cgroup.delegated() if seen.files.root == "/" else ""
    if directory:
        return Check(group=GROUP, name=name, status=OK, found=f"by cgroup, exact: groups can be made in {directory}")
    if seen.tried("pid")["ok"] and not seen.tried("proc")["ok"]:
        found = "none: neither a cgroup nor a /proc to watch by; Limits(memory=...) is refused"
    return Check(group=GROUP, name=name, status=WEAKER, found=found, cause=_no_group(seen), fix=_delegate(seen))


def _no_group(seen: Evidence) -> str:
    named = seen.files.environ.get(cgroup.VARIABLE)
    if named:
        return (
            f"{cgroup.VARIABLE} names {named}, which is not a cgroup that hands the memory controller down to this user"
        )
    unified = [mount for mount in seen.files.mounts() if mount.kind == "cgroup2"]
    lines = seen.files.read("/proc/self/cgroup").splitlines()
    if any("memory" in line.split(":")[1].split(",") for line in lines if line.count(":") > 1):
        return "the memory controller is with cgroup v1 here, which cannot be delegated"
    if not unified:
        return "no cgroup v2 is mounted here"
    if "ro" in unified[0].options:
        return f"{unified[0].point} is read-only"
    return "no cgroup with the memory controller is delegated to this user"


def _delegate(seen: Evidence) -> str:
    found = {place.name for place in seen.places}
    if "v1" in _no_group(seen):
        if places.WSL2 in found:
            return "in .wslconfig below [wsl2]: kernelCommandLine = cgroup_no_v1=all; then wsl --shutdown"
        return "boot with systemd.unified_cgroup_hierarchy=1 (cgroup v2); or leave it at watching"
    if places.UNIT in found:
        return f"systemctl edit {seen.seen.unit}, and below [Service]: Delegate=memory; then restart it"
    if places.KUBERNETES in found:
        return f"on the node: cgroup_writable = true in containerd 2.1's configuration of the runtime; {_HAND_DOWN}"
    if places.PODMAN in found:
        return f"podman run --security-opt unmask=/sys/fs/cgroup; {_HAND_DOWN}"
    if places.DOCKER in found:
        return f"docker run --security-opt writable-cgroups=true (Docker 28); {_HAND_DOWN}"
    return "start the program with systemd-run --user --scope -p Delegate=yes COMMAND; or leave it at watching"


def processes(seen: Evidence) -> Check:
    """Judge RLIMIT_NPROC, which counts all of this user's threads wherever they run."""
    name = "RLIMIT_NPROC"
    soft = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if soft == resource.RLIM_INFINITY:
        return Check(group=GROUP, name=name, status=OK, found="no limit")
    if os.getuid() == 0:
        return Check(group=GROUP, name=name, status=OK, found=f"{soft}, which does not bind root")
    used = _threads(seen)
    return _room(
        name, soft, used, "ulimit -u unlimited (limits.conf: nproc; in a unit of systemd: LimitNPROC=infinity)"
    )


def _room(name: str, most: int, used: int, fix: str) -> Check:
    found = f"{most}, of which {used} are in use"
    left = most - used
    if left >= _WANTED:
        return Check(group=GROUP, name=name, status=OK, found=found)
    status = FAILED if left < _BARE else WEAKER
    cause = f"an isolate and its spawner take {_BARE} processes, and isolated code may start {_WANTED - _BARE} more"
    return Check(group=GROUP, name=name, status=status, found=found, cause=cause, fix=fix)


def _threads(seen: Evidence) -> int:
    """Return how many threads this user has, as far as /proc shows them."""
    count, own = 0, str(os.getuid())
    directory = seen.files.real("/proc")
    for name in os.listdir(directory) if os.path.isdir(directory) else ():
        if name.isdigit():
            fields = dict(
                line.split(":", 1) for line in seen.files.read(f"/proc/{name}/status").splitlines() if ":" in line
            )
            if fields.get("Uid", "").split()[:1] == [own]:
                count += int(fields.get("Threads", "1"))
    return count


def pids(seen: Evidence) -> Check:
    """Judge the limits on processes of the cgroup and of the machine."""
    name = "pids.max, kernel.pid_max"
    machine = seen.files.sysctl("kernel.pid_max")
    if machine.isdigit() and int(machine) < _LOW_PID_MAX:
        return Check(
            group=GROUP, name=name, status=WEAKER, found=f"sysctl kernel.pid_max is {machine}",
            cause="isolates and everything else on this machine share so few process ids",
            fix="as root: sysctl -w kernel.pid_max=4194304",
        )  # fmt: skip
    for directory in _pid_groups(seen):
        most = seen.files.read(f"{directory}/pids.max")
        if most.isdigit():
            used = int(seen.files.read(f"{directory}/pids.current") or 0)
            return _room(f"pids.max of {directory}", int(most), used, _more_pids(seen))
    return Check(
        group=GROUP, name=name, status=OK, found=f"no limit by cgroup; kernel.pid_max is {machine or 'unknown'}"
    )


def _pid_groups(seen: Evidence) -> Iterator[str]:
    """Yield this process's own group and those above it, in the hierarchy that counts processes."""
    mounted = {mount.kind + ("pids" if "pids" in mount.of_all else ""): mount.point for mount in seen.files.mounts()}
    for line in seen.files.read("/proc/self/cgroup").splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if "pids" in controllers.split(","):
            point = mounted.get("cgrouppids", "")
        elif number == "0":
            point = mounted.get("cgroup2", "")
        else:
            continue
        while point:
            yield os.path.join(point, path.lstrip("/")).rstrip("/")
            if path in ("/", ""):
                break
            path = os.path.dirname(path)


def _more_pids(seen: Evidence) -> str:
    found = {place.name for place in seen.places}
    if places.UNIT in found:
        return f"systemctl edit {seen.seen.unit}, and below [Service]: TasksMax=infinity; then restart it"
    if places.KUBERNETES in found:
        return "raise podPidsLimit in the kubelet's configuration of this node"
    if found & {places.DOCKER, places.PODMAN}:
        return "docker run --pids-limit=-1, or a higher number"
    return "raise it there (systemd: TasksMax=); or lower Limits(processes=...)"


def descriptors(seen: Evidence) -> Check:
    """Judge RLIMIT_NOFILE: every isolate that is alive takes a few descriptors of the caller's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    found = f"{soft}, of which {used} are in use"
    if soft >= _DESCRIPTORS_WANTED:
        return Check(group=GROUP, name="RLIMIT_NOFILE", status=OK, found=found)
    raised = "" if hard < _DESCRIPTORS_WANTED else ", or by the program itself with resource.setrlimit"
    return Check(
        group=GROUP, name="RLIMIT_NOFILE", status=FAILED if soft < _DESCRIPTORS_NEEDED else WEAKER, found=found,
        cause="each isolate that is alive takes about seven of the caller's; Limits(open_files=256) is what it may have itself",
        fix=f"ulimit -n 4096 before the program starts (limits.conf: nofile; systemd: LimitNOFILE=4096){raised}",
    )  # fmt: skip
