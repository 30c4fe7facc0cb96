"""Budgets against findings: which are met. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from benchmarks.budgets import Budget
from benchmarks.figures import Summary, difference_by_round, ratio, ratio_by_round
from benchmarks.findings import Findings

PER_SECOND = {"us": 1e6, "ms": 1e3, "s": 1.0}
PER_BYTE = {"MB": 1e-6}


class Verdict(NamedTuple):
    """One budget, measured.

    Attributes:
        budget: it.
        ours, peer: in its unit; None where not measured or where there is no peer.
        figure: what is held against the bound, of the medians.
        by_round: the same as the median over the rounds; None where rounds do not apply.
        met: None where it was not measured, and where nothing is promised.
        why: it was not measured.
    """

    budget: Budget
    ours: float | None = None
    peer: float | None = None
    figure: float | None = None
    by_round: float | None = None
    met: bool | None = None
    why: str = ""


def judge(findings: Findings, budgets: Iterable[Budget]) -> list[Verdict]:
    """Return a verdict for every budget.

    Where the figure of the medians and the one by rounds differ, the worse one decides.
    """
    return [_judge_one(findings, budget) for budget in budgets]


def _judge_one(findings: Findings, budget: Budget) -> Verdict:
    try:
        ours = _find(findings, budget.ours)
        peer = _find(findings, budget.peer) if budget.peer else None
    except LookupError as why:
        return Verdict(budget, why=str(why.args[0]))
    figure, by_round = _figures(budget, ours, peer)
    seen = [one for one in (figure, by_round) if one is not None]
    met = None
    if budget.bound is not None:
        met = max(seen) <= budget.bound if budget.direction == "at most" else min(seen) >= budget.bound
    scaled = None if peer is None else _scaled(budget, peer)
    return Verdict(budget, _scaled(budget, ours), scaled, figure, by_round, met)


def _find(findings: Findings, name: str) -> Summary | float:
    """Return a contestant's summary or a fact.

    Raises:
        LookupError: it was not measured; says why.
    """
    if name in findings["facts"]:
        return findings["facts"][name]
    if name in findings["absent"]:
        raise LookupError(findings["absent"][name])
    title, _, contestant = name.partition("/")
    found = findings["contests"].get(title)
    if found is None:
        raise LookupError("not measured in this run")
    if contestant in found["contestants"]:
        return found["contestants"][contestant]
    raise LookupError(f"{contestant}: {found['missing'].get(contestant, 'not measured')}")


def _figures(budget: Budget, ours: Summary | float, peer: Summary | float | None) -> tuple[float, float | None]:
    if peer is None:
        return _scaled(budget, ours), None
    if isinstance(ours, dict) and isinstance(peer, dict):
        if budget.how == "ratio":
            return ratio(ours, peer), ratio_by_round(ours, peer)
        return _scaled(budget, ours) - _scaled(budget, peer), _scale(budget, difference_by_round(ours, peer))
    if budget.how == "ratio":
        return _scaled(budget, ours) / _scaled(budget, peer), None
    return _scaled(budget, ours) - _scaled(budget, peer), None


def _scaled(budget: Budget, found: Summary | float) -> float:
    return _scale(budget, found["median"] if isinstance(found, dict) else found)


def _scale(budget: Budget, number: float) -> float:
    """Seconds or bytes to the budget's unit."""
    return number * {**PER_SECOND, **PER_BYTE}.get(budget.unit, 1.0)


def failed(verdict: Verdict) -> bool:
    """True where something is promised and was missed or not measured."""
    return verdict.budget.bound is not None and not verdict.met and not verdict.budget.beyond
