"""Where a program runs (a container, a unit of systemd, a virtual machine with a kernel of its own), and what shows it.

Each rule names its evidence, because none is proof: an image may hold a file, a variable may be inherited. Nothing is
decided by it but which words a remedy uses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from isolate_fn._sys.host_files import HostFiles

DOCKER, PODMAN, KUBERNETES, LXC = "Docker", "Podman", "Kubernetes", "LXC"
NSPAWN, CONTAINER, UNIT = "systemd-nspawn", "a container", "systemd unit"
WSL1, WSL2, GVISOR, EMULATOR = "WSL 1", "WSL 2", "gVisor", "an emulator"
GITHUB_ACTIONS, CODESPACES = "GitHub Actions", "GitHub Codespaces"

#: Where a process is confined by whoever runs containers there.
CONTAINERS = (DOCKER, PODMAN, KUBERNETES, LXC, NSPAWN, CONTAINER)

# What runsc tells as the date of its kernel, which is none, since its first release.
_GVISOR_DATE = "Sun Jan 10 15:06:54 PST 2016"
_UNIT = re.compile(r"/([^/]+\.service)(?:/|$)")


class Place(NamedTuple):
    """Something that a program runs in.

    Attributes:
        name: one of the names above.
        evidence: what shows it: a file, a line of one, or a variable.
        detail: the name of the unit, where it is one.
    """

    name: str
    evidence: str
    detail: str = ""


def recognise(files: HostFiles) -> tuple[Place, ...]:
    """Return what this process runs in, the outermost last; empty on a plain machine."""
    found = [place for rule in _RULES if (place := rule(files)) is not None]
    names = {place.name for place in found}
    if names & {DOCKER, PODMAN, KUBERNETES, LXC, NSPAWN}:
        found = [place for place in found if place.name != CONTAINER]
    return tuple(found)


def _first(name: str, evidence: Iterator[str]) -> Place | None:
    return next((Place(name, text) for text in evidence), None)


def _files(files: HostFiles, *paths: str) -> Iterator[str]:
    return (path for path in paths if files.exists(path))


def _variables(files: HostFiles, **wanted: str) -> Iterator[str]:
    for name, value in wanted.items():
        if (files.environ.get(name) or "") and (not value or files.environ[name] == value):
            yield f"{name}={files.environ[name]}"


def _cgroup(files: HostFiles, pattern: str) -> Iterator[str]:
    for line in files.read("/proc/self/cgroup").splitlines():
        if re.search(pattern, line):
            yield f"/proc/self/cgroup: {line}"


def _sources(files: HostFiles, pattern: str) -> Iterator[str]:
    for mount in files.mounts():
        if re.search(pattern, mount.root):
            yield f"/proc/self/mountinfo: {mount.point} comes from {mount.root}"


def _manager(files: HostFiles, name: str) -> Iterator[str]:
    if files.read("/run/systemd/container") == name:
        yield f"/run/systemd/container: {name}"
    variables = files.read("/proc/1/environ").split("\0")  # for root only
    if f"container={name}" in variables:
        yield f"/proc/1/environ: container={name}"
    yield from _variables(files, container=name)


def _docker(files: HostFiles) -> Place | None:
    def evidence() -> Iterator[str]:
        yield from _files(files, "/.dockerenv")
        yield from _cgroup(files, r"/docker[-/]")
        yield from _sources(files, r"/docker/containers/")

    return _first(DOCKER, evidence())


def _podman(files: HostFiles) -> Place | None:
    def evidence() -> Iterator[str]:
        yield from _files(files, "/run/.containerenv")
        yield from _manager(files, "podman")
        yield from _cgroup(files, r"/libpod[-_]")

    return _first(PODMAN, evidence())


def _kubernetes(files: HostFiles) -> Place | None:
    def evidence() -> Iterator[str]:
        yield from _files(files, "/var/run/secrets/kubernetes.io/serviceaccount")
        yield from _variables(files, KUBERNETES_SERVICE_HOST="")
        yield from _cgroup(files, r"/kubepods")
        yield from _sources(files, r"/kubelet/pods/")

    return _first(KUBERNETES, evidence())


def _lxc(files: HostFiles) -> Place | None:
    def evidence() -> Iterator[str]:
        yield from _manager(files, "lxc")
        yield from _files(files, "/dev/lxd/sock", "/dev/incus/sock")
        yield from _cgroup(files, r"/lxc(\.payload[^/]*)?/|/lxc\.payload")
        yield from (
            f"/proc/self/mountinfo: {mount.point} is lxcfs" for mount in files.mounts() if mount.kind == "fuse.lxcfs"
        )

    return _first(LXC, evidence())


def _nspawn(files: HostFiles) -> Place | None:
    return _first(NSPAWN, _manager(files, "systemd-nspawn"))


def _some_container(files: HostFiles) -> Place | None:
    def evidence() -> Iterator[str]:
        if name := files.read("/run/systemd/container"):
            yield f"/run/systemd/container: {name}"
        yield from _variables(files, container="")

    return _first(CONTAINER, evidence())


def _unit(files: HostFiles) -> Place | None:
    for line in files.read("/proc/self/cgroup").splitlines():
        units = [name for name in _UNIT.findall(line) if not name.startswith("user@")]
        if units:
            return Place(UNIT, f"/proc/self/cgroup: {line}", units[-1])
    return None


def _wsl(files: HostFiles) -> Place | None:
    release = files.sysctl("kernel.osrelease")
    root = files.mount_of("/")
    if root is not None and root.kind in ("lxfs", "wslfs"):
        return Place(WSL1, f"/ is of type {root.kind}")
    if "WSL2" in release or "microsoft" in release:
        return Place(WSL2, f"kernel release {release}")
    if "Microsoft" in release:
        return Place(WSL1, f"kernel release {release}")
    # Custom kernels of WSL 2 have other names; these two are made by its own init.
    return _first(WSL2, _files(files, "/run/WSL", "/proc/sys/fs/binfmt_misc/WSLInterop"))


def _gvisor(files: HostFiles) -> Place | None:
    version = files.read("/proc/version")
    if "gvisor" in version.lower() or _GVISOR_DATE in version:
        return Place(GVISOR, f"/proc/version: {version}")
    return None


def _emulator(files: HostFiles) -> Place | None:
    """Tell an emulator of one architecture on another by what it hands through from the machine below."""
    processor, machine, kernel = files.read("/proc/cpuinfo"), files.machine, files.sysctl("kernel.arch")  # Linux 6.1
    if "VirtualApple" in processor:
        return Place(EMULATOR, "/proc/cpuinfo: VirtualApple (Rosetta)")
    if kernel and kernel != machine and {kernel, machine} == {"x86_64", "aarch64"}:
        return Place(EMULATOR, f"sysctl kernel.arch is {kernel}, uname says {machine}")
    if machine == "x86_64" and "CPU implementer" in processor and "vendor_id" not in processor:
        return Place(EMULATOR, f"/proc/cpuinfo describes an ARM processor, uname says {machine}")
    if machine == "aarch64" and "vendor_id" in processor and "CPU implementer" not in processor:
        return Place(EMULATOR, f"/proc/cpuinfo describes an x86 processor, uname says {machine}")
    return None


def _hosted(files: HostFiles) -> Place | None:
    return _first(GITHUB_ACTIONS, _variables(files, GITHUB_ACTIONS="true"))


def _codespaces(files: HostFiles) -> Place | None:
    return _first(CODESPACES, _variables(files, CODESPACES="true"))


_RULES: tuple[Callable[[HostFiles], Place | None], ...] = (
    _docker, _podman, _kubernetes, _lxc, _nspawn, _some_container, _unit, _gvisor, _emulator, _wsl, _codespaces, _hosted,
)  # fmt: skip
