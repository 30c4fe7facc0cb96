"""Warm calls: a trivial function in a reused worker, full checks on the result.

How fast two processes exchange words depends by a quarter on where their memory happens to lie, for as long as they live.
So the worker and the other side of the bare exchange are started anew several times, and each pair counts alike.
"""

from __future__ import annotations

from benchmarks.figures import Rounds
from benchmarks.findings import Findings, contest, nothing
from benchmarks.peers import pools
from benchmarks.peers.pingpong import PingPong
from benchmarks.rounds import Contestant, Pace, run
from benchmarks.suites import subject

BURST = 200
LEAD = 20
PAIRS = 12


def measure(pace: Pace) -> Findings:
    """Measure a reused worker against a bare exchange and against pools of one worker."""
    import os

    add = subject().add
    started = pools.start(add)
    from isolate_fn import isolated

    reused = isolated(reuse=True)(add)
    found: dict[str, Rounds] = {}
    try:
        for _ in range(PAIRS):
            bare = PingPong()
            calls = {"isolate_fn": reused, "ping-pong": bare, **started.calls, "plain call": add}
            contestants = {name: Contestant(call, pace.of(BURST, BURST // 2), LEAD) for name, call in calls.items()}
            try:
                for name, rounds in run(contestants, pace.of(4, 1)).items():
                    found.setdefault(name, []).extend(rounds)
            finally:
                bare.close()
                reused.close()
    finally:
        started.close()
    pinned = len(os.sched_getaffinity(0)) == 1
    name, where = ("warm-pinned", "all on one processor") if pinned else ("warm", "free to use all processors")
    findings = nothing()
    findings["contests"][name] = contest(f"warm call of a trivial function, {where}", found, started.missing)
    return findings
