"""What to do about a machine that refuses isolation: every remedy in one place, for errors and for ``isolate-fn doctor``.

Pure: `refusal` is given what was refused and what is known of the machine (`isolate_fn._runtime.refusal` looks that up).
The causes and their order follow what projects with the same needs met: bubblewrap, Podman, nsjail, runc, systemd.
"""

from __future__ import annotations

import errno
from typing import NamedTuple

from isolate_fn._plan.remedies_places import ALLOW, SPEAKERS

#: What building an isolate asks of the kernel and containers' filters refuse; what a profile has to allow.
NEEDED_CALLS = (
    "unshare", "setns", "mount", "umount2", "pivot_root", "open_tree", "move_mount", "mount_setattr", "fsopen",
    "fsconfig", "fsmount", "sethostname", "keyctl",
)  # fmt: skip

#: The calls of a set-up that make namespaces, as the spawner's first stage names them.
FIRST_CALLS = frozenset({"unshare", "uid_map", "gid_map", "setgroups", "mount"})
_REFUSALS = frozenset({errno.EPERM, errno.EACCES, errno.ENOSPC, errno.EINVAL, errno.ENOSYS})


class Seen(NamedTuple):
    """What is known of the machine when something was refused.

    Attributes:
        places: names of `isolate_fn._sys.places`, such as ``"Docker"``.
        unit: the unit of systemd that it runs in, empty for none.
        settings: of that unit, those that may refuse, as ``"RestrictNamespaces=yes"``.
        interpreter: path of the Python executable.
        sysctls: those that matter and exist, by name.
        label: AppArmor's label of this process, empty without AppArmor.
        selinux: SELinux enforces its policy.
        filters: seccomp filters that this process is under; -1 where the kernel tells only that there are some.
        chrooted: its root is not the root of its mount namespace.
        privileged: root with the capabilities that building needs.
        pretended: what ``ISOLATE_FN_PRETEND`` takes away here.
    """

    places: tuple[str, ...] = ()
    unit: str = ""
    settings: tuple[str, ...] = ()
    interpreter: str = "/usr/bin/python3"
    sysctls: tuple[tuple[str, str], ...] = ()
    label: str = ""
    selinux: bool = False
    filters: int = 0
    chrooted: bool = False
    privileged: bool = False
    pretended: str = ""

    def sysctl(self, name: str) -> str:
        """Return a sysctl's value, empty where it does not exist."""
        return dict(self.sysctls).get(name, "")


class Remedy(NamedTuple):
    """Why something is refused, and what to do."""

    cause: str
    fix: str


def is_refusal(call: str, number: int) -> bool:
    """Tell whether the first stage's failure is the machine's no to namespaces, and nothing else that went wrong."""
    return call.rpartition("/")[2] in FIRST_CALLS and number in _REFUSALS


# --- switches --------------------------------------------------------------------------------------------------------

_KEEP = "(and in /etc/sysctl.d/, to keep it)"
USERNS_CLONE = f"as root: sysctl -w kernel.unprivileged_userns_clone=1 {_KEEP}"
APPARMOR_SWITCH = "kernel.apparmor_restrict_unprivileged_userns"
OTHER_ENGINE = "; or set ISOLATE_FN_PRETEND=userns=0 for the engine that needs none (docs/engines.md)"
NO_USER_NS = "run on a kernel with CONFIG_USER_NS, or as root with CAP_SYS_ADMIN"
NEW_KERNEL = "run on Linux 5.10 or newer"
OTHER_MACHINE = "run on x86_64 or aarch64, with a 64-bit Python"
NO_FILTERS = "run on a kernel with CONFIG_SECCOMP_FILTER (Linux 4.14 or newer)"
NATIVE = (
    "use an image of the machine's own architecture: an x86_64 container on an ARM machine, or the other way round, runs "
    "under an emulator (qemu-user, Rosetta) that has neither namespaces nor filters"
)


def more_namespaces(kind: str) -> str:
    """Return how to raise a limit of namespaces.

    Args:
        kind: as in the sysctl: ``"user"``, ``"mnt"``, ``"pid"``, ``"net"``, ``"ipc"``, ``"uts"``, ``"cgroup"``.
    """
    return f"as root: sysctl -w user.max_{kind}_namespaces=10000 {_KEEP}"


def apparmor_profile(interpreter: str) -> str:
    """Return how to let this interpreter make user namespaces where AppArmor keeps them from everybody else."""
    profile = f"abi <abi/4.0>, profile isolate_fn {interpreter} flags=(unconfined) {{ userns, }}"
    return (
        f"as root, for this interpreter only: write '{profile}' to /etc/apparmor.d/isolate_fn and run "
        f"apparmor_parser -r /etc/apparmor.d/isolate_fn; or for every program: sysctl -w {APPARMOR_SWITCH}=0 {_KEEP}"
    )


def of_user_namespaces(cause: str, interpreter: str = "/usr/bin/python3") -> str:
    """Return the remedy for a cause that `isolate_fn._sys.features` found without trying."""
    if "ISOLATE_FN_PRETEND" in cause:
        return "unset ISOLATE_FN_PRETEND, which takes this away on purpose"
    if "unprivileged_userns_clone" in cause:
        return USERNS_CLONE
    if "max_user_namespaces" in cause:
        return more_namespaces("user")
    if "AppArmor" in cause:
        return apparmor_profile(interpreter)
    return NO_USER_NS


# --- whoever runs the container, or the unit -------------------------------------------------------------------------


def allow(seen: Seen, what: str, calls: tuple[str, ...] = NEEDED_CALLS) -> str:
    """Return how whoever confines this process lets it do something.

    Args:
        seen: the machine.
        what: ``"filter"``, ``"apparmor"``, ``"selinux"`` or ``"proc"``.
        calls: the system calls, for a filter.
    """
    speaker = next((name for name in SPEAKERS if name in seen.places), "")
    words = {"calls": ", ".join(calls), "unit": seen.unit, "label": seen.label or "of this program"}
    return ALLOW[speaker][what].format(**words)


# --- a refusal -------------------------------------------------------------------------------------------------------


def refusal(call: str, number: int, filtered: bool, seen: Seen, *, limit: str = "user") -> Remedy:
    """Say why a call of the set-up was refused, and what to do.

    Args:
        call: its name, or of the file of /proc that was written.
        number: its errno.
        filtered: it is known that a seccomp filter gave the answer, and not the kernel.
        seen: the machine.
        limit: kind of the namespace, as in ``user.max_..._namespaces``, where one was made.
    """
    name = call.rpartition("/")[2]
    instead = instead_of_linux(seen)
    if instead is not None:
        return instead
    if filtered:
        cause = f"a seccomp filter answers {name}(2), not the kernel{_filters(seen)}{_settings(seen)}"
        return Remedy(cause, allow(seen, "filter"))
    if number == errno.ENOSPC:
        return _limit(limit, seen)
    if number in (errno.ENOSYS, errno.EINVAL) and name == "unshare":
        return Remedy("this kernel has no namespaces of that kind", NO_USER_NS)
    return _denied(name, number, seen)


def _filters(seen: Seen) -> str:
    if not seen.filters:
        return ""
    return " (this process is under " + (f"{seen.filters} of them)" if seen.filters > 1 else "one)")


def _settings(seen: Seen) -> str:
    return f"; the unit has {', '.join(seen.settings)}" if seen.settings else ""


def instead_of_linux(seen: Seen) -> Remedy | None:
    """Say what stands in for the kernel, None where it is Linux: what that refuses has no other cause."""
    if "gVisor" in seen.places:
        return Remedy(
            "gVisor stands in for the kernel, and has not all of its namespaces, mounts and filters",
            "run this container with another runtime (docker run --runtime=runc; in Kubernetes another runtimeClassName)",
        )
    if "WSL 1" in seen.places:
        return Remedy(
            "WSL 1 translates system calls and has no namespaces, Landlock or filters",
            "in Windows: wsl --set-version DISTRIBUTION 2",
        )
    if "an emulator" in seen.places:
        return Remedy("an emulator of another architecture stands in for the kernel", NATIVE)
    return None


def _limit(kind: str, seen: Seen) -> Remedy:
    zero = [name for name, value in seen.sysctls if name.startswith("user.max_") and value == "0"]
    name = f"user.max_{kind}_namespaces"
    if zero:
        name = name if name in zero else zero[0]
        return Remedy(f"sysctl {name} is 0", more_namespaces(name.split("_")[1]))
    value = seen.sysctl(name)
    count = f" ({value})" if value else ""
    nested = ", or user namespaces are nested 32 deep" if kind == "user" else ""
    return Remedy(
        f"the limit {name}{count} is reached, here or in a user namespace around this one{nested}",
        f"{more_namespaces(kind)}; or end what holds so many (lsns -t {kind})",
    )


def _denied(name: str, number: int, seen: Seen) -> Remedy:
    """Say who denies what the kernel was really asked: the most certain cause first."""
    unprivileged = not seen.privileged
    if unprivileged and seen.sysctl("kernel.unprivileged_userns_clone") == "0":
        return Remedy("sysctl kernel.unprivileged_userns_clone is 0", USERNS_CLONE)
    if unprivileged and seen.sysctl(APPARMOR_SWITCH) == "1" and seen.label in ("", "unconfined"):
        label = f", and this process's label is {seen.label!r}" if seen.label else ""
        return Remedy(
            f"AppArmor restricts unprivileged user namespaces (sysctl {APPARMOR_SWITCH} is 1{label})",
            _in_actions(seen) or _on_host(seen) + apparmor_profile(seen.interpreter),
        )
    if seen.chrooted and name == "unshare":
        return Remedy(
            "this process is in a chroot, where the kernel makes no user namespaces",
            "start it in a container (pivot_root) in place of the chroot, or outside of it",
        )
    if seen.label and not seen.label.startswith("unconfined"):
        return Remedy(f"AppArmor's profile {seen.label!r} denies it", allow(seen, "apparmor"))
    if seen.selinux and number == errno.EACCES:
        return Remedy("SELinux, which enforces its policy here, denies it", allow(seen, "selinux"))
    if seen.filters:
        return Remedy(f"probably a seccomp filter{_filters(seen)}{_settings(seen)}", allow(seen, "filter"))
    return Remedy(
        "something that this package does not know: a security module, or a switch of this distribution's kernel",
        "see the kernel's log (dmesg, journalctl -k) for the moment of the call; or run as root with CAP_SYS_ADMIN",
    )


def _on_host(seen: Seen) -> str:
    return "on the host of this container, " if set(seen.places) & set(SPEAKERS) - {"systemd unit"} else ""


def _in_actions(seen: Seen) -> str:
    if "GitHub Actions" not in seen.places or set(seen.places) & {"Docker", "Podman", "Kubernetes"}:
        return ""
    return f"a step before this one: run: sudo sysctl -w {APPARMOR_SWITCH}=0"


# --- a process that cannot be started --------------------------------------------------------------------------------

MORE_PROCESSES = (
    "raise the limit on processes: ulimit -u, pids.max of a cgroup (systemd: TasksMax=, Docker: --pids-limit) or sysctl "
    "kernel.pid_max; `isolate-fn doctor` says which it is"
)
FILES = {
    errno.EMFILE: "raise the limit on open files (ulimit -n), or keep fewer isolates at a time",
    errno.ENFILE: "raise sysctl fs.file-max: the whole machine has too many files open",
}
_STARTS = {
    errno.EAGAIN: MORE_PROCESSES,
    errno.ENOMEM: "free memory, or raise the memory limit of the container or cgroup",
    **FILES,
}


def of_start(number: int) -> str:
    """Return what to do where the interpreter of a spawner cannot be started.

    Args:
        number: the errno.
    """
    return _STARTS.get(number, "see that this file can be run")


# --- a step of the set-up --------------------------------------------------------------------------------------------

#: Step of `isolate_fn._enforce.sequence` -> what helps where it fails for its own reasons.
STEPS = {
    "sources": "see that the source still exists and has not become a symbolic link since the first call",
    "mounts": "see that the mount point exists inside the mount that covers it",
    "user namespace": "the caller's user namespace must allow one more below it, with one id mapped",
    "memory limit": "run where /proc is not masked or a cgroup is delegated, or leave Limits(memory=...) out",
    "cgroup": "see that the delegated cgroup still exists",
    "namespaces": "this user may create too few namespaces; see the sysctls user.max_*_namespaces",
    "fork into a new pid namespace": "see the sysctl user.max_pid_namespaces and the limit on processes",
}
