"""What an attack came to: the logic can fail, and the forms for people and programs say the same."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest

from isolate_fn import SelfTest
from isolate_fn._diagnose.selftest.attack import Attack, describe, refused, through
from isolate_fn._diagnose.selftest.confined import UNPROMISED
from isolate_fn._diagnose.selftest.verdict import Seen, judge
from isolate_fn.cli import selftest as command_line
from isolate_fn.errors import Crashed, LimitExceeded, SetupError, Unsupported

READS = Attack("files.fake", 1, "read a file", "it is not there")
FILLS = READS._replace(id="limits.fake", promise=6, ends=("LimitExceeded memory",))
WORKS = Seen({"read": "the secret"})


@pytest.mark.parametrize("value", [0, 1, True, False, "text", "", b"", b"bytes", None, 1.5, -1.0])
def test_only_a_negative_number_is_a_refusal(value):
    assert not refused(value)
    assert through({"it": value}) == {"it": value}


def test_a_refusal_is_an_errno():
    assert refused(-1)
    assert through({"a": -13, "b": 0, "c": -2}) == {"b": 0}


@pytest.mark.parametrize(
    ("attack", "inside", "outside", "verdict"),
    [
        (READS, Seen({"read": -2}), WORKS, "held"),
        (READS, Seen({}), WORKS, "held"),
        (READS, Seen({"read": -2}), None, "held"),
        (READS, Seen({"read": -2}), Seen({"read": -2}), "moot"),
        (READS, Seen({"read": -2}), Seen({}), "moot"),
        (READS, Seen({"read": -2}), Seen(None), "moot"),
        (READS, Seen({"read": -2}), Seen(missing="no such thing"), "moot"),
        (READS, WORKS, WORKS, "broken"),
        (READS, WORKS, Seen({"read": -2}), "broken"),
        (READS, Seen({"read": 0}), None, "broken"),
        (READS, Seen({"read": -2, "again": 0}), WORKS, "broken"),
        (READS, Seen({"read": -2}, harm="a file was changed"), WORKS, "broken"),
        (READS, Seen(None), WORKS, "broken"),
        (READS, Seen(error=Crashed(11, None)), WORKS, "broken"),
        (READS, Seen(error=SystemExit()), WORKS, "broken"),
        (READS, Seen(error=SetupError("mounts", "mount", 1, "try")), WORKS, "broken"),
        (READS, Seen(error=Unsupported("a", "b", "c", "d")), WORKS, "not applicable"),
        (READS, Seen(missing="only x86_64 has it"), None, "not applicable"),
        (FILLS, Seen(error=LimitExceeded("memory", 1)), WORKS, "held"),
        (FILLS, Seen(error=LimitExceeded("memory", 1)), Seen({"taken": -1}), "moot"),
        (FILLS, Seen(error=LimitExceeded("rootfs_size", 1)), WORKS, "broken"),
        (FILLS, Seen(error=MemoryError()), WORKS, "broken"),
        (FILLS, Seen({"taken": 7}), WORKS, "broken"),
    ],
)
def test_verdict(attack, inside, outside, verdict):
    assert judge(attack, inside, outside).verdict == verdict


def test_what_got_through_is_named_and_made_harmless():
    text = describe({"link": "\x1b[31mred\n" + "x" * 500, "open": 0, "chmod": -1})
    assert "link: ?[31mred?" in text
    assert "2 of 3" in text
    assert len(text) < 150


def test_what_an_engine_does_not_promise_is_open_in_those_parts_alone():
    names = READS._replace(id="leaks.names")
    assert judge(names, Seen({"machine": "host"}), WORKS, confined=True).verdict == "not promised"
    assert judge(names, Seen({"machine": "host"}), WORKS).verdict == "broken"
    assert judge(names, Seen({"machine": "host", "users": "x"}), WORKS, confined=True).verdict == "broken"
    assert judge(names, Seen({"machine": "host"}, harm="a file was changed"), WORKS, confined=True).verdict == "broken"
    assert judge(names, Seen({"machine": -13}), WORKS, confined=True).verdict == "held"
    assert judge(READS, Seen({"read": "x"}), WORKS, confined=True).verdict == "broken"
    known = {attack.id for attack in SelfTest.catalogue()}
    assert set(UNPROMISED) <= known


@pytest.fixture
def result():
    """Give a selftest with every verdict in it."""
    return SelfTest(
        (
            judge(READS, Seen({"read": -2}), WORKS),
            judge(READS._replace(id="files.second"), Seen({"read": "\x1b[31m\0"}), WORKS),
            judge(READS._replace(id="files.third"), Seen({"read": -2}), Seen({"read": -1})),
            judge(FILLS, Seen(missing="<no> \x00 such & such"), None),
            judge(READS._replace(id="leaks.names"), Seen({"machine": "host"}), WORKS, confined=True),
        ),
        None,
        None,
        1.5,
    )


def test_the_forms_agree(result):
    assert result.counts == {"held": 1, "broken": 1, "moot": 1, "not applicable": 1, "not promised": 1}
    assert not result.held
    document = json.loads(result.to_json())
    assert document["held"] is False
    assert document["counts"] == result.counts
    verdicts = {attack["id"]: attack["verdict"] for attack in document["attacks"]}
    cases = {}
    suites = ElementTree.fromstring(result.to_junit()).findall("testsuite")
    for case in (case for suite in suites for case in suite):
        kinds = [child.tag for child in case] or ["held"]
        cases[f"{case.get('classname').removeprefix('selftest.')}.{case.get('name')}"] = kinds[0]
    words = {"held": "held", "broken": "failure", "moot": "skipped", "not applicable": "skipped", "not promised": "skipped"}
    assert cases == {name: words[verdict] for name, verdict in verdicts.items()}
    counts = [(suite.get("tests"), suite.get("failures"), suite.get("skipped")) for suite in suites]
    assert counts == [("4", "1", "2"), ("1", "0", "1")]


@pytest.mark.parametrize("colours", [False, True])
def test_the_table_tells_everything_and_steers_no_terminal(result, colours):
    text = "\n".join(command_line.plain(result, width=100, colours=colours))
    for word in ("held", "BROKEN", "moot", "n/a", "files.second", "limits.fake", "No host file", "such & such"):
        assert word in text
    assert ("\x1b[31mBROKEN\x1b[0m" in text) == colours
    assert "\x1b[31m?" not in text
    assert all(len(line) <= 100 for line in text.splitlines()) or colours
    assert "BROKEN: files.second" in command_line.summary(result)


def test_where_isolation_does_not_work_nothing_is_held():
    result = SelfTest((), None, Unsupported("seccomp", "a kernel", "another", "change it"), 0.1)
    assert not result.held
    assert json.loads(result.to_json())["error"]["type"] == "Unsupported"
    suite = ElementTree.fromstring(result.to_junit()).find("testsuite")
    assert suite.get("errors") == "1"
    assert suite.find("testcase/error") is not None
