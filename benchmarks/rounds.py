"""Interleaving: a burst of each contestant, again and again, in another order each round."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from benchmarks.figures import Rounds

SETTLE = (
    0.02  # seconds; what a burst leaves behind (an isolate in the making, a process that ends) is not the next one's
)


class Pace(NamedTuple):
    """How long a run may take.

    Attributes:
        quick: about a fifth of the time, for a look.
    """

    quick: bool = False

    def of(self, full: int, quick: int) -> int:
        """Return a count of rounds or calls."""
        return quick if self.quick else full


class Contestant(NamedTuple):
    """One thing that is called.

    Attributes:
        call: gets the number of the call and must return the next number, which is checked.
        burst: timed calls of each round.
        lead: calls before them that do not count.
        pause: seconds of idleness before each call, timed ones included.
        tells: the call returns the seconds that count, by its own clock.
    """

    call: Callable[[int], Any]
    burst: int
    lead: int = 2
    pause: float = 0.0
    tells: bool = False


def run(
    contestants: Mapping[str, Contestant], rounds: int, *, rehearse: bool = True, settle: float = SETTLE
) -> dict[str, Rounds]:
    """Measure every contestant in every round.

    Args:
        contestants: by name; they run in this order, rotated by one each round.
        rounds: that count.
        rehearse: one more comes first and does not.
        settle: seconds of rest after each burst.

    Returns:
        Seconds of each call, by round, by contestant.
    """
    found: dict[str, Rounds] = {name: [] for name in contestants}
    names = list(contestants)
    for number in range(-1 if rehearse else 0, rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            times = burst(contestants[name])
            if number >= 0:
                found[name].append(times)
            time.sleep(settle)
    return found


def burst(contestant: Contestant) -> list[float]:
    """Return the seconds of each timed call of one burst."""
    call, pause = contestant.call, contestant.pause
    clock, sleep = time.perf_counter, time.sleep
    times = []
    for number in range(-contestant.lead, contestant.burst):
        if pause:
            sleep(pause)
        began = clock()
        answer = call(number)
        took = clock() - began
        if contestant.tells:
            took = answer
        elif answer != number + 1:
            raise AssertionError(f"the answer to {number} was {answer!r}")
        if number >= 0:
            times.append(took)
    return times
