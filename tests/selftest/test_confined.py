"""A selftest of isolates without namespaces: what is promised holds, what is not is named, and neither is mixed up."""

from __future__ import annotations

import json

import pytest

from isolate_fn import selftest
from isolate_fn._diagnose.selftest.confined import UNPROMISED
from isolate_fn.cli.selftest import plain, summary

CERTAIN = set(UNPROMISED) - {"limits.inodes"}  # which is a race against whoever looks

pytestmark = [pytest.mark.needs("landlock>=6", "interpreter"), pytest.mark.usefixtures("without_namespaces")]
HELD = (
    "files.absolute-path", "files.climb", "files.devices", "files.other-isolate", "processes.signal", "processes.trace",
    "processes.init", "network.tcp", "leaks.environment", "limits.fork-bomb", "limits.clock",
    "closed.no-seccomp", "closed.no-landlock",
)  # fmt: skip


def test_what_is_promised_holds_and_the_rest_is_named():
    result = selftest(only=(*HELD, *CERTAIN), without=False)
    assert result.error is None
    verdicts = {finding.attack.id: (finding.verdict, finding.detail) for finding in result.findings}
    assert {name: told for name, told in verdicts.items() if name in HELD and told[0] != "held"} == {}
    assert {name: told for name, told in verdicts.items() if name in CERTAIN and told[0] != "not promised"} == {}
    assert result.held
    document = json.loads(result.to_json())
    assert document["engine"] == "landlock"
    assert document["properties"] == ["filesystem", "network", "processes", "syscalls"]
    assert document["differences"]
    text = "\n".join(plain(result, width=120, colours=False))
    for name in CERTAIN:
        why = UNPROMISED[name][1]
        assert f"OPEN    {name}" in text
        assert why.split(",")[0][:40] in " ".join(text.split())
        assert name in summary(result)
    assert "<skipped" in result.to_junit()


def test_an_attack_that_breaks_a_promise_is_broken_here_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(UNPROMISED, "processes.list", (("the caller",), "only this"))
    result = selftest(only=["processes.list"], without=False)
    (finding,) = result.findings
    assert finding.verdict == "broken"
    assert "the victim" in finding.detail
    assert not result.held
