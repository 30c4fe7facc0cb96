"""``isolate-fn doctor``: exit status, JSON, and how it looks on a terminal, in a file, with rich and without."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from isolate_fn import doctor
from isolate_fn.cli import doctor as command
from isolate_fn.cli import main

ROOT = Path(__file__).parents[2]
PROGRAM = "import sys; from isolate_fn.cli import main; sys.exit(main(sys.argv[1:]))"
WITHOUT_RICH = "import sys; sys.modules['rich'] = None\n" + PROGRAM
PRETENDED = {"ISOLATE_FN_PRETEND": "userns=0,privileged=0,landlock=0"}


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM", "COLUMNS")}
    return {**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "110", **more}


def run(*arguments: str, program: str = PROGRAM, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=environment(**more), capture_output=True, text=True, timeout=100, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.fixture
def on_a_terminal(terminal: Callable[..., tuple[int, bytes]]) -> Callable[..., str]:
    """Run the command on a terminal of its own; return all that it wrote there."""

    def run(*arguments: str, program: str = PROGRAM, **more: str) -> str:
        return terminal([sys.executable, "-c", program, *arguments], environment(**more))[1].decode("utf-8", "replace")

    return run


@pytest.mark.needs("namespaces")
def test_where_isolation_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "Isolation works here, by the engine 'namespaces'" in shown.out
    assert "In force: user namespace" in shown.out
    assert "\x1b" not in shown.out


def test_where_it_does_not() -> None:
    done = run("doctor", **PRETENDED)
    assert done.returncode == 1
    assert "FAILED  user namespaces" in done.stdout
    assert "fix    unset ISOLATE_FN_PRETEND" in done.stdout
    assert "Isolation does NOT work here" in done.stdout


def test_nonsense_is_a_usage_error() -> None:
    done = run("doctor", ISOLATE_FN_PRETEND="magic=1")
    assert done.returncode == 2
    assert "'magic=1' is not understood" in done.stderr
    assert run("doctor", "--jsn").returncode == 2


@pytest.mark.parametrize(("variables", "works"), [({}, True), (PRETENDED, False)])
@pytest.mark.needs("namespaces")
def test_json_has_all_of_it(variables: dict[str, str], works: bool) -> None:
    done = run("doctor", "--json", **variables)
    assert done.returncode == (0 if works else 1)
    document = json.loads(done.stdout)
    assert document["works"] is works
    assert document["engine"] == ("namespaces" if works else "none")
    assert (document["enforcement"] is not None) is works
    names = [check["name"] for check in document["checks"]]
    assert names[-1] == "isolated"
    assert len(names) == len(set(names)) > 25
    for check in document["checks"]:
        assert set(check) == {"group", "name", "status", "found", "cause", "fix"}
        assert check["status"] in ("ok", "weaker", "failed", "info")
        assert check["found"]
        if check["status"] in ("weaker", "failed"):
            assert check["cause"], check
            assert check["fix"], check


def test_only_the_problems() -> None:
    done = run("doctor", "--problems", **PRETENDED)
    assert "FAILED  user namespaces" in done.stdout
    assert " ok " not in done.stdout


@pytest.mark.parametrize("width", [80, 110, 140])
def test_it_fits(width: int) -> None:
    document = {
        "why": "a reason", "engine": "none", "enforcement": None,
        "checks": [{"group": "walls", "name": "Landlock", "status": "failed", "found": "x" * 300, "cause": "why " * 60,
                    "fix": "do " * 60}],
    }  # fmt: skip
    lines = list(command.plain(document, width=width))
    assert max(map(len, lines)) <= width
    assert "".join(lines).count("x") >= 300


def test_text_of_strangers_cannot_steer_the_terminal() -> None:
    """A unit's name, or a file of a container image's, may hold anything."""
    hostile = "a\x1b]0;x\x07\x9b2J"
    check = {"group": "where it runs", "name": "systemd unit", "status": "info", "found": hostile, "cause": "", "fix": ""}
    document = {"why": "\x1b[2J", "engine": "none", "enforcement": None, "checks": [check]}
    assert all(character.isprintable() for line in command.plain(document, width=100) for character in line)


@pytest.mark.needs("namespaces", "module:rich")
def test_on_a_terminal_with_rich(on_a_terminal: Callable[..., str]) -> None:
    said = on_a_terminal("doctor")
    assert "\x1b[" in said
    assert "┃" in said or "│" in said
    assert "Isolation works here" in said


@pytest.mark.needs("namespaces")
def test_on_a_terminal_without_rich(on_a_terminal: Callable[..., str]) -> None:
    said = on_a_terminal("doctor", program=WITHOUT_RICH)
    assert "\x1b[32mok" in said
    assert "│" not in said
    assert "doctor: looking at this machine" in said  # its progress, erased afterwards
    assert re.search(r"\.\.\.\r\x1b\[K", said)


@pytest.mark.parametrize("variable", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
@pytest.mark.needs("namespaces")
def test_no_colours_where_not_wanted(variable: dict[str, str], on_a_terminal: Callable[..., str]) -> None:
    said = on_a_terminal("doctor", "--problems", program=WITHOUT_RICH, **variable)
    assert not re.search(r"\x1b\[\d*m", said)
    assert "Isolation works here" in said


@pytest.mark.needs("namespaces")
def test_the_function_says_the_same() -> None:
    diagnosis = doctor()
    assert diagnosis.works
    assert diagnosis.engine == diagnosis.enforcement.engine
    document = json.loads(run("doctor", "--json").stdout)
    assert [check["name"] for check in document["checks"]] == [check.name for check in diagnosis.checks]
    assert {check.status for check in diagnosis.problems} <= {"weaker", "failed"}
