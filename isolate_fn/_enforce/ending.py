"""The end of everything that runs in an isolate without a pid namespace, however it forks.

With Landlock's signal scope (ABI 6) one call does it: kill(-1) of a process reaches those of its own domain and below and
nobody else, all at once, so that no fork comes in between. Under an id of its own, the same call as that id does it. Without
either, a worker that can start no process is all there is, and what remains is looked for again and again.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os

from isolate_fn._enforce.confinement import signals_are_held
from isolate_fn._sys import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_FIRST_UNUSED = 0x4000  # ids below it may be somebody's


def kill_domain(held: bool) -> None:
    """Kill everything in this process's Landlock domain but itself.

    Args:
        held: `signals_are_held` was found true from within this domain. Never true by assumption: without the scope this
            call would reach every process of the user.
    """
    if held is True:
        try:
            os.kill(-1, _signal.SIGKILL)
        except ProcessLookupError:
            pass


def kill_children(but: Collection[int] = ()) -> None:
    """Kill and collect every child but these, and what becomes a child by that, until there is none."""
    while found := [pid for pid in children_of(os.getpid()) if pid not in but]:
        kill_and_collect(found)


def kill_and_collect(children: Sequence[int]) -> None:
    """Kill and collect these, and no other: what becomes a child by that is not killed yet."""
    for pid in children:
        try:
            os.kill(pid, _signal.SIGKILL)
        except ProcessLookupError:
            pass
    for pid in children:
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass


def collect_all() -> None:
    """Wait for every child, after all of them were killed; orphans come here too."""
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        pass


def kill_user(uid: int) -> None:
    """Kill every process of an id that was made up for one isolate, at once; in a child that has become that id.

    Args:
        uid: its id. An id that might be somebody's is refused.
    """
    if uid < _FIRST_UNUSED or uid == os.geteuid():
        return
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            calls.drop_all_capabilities()
            # As that id and without any capability, or not at all.
            if os.getresuid() == (uid, uid, uid) and calls.capabilities() == (0, 0, 0):
                os.kill(-1, _signal.SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def children_of(pid: int) -> list[int]:
    """Return the children of a process, zombies among them (proc_pid_task_children(5); else every process is asked)."""
    try:
        found: list[int] = []
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
        return found
    except FileNotFoundError:
        pass
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and parent_of(name) == pid]


def descendants_of(pid: int, most: int = 0) -> list[int]:
    """Return the numbers of the descendants of a process, as far as one look finds them.

    Args:
        pid: whose.
        most: look no further once there are more than these; 0 for all. Who counts must be faster than who forks.
    """
    found: list[int] = []
    pending = [pid]
    while pending and not (most and len(found) > most):
        for child in children_of(pending.pop()):
            found.append(child)
            pending.append(child)
    return found


def parent_of(name: str) -> int:
    """Return the number of a process's parent, -1 where it has ended."""
    try:
        with open(f"/proc/{name}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return -1


__all__ = [
    "children_of", "collect_all", "descendants_of", "kill_and_collect", "kill_children", "kill_domain", "kill_user",
    "parent_of", "signals_are_held",
]  # fmt: skip
