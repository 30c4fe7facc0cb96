"""Run in a process of its own, behind a simulated container: each attack behind the walls, and without the ones that stop it.

``python program.py SIMULATION SPEC`` prints JSON: attack -> what it got with and without walls.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import attacks
import simulation
from support import run_without

# Which walls stop what. Without these it succeeds: so it is they that do.
FILES = ("landlock", "init: landlock")
CALLS = ("seccomp",)
BOTH = (*FILES, *CALLS)


def main() -> None:
    """Enter the simulation, attack, tell."""
    spec = json.loads(sys.argv[2])
    {**simulation.SIMULATIONS, **simulation.OTHERS}[sys.argv[1]]()
    with subprocess.Popen(["sleep", "600"]) as victim:
        try:
            told = attack_all(plan(spec, victim.pid), bare=spec["bare"])
        finally:
            victim.kill()
    print(json.dumps({**told, "engine": enforcement()}))


def attack_all(planned: dict, *, bare: bool) -> dict:
    """Return name -> what it got with walls, and without those that stop it."""
    told = {name: [got] for name, got in run_without((), attacks.all_of, calls_of(planned), timeout=60).items()}
    for walls in (FILES, CALLS, BOTH) if bare else ():
        without = {name: entry for name, entry in planned.items() if entry[2] == walls}
        for name, got in run_without(walls, attacks.all_of, calls_of(without), timeout=60).items():
            told[name].append(got)
    return told


def calls_of(planned: dict) -> list:
    """Return (name, function's name, arguments) of attacks."""
    return [(name, attack.__name__, args) for name, (attack, args, _) in planned.items()]


def plan(spec: dict, victim: int):
    """Return attack -> (function, arguments, walls)."""
    mine = own_files(spec["directory"])
    return {
        "read an unmounted file": (attacks.read, (mine["read"],), FILES),
        "list a directory": (attacks.listing, ("/",), FILES),
        "write an unmounted file": (attacks.write, (mine["write"],), FILES),
        "make a file outside": (attacks.create, (mine["new"],), FILES),
        "truncate": (attacks.truncate, (mine["truncate"],), BOTH),
        "chmod": (attacks.mode, (mine["mode"],), CALLS),
        "utime": (attacks.times, (mine["times"],), CALLS),
        "extended attributes": (attacks.attribute, (mine["read"],), CALLS),
        "link": (attacks.link, (mine["read"],), FILES),
        "TCP": (attacks.tcp_or_not, (spec["tcp"],), BOTH),
        "UDP": (attacks.udp, (spec["udp"],), BOTH),
        "unix socket": (attacks.unix, (spec["unix"],), BOTH),
        "abstract socket": (attacks.unix, (spec["abstract"],), BOTH),
        "signal": (attacks.send_signal, (victim,), BOTH),
        "ptrace": (attacks.trace, (victim,), BOTH),
        "environment": (attacks.environment, (victim,), FILES),
        "memory of a process": (attacks.memory, (victim,), FILES),
        "command line": (attacks.command, (victim,), FILES),
        "affinity": (attacks.affinity, (victim,), CALLS),
        "fork": (attacks.fork, (), CALLS),
        "stop init": (attacks.send_signal_to_init, (0,), BOTH),
    }


def own_files(directory: str) -> dict[str, str]:
    """Make files of this user's, whose permissions stop nobody; where all is read-only, in the one place that is not."""
    directory = directory if os.access(directory, os.W_OK) else tempfile.mkdtemp(dir="/tmp")
    made = {name: f"{directory}/{name}-{os.getpid()}" for name in ("read", "write", "truncate", "mode", "times")}
    for path in made.values():
        Path(path).write_text("a secret of the host")
        Path(path).chmod(0o644)
    return {**made, "new": f"{directory}/new-{os.getpid()}"}


def enforcement() -> list:
    """Return what is in force."""
    from isolate_fn import isolated

    found = isolated(attacks.descriptors, prewarm=0).enforcement()
    return [found.engine, found.uid, list(found.properties), list(found.differences), list(found.dropped)]


if __name__ == "__main__":
    main()
