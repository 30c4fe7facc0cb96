"""The table of attacks: complete, documented, and each either tried without walls or with a reason why not."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from isolate_fn import SelfTest
from isolate_fn._diagnose.selftest.catalogue import ATTACKS, PROMISES, choose
from isolate_fn._diagnose.selftest.inside import find, name_of
from isolate_fn.cli import selftest as command_line
from isolate_fn.errors import PolicyError


def test_there_are_enough_attacks_on_every_promise():
    assert len(ATTACKS) >= 80
    assert [promise.number for promise in PROMISES] == [1, 2, 3, 4, 5, 6, 7]
    for promise in PROMISES:
        assert len([attack for attack in ATTACKS if attack.promise == promise.number]) >= 10, promise.name
        assert promise.text.endswith(".")


def test_ids_are_unique_and_name_their_promise():
    ids = [attack.id for attack in ATTACKS]
    assert len(set(ids)) == len(ids)
    names = {promise.number: promise.name for promise in PROMISES}
    for attack in ATTACKS:
        assert re.fullmatch(r"[a-z]+\.[a-z0-9-]+", attack.id), attack.id
        assert attack.id.startswith(f"{names[attack.promise]}."), attack.id


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.id)
def test_an_attack_is_documented(attack):
    assert attack.title
    assert attack.held
    function = attack.act or attack.lead
    assert function is not None
    assert (attack.act is None) != (attack.lead is None)
    assert inspect.getdoc(function), "say how it is done"
    for sentence in (attack.title, attack.held, attack.untried):
        assert not sentence.endswith("."), "a line of a table"
        assert sentence.isprintable()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.id)
def test_an_attack_is_tried_without_walls_or_says_why_not(attack):
    ways = [attack.plain, attack.control]
    assert bool(attack.untried) != any(ways)
    for action in filter(None, (attack.act, attack.plain)):
        assert find(name_of(action)) is action


def test_most_attacks_are_shown_to_work():
    assert sum(not attack.untried for attack in ATTACKS) > len(ATTACKS) * 2 / 3


def test_attacks_are_chosen_by_number_name_and_id():
    files = [attack for attack in ATTACKS if attack.promise == 1]
    assert list(choose(["1"])) == list(choose(["files"])) == files
    assert [attack.id for attack in choose(["network.tcp", "files.climb"])] == ["files.climb", "network.tcp"]
    assert choose([]) == ATTACKS == SelfTest.catalogue()


def test_what_is_not_there_is_refused_with_what_is_near():
    with pytest.raises(PolicyError) as wrong:
        choose(["network.tpc"])
    assert "network.tcp" in wrong.value.remedy


def test_the_list_names_every_attack():
    lines = list(command_line.listing())
    assert [line.split()[0] for line in lines if line.startswith("  ")] == [attack.id for attack in ATTACKS]


def test_the_page_shows_every_attack():
    tool = Path(__file__).parents[2] / "tools" / "generate_selftest_page.py"
    done = subprocess.run([sys.executable, tool, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
