"""Selftests of this machine: they pass, they fail where a wall is missing, and they leave nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import isolate_fn
from isolate_fn import rw, selftest
from isolate_fn._diagnose.selftest import running, world
from isolate_fn.cli import main
from isolate_fn.dangerous import NoLandlock, NoSeccomp, TrustResult
from isolate_fn.errors import PolicyError

pytestmark = pytest.mark.needs("namespaces")


def _shared_memory() -> set[str]:
    try:
        return {line.split()[0] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}
    except OSError:
        return set()


def _semaphores() -> int:
    try:
        return len(Path("/proc/sysvipc/sem").read_text().splitlines())
    except OSError:
        return 0


@pytest.fixture
def nothing_left():
    """Compare what there is before and after; processes and mounts are compared at the end of all tests."""
    before = _shared_memory(), _semaphores(), set(os.environ), len(os.listdir("/proc/self/fd"))
    directories = set(os.listdir(tempfile.gettempdir()))
    yield
    assert (_shared_memory(), _semaphores(), set(os.environ)) == before[:3]
    left = set(os.listdir(tempfile.gettempdir())) - directories
    assert not [name for name in left if name.startswith("isolate-fn-selftest")]
    assert len(os.listdir("/proc/self/fd")) <= before[3] + 3  # a spawner's, until it is idle for long


@pytest.mark.parametrize("promise", list("1234567"))
def test_every_promise_holds_here(promise, command, tmp_path, nothing_left):
    done = command("--only", promise, "--json", "one.json", "--junit", "one.xml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    document = json.loads((tmp_path / "one.json").read_text())
    wanted = [attack.id for attack in isolate_fn.SelfTest.catalogue() if str(attack.promise) == promise]
    assert [attack["id"] for attack in document["attacks"]] == wanted
    assert document["held"]
    assert document["engine"] == "namespaces"
    # A machine on which most attacks show nothing would be a selftest that shows nothing.
    assert document["counts"]["held"] > len(wanted) / 2
    for attack in document["attacks"]:
        assert attack["id"] in done.stdout
        assert attack["verdict"] != "not applicable" or attack["detail"]
    cases = ElementTree.parse(tmp_path / "one.xml").getroot().findall("testsuite/testcase")
    assert [f"{case.get('classname').partition('.')[2]}.{case.get('name')}" for case in cases] == wanted
    skipped = [case for case in cases if case.find("skipped") is not None]
    assert len(skipped) == document["counts"]["moot"] + document["counts"]["not applicable"]


FILTERED = ["network.netlink", "processes.fork", "processes.exec-memory", "processes.kernel-tracing", "network.io-uring"]


def _weaken(monkeypatch, **weaker):
    plain = world.World.options
    monkeypatch.setattr(world.World, "options", lambda self: {**plain(self), **weaker})


def test_a_missing_filter_is_seen(monkeypatch, nothing_left):
    assert selftest(only=FILTERED, without=False).held
    _weaken(monkeypatch, accept=(NoSeccomp, NoLandlock))
    result = selftest(only=FILTERED, without=False)
    assert {finding.attack.id: finding.verdict for finding in result.findings} == dict.fromkeys(FILTERED, "broken")


def test_a_file_system_that_is_open_is_seen(monkeypatch, nothing_left):
    plain = world.World.options

    def options(self):
        given = plain(self)
        return {**given, "mounts": [*given["mounts"], rw(self.inside.directory, str(self.inside.directory))]}

    monkeypatch.setattr(world.World, "options", options)
    attacks = ["files.absolute-path", "files.climb", "files.write", "files.granted-link"]
    result = selftest(only=attacks)
    verdicts = {finding.attack.id: finding for finding in result.findings}
    assert verdicts["files.absolute-path"].verdict == verdicts["files.climb"].verdict == "broken"
    assert verdicts["files.write"].detail == "a file of the host was changed"
    assert not result.held


def test_results_that_are_unpickled_are_seen(monkeypatch, nothing_left):
    _weaken(monkeypatch, accept=(TrustResult,))
    (finding,) = selftest(only=["answers.pickle-inside"]).findings
    assert (finding.verdict, finding.without) == ("broken", "works")
    assert "code: ran in the caller" in finding.detail


def test_limits_that_do_not_hold_are_seen(monkeypatch, nothing_left):
    """By an attack that has no limit at all."""
    attacks = tuple(attack._replace(options={"timeout": 30}) for attack in running.choose(["limits.inodes", "limits.open-files"]))
    monkeypatch.setattr(running, "choose", lambda only: attacks)
    result = selftest()
    assert [finding.verdict for finding in result.findings] == ["broken", "broken"]


def test_the_exit_status_tells_of_a_broken_promise(monkeypatch, capsys, nothing_left):
    _weaken(monkeypatch, accept=(NoSeccomp,))
    assert main(["selftest", "--only", "network.netlink", "--no-without"]) == 1
    out = capsys.readouterr().out
    assert "BROKEN: network.netlink" in out


def test_an_attack_that_ends_its_isolate_takes_no_other_with_it(monkeypatch, nothing_left):
    killer, *others = running.choose(["processes.32-bit", "files.climb", "network.tcp"])[::-1]
    assert killer.id == "processes.32-bit"
    together = (killer._replace(alone=False, options={}), *others)
    monkeypatch.setattr(running, "choose", lambda only: together)
    result = selftest(without=False)
    assert {finding.verdict for finding in result.findings} <= {"held", "not applicable"}
    assert len(result.findings) == 3


def test_an_attack_that_cannot_be_made_here_says_why(monkeypatch, nothing_left):
    (attack,) = running.choose(["network.tcp6"])
    monkeypatch.setattr(running, "choose", lambda only: (attack._replace(needs=lambda world: "no such feature"),))
    (finding,) = selftest().findings
    assert (finding.verdict, finding.detail) == ("not applicable", "no such feature")


def test_progress_is_told_for_every_attack(nothing_left):
    told = []
    result = selftest(only=["leaks"], progress=lambda *step: told.append(step))
    assert len(result.findings) == told[0][1]
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert told[-1][0] < told[-1][1]


def test_what_there_is_not_is_refused(capsys):
    with pytest.raises(PolicyError, match="nothing"):
        selftest(only=["nothing"])
    assert main(["selftest", "--only", "nothing"]) == 2
    assert "nothing" in capsys.readouterr().err


@pytest.mark.parametrize("pretend", ["landlock=0", "landlock=1,mount_setattr=0"])
def test_a_lesser_kernel_holds_its_promises_too(pretend, command):
    done = command("--only", "files", "network.tcp", "processes.signal", "--json", "-", ISOLATE_FN_PRETEND=pretend)
    document = json.loads(done.stdout)
    assert done.returncode == 0, document
    assert document["pretend"] == pretend
    assert document["landlock_abi"] == int(pretend[9])


def test_where_isolation_does_not_work_it_says_why(command, tmp_path):
    done = command("--json", "-", "--junit", "one.xml", ISOLATE_FN_PRETEND="seccomp=0")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["attacks"] == []
    assert document["error"]["type"] == "Unsupported"
    assert "seccomp" in done.stderr
    assert ElementTree.parse(tmp_path / "one.xml").getroot().find("testsuite/testcase/error") is not None
    assert "try:" in command(ISOLATE_FN_PRETEND="userns=0,privileged=0").stdout


def test_it_needs_nothing_but_the_installed_package(command, tmp_path):
    """No tests directory, no checkout, no optional library."""
    site = tmp_path / "site"
    shutil.copytree(Path(isolate_fn.__file__).parent, site / "isolate_fn", ignore=shutil.ignore_patterns("__pycache__"))
    attacks = ("files.climb", "answers.pickle", "processes.caller-killed", "closed.no-seccomp")
    done = command("--only", *attacks, "--json", "-", path=site)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {attack["without"] for attack in json.loads(done.stdout)["attacks"]} == {"works"}
