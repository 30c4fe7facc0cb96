"""What must not outlive a fork or an exit of the caller: one registry of everything that holds descriptors or processes.

A caller that forks (gunicorn, Celery prefork) duplicates our sockets into its child; as long as the child holds them,
nobody sees the caller's end. The child therefore closes them first thing, without a word to the other side.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    class Running(Protocol):
        """Something with processes of ours."""

        def end(self) -> None:
            """Stop what it runs and wait until that is gone."""

    class Held(Running, Protocol):
        """Something with descriptors of ours."""

        def abandon(self) -> None:
            """Close descriptors in a forked child: no message, no lock, no wait."""


_held: weakref.WeakSet[Held] = weakref.WeakSet()
making = threading.RLock()
"""Held while descriptors are made and until their owner is registered: no other thread may fork in between, or the child
would keep what nobody there knows of. Re-entrant, like every lock that a call takes: a signal handler may make calls."""
generation = os.getpid()
"""Process id for which everything here was made; differs in a forked child until it has started afresh."""


def hold(thing: Held) -> None:
    """Register; the registry itself keeps nothing alive."""
    with making:
        _held.add(thing)


def let_go(thing: Held) -> None:
    """Forget a thing that has ended."""
    with making:
        _held.discard(thing)


def close(descriptors: list[int]) -> None:
    """Close and forget; each in one step, so that no exception of a signal handler's can come between the two."""
    with contextlib.suppress(IndexError):  # another thread was faster
        for _ in map(os.close, map(descriptors.pop, [-1] * len(descriptors))):
            pass


def _in_child() -> None:
    global generation
    generation = os.getpid()
    try:
        for thing in list(_held):
            thing.abandon()
        _held.clear()
    finally:
        making.release()


def end_all(things: Iterable[Running]) -> None:
    """End each, the last one first, whatever a signal's handler raises while another ends."""
    with contextlib.ExitStack() as endings:
        for thing in things:
            endings.callback(thing.end)


over = False
"""The interpreter is about to end: what its calls still run is being killed."""


ending_all = False
"""All that is held is being ended. A daemon thread may be in the middle of a call: what its isolate wrote is read by it."""


def _at_exit() -> None:
    global over, ending_all
    over = ending_all = True
    try:
        if generation == os.getpid():
            with contextlib.suppress(SystemExit, KeyboardInterrupt):  # a signal asks for the end while it happens
                end_all(list(_held))
    finally:
        ending_all = False


def stay_if_over() -> None:
    """Never return to a daemon thread whose call was killed because the interpreter ends.

    Other daemon threads are stopped then as well, without a word; this one would tell of a crash that was none.
    """
    if over and threading.current_thread().daemon:
        while True:
            threading.Event().wait()


# The thread that forks holds the lock meanwhile, and is the one that lives on in the child. Its methods are in C: no signal
# handler's exception can come between them and the fork.
os.register_at_fork(before=making.acquire, after_in_parent=making.release, after_in_child=_in_child)
atexit.register(_at_exit)
