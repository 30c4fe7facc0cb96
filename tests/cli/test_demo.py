"""The demo: the samples are what they claim, the judge sees damage, and isolated nothing gets out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from isolate_fn.cli import demo
from isolate_fn.cli.cases import CASES, Case
from isolate_fn.cli.samples import MIB, Workspace
from isolate_fn.errors import Crashed, LimitExceeded, SetupError, TimedOut

ROOT = Path(__file__).parents[2]
BY_NAME = {case.name: case for case in CASES}

# What each file does where nothing stops it. The parsers of today refuse billion laughs themselves, which the
# demo shows as it is; older ones do not.
UNPROTECTED = {
    "thumbnail": {"works"},
    "fuzzer-images": {"harm", "held"},
    "crash-image": {"harm"},
    "picture-bomb": {"harm"},
    "xml-entity": {"harm"},
    "laughs-lxml": {"held", "harm"},
    "laughs-expat": {"held", "harm"},
    "yaml": {"harm"},
    "pickle": {"harm"},
    "zip-bomb": {"harm"},
    "tar-climb": {"harm"},
    "regex": {"harm"},
    "transcode": {"works"},
    "ffmpeg-playlist": {"harm"},
    "ffmpeg-drawtext": {"harm"},
}


def side(case: Case, which: Any, directory: Path) -> demo.Outcome:
    if reason := case.missing():
        pytest.skip(reason)
    try:
        outcome: demo.Outcome = which(case, Workspace(directory), offline=True)
    except demo.Unavailable as reason:
        pytest.skip(str(reason))
    return outcome


def test_every_case_is_expected() -> None:
    assert UNPROTECTED.keys() == BY_NAME.keys()


@pytest.mark.parametrize("name", BY_NAME)
def test_sample_is_what_it_claims(name: str, tmp_path: Path) -> None:
    outcome = side(BY_NAME[name], demo._unprotected, tmp_path)
    assert outcome.status in UNPROTECTED[name], outcome
    assert outcome.seconds > 0


@pytest.mark.needs("namespaces")
@pytest.mark.parametrize("name", BY_NAME)
def test_isolated(name: str, tmp_path: Path) -> None:
    outcome = side(BY_NAME[name], demo._isolated, tmp_path)
    assert outcome.status == ("held" if BY_NAME[name].attack else "works"), outcome


CASE = BY_NAME["pickle"]


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_judge_sees_a_stolen_secret(space: Workspace) -> None:
    space.stolen.write_text(space.secret.read_text())
    assert demo._found_outside(CASE, space, "") == "code ran, and copied the secret"


def test_judge_sees_a_planted_file(space: Workspace) -> None:
    (space.outside / "planted").write_text("")
    assert demo._found_outside(CASE, space, "") == "wrote planted outside its directory"


def test_judge_sees_the_secret_in_what_came_back(space: Workspace) -> None:
    assert demo._found_outside(CASE, space, f"ValueError: {space.token}") == "returned the content of the secret file"


def test_judge_sees_a_full_disk(space: Workspace) -> None:
    (space.work / "big").write_bytes(b"x" * (demo._MUCH_DISK + MIB))
    assert "to the disk" in demo._found_outside(CASE, space, "")


def test_judge_sees_nothing_where_nothing_is(space: Workspace) -> None:
    (space.work / "small").write_bytes(b"x")
    assert demo._found_outside(CASE, space, "an honest answer") == ""


ENDINGS = [  # what the isolated call raises, status for an attack, status for an honest file, words
    (TimedOut(1.0), "held", "failed", "stopped after 1 s"),
    (LimitExceeded("memory", 1, 2), "held", "failed", "its limit memory"),
    (Crashed(11, None), "held", "failed", "died of SIGSEGV"),
    (ValueError("no picture"), "held", "failed", "ValueError: no picture"),
    (SetupError("mount /proc", "mount", 1, "try"), "failed", "failed", "not run: mount /proc"),
]


@pytest.mark.parametrize(("error", "attack", "honest", "words"), ENDINGS)
def test_endings(
    error: Exception, attack: str, honest: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> str:
        raise error

    monkeypatch.setattr(demo, "run_isolated", fail)
    for number, (is_attack, status) in enumerate(((True, attack), (False, honest))):
        directory = tmp_path / str(number)
        directory.mkdir()
        outcome = demo._isolated(CASE._replace(attack=is_attack), Workspace(directory), True)
        assert outcome.status == status
        assert words in outcome.text


def test_escape_is_reported_and_fails_the_demo(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def escape(case: Case, space: Workspace, arguments: object) -> str:
        space.stolen.write_text(space.token)
        return "done"

    monkeypatch.setattr(demo, "run_isolated", escape)
    assert demo.run(only=["pickle"], as_json=True) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["held"] is False
    assert document["cases"][0]["isolated"]["status"] == "harm"


def test_missing_software_is_a_row_and_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "CASES", (CASE._replace(needs=("no-such-program",)),))
    assert demo.run() == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "not tried: no-such-program is not" in shown
    assert "1 could not be tried" in shown


@pytest.mark.needs("namespaces")
def test_from_the_command_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from isolate_fn.cli import main; sys.exit(main())",
            "demo",
            "--json",
            "--offline",
            "--only",
            "pickle",
            "--only",
            "tar-climb",
            "--only",
            "crash-image",
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["held"] is True
    found = {case["name"]: (case["unprotected"]["status"], case["isolated"]["status"]) for case in document["cases"]}
    assert found == {
        "pickle": ("harm", "held"),
        "tar-climb": ("harm", "held"),
        "crash-image": ("unavailable", "unavailable"),
    }
    assert list(tmp_path.iterdir()) == []
