"""Fresh isolates: one for every call, with the caller idle in between and back to back."""

from __future__ import annotations

import os

from benchmarks.findings import Contest, Findings, contest, nothing
from benchmarks.peers import commands
from benchmarks.peers.floor import Floor
from benchmarks.peers.waiting import Waiting
from benchmarks.rounds import Contestant, Pace, run
from benchmarks.suites import subject

IDLE = 0.03  # seconds of the caller's own work between two calls
PEERS_WITH_PAUSES = ("bwrap", "bwrap, python -S", "python -I -S")
LONG_IDLE = 0.15  # so that the next isolate is ready on any machine


def measure(pace: Pace) -> Findings:
    """Measure fresh isolates against other sandboxes, in bursts and with pauses."""
    peers = commands.find()
    findings = nothing()
    findings["contests"]["fresh"] = back_to_back(peers, pace)
    findings["contests"]["fresh-idle"] = with_pauses(peers, pace)
    return findings


def back_to_back(peers: commands.Commands, pace: Pace) -> Contest:
    """Measure calls that follow at once: with nothing kept ready, and as it is by default."""
    from isolate_fn import isolated

    add = subject().add
    unprepared = isolated(prewarm=0, name="unprepared")(add)
    usual = isolated(name="usual")(add)
    many, few = pace.of(20, 10), pace.of(6, 3)
    contestants = {
        "isolate_fn, nothing prewarmed": Contestant(unprepared, many),
        "isolate_fn, default": Contestant(usual, many),
        **{name: Contestant(call, few, 1) for name, call in peers.calls.items()},
    }
    bare = Floor() if os.geteuid() == 0 else None
    if bare is not None:
        contestants["two bare forks"] = Contestant(bare, many)
    try:
        found = run(contestants, pace.of(25, 6))
    finally:
        if bare is not None:
            bare.close()
        unprepared.close()
        usual.close()
    return contest("fresh isolate for every call, back to back", found, peers.missing)


def with_pauses(peers: commands.Commands, pace: Pace) -> Contest:
    """Measure calls of a caller that does something else in between."""
    from isolate_fn import isolated

    add = subject().add
    short, long = isolated(name="short pause")(add), isolated(name="long pause")(add)
    few = pace.of(5, 3)
    chosen = {name: call for name, call in peers.calls.items() if name in PEERS_WITH_PAUSES}
    bare = Waiting()
    contestants = {
        "isolate_fn": Contestant(short, pace.of(10, 6), pause=IDLE),
        "a bare fork that waited": Contestant(bare, pace.of(10, 6), pause=IDLE),
        "isolate_fn, long pause": Contestant(long, few, 1, pause=LONG_IDLE),
        **{name: Contestant(call, few, 1, pause=IDLE) for name, call in chosen.items()},
    }
    try:
        found = run(contestants, pace.of(20, 6))
    finally:
        bare.close()
        short.close()
        long.close()
    missing = {name: why for name, why in peers.missing.items() if name in PEERS_WITH_PAUSES}
    return contest(f"fresh isolate, caller idle for {IDLE * 1000:.0f} ms before each call", found, missing)
