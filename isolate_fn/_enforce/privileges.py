"""Ids, capabilities and the switches that keep them gone."""

from __future__ import annotations

import errno
import os

from isolate_fn._enforce.scene import Scene
from isolate_fn._sys import calls
from isolate_fn._sys import constants as k


def become_inner_user(scene: Scene) -> None:
    """Take the one id that is mapped; it is not 0, so no call treats it as root and no exec gives it anything."""
    os.setresgid(scene.plan.inner_id, scene.plan.inner_id, scene.plan.inner_id)
    os.setresuid(scene.plan.inner_id, scene.plan.inner_id, scene.plan.inner_id)


def become_outer_user(scene: Scene) -> None:
    """Init of a privileged caller: no longer the caller's id, whose files an ordinary owner check would open."""
    if os.geteuid() != scene.start.outer_id:
        os.setresgid(scene.start.outer_group, scene.start.outer_group, scene.start.outer_group)
        os.setresuid(scene.start.outer_id, scene.start.outer_id, scene.start.outer_id)


def leave_groups(scene: Scene) -> None:
    """Drop supplementary groups (docker, disk, shadow).

    Only the privileged may. An ordinary caller keeps its own: unmapped, and of no use inside except for files of a mount
    that grant something to that group.
    """
    if scene.start.idmap_from >= 0 or os.geteuid() != scene.start.outer_id:
        os.setgroups([])


def lock_capabilities(scene: Scene) -> None:
    """Empty the ambient and the bounding set, and lock the doors by which capabilities come back (capabilities(7)).

    Both need CAP_SETPCAP, hence before the other sets are emptied. NO_SETUID_FIXUP is among the bits: a change of id
    after this neither takes nor gives capabilities.
    """
    calls.prctl(k.PR_CAP_AMBIENT, k.PR_CAP_AMBIENT_CLEAR_ALL)
    calls.prctl(k.PR_CAPBSET_DROP, 0)  # tells what is wrong where something is
    calls.drop_bounding_set()
    calls.prctl(k.PR_SET_SECUREBITS, k.SECUREBITS_LOCKED)


def empty_capabilities(scene: Scene) -> None:
    """Empty the effective, permitted and inheritable sets; the last one too (CVE-2022-24769)."""
    calls.drop_all_capabilities()


def collect_orphans(scene: Scene) -> None:
    """Make orphans of a tool's processes children of the process that starts tools, so that it can end them."""
    if scene.role == "tools":
        calls.prctl(k.PR_SET_CHILD_SUBREAPER, 1)


def not_dumpable(scene: Scene) -> None:
    """Refuse ptrace, /proc/<pid>/{mem,fd,environ} and core dumps. After every change of id, which resets it."""
    calls.prctl(k.PR_SET_DUMPABLE, 0)


def no_new_privileges(scene: Scene) -> None:
    """Make setuid programs and file capabilities inert; precondition of the next two for the unprivileged."""
    calls.prctl(k.PR_SET_NO_NEW_PRIVS, 1)


def no_speculation(scene: Scene) -> None:
    """Switch speculative store bypass and indirect branch speculation off where the CPU lets a task choose.

    Only with ``fresh_exec``: it halves the speed of the isolate and of whoever it talks to, and the threat model promises
    nothing about side channels (decision 10). ENODEV, EPERM and ENXIO mean that this machine has nothing to switch.
    """
    if not scene.plan.fresh_exec:
        return
    for feature in (k.PR_SPEC_STORE_BYPASS, k.PR_SPEC_INDIRECT_BRANCH):
        try:
            calls.prctl(k.PR_SET_SPECULATION_CTRL, feature, k.PR_SPEC_FORCE_DISABLE)
        except OSError as refused:
            if refused.errno not in (errno.ENODEV, errno.EPERM, errno.ENXIO, errno.EINVAL):
                raise
