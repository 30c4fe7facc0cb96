"""Sandboxes that are looked on at: an ordinary one whose orders were widened, with a spawner and a record of its own."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from isolate_fn._api.context import Sandbox
from isolate_fn._api.prepare import prepare
from isolate_fn._plan import sharing
from isolate_fn._plan.learning import check, widened
from isolate_fn._runtime.prepared import Prepared
from isolate_fn._runtime.wide import wide_mounts
from isolate_fn._sys.features import probe
from isolate_fn.errors import Unsupported
from isolate_fn.policy.policy import Policy

_DOMAIN = "learn"
_END_SECONDS = 5.0


class LearningBox(Sandbox):
    """A sandbox that is looked on at.

    Args:
        policy: what may be done inside beside looking at everything.
        file: where the spawner writes what it sees.
        allowed: paths with secrets that may be read all the same.
        programs: files of the host's that may be executed, beside those that every isolate has.

    Raises:
        Unsupported: this machine cannot do it safely.
    """

    def __init__(self, policy: Policy, file: str, *, allowed: Iterable[str] = (), programs: Iterable[str] = ()) -> None:
        check(probe())
        super().__init__(policy)
        needs_namespaces(self._prepared.enforcement.engine)
        self._prepared = _widened(self._prepared, policy, file, allowed, programs)

    def stop(self) -> None:
        """Kill what runs inside; a thread of its own may. Whoever waits for an answer hears that it has ended."""
        isolate = self._isolate
        if isolate is not None:
            with contextlib.suppress(OSError):  # it was ended meanwhile
                isolate.condemn()


def needs_namespaces(engine: str) -> None:
    """Refuse an engine without a file tree of its own: there, what is to be looked at could be read.

    Raises:
        Unsupported: it is another.
    """
    if engine != "namespaces":
        remedy = "run `isolate-fn doctor`, which finds what keeps namespaces from being made here"
        raise Unsupported("learn", "engine 'namespaces'", f"engine {engine!r}", remedy)


def _widened(
    prepared: Prepared, policy: Policy, file: str, allowed: Iterable[str], programs: Iterable[str]
) -> Prepared:
    wide = wide_mounts(prepared.plan.mounts, sharing.own_places(policy.cwd))
    network = policy.network is True
    plan = widened(
        prepared.plan, prepared.features, wide, file=file, allowed=allowed, programs=programs, network=network
    )
    return replace(prepared, plan=plan, spawner=replace(prepared.spawner, domain=_DOMAIN))


def told(file: str) -> list[dict[str, Any]]:
    """Return what a spawner has written of one isolate that has ended, once it has written all of it."""
    deadline = time.monotonic() + _END_SECONDS
    while True:
        with open(file, encoding="ascii") as lines:
            found = [json.loads(line) for line in lines if line.endswith("\n")]
        if time.monotonic() > deadline or (found and "end" in found[-1]):
            return found
        time.sleep(0.005)


def orders_of_ordinary(policy: Policy, *, program: bool) -> tuple[Any, ...]:
    """Return the mounts that isolates of a policy have."""
    return prepare(policy, tools=program).plan.mounts

