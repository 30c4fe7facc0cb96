"""Percentiles, ratios, interleaving."""

from __future__ import annotations

import pytest

from benchmarks import written
from benchmarks.figures import difference_by_round, percentile, ratio, ratio_by_round, summarise
from benchmarks.findings import contest, merge, nothing
from benchmarks.rounds import Contestant, burst, run


@pytest.mark.parametrize(
    ("ordered", "percent", "expected"),
    [
        ([7.0], 50, 7.0),
        ([1.0, 3.0], 50, 2.0),
        ([1.0, 2.0, 3.0, 4.0], 0, 1.0),
        ([1.0, 2.0, 3.0, 4.0], 100, 4.0),
        ([1.0, 2.0, 3.0, 4.0, 5.0], 90, 4.6),
    ],
)
def test_percentile_lies_between_neighbours(ordered: list[float], percent: float, expected: float) -> None:
    assert percentile(ordered, percent) == pytest.approx(expected)


def test_summary_of_all_rounds_together() -> None:
    one = summarise([[3.0, 1.0], [2.0, 5.0, 4.0]])
    assert (one["count"], one["min"], one["median"], one["by_round"]) == (5, 1.0, 3.0, [2.0, 4.0])
    assert len(one["percentiles"]) == 101
    assert one["percentiles"] == sorted(one["percentiles"])
    assert (one["percentiles"][10], one["percentiles"][90]) == (one["p10"], one["p90"])


def test_a_slow_second_does_not_change_the_ratio_by_round() -> None:
    """One round of three ran on a machine ten times slower; both contestants were in it."""
    ours = summarise([[2.0], [20.0], [2.0]])
    peer = summarise([[1.0], [10.0], [1.0]])
    assert ratio_by_round(ours, peer) == 2.0
    assert difference_by_round(ours, peer) == 1.0


def test_the_two_ratios_differ_where_only_one_was_disturbed() -> None:
    ours = summarise([[2.0], [2.0], [8.0], [8.0], [8.0]])
    peer = summarise([[1.0], [1.0], [1.0], [4.0], [4.0]])
    assert ratio(ours, peer) == 8.0
    assert ratio_by_round(ours, peer) == 2.0


def test_rounds_of_different_number_are_no_pairs() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratio_by_round(summarise([[1.0], [1.0]]), summarise([[1.0]]))


def test_contestants_take_turns_and_change_places() -> None:
    order: list[str] = []

    def one(name: str) -> Contestant:
        def call(number: int) -> int:
            order.append(name)
            return number + 1

        return Contestant(call, burst=2, lead=1)

    found = run({name: one(name) for name in "abc"}, rounds=2, rehearse=False, settle=0)
    assert "".join(order) == "aaabbbccc" + "bbbcccaaa"
    assert [[len(times) for times in found[name]] for name in "abc"] == [[2, 2]] * 3


def test_a_wrong_answer_is_not_timed() -> None:
    with pytest.raises(AssertionError, match="the answer to 0 was 5"):
        burst(Contestant(lambda number: 5, burst=1, lead=0))


def test_a_contestant_may_read_its_own_clock() -> None:
    assert burst(Contestant(lambda number: 0.25, burst=2, lead=0, tells=True)) == [0.25, 0.25]


def test_two_suites_may_not_find_the_same() -> None:
    into, more = nothing(), nothing()
    into["facts"]["spawner"] = more["facts"]["spawner"] = 1.0
    with pytest.raises(ValueError, match="spawner"):
        merge(into, more)


def test_what_is_merged_is_all_there() -> None:
    into, more = nothing(), nothing()
    into["contests"]["one"] = contest("one", {"a": [[1.0]]})
    more["contests"]["two"] = contest("two", {"a": [[1.0]]}, {"b": "not installed"})
    more["absent"]["memory"] = "only root"
    merge(into, more)
    assert list(into["contests"]) == ["one", "two"]
    assert into["absent"] == {"memory": "only root"}


def test_numbers_stand_in_one_line_and_come_back() -> None:
    value = {
        "facts": {"a": 1.5e-06},
        "times": [0.1, 2, -3e-05],
        "empty": [],
        "words": ["a", "b"],
        "deep": [[1, 2], [3, 4]],
    }
    text = written.dumps(value)
    assert '"times": [0.1, 2, -3e-05]' in text
    assert "[1, 2]" in text

    import json

    assert json.loads(text) == value
