"""What suites find: contests, curves, single facts. Plain data, so that it goes to JSON and comes back as it is."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from benchmarks.figures import Rounds, Summary, summarise


class Contest(TypedDict):
    """Contestants that were measured in turns.

    Attributes:
        what: one line for people.
        contestants: summaries by name; ours is among them.
        missing: why a contestant did not take part, by name.
    """

    what: str
    contestants: dict[str, Summary]
    missing: dict[str, str]


class Curve(TypedDict):
    """Cost against something.

    Attributes:
        what: one line for people.
        x: what is on the axis, with its unit.
        y: likewise; seconds unless it says otherwise.
        lines: by contestant, [x, median, p10, p90] of each point.
        missing: why a contestant did not take part, by name.
    """

    what: str
    x: str
    y: NotRequired[str]
    lines: dict[str, list[list[float]]]
    missing: dict[str, str]


class Findings(TypedDict):
    """All that a run found.

    Attributes:
        contests: by name.
        curves: by name.
        facts: single numbers by name; bytes, counts or ratios, as their names say.
        absent: why a fact could not be had, by name.
    """

    contests: dict[str, Contest]
    curves: dict[str, Curve]
    facts: dict[str, float]
    absent: dict[str, str]


def nothing() -> Findings:
    """Return findings to add to."""
    return {"contests": {}, "curves": {}, "facts": {}, "absent": {}}


def contest(what: str, found: dict[str, Rounds], missing: dict[str, str] | None = None) -> Contest:
    """Summarise a contest."""
    return {
        "what": what,
        "contestants": {name: summarise(rounds) for name, rounds in found.items()},
        "missing": missing or {},
    }


def merge(into: Findings, more: Findings) -> None:
    """Add the findings of another suite; names are unique among suites."""
    part: Any
    for part in ("contests", "curves", "facts", "absent"):
        twice = set(into[part]) & set(more[part])  # type: ignore[literal-required]
        if twice:
            raise ValueError(f"two suites found {sorted(twice)}")
        into[part].update(more[part])  # type: ignore[literal-required]
