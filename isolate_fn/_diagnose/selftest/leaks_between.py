"""Promise 4, continued: attacks that look for what came along from another call."""

from __future__ import annotations

import sys

from isolate_fn._diagnose.selftest.attack import Found
from isolate_fn._diagnose.selftest.leaks import LEAKS
from isolate_fn._diagnose.selftest.world import World


@LEAKS.led(
    "call-before", "find what the call before left in memory", held="each call has a process of its own",
    control=lambda world: _kept_in_one(world),
)  # fmt: skip
def call_before(world: World) -> Found:
    """Two calls of the same function and policy."""
    first = world.call(keep, world.token)
    second = world.call(kept)
    if first.error or second.error:
        return {"a call failed": f"{first.error or second.error}"}
    return {"the text of the call before": second.value} if second.value else {}


def _kept_in_one(world: World) -> Found:
    """One worker for both calls, which is one trust domain."""
    from isolate_fn._api.context import sandbox

    with sandbox(**world.options()) as box:
        box.call(keep, world.token)
        text = box.call(kept)
    return {"the text of the call before": text} if text else {}


def keep(text: str) -> None:
    """Leave a text where the next call might look."""
    import builtins

    builtins.selftest_kept = text  # type: ignore[attr-defined]


def kept() -> str:
    """Look for it."""
    import builtins

    return str(getattr(builtins, "selftest_kept", ""))


@LEAKS.led(
    "random-numbers", "predict another isolate's random numbers", held="each isolate has a state of its own",
    control=lambda world: _forked_numbers(),
)  # fmt: skip
def random_numbers(world: World) -> Found:
    """Isolates are forks of one spawner, and a fork continues with the same numbers."""
    drawn = [world.call(draw) for _ in range(3)]
    values = [ended.value for ended in drawn]
    if any(ended.error for ended in drawn):
        return {"a call failed": f"{[ended.error for ended in drawn]}"}
    return {} if len(set(values)) == len(values) else {"the same number": "twice"}


def draw() -> int:
    """Draw a random number."""
    import random

    return random.getrandbits(128)


# The state of the module's own generator is renewed after os.fork(); of a generator of the program's it is not.
_FORKS = """
import os, random
numbers = random.Random()
for _ in range(2):
    if os.fork() == 0:
        print(numbers.getrandbits(62), flush=True)
        os._exit(0)
    os.wait()
"""


def _forked_numbers() -> Found:
    """Two children of one process, as a pool of workers has them; made by an interpreter of their own."""
    import subprocess

    done = subprocess.run([sys.executable, "-I", "-S", "-c", _FORKS], capture_output=True, check=False, timeout=30)
    first, *rest = done.stdout.split() or [b"none"]
    return {"the same number": "twice"} if rest == [first] else {"different": -1}
