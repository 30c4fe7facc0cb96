"""Run in a process of its own, behind a simulation: makes one call, and prints what was in force, or why there was none."""

from __future__ import annotations

import json
import sys

import simulation

from isolate_fn import isolated
from isolate_fn.errors import Unsupported


def main() -> None:
    """Enter the simulation and call."""
    {**simulation.SIMULATIONS, **simulation.OTHERS}[sys.argv[1]]()
    call = isolated(len, prewarm=0)
    try:
        assert call("four") == 4
        found = call.enforcement()
        print(json.dumps([found.engine, found.uid, found.differences[0]]))
    except Unsupported as refused:
        print(json.dumps(["Unsupported", refused.remedy]))


if __name__ == "__main__":
    main()
