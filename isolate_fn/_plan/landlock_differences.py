"""What is otherwise without namespaces, as sentences of the report: nothing is weaker, or just other, without a word."""

from __future__ import annotations

from collections.abc import Iterator

from isolate_fn._plan.orders import Plan
from isolate_fn._sys import constants as k
from isolate_fn._sys.features import Features

TRUNCATE_ABI, TCP_ABI, SIGNAL_ABI, UDP_ABI = 3, 4, 6, 10
"""The Landlock ABI from which each is denied; see `RIGHTS` in `_sys/landlock_constants.py`."""

_ALWAYS = """\
files: content is denied by Landlock; that a path exists, its size, times, owner and the text of links can be asked for where \
the host's permissions allow it (stat(2), readlink(2)), which no Landlock ABI denies
files: paths are the host's; cwd, HOME and TMPDIR are a private directory, and /tmp, /dev/shm and /work are denied
files: the private directory is no file system of its own: its size and number of files are watched, and the isolate is \
killed when it passes them; what is in it cannot be executed, but can be mapped executable
host: its name and System V IPC ids are not hidden, but the calls denied that use them"""

_OWN_ID = """\
user: an unused id; what the caller may read, but not every user, cannot be granted; times of files cannot be changed anywhere, \
because those of files that every user may write would be changed as well"""
_CALLERS_ID = """\
user: the caller's own id; modes and times cannot be changed anywhere, because files of the caller's would be changed as well
processes: they and threads are watched, not counted by the kernel, which counts all of the user's together"""


def differences_of(plan: Plan, features: Features, *, own_id: bool, children: bool) -> tuple[str, ...]:
    """Return a sentence for everything that is not as with namespaces.

    Args:
        plan: compiled for namespaces.
        features: of this machine.
        own_id: isolates get an id that nobody has.
        children: code inside may start processes.
    """
    return (
        f"engine 'landlock', because {features.userns_cause or 'there are no user namespaces'}",
        *_ALWAYS.split("\n"),
        *(_OWN_ID if own_id else _CALLERS_ID).split("\n"),
        *_by_abi(plan, features.landlock, children=children),
    )


def _by_abi(plan: Plan, abi: int, *, children: bool) -> Iterator[str]:
    if abi < TRUNCATE_ABI:
        yield f"files: Landlock ABI {abi} knows no truncation; the filter denies truncate(2)"
    seen = "processes: no pid namespace: /proc is denied; whether a process number is in use, its user, group, session, "
    seen += "priority, processors and capabilities can be asked; "
    if abi >= SIGNAL_ABI:
        yield f"{seen}signals to those outside are denied by Landlock's scope (ABI {SIGNAL_ABI}), and all inside are killed by it"
    elif children:
        yield f"{seen}signals are not held back"
    else:
        yield f"{seen}the filter lets a process signal none but itself, and start none"
    if not plan.namespaces & k.CLONE_NEWNET:
        yield "network: the host's, as granted"
        return
    also = {"TCP": TCP_ABI, "abstract unix sockets": SIGNAL_ABI, "UDP": UDP_ABI}
    denied = ", ".join(f"{what} (ABI {since})" for what, since in also.items() if abi >= since)
    walls = f"the filter lets no socket be made but pairs{f'; Landlock also denies {denied}' if denied else ''}"
    yield f"network: no network namespace, and so no own 127.0.0.1: {walls}"
