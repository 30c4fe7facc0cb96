"""Warm calls: a trivial function in a reused worker, full checks on the result."""

from __future__ import annotations

from benchmarks.findings import Findings, contest, nothing
from benchmarks.peers import pools
from benchmarks.peers.pingpong import PingPong
from benchmarks.rounds import Contestant, Pace, run
from benchmarks.suites import subject

BURST = 200
LEAD = 20


def measure(pace: Pace) -> Findings:
    """Measure a reused worker against a bare exchange and against pools of one worker."""
    import os

    add = subject().add
    started = pools.start(add)
    bare = PingPong()
    from isolate_fn import isolated

    reused = isolated(reuse=True)(add)
    calls = {"isolate_fn": reused, "ping-pong": bare, **started.calls, "plain call": add}
    contestants = {name: Contestant(call, pace.of(BURST, BURST // 2), LEAD) for name, call in calls.items()}
    try:
        found = run(contestants, pace.of(30, 12))
    finally:
        reused.close()
        bare.close()
        started.close()
    pinned = len(os.sched_getaffinity(0)) == 1
    name, where = ("warm-pinned", "all on one processor") if pinned else ("warm", "free to use all processors")
    findings = nothing()
    findings["contests"][name] = contest(f"warm call of a trivial function, {where}", found, started.missing)
    return findings
