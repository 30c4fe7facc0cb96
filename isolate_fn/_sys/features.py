"""What this kernel, and this process on it, can do. Probed once; ``ISOLATE_FN_PRETEND`` narrows it for tests.

The probe changes nothing: what only a try can tell (whether user namespaces are really granted) is told by the spawner
when it starts, with the cause.
"""

from __future__ import annotations

import errno
import os
import sys

from isolate_fn._frozen import dataclass
from isolate_fn._sys.privileges import can_build, can_change_ids
from isolate_fn.errors import PolicyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PRETEND = "ISOLATE_FN_PRETEND"
_ALL_IDS = 4294967295


@dataclass(frozen=True, kw_only=True)
class Features:
    """What can be used.

    Attributes:
        machine: ``os.uname().machine``.
        kernel: (major, minor).
        landlock: ABI, 0 for none.
        landlock_cause: why there is none, empty where there is one.
        seccomp: filters are available (actions ERRNO and KILL_PROCESS; Linux 4.14).
        userns: user namespaces can be created here, as far as a probe can tell without trying.
        userns_cause: what forbids them, empty where nothing does.
        privileged: root with the capabilities to build an isolate without a user namespace around the spawner.
        all_ids: every id is mapped in this process's user namespace (it is the host's, or as wide).
        mount_setattr: Linux 5.12: recursive read-only, id-mapped mounts.
        user_notification: Linux 5.0: another process is told of what a filter denies, and answers.
        killable_wait: Linux 5.19: who waits for that answer is disturbed by fatal signals alone.
        changes_ids: root that may take another id and hand files over to it.
        userns_remedy: what helps against `userns_cause`, where that is known from a try.
    """

    machine: str
    kernel: tuple[int, int]
    landlock: int
    landlock_cause: str
    seccomp: bool
    userns: bool
    userns_cause: str
    privileged: bool
    all_ids: bool
    mount_setattr: bool
    user_notification: bool = False
    killable_wait: bool = False
    changes_ids: bool = False
    userns_remedy: str = ""


def probe() -> Features:
    """Look at the running kernel, narrowed by ``ISOLATE_FN_PRETEND``.

    Raises:
        PolicyError: the variable names a feature that does not exist.
    """
    release = os.uname().release.split(".")
    kernel = (int(release[0]), int("".join(c for c in release[1] if c.isdigit())))
    landlock, cause = _landlock()
    userns, userns_cause = _user_namespaces()
    found = Features(
        machine=os.uname().machine,
        kernel=kernel,
        landlock=landlock,
        landlock_cause=cause,
        seccomp=os.path.exists("/proc/sys/kernel/seccomp/actions_avail") or kernel >= (4, 14),
        userns=userns,
        userns_cause=userns_cause,
        privileged=can_build(),
        all_ids=_all_ids(),
        mount_setattr=kernel >= (5, 12),
        user_notification=kernel >= (5, 0),
        killable_wait=kernel >= (5, 19),
        changes_ids=can_change_ids(),
    )
    pretend = os.environ.get(PRETEND, "")
    return narrow(found, pretend) if pretend else found


def narrow(found: Features, pretend: str) -> Features:
    """Return the features with some taken away, as ``landlock=3,userns=0,mount_setattr=0,seccomp=0,privileged=0``.

    ``kernel=5.4`` is an older kernel, ``machine=riscv64`` another architecture.
    """
    from dataclasses import replace  # only tests pretend

    for entry in filter(None, (part.strip() for part in pretend.split(","))):
        name, _, text = entry.partition("=")
        if name == "kernel" and text.replace(".", "", 1).isdigit() and "." in text:
            major, _, minor = text.partition(".")
            found = replace(found, kernel=min(found.kernel, (int(major), int(minor))))
            continue
        if name == "machine" and text:
            found = replace(found, machine=text)
            continue
        if name not in _MAY_BE_NARROWED or not text.isdigit():
            raise PolicyError(
                PRETEND, f"{entry!r} is not understood", "write for example landlock=3,userns=0,mount_setattr=0"
            )
        because = f"{PRETEND}={pretend}"
        if name == "landlock":
            abi = min(found.landlock, int(text))
            found = replace(found, landlock=abi, landlock_cause=found.landlock_cause or ("" if abi else because))
        elif name == "userns":
            found = replace(found, userns=found.userns and text != "0", userns_cause=because if text == "0" else "")
        else:
            changes: dict[str, Any] = {name: getattr(found, name) and text != "0"}
            found = replace(found, **changes)
    return found


_MAY_BE_NARROWED = {
    "landlock", "userns", "mount_setattr", "seccomp", "privileged", "all_ids", "user_notification", "killable_wait",
    "changes_ids",
}  # fmt: skip


def _landlock() -> tuple[int, str]:
    from isolate_fn._sys import calls  # here: importing ctypes costs more than a program that never isolates should pay

    try:
        return calls.landlock_abi(), ""
    except OSError as failure:
        if failure.errno == errno.EOPNOTSUPP:
            return 0, "Landlock is built into this kernel but switched off (boot parameter lsm= lacks landlock)"
        if failure.errno == errno.EPERM:
            return 0, "a seccomp filter denies landlock_create_ruleset(2)"
        return 0, "this kernel has no Landlock (Linux 5.13 with CONFIG_SECURITY_LANDLOCK)"


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # ASCII, for which Python would load a codec
            return file.read().strip()
    except OSError:
        return ""


def _user_namespaces() -> tuple[bool, str]:
    if not os.path.exists("/proc/self/ns/user"):
        return False, "this kernel has no user namespaces (CONFIG_USER_NS)"
    if _read("/proc/sys/user/max_user_namespaces") == "0":
        return False, "sysctl user.max_user_namespaces is 0"
    if os.geteuid() != 0 and _read("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        return False, "sysctl kernel.unprivileged_userns_clone is 0"
    restricted = _read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1"
    if restricted and os.geteuid() != 0 and _read("/proc/self/attr/current") in ("unconfined", ""):
        return False, "sysctl kernel.apparmor_restrict_unprivileged_userns is 1 (AppArmor, Ubuntu 23.10 and newer)"
    return True, ""


def is_filtered() -> bool:
    """Tell whether a system call filter is around this process, a container's or a unit's (PR_GET_SECCOMP of prctl(2))."""
    from isolate_fn._sys import calls
    from isolate_fn._sys.constants import PR_GET_SECCOMP

    try:
        return calls.prctl(PR_GET_SECCOMP) != 0
    except OSError:  # of such a filter
        return True


def _all_ids() -> bool:
    """True when the uid map is the identity over everything; container runtimes map a part."""
    return _read("/proc/self/uid_map").split() == ["0", "0", str(_ALL_IDS)] and sys.platform == "linux"
