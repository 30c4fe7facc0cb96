"""What must not outlive a fork or an exit of the caller: one registry of everything that holds descriptors or processes.

A caller that forks (gunicorn, Celery prefork) duplicates our sockets into its child; as long as the child holds them,
nobody sees the caller's end. The child therefore closes them first thing, without a word to the other side.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from typing import Protocol


class Held(Protocol):
    """Something with descriptors of ours."""

    def abandon(self) -> None:
        """Close descriptors in a forked child: no message, no lock, no wait."""

    def end(self) -> None:
        """Stop what it runs and wait until that is gone."""


_held: weakref.WeakSet[Held] = weakref.WeakSet()
_lock = threading.Lock()
generation = os.getpid()
"""Process id for which everything here was made; differs in a forked child until it has started afresh."""


def hold(thing: Held) -> None:
    """Register; the registry itself keeps nothing alive."""
    with _lock:
        _held.add(thing)


def let_go(thing: Held) -> None:
    """Forget a thing that has ended."""
    with _lock:
        _held.discard(thing)


def _in_child() -> None:
    global _lock, generation
    _lock = threading.Lock()
    generation = os.getpid()
    for thing in list(_held):
        thing.abandon()
    _held.clear()


def _at_exit() -> None:
    if generation == os.getpid():
        for thing in list(_held):
            thing.end()


os.register_at_fork(after_in_child=_in_child)
atexit.register(_at_exit)
