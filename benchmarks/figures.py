"""Numbers out of times: percentiles, summaries, ratios. Pure; seconds everywhere."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TypedDict

Rounds = list[list[float]]


class Summary(TypedDict):
    """One contestant's times.

    Attributes:
        count: calls that were timed.
        median, min, p10, p90, p99: seconds.
        percentiles: the 0th to the 100th, seconds; what the plots are drawn from.
        by_round: median of each round, seconds; the same index is the same round for all contestants of a contest.
    """

    count: int
    median: float
    min: float
    p10: float
    p90: float
    p99: float
    percentiles: list[float]
    by_round: list[float]


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return a percentile by linear interpolation.

    Args:
        ordered: ascending, not empty.
        percent: 0 to 100.
    """
    position = (len(ordered) - 1) * percent / 100
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def summarise(rounds: Rounds) -> Summary:
    """Summarise the times of one contestant; rounds without a time are not allowed."""
    ordered = sorted(took for one in rounds for took in one)
    hundred = [_short(percentile(ordered, percent)) for percent in range(101)]
    return {
        "count": len(ordered),
        "median": hundred[50],
        "min": hundred[0],
        "p10": hundred[10],
        "p90": hundred[90],
        "p99": hundred[99],
        "percentiles": hundred,
        "by_round": [_short(statistics.median(one)) for one in rounds],
    }


def _short(seconds: float) -> float:
    """Four digits are more than any machine repeats, and keep the committed file small."""
    return float(f"{seconds:.4g}")


def ratio(ours: Summary, peer: Summary) -> float:
    """Return the ratio of the two medians."""
    return ours["median"] / peer["median"]


def ratio_by_round(ours: Summary, peer: Summary) -> float:
    """Return the median of the ratios that the rounds give one by one: drift of the machine cancels out."""
    pairs = zip(ours["by_round"], peer["by_round"], strict=True)
    return statistics.median(one / other for one, other in pairs)


def difference_by_round(ours: Summary, peer: Summary) -> float:
    """Return the median of the differences, round by round, in seconds."""
    pairs = zip(ours["by_round"], peer["by_round"], strict=True)
    return statistics.median(one - other for one, other in pairs)
