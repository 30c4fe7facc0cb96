"""Descriptors and resource limits of the worker."""

from __future__ import annotations

import os
import resource

from isolate_fn._enforce.scene import Scene
from isolate_fn._sys import calls

CHANNEL = 3
DENIALS = 4
"""Until the filter is installed: the socket over which the spawner gets its listener."""


def only_our_descriptors(scene: Scene) -> None:
    """Leave exactly four descriptors: /dev/null, the two output pipes, and the channel at 3.

    A fifth, for the listener of the filter, is closed when that is installed. Each is first moved out of the way of the
    numbers it could be overwritten at.
    """
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    wanted = [null, scene.descriptors["stdout"], scene.descriptors["stderr"], scene.descriptors[scene.role]]
    if "denials" in scene.descriptors:
        wanted.append(scene.descriptors["denials"])
        scene.descriptors["denials"] = DENIALS
    high = [os.dup(descriptor) for descriptor in wanted]
    while min(high) < len(wanted):
        high = [os.dup(descriptor) for descriptor in high]
    for number, descriptor in enumerate(high):
        os.dup2(descriptor, number, inheritable=number < CHANNEL)
    calls.close_from(len(wanted))
    scene.old_proc = -1
    scene.moved = True


def resource_limits(scene: Scene) -> None:
    """Set the rlimits, soft and hard alike: a soft limit below the hard one is a suggestion (setrlimit(2))."""
    for name, soft, hard in scene.plan.rlimits:
        ceiling = resource.getrlimit(name)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = (ceiling if value == resource.RLIM_INFINITY else min(value, ceiling) for value in (soft, hard))
        resource.setrlimit(name, (soft, hard))


_in_background = [False]


def to_the_background() -> None:
    """Let this process, and what it forks, preempt nobody by waking up (SCHED_BATCH of sched(7)).

    Isolates are built while their caller goes on, often on the processor that it or another isolate runs on. Where
    somebody has chosen another policy for the caller, it stays.
    """
    if os.sched_getscheduler(0) == os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        _in_background[0] = True


def to_the_foreground(scene: Scene) -> None:
    """Undo `to_the_background`."""
    if _in_background[0]:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
