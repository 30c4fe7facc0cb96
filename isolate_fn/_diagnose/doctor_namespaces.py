"""Judgements on namespaces, mounts, /proc and ids."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from typing import Any

from isolate_fn._diagnose.diagnosis import FAILED, INFO, OK, WEAKER, Check
from isolate_fn._diagnose.evidence import Evidence, how
from isolate_fn._plan import remedies
from isolate_fn._runtime.refusal import NAMESPACES

GROUP = "namespaces"
_REFUSED = (errno.EPERM, errno.EACCES, errno.ENOSYS)
_NEWER = {"mount_setattr": (5, 12)}  # calls that the oldest kernel we run on lacks, and does without
_KILLED = 31  # SIGSYS
_MASKS_SHOWN = 4


def checks(seen: Evidence) -> Iterator[Check]:
    """Yield the group's checks."""
    user = user_namespaces(seen)
    yield user
    without = user.status == FAILED and not seen.features.privileged
    for name in NAMESPACES:
        if name != "user":
            yield _not_tried(f"{name} namespace") if without else namespace(seen, name)
    yield _not_tried("mounts") if without else mounts(seen)
    yield calls(seen)
    yield _not_tried("own /proc") if without else own_proc(seen)
    yield host_proc(seen)
    if seen.features.privileged:
        yield id_mapped(seen)
    yield ids(seen)


def _not_tried(name: str) -> Check:
    return Check(group=GROUP, name=name, status=INFO, found="not tried: it needs a user namespace")


def _ok(name: str, found: str) -> Check:
    return Check(group=GROUP, name=name, status=OK, found=found)


def _refused(seen: Evidence, name: str, told: dict[str, Any], limit: str = "user") -> Check:
    """Return a failed check for a try, with the cause and the remedy that an error at a call would name."""
    if told.get("signal") == _KILLED:
        fix = remedies.allow(seen.seen, "filter")
        return Check(
            group=GROUP, name=name, status=FAILED, found=how(told), cause="a seccomp filter kills for it", fix=fix
        )
    if not told.get("errno"):
        return _broken(seen, name, told)
    remedy = remedies.refusal(told["call"], told["errno"], bool(told.get("filtered")), seen.seen, limit=limit)
    return Check(group=GROUP, name=name, status=FAILED, found=how(told), cause=remedy.cause, fix=remedy.fix)


def _broken(seen: Evidence, name: str, told: dict[str, Any]) -> Check:
    fix = (
        "see the checks of limits and of the Python build below"
        if seen.untried
        else "report this as a defect of isolate_fn"
    )
    return Check(group=GROUP, name=name, status=FAILED, found="could not be tried", cause=how(told), fix=fix)


def user_namespaces(seen: Evidence) -> Check:
    """Judge whether user namespaces can be made: tried, not read from switches."""
    cause = seen.features.userns_cause
    if "ISOLATE_FN_PRETEND" in cause:
        fix = remedies.of_user_namespaces(cause)
        return Check(group=GROUP, name="user namespaces", status=FAILED, found="none", cause=cause, fix=fix)
    told = seen.tried("user")
    if told["ok"]:
        return _ok("user namespaces", "one was made, and an id mapped in it")
    return _refused(seen, "user namespaces", told)


def namespace(seen: Evidence, name: str) -> Check:
    """Judge one further kind of namespace."""
    told = seen.tried(name)
    if told["ok"]:
        return _ok(f"{name} namespace", "one was made")
    return _refused(seen, f"{name} namespace", told, NAMESPACES[name])


def mounts(seen: Evidence) -> Check:
    """Judge whether a file tree can be built and entered."""
    told = seen.tried("mounts")
    if told["ok"]:
        return _ok("mounts", "tmpfs, bind mounts and pivot_root work")
    return _refused(seen, "mounts", told)


def calls(seen: Evidence) -> Check:
    """Judge whether a seccomp filter, such as a container's, refuses system calls of the set-up."""
    name = "system calls of the set-up"
    told = seen.tried("answers")
    if not told["ok"]:
        return _refused(seen, name, told)
    refused = tuple(
        call
        for call, code in told["answers"].items()
        if code in _REFUSED and not (code == errno.ENOSYS and seen.features.kernel < _NEWER.get(call, (0, 0)))
    )
    if not refused:
        return _ok(name, f"all {len(told['answers'])} reach the kernel")
    words = ", ".join(f"{call} ({errno.errorcode[told['answers'][call]]})" for call in refused)
    remedy = remedies.refusal(refused[0], told["answers"][refused[0]], True, seen.seen)
    cause = remedy.cause.replace(f"{refused[0]}(2)", "them") if len(refused) > 1 else remedy.cause
    needed = tuple(dict.fromkeys((*refused, *remedies.NEEDED_CALLS)))
    fix = (
        remedy.fix if remedy.fix != remedies.allow(seen.seen, "filter") else remedies.allow(seen.seen, "filter", needed)
    )
    return Check(group=GROUP, name=name, status=FAILED, found=f"refused: {words}", cause=cause, fix=fix)


def own_proc(seen: Evidence) -> Check:
    """Judge whether isolates can have a /proc of their own."""
    told = seen.tried("proc")
    if told["ok"]:
        return _ok("own /proc", "a fresh one can be mounted")
    if told.get("errno") not in (errno.EPERM, errno.EACCES):
        return _refused(seen, "own /proc", told)
    covered = _covered(seen)
    cause = "isolates have no /proc, and their memory can be watched only by a cgroup: "
    cause += (
        f"the kernel makes a fresh one only where one is in full view, and here parts of it are covered: {_listed(covered)}"
        if covered
        else remedies.refusal(told["call"], told["errno"], bool(told.get("filtered")), seen.seen).cause
    )
    fix = remedies.allow(seen.seen, "proc")
    return Check(group=GROUP, name="own /proc", status=WEAKER, found=how(told), cause=cause, fix=fix)


def _covered(seen: Evidence) -> list[str]:
    """Return what is mounted over parts of /proc; binfmt_misc covers an empty directory, which the kernel lets pass."""
    points = dict.fromkeys(mount.point for mount in seen.files.mounts() if mount.point.startswith("/proc/"))
    return [point for point in points if point != "/proc/sys/fs/binfmt_misc"]


def _listed(points: list[str]) -> str:
    more = len(points) - _MASKS_SHOWN
    return ", ".join(points[:_MASKS_SHOWN]) + (f" and {more} more" if more > 0 else "")


def host_proc(seen: Evidence) -> Check:
    """Judge what of the caller's own /proc and /sys is covered or read-only."""
    name = "the caller's /proc and /sys"
    if not seen.files.exists("/proc/self/status"):
        return Check(
            group=GROUP, name=name, status=FAILED, found="no /proc", cause="the id maps of a user namespace are files of it",
            fix="mount it: mount -t proc proc /proc",
        )  # fmt: skip
    covered = _covered(seen)
    sys = seen.files.mount_of("/sys")
    read_only = sys is not None and "ro" in sys.options
    found = [f"{_listed(covered)} covered" if covered else "", "/sys is read-only" if read_only else ""]
    sysctls = seen.files.mount_of("/proc/sys")
    if sysctls is not None and "ro" in sysctls.options:
        return Check(
            group=GROUP, name=name, status=WEAKER, found="; ".join([*filter(None, found), "/proc/sys is read-only"]),
            cause="user.max_user_namespaces cannot be set to 0 inside isolates: there the filter alone forbids user namespaces",
            fix=remedies.allow(seen.seen, "proc"),
        )  # fmt: skip
    return _ok(name, "; ".join(filter(None, found)) or "nothing covered, nothing read-only")


def id_mapped(seen: Evidence) -> Check:
    """Judge whether files can be granted to the isolates of a privileged caller, which run under another id."""
    name = "id-mapped mounts"
    told = seen.tried("id-mapped")
    without = "isolates of a root caller read only what others may read, and cannot write what they are granted"
    if not seen.features.mount_setattr:
        fix = "run on Linux 5.12 or newer, or not as root"
        return Check(group=GROUP, name=name, status=WEAKER, found="the kernel has none", cause=without, fix=fix)
    if not seen.features.all_ids:
        found = "not used: this user namespace has a part of the ids only"
        fix = "run in the host's user namespace, or not as root: an ordinary user's isolates run under that user's id"
        return Check(group=GROUP, name=name, status=WEAKER, found=found, cause=without, fix=fix)
    if not told["ok"]:
        fix = "not as root: an ordinary user's isolates run under that user's id"
        return Check(group=GROUP, name=name, status=WEAKER, found=how(told), cause=without, fix=fix)
    if told["refused"]:
        kinds = {path: mount.kind for path in told["refused"] if (mount := seen.files.mount_of(path)) is not None}
        found = "; ".join(f"not for {path} ({kinds.get(path, 'its file system')})" for path in told["refused"])
        fix = "grant files from another file system (ext4, xfs, btrfs, tmpfs), such as a volume; or run not as root"
        return Check(group=GROUP, name=name, status=WEAKER, found=found, cause=without, fix=fix)
    return _ok(name, "work for the package's and the temporary directory")


def ids(seen: Evidence) -> Check:
    """Tell which ids isolates run under, and that subordinate ones are not needed."""
    if not seen.namespaces and seen.features.changes_ids:
        return _ok("user ids", "each isolate gets an unused one; files must be readable by every user")
    if seen.features.privileged:
        found = "each isolate gets an unused one" if seen.features.all_ids else "each gets one of those mapped here"
        return _ok("user ids", found)
    ranges = [line for line in seen.files.read("/etc/subuid").splitlines() if line.split(":")[0] in _names()]
    tool = shutil.which("newuidmap")
    subordinate = f"/etc/subuid has {ranges[0]}" if ranges else "/etc/subuid has none for this user"
    words = (
        f"isolates run under this user's own id; {subordinate}, newuidmap is {tool or 'not installed'}: neither is used"
    )
    return _ok("user ids", words)


def _names() -> set[str]:
    import pwd

    try:
        return {str(os.geteuid()), pwd.getpwuid(os.geteuid()).pw_name}
    except KeyError:  # a container's user that is in no /etc/passwd
        return {str(os.geteuid())}
