"""Judgements on where it runs: container, kernel, processor, Python; and on the directories that matter."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from collections.abc import Iterator

from isolate_fn._diagnose.diagnosis import FAILED, INFO, OK, WEAKER, Check
from isolate_fn._diagnose.evidence import Evidence
from isolate_fn._plan import remedies
from isolate_fn._plan.engine import MACHINES, OLDEST_KERNEL
from isolate_fn._sys import places

PLACES, MACHINE, FILES = "where it runs", "machine", "files"
_SHOWN = 3


def where(seen: Evidence) -> Iterator[Check]:
    """Yield what this process runs in, each with what shows it."""
    for place in seen.places:
        found, cause, fix = place.evidence, "", ""
        if place.name in (places.WSL1, places.GVISOR, places.EMULATOR):
            remedy = remedies.refusal("", 0, False, seen.seen._replace(places=(place.name,)))
            cause, fix = remedy.cause, remedy.fix
        elif place.name == places.UNIT:
            settings = ", ".join(seen.seen.settings)
            found = f"{place.detail}{f' with {settings}' if settings else ''} ({place.evidence})"
        status = FAILED if place.name in (places.WSL1, places.EMULATOR) else INFO
        yield Check(group=PLACES, name=place.name, status=status, found=found, cause=cause, fix=fix)
    if not seen.places:
        yield Check(
            group=PLACES, name="a plain machine", status=INFO, found="no container, unit of systemd or the like is seen"
        )


def machine(seen: Evidence) -> Iterator[Check]:
    """Yield the judgements on kernel, processor and Python."""
    yield kernel(seen)
    yield processor(seen)
    yield python(seen)


def kernel(seen: Evidence) -> Check:
    """Judge the kernel's version."""
    found = "Linux {}.{}".format(*seen.features.kernel)
    if seen.features.kernel < OLDEST_KERNEL:
        cause = "Linux {}.{} is the oldest that has all that isolates are built with".format(*OLDEST_KERNEL)
        return Check(group=MACHINE, name="kernel", status=FAILED, found=found, cause=cause, fix=remedies.NEW_KERNEL)
    return Check(group=MACHINE, name="kernel", status=OK, found=f"{found} ({os.uname().release})")


def processor(seen: Evidence) -> Check:
    """Judge the architecture, for which filters must have been written."""
    found = seen.features.machine
    if sys.maxsize < 1 << 32:
        found += ", with a 32-bit Python"
    elif found in MACHINES:
        words = f"{found}; 32-bit programs (i386, arm) are killed inside isolates: the filter admits one architecture"
        return Check(group=MACHINE, name="architecture", status=OK, found=words)
    cause = f"the filter's tables are for {' and '.join(MACHINES)}, 64 bits"
    return Check(
        group=MACHINE, name="architecture", status=FAILED, found=found, cause=cause, fix=remedies.OTHER_MACHINE
    )


def python(seen: Evidence) -> Check:
    """Judge the Python build that isolates are started with."""
    if seen.no_interpreter is not None:
        error = seen.no_interpreter
        cause = f"isolates need {error.needs}; found {error.found}"
        return Check(group=MACHINE, name="Python", status=FAILED, found="no executable", cause=cause, fix=error.remedy)
    marks = {
        "shared library": sysconfig.get_config_var("Py_ENABLE_SHARED"),
        "debug build": sysconfig.get_config_var("Py_DEBUG"),
        "without GIL": sysconfig.get_config_var("Py_GIL_DISABLED"),
    }
    words = ", ".join(mark for mark, value in marks.items() if value)
    found = f"{platform.python_implementation()} {platform.python_version()}, {words or 'static'}, {seen.interpreter}"
    if platform.python_implementation() != "CPython":
        cause = "the spawner's launcher and the filter are made for CPython"
        return Check(
            group=MACHINE, name="Python", status=FAILED, found=found, cause=cause, fix="run with CPython 3.11 or newer"
        )
    if marks["without GIL"]:
        cause = "this build is not tested"
        return Check(
            group=MACHINE,
            name="Python",
            status=WEAKER,
            found=found,
            cause=cause,
            fix="use the ordinary build of CPython",
        )
    return Check(group=MACHINE, name="Python", status=OK, found=found)


def files(seen: Evidence) -> Iterator[Check]:
    """Yield the judgements on directories."""
    yield temporary(seen)
    yield runnable(seen)
    yield shared_memory(seen)


def temporary(seen: Evidence) -> Check:
    """Judge the directory for temporary files."""
    name = "temporary directory"
    if not seen.temporary:
        return Check(
            group=FILES, name=name, status=WEAKER if seen.namespaces else FAILED,
            found="none of TMPDIR, /tmp, /var/tmp, /usr/tmp can be written",
            cause="isolates have a /tmp of their own; programs around them may not" if seen.namespaces
            else "isolates without mounts have private directories there",
            fix="export TMPDIR= a directory that can",
        )  # fmt: skip
    mount = seen.files.mount_of(os.path.realpath(seen.temporary))
    if mount is not None and "noexec" in mount.options:
        return Check(
            group=FILES, name=name, status=WEAKER, found=f"{seen.temporary} is on {mount.point}, mounted noexec",
            cause="what is installed or built there cannot be run, nor its compiled modules imported; no isolate can lift that",
            fix=f"as root: mount -o remount,exec {mount.point}; or export TMPDIR= a directory elsewhere",
        )  # fmt: skip
    return Check(group=FILES, name=name, status=OK, found=seen.temporary)


def runnable(seen: Evidence) -> Check:
    """Judge whether the interpreter and what it imports lie where programs may be run."""
    name = "interpreter and packages"
    wanted = dict.fromkeys(
        os.path.realpath(path) for path in (seen.interpreter, *sys.path) if path and os.path.exists(path)
    )
    bad = {
        path: mount for path in wanted if (mount := seen.files.mount_of(path)) is not None and "noexec" in mount.options
    }
    if not bad:
        return Check(group=FILES, name=name, status=OK, found="none lies on a mount with noexec")
    listed = ", ".join(list(bad)[:_SHOWN])
    points = dict.fromkeys(mount.point for mount in bad.values())
    return Check(
        group=FILES, name=name, status=FAILED if os.path.realpath(seen.interpreter) in bad else WEAKER,
        found=f"on a mount with noexec: {listed}",
        cause="programs there cannot be started, nor compiled modules be imported, inside isolates or outside",
        fix=f"as root: mount -o remount,exec {' '.join(points)}; or install elsewhere",
    )  # fmt: skip


def shared_memory(seen: Evidence) -> Check:
    """Tell about the caller's /dev/shm; isolates have their own, of their own size, where they have mounts."""
    if not seen.namespaces:
        return Check(group=FILES, name="/dev/shm", status=INFO, found="denied to isolates without mounts of their own")
    found = "isolates have one of their own, within Limits(rootfs_size=...); the caller's is not used"
    if not seen.files.exists("/dev/shm"):
        found = f"the caller has none; {found}"
    return Check(group=FILES, name="/dev/shm", status=INFO, found=found)
