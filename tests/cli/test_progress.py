"""Progress: rich's bar, a plain line, or nothing; and never anything that stays."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from isolate_fn.cli.progress import progress

ROOT = Path(__file__).parents[2]
WORK = """
import sys
sys.path.insert(0, {root!r})
if {plain}:
    sys.modules["rich"] = None
from isolate_fn.cli.progress import progress
with progress("map", 3) as step:
    for name in ("first", "[red]second", "third\\x1b[2J"):
        step(name)
        {then}
print("done")
"""


@pytest.fixture
def on_a_terminal(terminal: Callable[..., tuple[int, bytes]]) -> Callable[..., bytes]:
    """Show progress on a terminal of its own; return all that was written there."""

    def run(plain: bool, then: str = "pass", **variables: str) -> bytes:
        program = WORK.format(root=str(ROOT), plain=plain, then=then)
        environment = {"PATH": os.environ["PATH"], "TERM": "xterm", "COLUMNS": "100", **variables}
        return terminal([sys.executable, "-c", program], environment)[1]

    return run


def test_without_a_terminal_it_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("map", 2) as step:
        step("first")
        step("second")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")


def test_a_line_without_rich(on_a_terminal: Callable[..., bytes]) -> None:
    said = on_a_terminal(True)
    assert b"map 1/3: first ..." in said
    assert b"map 2/3: [red]second ..." in said
    assert b"third?[2J" in said  # what could steer the terminal is made visible
    assert said.endswith(b"\r\x1b[Kdone\r\n")


def test_a_line_without_rich_is_erased_when_the_work_fails(on_a_terminal: Callable[..., bytes]) -> None:
    said = on_a_terminal(True, "raise SystemExit(3)")
    assert said.endswith(b"\r\x1b[K")


@pytest.mark.needs("module:rich")
def test_a_bar_with_rich(on_a_terminal: Callable[..., bytes]) -> None:
    said = on_a_terminal(False, "import time; time.sleep(0.3)")  # rich draws ten times a second
    assert b"map" in said
    assert b"[red]second" in said  # no markup
    assert b"2/3" in said or b"1/3" in said
    assert b"\x1b[2J" not in said
    assert said.rstrip().endswith(b"done")


@pytest.mark.parametrize("plain", [True, False])
def test_a_terminal_that_cannot_erase_gets_nothing(plain: bool, on_a_terminal: Callable[..., bytes]) -> None:
    assert on_a_terminal(plain, TERM="dumb") == b"done\r\n"


def test_a_long_name_stays_on_one_line(on_a_terminal: Callable[..., bytes]) -> None:
    said = on_a_terminal(True, "step('x' * 500)")
    assert max(len(part) for part in said.split(b"\r\x1b[K")) <= 110


MAPPED = """
import sys
sys.path.insert(0, {root!r})
{plain}
from isolate_fn import IsolatedExecutor
with IsolatedExecutor(2) as executor:
    print(list(executor.map(len, ["a", "bb", "ccc"], chunksize={chunksize}, progress="lengths")))
    print(list(executor.map(len, [], progress="nothing")))
"""


@pytest.mark.needs("namespaces")
@pytest.mark.parametrize(("plain", "chunksize"), [("sys.modules['rich'] = None", 1), ("", 2)])
def test_map_shows_how_far_it_is(terminal: Callable[..., tuple[int, bytes]], plain: str, chunksize: int) -> None:
    program = MAPPED.format(root=str(ROOT), plain=plain, chunksize=chunksize)
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm", "COLUMNS": "100"}
    shown = terminal([sys.executable, "-c", program], environment)[1].decode()
    assert "[1, 2, 3]" in shown
    assert "lengths" in shown
    assert "3 of 3" in shown or "rich" not in plain  # rich draws in its own time


@pytest.mark.needs("namespaces")
def test_map_shows_nothing_where_there_is_no_terminal() -> None:
    program = MAPPED.format(root=str(ROOT), plain="", chunksize=1)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[1, 2, 3]\n[]\n", "")
