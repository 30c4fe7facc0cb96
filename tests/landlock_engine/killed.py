"""Run in a process of its own: a program that leaves forks behind, in a sandbox block; what ends it is the test's choice.

``python killed.py SIMULATION MARKER SECONDS TIMEOUT`` prints how the program ended, and then what is left of the block.
"""

from __future__ import annotations

import sys
from pathlib import Path

import simulation

from isolate_fn import Limits, sandbox

HERE = Path(__file__).parent


def main() -> None:
    """Enter the simulation and run the program."""
    name, marker, seconds, timeout = sys.argv[1:]
    {**simulation.SIMULATIONS, **simulation.OTHERS}[name]()
    script = (HERE / "survivors.py").read_text()
    try:
        with sandbox(limits=Limits(processes=30000)) as box:  # the dead count until somebody asks for them
            argv = [sys.executable, "-I", "-S", "-c", script, marker, seconds]
            print(box.run(argv, timeout=float(timeout)).returncode, flush=True)
            print(box.call(len, "left"), flush=True)
    except Exception as error:
        print(type(error).__name__, flush=True)


if __name__ == "__main__":
    main()
