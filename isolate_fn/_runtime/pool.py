"""Spawners and isolates of this process: started when first needed, kept ready where asked, gone when unused.

Nothing here is touched by importing or decorating. After a fork the child starts with an empty pool.
"""

from __future__ import annotations

import threading
import time
from collections import deque

from isolate_fn._plan.orders import Start
from isolate_fn._runtime import cgroup, ids, lifetime
from isolate_fn._runtime.isolate import Isolate
from isolate_fn._runtime.prepared import Prepared
from isolate_fn._runtime.spawner_client import SpawnerClient, SpawnerGone, SpawnerKey
from isolate_fn.errors import SetupError

_RETRIES = 2
_MOST_AHEAD = 2
_EASY = 8  # calls


class _Pool:
    """The state of one process; a forked child gets a new one."""

    def __init__(self) -> None:
        self.generation = lifetime.generation
        self.lock = threading.Lock()
        self.starting: dict[SpawnerKey, threading.Lock] = {}
        self.spawners: dict[SpawnerKey, SpawnerClient] = {}
        self.waiting: dict[int, tuple[Prepared, deque[Isolate]]] = {}
        self.haste: dict[int, tuple[int, int]] = {}  # by plan: isolates above what is kept ready, calls that found one


_state = _Pool()


def _pool() -> _Pool:
    global _state
    if _state.generation != lifetime.generation:
        _state = _Pool()
    return _state


def start(prepared: Prepared) -> Isolate:
    """Order one isolate; it is built while the caller goes on.

    Raises:
        Unsupported: this machine does not let us.
        SetupError: the spawner could not be started.
    """
    for _ in range(_RETRIES):
        spawner = _spawner(prepared)
        uid, gid = ids.outer_ids(prepared.features)
        remap = 0 if prepared.features.privileged and prepared.features.all_ids and uid != 0 else -1
        group = cgroup.make(prepared.cgroup, prepared.plan.memory) if prepared.cgroup else None
        isolate = Isolate(prepared.plan, Start(0, uid, gid, remap, ()), tools=prepared.tools, group=group)
        try:
            roles, descriptors = isolate.ends_for_the_child()
            spawner.order(prepared.plan, isolate.start._replace(descriptors=roles), descriptors)
        except SpawnerGone:
            isolate.abandon()
            _forget(spawner)
            continue
        except BaseException:
            isolate.abandon()
            raise
        finally:
            isolate.close_child_ends()
        isolate.stages["start"] = time.monotonic() - isolate.created
        return isolate
    raise SetupError("order an isolate", "sendmsg", 0, "the spawner ends as soon as it is started; is memory short?")


def _spawner(prepared: Prepared) -> SpawnerClient:
    """Return the running spawner of this kind, started by exactly one thread."""
    pool = _pool()
    with pool.lock:
        known = pool.spawners.get(prepared.spawner)
        if known is not None:
            return known
        starting = pool.starting.setdefault(prepared.spawner, threading.Lock())
    with starting:
        with pool.lock:
            known = pool.spawners.get(prepared.spawner)
        if known is None:
            known = SpawnerClient(prepared.spawner, prepared.features)
            with pool.lock:
                pool.spawners[prepared.spawner] = known
        return known


def _forget(spawner: SpawnerClient) -> None:
    pool = _pool()
    with pool.lock:
        if pool.spawners.get(spawner.key) is spawner:
            del pool.spawners[spawner.key]
    spawner.end()


def take(prepared: Prepared) -> Isolate:
    """Return an isolate: a waiting one where there is one that lives, else a new one."""
    pool = _pool()
    while True:
        with pool.lock:
            waiting = pool.waiting.get(id(prepared.plan))
            isolate = waiting[1].popleft() if waiting and waiting[1] else None
        if isolate is None:
            return start(prepared)
        rested = time.monotonic() - isolate.idle_since
        # One that has said more than it was asked must not be heard by the next call.
        if rested < prepared.terms.idle_timeout and isolate.alive() and (not isolate.calls or isolate.silent()):
            return isolate
        isolate.end()


def give_back(prepared: Prepared, isolate: Isolate) -> None:
    """Keep an isolate for a later call of the same policy."""
    pool = _pool()
    isolate.idle_since = time.monotonic()
    with pool.lock:
        pool.waiting.setdefault(id(prepared.plan), (prepared, deque()))[1].append(isolate)


def ahead(prepared: Prepared, *, behind: bool) -> int:
    """Return how many isolates above ``prewarm`` shall be in the making.

    Calls that come faster than isolates get ready keep both processors busy that way. One more each time a call had to
    wait for its isolate, one less after a row of calls that had not.
    """
    pool = _pool()
    with pool.lock:
        more, easy = pool.haste.get(id(prepared.plan), (0, 0))
        if behind:
            more, easy = min(more + 1, _MOST_AHEAD), 0
        elif more:
            more, easy = (more - 1, 0) if easy + 1 >= _EASY else (more, easy + 1)
        pool.haste[id(prepared.plan)] = (more, easy)
    return more


def top_up(prepared: Prepared, count: int) -> None:
    """Order isolates until ``count`` are waiting; they are built while the caller goes on."""
    pool = _pool()
    with pool.lock:
        waiting = pool.waiting.get(id(prepared.plan))
        missing = count - (len(waiting[1]) if waiting else 0)
    for _ in range(missing):
        isolate = start(prepared)
        isolate.prewarmed = True
        give_back(prepared, isolate)


def close(prepared: Prepared) -> None:
    """End the waiting isolates of a policy."""
    pool = _pool()
    with pool.lock:
        _, isolates = pool.waiting.pop(id(prepared.plan), (prepared, deque()))
        pool.haste.pop(id(prepared.plan), None)
    for isolate in isolates:
        isolate.end()


def close_all() -> None:
    """End every waiting isolate and every spawner of this process; later calls start afresh."""
    pool = _pool()
    with pool.lock:
        waiting, spawners = list(pool.waiting.values()), list(pool.spawners.values())
        pool.waiting.clear()
        pool.spawners.clear()
    for _, isolates in waiting:
        for isolate in isolates:
            isolate.end()
    for spawner in spawners:
        spawner.end()
