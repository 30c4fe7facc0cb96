"""Regular expressions from strangers: one that never ends must not take a worker with it.

The attack: catastrophic backtracking. Python's re holds the interpreter all the while, so neither a thread
nor a signal handler can stop it; killing the process that runs it can.
"""

import re

from isolate_fn import isolated
from isolate_fn.errors import TimedOut


@isolated(timeout=3)
def matches(pattern: str, text: str) -> bool:
    return re.search(pattern, text) is not None


def main() -> None:
    print("honest:", matches(r"\d+", "room 101"))
    try:
        matches(r"(a+)+$", "a" * 40 + "!")
    except TimedOut as error:
        print(f"hostile: gave up after {error.timeout:g} s")
    print("and the next call:", matches(r"\d+", "room 102"))


if __name__ == "__main__":
    main()
