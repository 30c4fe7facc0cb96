"""Spawners and isolates of this process: started when first needed, kept ready where asked, gone when unused.

Nothing here is touched by importing or decorating. After a fork the child starts with an empty pool.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from collections import deque

from isolate_fn._runtime import cgroup, ids, lifetime
from isolate_fn._runtime.isolate import Isolate
from isolate_fn._runtime.prepared import Prepared, SpawnerKey
from isolate_fn._runtime.spawner_client import SpawnerClient, SpawnerGone
from isolate_fn.errors import SetupError

_RETRIES = 2
_MOST_AHEAD = 2
_EASY = 8  # calls
_SWEEP_SECONDS = 1.0
_TOO_MANY = "raise the limit on open files (ulimit -n), seven for each call at a time, or make fewer calls at once"

_Key = tuple[int, bytes, bytes]
"""Identity of a plan, the function that its isolates are meant for, as it is sent, and the filter on top."""


def _key(prepared: Prepared, function: bytes) -> _Key:
    return id(prepared.plan), function, prepared.filter


class Waiting:
    """Isolates of one plan that wait for a call.

    Attributes:
        prepared: the plan's.
        isolates: those that wait, the one that has waited longest first.
        used: when one came back last, by time.monotonic().
        dropped: nobody looks here any more; what was put in afterwards must be ended by who did.
    """

    __slots__ = ("dropped", "isolates", "prepared", "used")

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        self.isolates: deque[Isolate] = deque()
        self.dropped = False
        self.used = time.monotonic()

    def end(self) -> None:
        """End all of them, and whatever is put in later by the call that took it out."""
        self.dropped = True
        while self.isolates:
            with contextlib.suppress(IndexError):  # another thread was faster
                self.isolates.pop().end()


class _Pool:
    """The state of one process; a forked child gets a new one."""

    def __init__(self) -> None:
        self.generation = lifetime.generation
        self.lock = threading.RLock()
        self.starting: dict[SpawnerKey, threading.RLock] = {}
        self.spawners: dict[SpawnerKey, SpawnerClient] = {}
        self.waiting: dict[_Key, Waiting] = {}
        self.swept = time.monotonic()
        self.haste: dict[_Key, tuple[int, int]] = {}  # isolates above what is kept ready, calls that found one


_state = _Pool()


def _pool() -> _Pool:
    global _state
    if _state.generation != lifetime.generation:
        _state = _Pool()
    return _state


def start(prepared: Prepared, function: bytes = b"") -> Isolate:
    """Order one isolate; it is built while the caller goes on.

    Args:
        prepared: the policy.
        function: what its worker imports as soon as its walls stand, empty for nothing.

    Raises:
        Unsupported: this machine does not let us.
        SetupError: the spawner could not be started.
    """
    _sweep(_pool())
    try:
        return _start(prepared, function)
    except BaseException:
        lifetime.stay_if_over()
        raise


def _start(prepared: Prepared, function: bytes) -> Isolate:
    for _ in range(_RETRIES):
        began = time.monotonic()
        spawner = start_spawner(prepared)
        waited = time.monotonic() - began
        group = cgroup.make(prepared.cgroup, prepared.plan.memory) if prepared.cgroup else None
        ordered = ids.start_for(prepared, function)
        try:
            isolate = Isolate(prepared.plan, ordered, tools=prepared.tools, group=group)
        except OSError as failure:
            if group is not None:
                group.remove()
            raise SetupError("make an isolate's sockets and pipes", "", failure.errno or 0, _TOO_MANY) from failure
        try:
            roles, descriptors = isolate.ends_for_the_child()
            spawner.order(prepared.plan, isolate.start._replace(descriptors=roles), descriptors)
        except SpawnerGone:
            isolate.abandon()
            _forget(spawner)
            continue
        except OSError as failure:  # such as ETOOMANYREFS of unix(7): too many descriptors are on their way
            isolate.abandon()
            raise SetupError("hand over an isolate's descriptors", "sendmsg", failure.errno or 0, _TOO_MANY) from failure
        except BaseException:
            isolate.abandon()
            raise
        finally:
            isolate.close_child_ends()
        isolate.spawner = spawner
        isolate.stages |= {"spawner": waited, "start": time.monotonic() - isolate.created}
        return isolate
    raise SetupError("order an isolate", "sendmsg", 0, "the spawner ends as soon as it is started; is memory short?")


def has_spawner(prepared: Prepared) -> bool:
    """Tell whether the spawner of this kind runs already; one that has ended is forgotten."""
    known = _pool().spawners.get(prepared.spawner)
    if known is None or known.alive():
        return known is not None
    _forget(known)
    return False


def start_spawner(prepared: Prepared) -> SpawnerClient:
    """Return the running spawner of this kind, started by exactly one thread."""
    pool = _pool()
    with pool.lock:
        known = pool.spawners.get(prepared.spawner)
        if known is not None:
            return known
        starting = pool.starting.setdefault(prepared.spawner, threading.RLock())
    with starting:
        with pool.lock:
            known = pool.spawners.get(prepared.spawner)
        if known is None:
            started = SpawnerClient(prepared.spawner, prepared.features)
            with pool.lock:
                known = pool.spawners.setdefault(prepared.spawner, started)
            if known is not started:  # a signal handler made a call meanwhile, in this very thread
                started.end()
        return known


def _forget(spawner: SpawnerClient) -> None:
    pool = _pool()
    with pool.lock:
        if pool.spawners.get(spawner.key) is spawner:
            del pool.spawners[spawner.key]
    spawner.end()


def take(prepared: Prepared, function: bytes = b"") -> Isolate:
    """Return an isolate for this function: a waiting one where there is one that lives, else a new one."""
    return take_waiting(prepared, function) or start(prepared, function)


def take_waiting(prepared: Prepared, function: bytes = b"") -> Isolate | None:
    """Return an isolate that waits for a call of this function and lives, None where there is none."""
    if prepared.grants:  # made for one call
        return None
    waiting = _pool().waiting.get(_key(prepared, function))
    while waiting is not None and waiting.isolates:
        try:
            isolate = waiting.isolates.popleft()
        except IndexError:  # another thread was faster
            break
        # One that has said more than it was asked must not be heard by the next call.
        if time.monotonic() - isolate.idle_since < prepared.terms.idle_timeout and isolate.rested():
            return isolate
        isolate.end()
    return None


def waiting_for(prepared: Prepared, function: bytes = b"") -> Waiting:
    """Return where isolates of a plan wait that are meant for this function."""
    pool = _pool()
    with pool.lock:
        known = pool.waiting.get(_key(prepared, function))
        if known is None:
            known = pool.waiting[_key(prepared, function)] = Waiting(prepared)
        return known


def _sweep(pool: _Pool) -> None:
    """End what waited for too long, at most once a second, and forget policies that nobody uses any more."""
    now = time.monotonic()
    if now - pool.swept < _SWEEP_SECONDS:
        return
    pool.swept = now
    with pool.lock:
        every = list(pool.waiting.items())
    for key, waiting in every:
        oldest = now - waiting.prepared.terms.idle_timeout
        with contextlib.suppress(IndexError):  # none is left; another thread may have been faster
            while waiting.isolates[0].idle_since < oldest:
                waiting.isolates.popleft().end()
        if not waiting.isolates and waiting.used < oldest:
            with pool.lock:
                pool.waiting.pop(key, None)
                pool.haste.pop(key, None)
            waiting.end()


def give_back(waiting: Waiting, isolate: Isolate) -> None:
    """Keep an isolate for a later call of the same policy."""
    isolate.idle_since = waiting.used = time.monotonic()
    waiting.isolates.append(isolate)
    if waiting.dropped:
        waiting.end()


def ahead(prepared: Prepared, function: bytes, *, behind: bool) -> int:
    """Return how many isolates above ``prewarm`` shall be in the making.

    Calls that come faster than isolates get ready keep both processors busy that way. One more each time a call had to
    wait for its isolate, one less after a row of calls that had not.
    """
    pool = _pool()
    with pool.lock:
        more, easy = pool.haste.get(_key(prepared, function), (0, 0))
        if behind:
            more, easy = min(more + 1, _MOST_AHEAD), 0
        elif more:
            more, easy = (more - 1, 0) if easy + 1 >= _EASY else (more, easy + 1)
        pool.haste[_key(prepared, function)] = (more, easy)
    return more


def top_up(prepared: Prepared, count: int, function: bytes = b"") -> None:
    """Order isolates until ``count`` are waiting; they are built while the caller goes on."""
    waiting = waiting_for(prepared, function)
    for _ in range(count - len(waiting.isolates)):
        give_back(waiting, start(prepared, function))


def close(prepared: Prepared, function: bytes | None = None) -> None:
    """End the waiting isolates of a policy, or those of it that are meant for one function."""
    pool = _pool()
    with pool.lock:
        keys = [key for key in pool.waiting if key[0] == id(prepared.plan) and function in (None, key[1])]
        waiting = [pool.waiting.pop(key) for key in keys]
        for key in keys:
            pool.haste.pop(key, None)
    for each in waiting:
        each.end()


def close_all() -> None:
    """End every waiting isolate and every spawner of this process; later calls start afresh."""
    pool = _pool()
    with pool.lock:
        waiting, spawners = list(pool.waiting.values()), list(pool.spawners.values())
        pool.waiting.clear()
        pool.spawners.clear()
    lifetime.end_all([*spawners, *waiting])


def _in_child() -> None:
    """Forget what waits: a forked child has closed its copies of the descriptors, whose numbers are used again."""
    for waiting in _state.waiting.values():
        waiting.dropped = True
        waiting.isolates.clear()


def _at_exit() -> None:
    """Leave a pool that can be used: callbacks registered before this module was imported come later, and may make calls."""
    lifetime.over = True
    with contextlib.suppress(SystemExit, KeyboardInterrupt):  # a signal asks for the end while it happens
        close_all()


os.register_at_fork(after_in_child=_in_child)
atexit.register(_at_exit)
