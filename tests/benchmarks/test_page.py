"""docs/performance.md says what the committed figures say."""

from __future__ import annotations

import copy
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from benchmarks import page
from benchmarks.budgets import BUDGETS, COMPARED
from benchmarks.verdicts import judge

PLOTS = sorted(page.PLOTS.glob("*.svg"))


def test_page_is_what_the_figures_say() -> None:
    assert page.OUTPUT.read_text("utf-8") == page.text(page.load()), "run `python -m benchmarks.page --write`"


def test_another_figure_makes_another_page() -> None:
    figures = page.load()
    other = copy.deepcopy(figures)
    for one in other["figures"]["contests"]["warm"]["contestants"].values():
        one["median"] *= 3
    assert page.text(other) != page.text(figures)


def test_every_budget_was_measured() -> None:
    """All but what the machine does not have."""
    figures = page.load()["figures"]
    unmeasured = [
        one for one in judge(figures, (*BUDGETS, *COMPARED)) if one.ours is None and "not installed" not in one.why
    ]
    assert not unmeasured


def test_figures_are_of_a_full_run() -> None:
    assert page.load()["figures"]["about"]["quick"] is False


def test_all_plots_are_shown() -> None:
    named = set(re.findall(r"_static/performance/([\w-]+\.svg)", page.OUTPUT.read_text("utf-8")))
    assert named == {plot.name for plot in PLOTS}
    assert len(PLOTS) >= 4


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.name)
def test_plot_describes_itself(plot: Path) -> None:
    text = plot.read_text("utf-8")
    names = {child.tag.rpartition("}")[2] for child in ElementTree.fromstring(text)}
    assert {"title", "desc"} <= names
    assert "fill: #ffffff" not in text, "plots are transparent, for light and dark pages"


def test_columns_of_figures_stand_to_the_right() -> None:
    assert page.markdown([("what", "found"), ("memory", "5 MB")]).splitlines() == [
        "| what   | found |",
        "| ------ | ----: |",
        "| memory | 5 MB  |",
    ]
