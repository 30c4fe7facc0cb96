"""Coverage from inside isolates: what comes back is right, and what cannot be right is not believed."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import coverage
import pytest

from isolate_fn.integrations import coverage as ours

ROOT = Path(__file__).parents[2]
needs_isolates = pytest.mark.needs("namespaces")

MODULE = """
from isolate_fn import isolated

def branchy(n):
    if n > 1:
        return "many"
    return "few"

@isolated(prewarm=0)
def fresh(n):
    return branchy(n)

@isolated(reuse=True, prewarm=0)
def reused(n):
    if n == 1:
        return "one"
    if n == 2:
        raise ValueError("two")
    if n == 3:
        import os; os._exit(3)
    return "other"

@isolated(rules=["getpid"], prewarm=0)
def strict():
    return 1
"""
LINES = {line.strip(): number for number, line in enumerate(MODULE.splitlines(), 1)}


def measure(directory: Path, script: str, *options: str, core: str = "", **environment: str) -> dict[str, object]:
    """Run a script by ``coverage run``, and return what is reported of the module."""
    (directory / "measured.py").write_text(MODULE)
    (directory / "script.py").write_text(textwrap.dedent(script))
    base = {**os.environ, "PYTHONPATH": str(ROOT), "COVERAGE_FILE": str(directory / ".coverage"), **environment}
    base |= {"COVERAGE_CORE": core} if core else {}
    run = [sys.executable, "-m", "coverage", "run", *options, "script.py"]
    done = subprocess.run(run, cwd=directory, env=base, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    assert "could not be measured" not in done.stderr
    report = [sys.executable, "-m", "coverage", "json", "-q", "--include=measured.py", "-o", "report.json"]
    subprocess.run(report, cwd=directory, env=base, check=True, timeout=60)
    found: dict[str, object] = json.loads((directory / "report.json").read_text())["files"]["measured.py"]
    return found


CALLS = """
    import measured
    assert measured.fresh(1) == "few"
    assert measured.reused(1) == "one"
    assert measured.reused(0) == "other"
    try:
        measured.reused(2)
    except ValueError:
        pass
    try:
        measured.reused(3)
    except Exception as error:
        assert type(error).__name__ == "Crashed"
    assert measured.strict() == 1
"""


@needs_isolates
@pytest.mark.parametrize("core", ["ctrace", "pytrace", "sysmon"])
@pytest.mark.parametrize("branch", [False, True])
def test_lines_and_branches_from_inside(tmp_path: Path, core: str, branch: bool) -> None:
    if core == "sysmon" and (sys.version_info < (3, 12) or (branch and sys.version_info < (3, 14))):
        core = ""  # coverage.py itself falls back there
    found = measure(tmp_path, CALLS, *(["--branch"] if branch else []), core=core, ISOLATE_FN_COVERAGE="1")
    # All but the branch that was not taken, and what only the crashed isolate could have told.
    assert found["missing_lines"] == [LINES['return "many"'], LINES["import os; os._exit(3)"]]
    if branch:
        assert [LINES["if n > 1:"], LINES['return "many"']] in found["missing_branches"]
        assert [LINES["if n > 1:"], LINES['return "few"']] in found["executed_branches"]


@needs_isolates
def test_nothing_is_measured_unless_asked_for(tmp_path: Path) -> None:
    bodies = {LINES["return branchy(n)"], LINES["return 1"], LINES['return "one"']}
    assert bodies <= set(measure(tmp_path, CALLS)["missing_lines"])  # type: ignore[call-overload]


@needs_isolates
def test_asked_for_in_pyproject(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.isolate_fn]\ncoverage = true\n")
    assert LINES["return branchy(n)"] not in measure(tmp_path, CALLS)["missing_lines"]  # type: ignore[operator]
    found = measure(tmp_path, CALLS, ISOLATE_FN_COVERAGE="0")
    assert LINES["return branchy(n)"] in found["missing_lines"]  # type: ignore[operator]


@needs_isolates
@pytest.mark.parametrize("option", ["--source=.", "--source=measured", "--include=measured.py", "--include=*/measured.py"])
def test_what_is_measured_is_what_the_caller_measures(tmp_path: Path, option: str) -> None:
    found = measure(tmp_path, CALLS, option, ISOLATE_FN_COVERAGE="1")
    assert LINES["return branchy(n)"] not in found["missing_lines"]  # type: ignore[operator]
    data = coverage.CoverageData(str(tmp_path / ".coverage"))
    try:
        data.read()
        assert {Path(name).name for name in data.measured_files()} <= {"measured.py", "script.py"}
    finally:
        data.close(force=True)


@needs_isolates
def test_the_isolate_is_as_it_is_without(tmp_path: Path) -> None:
    """No file to write to, no variable that tells; the walls are the same."""
    measure(tmp_path, """
        import os, sys
        from isolate_fn import isolated, sandbox

        @isolated(prewarm=0)
        def look(place):
            names = [name for name in os.environ if "COVERAGE" in name]
            try:
                open(os.path.join(place, "written"), "w").close()  # at most into the isolate's own /tmp
            except OSError:
                pass
            return names, "coverage" in sys.modules

        import measured
        measured.fresh(1)
        assert look(os.getcwd()) == ([], True)
        assert not os.path.exists("written")
        with sandbox() as box:
            layers = box.report().enforcement.layers
        os.environ["ISOLATE_FN_COVERAGE"] = "0"
        with sandbox() as box:
            assert box.report().enforcement.layers == layers
        assert look(os.getcwd())[1] is False
    """, core="ctrace", ISOLATE_FN_COVERAGE="1")  # fmt: skip


@needs_isolates
def test_sandbox_and_threads(tmp_path: Path) -> None:
    found = measure(tmp_path, """
        import threading
        from isolate_fn import sandbox
        import measured
        with sandbox() as box:
            assert box.call(measured.branchy, 5) == "many"
        threads = [threading.Thread(target=measured.fresh, args=(1,)) for _ in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
    """, ISOLATE_FN_COVERAGE="1")  # fmt: skip
    missing = set(found["missing_lines"])  # type: ignore[call-overload]
    assert not missing & {LINES['return "many"'], LINES['return "few"'], LINES["return branchy(n)"]}


# --- what is not believed --------------------------------------------------------------------------------------------


class Current:
    """Stands for the coverage that runs in the caller; that of the test run itself must not change."""

    def __init__(self, branch: bool) -> None:
        self.data = coverage.CoverageData(no_disk=True)
        self.branch = branch

    def get_option(self, name: str) -> object:
        return self.branch if name == "run:branch" else False

    def get_data(self) -> coverage.CoverageData:
        return self.data


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], Current]]:
    """Put a `Current` into the place of the coverage that runs; its argument says whether branches are measured."""
    with contextlib.ExitStack() as closed:

        def put(branch: bool) -> Current:
            current = Current(branch)
            closed.callback(current.data.close, force=True)
            monkeypatch.setattr(ours, "_current", lambda: current)
            return current

        yield put


HOSTILE = [
    None, 5, [], "text", {}, {"lines": None}, {"lines": [1]}, {"lines": {"FILE": None}}, {"lines": {"FILE": "123"}},
    {"lines": {"FILE": [0, -1, 10**30, True, 1.0, None, [1]]}}, {"lines": {"/etc/passwd": [1]}},
    {"lines": {"relative.py": [1]}}, {"lines": {5: [1]}}, {"lines": {"FILE": {"1": 1}}},
    {"arcs": {"FILE": [[1, 2]]}}, {"arcs": {"FILE": [[0, 1], [1], [1, 2, 3], [1, 10**9], ["1", 2], None]}},
]  # fmt: skip


@pytest.mark.parametrize("branch", [False, True])
@pytest.mark.parametrize("said", HOSTILE, ids=repr)
def test_hostile_counts_are_left_out(
    stand_in: Callable[[bool], Current], tmp_path: Path, said: object, branch: bool
) -> None:
    file = tmp_path / "mounted.py"
    file.write_text("a = 1\nb = 2\n")
    current = stand_in(branch)
    if isinstance(said, dict):
        said = {key: _put(value, str(file)) for key, value in said.items()}
    ours.hear(said, lambda path: path if path == str(file) else None)
    true_arc = branch and isinstance(said, dict) and said.get("arcs") == {str(file): [[1, 2]]}
    assert current.data.measured_files() == ({str(file)} if true_arc else set())


def _put(value: object, file: str) -> object:
    return {file if key == "FILE" else key: each for key, each in value.items()} if isinstance(value, dict) else value


def test_true_counts_are_taken(stand_in: Callable[[bool], Current], tmp_path: Path) -> None:
    file = tmp_path / "mounted.py"
    file.write_text("a = 1\nb = 2\n")
    current = stand_in(False)
    ours.hear({"lines": {"/inside/mounted.py": [1, 2, 3]}}, lambda path: str(file) if path == "/inside/mounted.py" else None)
    assert current.data.lines(str(file)) == [1, 2]


def test_a_problem_inside_is_told_without_its_control_characters(stand_in: Callable[[bool], Current]) -> None:
    stand_in(False)
    with pytest.warns(RuntimeWarning, match=r"could not be measured inside an isolate: \?\[2J broken"):
        ours.hear({"problem": "\x1b[2J broken"}, lambda path: None)


@needs_isolates
def test_counts_that_nobody_asked_for_end_the_worker() -> None:
    from isolate_fn import isolated
    from isolate_fn.errors import TransportError

    with pytest.raises(TransportError, match=r"OBSERVED|more than one answer"):
        isolated(prewarm=0)(says_more_than_asked)()


def says_more_than_asked() -> None:
    import socket

    from isolate_fn._enforce import limits
    from isolate_fn._transport.frames import Kind, pack

    channel = socket.socket(fileno=os.dup(limits.CHANNEL))
    for piece in pack(Kind.OBSERVED, b"{}"):
        channel.sendall(piece)
