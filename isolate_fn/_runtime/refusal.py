"""Why this machine refuses an isolate: looks up, once something was refused, what `isolate_fn._plan.remedies` goes by.

Never on the way of a call that works.
"""

from __future__ import annotations

import shutil
import subprocess

from isolate_fn._plan import remedies
from isolate_fn._runtime.executable import find_interpreter
from isolate_fn._sys import places
from isolate_fn._sys.host_files import HostFiles
from isolate_fn._sys.privileges import can_build

NAMESPACES = {
    "user": "user",
    "mount": "mnt",
    "pid": "pid",
    "network": "net",
    "ipc": "ipc",
    "uts": "uts",
    "cgroup": "cgroup",
}
"""Namespace -> how its sysctl calls it."""

_SYSCTLS = (
    "kernel.unprivileged_userns_clone",
    remedies.APPARMOR_SWITCH,
    *(f"user.max_{kind}_namespaces" for kind in NAMESPACES.values()),
)
# Those that can refuse, and what they are where they refuse nothing.
_SETTINGS = {
    "NoNewPrivileges": "no", "RestrictNamespaces": "no", "SystemCallFilter": "", "PrivateUsers": "no",
    "SystemCallArchitectures": "", "RestrictAddressFamilies": "", "MemoryDenyWriteExecute": "no", "ProcSubset": "all",
}  # fmt: skip
_ALL_KINDS = "cgroup ipc mnt net pid user uts"
_SECONDS = 5.0
_LONGEST = 60


def look(files: HostFiles | None = None, *, interpreter: str = "") -> remedies.Seen:
    """Return what is known of the machine.

    Args:
        files: its files; None for those of the machine that this runs on.
        interpreter: the Python executable; empty for the one that isolates are started with.
    """
    files = files or HostFiles()
    found = places.recognise(files)
    unit = next((place.detail for place in found if place.name == places.UNIT), "")
    found_sysctls = ((name, files.sysctl(name)) for name in _SYSCTLS)
    return remedies.Seen(
        places=tuple(place.name for place in found),
        unit=unit,
        settings=unit_settings(unit) if unit else (),
        interpreter=interpreter or find_interpreter(),
        sysctls=tuple((name, value) for name, value in found_sysctls if value),
        label=apparmor_label(files),
        selinux=files.read("/sys/fs/selinux/enforce") == "1",
        filters=filters(files),
        chrooted=chrooted(files),
        privileged=can_build(),
    )


def apparmor_label(files: HostFiles) -> str:
    """Return AppArmor's label of this process, empty where AppArmor is not in use."""
    own = files.read("/proc/self/attr/apparmor/current")  # Linux 5.8
    if own or files.read("/sys/module/apparmor/parameters/enabled") != "Y":
        return own
    return files.read("/proc/self/attr/current")


def filters(files: HostFiles) -> int:
    """Return how many seccomp filters this process is under, -1 for some (the kernel counts them since Linux 5.9)."""
    count = files.status("Seccomp_filters")
    if count.isdigit():
        return int(count)
    return -1 if files.status("Seccomp") == "2" else 0


def chrooted(files: HostFiles) -> bool:
    """Tell whether this process's root is not the root of its mount namespace: no mount at / is then in sight."""
    table = list(files.mounts())
    return bool(table) and not any(mount.point == "/" for mount in table)


def unit_settings(unit: str) -> tuple[str, ...]:
    """Return the settings of a unit that may refuse something, as systemd tells them; none where it cannot be asked."""
    asked = shutil.which("systemctl")
    if not asked:
        return ()
    try:
        told = subprocess.run(
            [asked, "show", unit, f"--property={','.join(_SETTINGS)}"],
            capture_output=True, text=True, timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ()
    pairs = (line.partition("=") for line in told.stdout.splitlines() if "=" in line)
    return tuple(
        f"{name}={_shortened(value)}"
        for name, _, value in pairs
        if name in _SETTINGS and value != _SETTINGS[name] and (name, value) != ("RestrictNamespaces", _ALL_KINDS)
    )


def _shortened(value: str) -> str:
    return value if len(value) <= _LONGEST else value[:_LONGEST].rsplit(" ", 1)[0] + " ..."


def of_step(step: str, call: str, number: int, detail: str) -> str:
    """Return what to do about a step of the set-up that failed.

    Args:
        step: its name.
        call: the system call that failed.
        number: its errno.
        detail: what else was told.
    """
    import errno

    name = call.replace("(", " ").partition(" ")[0]  # "open_tree of '/etc/fonts' (...)"
    refused = number in (errno.EPERM, errno.EACCES, errno.ENOSYS) and name in remedies.NEEDED_CALLS
    if number == errno.ENOSPC and name == "unshare":
        remedy = remedies.refusal(name, number, False, look())
        return f"{remedy.fix} ({remedy.cause})"
    if refused and step not in ("sources", "mounts"):
        seen = look()
        if seen.filters or (seen.label and not seen.label.startswith("unconfined")):
            remedy = remedies.refusal(name, number, False, seen)
            return f"{remedy.fix} ({remedy.cause})"
    if number == errno.EAGAIN:
        return remedies.MORE_PROCESSES
    if number in remedies.FILES:
        return remedies.FILES[number]
    return remedies.STEPS.get(step, f"{detail}; see what `isolate-fn doctor` finds, and docs/troubleshooting.md")
