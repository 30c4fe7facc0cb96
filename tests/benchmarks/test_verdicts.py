"""Budgets against findings, and the table of them."""

from __future__ import annotations

import importlib

import pytest

from benchmarks import table
from benchmarks.__main__ import arguments
from benchmarks.budgets import BUDGETS, COMPARED, Budget
from benchmarks.findings import Findings, contest, nothing
from benchmarks.suites import SUITES
from benchmarks.suites.importing import unwanted
from benchmarks.verdicts import failed, judge

TWICE = Budget("twice", "ours / peer", "race/ours", "race/peer", "ratio", 2.0, "ms")


def findings(ours: list[float], peer: list[float]) -> Findings:
    """One contest, one call a round, in milliseconds."""
    found = nothing()
    rounds = {"ours": [[one / 1000] for one in ours], "peer": [[one / 1000] for one in peer]}
    found["contests"]["race"] = contest("a race", rounds, {"absent": "not installed"})
    found["facts"]["memory"] = 3_000_000
    found["absent"]["hidden"] = "only root may look"
    return found


@pytest.mark.parametrize(("ours", "met"), [([2.0] * 3, True), ([1.0] * 3, True), ([2.1] * 3, False)])
def test_a_ratio_up_to_the_bound_is_met(ours: list[float], met: bool) -> None:
    (verdict,) = judge(findings(ours, [1.0] * 3), [TWICE])
    assert verdict.met is met
    assert verdict.figure == pytest.approx(ours[0])


def test_the_worse_of_both_figures_decides() -> None:
    """By the medians 1.0, by rounds 2.5: something else was running, and nobody may pick the nicer figure."""
    (verdict,) = judge(findings([5.0, 5.0, 5.0], [2.0, 5.0, 2.0]), [TWICE._replace(bound=2.49)])
    assert verdict.figure == verdict.by_round == pytest.approx(2.5)
    (verdict,) = judge(findings([1.0, 5.0, 9.0], [4.0, 2.0, 3.0]), [TWICE])
    assert (verdict.figure, verdict.by_round) == (pytest.approx(5 / 3), pytest.approx(2.5))
    assert verdict.met is False


@pytest.mark.parametrize(
    ("budget", "figure", "met"),
    [
        (TWICE._replace(how="difference", bound=1.0), 1.0, True),
        (TWICE._replace(how="difference", bound=0.5), 1.0, False),
        (TWICE._replace(how="absolute", peer="", bound=2.0), 2.0, True),
        (TWICE._replace(how="absolute", peer="", bound=1.9), 2.0, False),
        (TWICE._replace(how="absolute", peer="", ours="memory", unit="MB", bound=3.0), 3.0, True),
        (TWICE._replace(how="absolute", peer="", ours="memory", unit="MB", bound=2.0), 3.0, False),
        (TWICE._replace(bound=2.5, direction="at least"), 2.0, False),
        (TWICE._replace(bound=1.5, direction="at least"), 2.0, True),
    ],
)
def test_ways_to_compare(budget: Budget, figure: float, met: bool) -> None:
    (verdict,) = judge(findings([2.0] * 3, [1.0] * 3), [budget])
    assert verdict.figure == pytest.approx(figure)
    assert verdict.met is met
    assert failed(verdict) is not met


@pytest.mark.parametrize(
    ("ours", "why"),
    [
        ("elsewhere/ours", "not measured in this run"),
        ("race/absent", "absent: not installed"),
        ("race/unknown", "unknown: not measured"),
        ("hidden", "only root may look"),
    ],
)
def test_what_was_not_measured_is_not_met(ours: str, why: str) -> None:
    (verdict,) = judge(findings([1.0], [1.0]), [TWICE._replace(ours=ours)])
    assert (verdict.met, verdict.why) == (None, why)
    assert failed(verdict)
    assert table.row(verdict)[-1] == why


def test_what_is_aimed_at_beyond_a_budget_fails_nothing() -> None:
    (verdict,) = judge(findings([5.0], [1.0]), [TWICE._replace(beyond=True)])
    assert not failed(verdict)
    assert table.row(verdict)[-1] == "not reached"


def test_what_is_only_compared_fails_nothing() -> None:
    (verdict,) = judge(findings([5.0], [1.0]), [TWICE._replace(bound=None)])
    assert not failed(verdict)
    assert table.row(verdict) == ("ours / peer", "5 ms", "1 ms", "5", "5", "-", "-")


def test_a_row_says_everything() -> None:
    missed, met = judge(findings([2.5] * 3, [1.0] * 3), [TWICE, TWICE._replace(bound=3.0)])
    assert table.row(missed) == ("ours / peer", "2.50 ms", "1 ms", "2.50", "2.50", "<= 2 x", "missed")
    assert table.row(met)[-1] == "met"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0"),
        (0.0123, "0.012"),
        (0.25, "0.250"),
        (1.5, "1.50"),
        (12.34, "12.3"),
        (1234.5, "1,234"),
        (7, "7"),
    ],
)
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    assert table.number(value) == text


def test_columns_are_aligned() -> None:
    text = table.budgets(judge(findings([2.5] * 3, [1.0] * 3), [TWICE, TWICE._replace(what="a longer name")]))
    head, *rows = text.splitlines()
    assert {line.index("<= 2 x") + len("<= 2 x") for line in rows} == {head.index("budget") + len("budget")}
    assert all(line.startswith(what) for line, what in zip(rows, ("ours / peer  ", "a longer name"), strict=True))


def test_budgets_are_named_once() -> None:
    names = [budget.name for budget in (*BUDGETS, *COMPARED)]
    assert len(names) == len(set(names))
    assert all(budget.bound is None for budget in COMPARED)
    assert all(budget.bound is not None for budget in BUDGETS)


def test_suites_exist() -> None:
    for suite in SUITES.values():
        assert callable(importlib.import_module(f"benchmarks.suites.{suite.module}").measure)


def test_names_of_suites_on_the_command_line() -> None:
    assert arguments(["--only", "warm,fresh", "cold"]).only == ["warm", "fresh", "cold"]
    assert arguments([]).only == list(SUITES)
    with pytest.raises(SystemExit):
        arguments(["--only", "cool"])


def test_modules_that_an_import_must_not_load() -> None:
    assert unwanted(["isolate_fn", "json", "struct"]) == []
    assert unwanted(["isolate_fn", "ctypes", "json", "numpy", "asyncio"]) == ["ctypes", "numpy", "asyncio"]
