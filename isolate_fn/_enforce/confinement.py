"""Steps of isolates without namespaces: who they run as, what Landlock lets them reach, and how they are held together."""

from __future__ import annotations

import errno
import os
import resource

from isolate_fn._enforce import locks
from isolate_fn._enforce.scene import Scene
from isolate_fn._plan.orders import OWN_PID, LandlockOrders
from isolate_fn._sys import calls
from isolate_fn._sys import constants as k

NO_KEYRING = "no session keyring of its own"
_ROOM = 256
"""Processes and threads that the same user may start elsewhere, before an isolate can start none that it might."""
_MOST_COUNTED = 1 << 17


def adopt_orphans(scene: Scene) -> None:
    """Make every orphan among the descendants a child of this process, so that it can be ended (PR_SET_CHILD_SUBREAPER)."""
    calls.prctl(k.PR_SET_CHILD_SUBREAPER, 1)


def prefer_the_roles_when_memory_is_short(scene: Scene) -> None:
    """Offer what is forked from here to the kernel's OOM killer first; `back_to_our_own_score` takes this process out again.

    Where /proc is read-only, the killer chooses as it would have, and the caller is told.
    """
    try:
        scene.score = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
    except OSError as refused:
        scene.notes.append(f"out-of-memory score: not raised ({refused.strerror})")
        return
    scene.own_score = os.read(scene.score, 16)
    os.write(scene.score, b"1000")


def back_to_our_own_score(scene: Scene) -> None:
    """Write through a descriptor that was opened before Landlock denied it."""
    if scene.score >= 0:
        os.write(scene.score, scene.own_score)
        os.close(scene.score)
        scene.score = -1


def empty_keyring_if_allowed(scene: Scene) -> None:
    """Join a new session keyring. Containers deny that; the filter denies every call by which a key could be reached."""
    try:
        calls.join_new_session_keyring()
    except OSError as refused:
        if refused.errno not in (errno.EPERM, errno.EACCES, errno.ENOSYS):
            raise
        scene.notes.append(f"{NO_KEYRING}: {refused.strerror}; the filter alone denies keys")


def lock_capabilities_if_allowed(scene: Scene) -> None:
    """Empty the ambient and the bounding set and lock the securebits, where there is CAP_SETPCAP.

    Without, the bounding set stays as it is. It is of no use: with no_new_privs no exec gives capabilities.
    """
    calls.prctl(k.PR_CAP_AMBIENT, k.PR_CAP_AMBIENT_CLEAR_ALL)
    if calls.capabilities()[0] >> k.CAP_SETPCAP & 1:
        calls.drop_bounding_set()
        calls.prctl(k.PR_SET_SECUREBITS, k.SECUREBITS_LOCKED & ~(k.SECBIT_NO_SETUID_FIXUP | k.SECBIT_NO_SETUID_FIXUP << 1))


def become_own_user(scene: Scene) -> None:
    """Take the isolate's own id, where the caller may; everything after this has no privilege at all."""
    start = scene.start
    if os.geteuid() != start.outer_id:
        os.setgroups([])
        os.setresgid(start.outer_group, start.outer_group, start.outer_group)
        os.setresuid(start.outer_id, start.outer_id, start.outer_id)
        scene.own_id = os.getresuid() == (start.outer_id,) * 3
    calls.drop_all_capabilities()


def dumpable(scene: Scene) -> None:
    """Let init look at the descriptors of the roles, to find files that were deleted and are written on.

    Others cannot: Landlock lets a process look into those of its own domain and below alone. No core is dumped:
    RLIMIT_CORE is 1. A change of id has reset it.
    """
    calls.prctl(k.PR_SET_DUMPABLE, 1)


def landlock(scene: Scene) -> None:
    """Restrict this process to the plan's paths and its private directory. Roles have a domain of their own within init's."""
    plan = scene.plan
    orders = {"init": plan.landlock_init, "worker": plan.landlock, "tools": plan.landlock_tools}[scene.role]
    assert orders is not None  # there is no such engine without
    rights = plan.scratch_rights & orders.handled_fs
    locks.restrict(orders._replace(path_rules=(*orders.path_rules, (scene.start.scratch, rights))), _allow)


def _allow(ruleset: int, path: str, access: int) -> None:
    """Allow rights on a path that was resolved in the caller: a link that appears on it since is somebody's race."""
    try:
        beneath = calls.openat2(k.AT_FDCWD, path, k.O_PATH, k.RESOLVE_NO_SYMLINKS | k.RESOLVE_NO_MAGICLINKS)
    except OSError as failure:
        if failure.errno in (errno.ENOENT, errno.EACCES):
            return  # a module removed meanwhile, or what this id cannot reach: nothing to allow
        raise OSError(failure.errno, failure.strerror, f"openat2 of {path!r}") from None
    try:
        calls.landlock_add_path(ruleset, access, beneath)
    finally:
        os.close(beneath)


def scope_only(scope: int) -> None:
    """Enter a domain that holds signals and nothing else: from it only itself and what is forked from it can be signalled."""
    locks.restrict(LandlockOrders(0, 0, scope, (), 24))


def signals_are_held(outside: int) -> bool:
    """Tell whether a process of the same user, outside, cannot be signalled from here.

    Args:
        outside: its number. It must live, and be of this user, or the answer would mean nothing.
    """
    try:
        os.kill(outside, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        return False
    return False


def process_limit(scene: Scene) -> None:
    """Keep a fork bomb from filling the machine before init notices it: the kernel counts the user's, not the isolate's."""
    if not scene.plan.processes or not scene.tasks:
        return
    most = scene.tasks + scene.plan.processes + _ROOM
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))


def filter_calls(scene: Scene) -> None:
    """Stack what holds where no mount does, with this process's own number in it, and then the base filter."""
    placeholder, own = (number.to_bytes(4, "little") for number in (OWN_PID, os.getpid()))
    before = {"worker": scene.plan.before_worker, "tools": scene.plan.before_tools}.get(scene.role, ())
    for program in before:
        calls.seccomp_filter(program.replace(placeholder, own))
    locks.filter_calls(scene)


def count_tasks() -> int:
    """Return how many processes and threads of this user the kernel counts, those of other containers too.

    Nobody tells that number; but fork(2) fails from it on down. 0 where the limit does not bind (root), or cannot be found.
    """
    here, there = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        try:
            os.write(there, str(_least_limit()).encode())
        finally:
            os._exit(0)
    os.close(there)
    try:
        return int(os.read(here, 16) or b"0")
    finally:
        os.close(here)
        os.waitpid(child, 0)


def _least_limit() -> int:
    """Return the lowest RLIMIT_NPROC under which this process can fork; it lowers its own for that."""
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    low, high = 0, _MOST_COUNTED if hard == resource.RLIM_INFINITY else min(hard, _MOST_COUNTED)
    if _forks_under(1, hard) or not _forks_under(high, hard):
        return 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _forks_under(middle, hard) else (middle, high)
    return high


def _forks_under(limit: int, hard: int) -> bool:
    resource.setrlimit(resource.RLIMIT_NPROC, (limit, hard))
    try:
        child = os.fork()
    except OSError:
        return False
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return True
