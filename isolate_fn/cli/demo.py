"""``isolate-fn demo``: every case on both sides, judged by what is found outside afterwards.

Neither side is asked whether the attack worked. The judge looks at the temporary directory, at what came
back, at the process's end and at its memory.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from isolate_fn.cli import table, unprotected
from isolate_fn.cli.cases import CASES, Case, run_isolated
from isolate_fn.cli.fetch import Unavailable
from isolate_fn.cli.progress import progress
from isolate_fn.cli.samples import MIB, Workspace
from isolate_fn.cli.unprotected import Ended
from isolate_fn.errors import Crashed, IsolationError, LimitExceeded, RemoteError, TimedOut

NAME_WIDTH = max(len(case.name) for case in CASES)

# What counts as damage: more than any honest case uses.
_MUCH_MEMORY = 300 * MIB
_MUCH_DISK = 48 * MIB


class Outcome(NamedTuple):
    """What one side did with one case.

    Attributes:
        status: ``"harm"``: the attack worked. ``"held"``: it did nothing. ``"works"``: an honest file was
            processed. ``"failed"``: it was not, or the isolate could not be made. ``"unavailable"``: not
            tried.
        text: what happened, in one sentence.
        seconds: the call; on the isolated side with making and ending the isolate.
    """

    status: str
    text: str
    seconds: float = 0.0


class Row(NamedTuple):
    """One case with both outcomes."""

    case: Case
    unprotected: Outcome
    isolated: Outcome


def run(*, only: Sequence[str] | None = None, as_json: bool = False, offline: bool = False) -> int:
    """Run the demo and print it.

    Args:
        only: names of cases; None for all.
        as_json: print one JSON document instead of a table.
        offline: download nothing.

    Returns:
        0 when nothing got out of the isolates and the honest files worked in them, else 1.
    """
    rows = []
    chosen = [case for case in CASES if not only or case.name in only]
    with progress("demo", len(chosen)) as step:
        for case in chosen:
            step(case.name)
            rows.append(play(case, offline=offline))
    held = all(row.isolated.status not in ("harm", "failed") for row in rows)
    if as_json:
        print(_document(rows, held))
    else:
        table.show([_cells(row) for row in rows], _summary(rows))
    return 0 if held else 1


def play(case: Case, *, offline: bool = False) -> Row:
    """Run one case on both sides, each in a new temporary directory."""
    missing = case.missing()
    if missing:
        return Row(case, Outcome("unavailable", missing), Outcome("unavailable", missing))
    outcomes = []
    for side in (_unprotected, _isolated):
        # The unprotected side may have left anything in there, so complaints about removing it are ignored.
        with tempfile.TemporaryDirectory(prefix="isolate-fn-demo-", ignore_cleanup_errors=True) as directory:
            try:
                outcomes.append(side(case, Workspace(Path(directory).resolve()), offline))
            except Unavailable as reason:
                outcomes.append(Outcome("unavailable", str(reason)))
    return Row(case, outcomes[0], outcomes[1])


def _unprotected(case: Case, space: Workspace, offline: bool) -> Outcome:
    arguments = case.prepare(space, offline)
    ended = unprotected.call(case.victim, arguments, directory=str(space.work), timeout=case.timeout)
    damage = _found_outside(case, space, ended.result + ended.error)
    if ended.signal:
        damage = f"the process died of {signal.Signals(ended.signal).name}, and all its other work with it"
    elif ended.timed_out:
        damage = f"busy without end; the demo killed it after {case.timeout:g} s"
    elif ended.peak_memory >= _MUCH_MEMORY and case.attack:
        damage = damage or f"took {ended.peak_memory // MIB} MB of memory: {ended.error or ended.result}"
    if damage:
        return Outcome("harm", damage, ended.seconds)
    return _without_damage(case, space, ended)


def _isolated(case: Case, space: Workspace, offline: bool) -> Outcome:
    arguments = case.prepare(space, offline)
    started = time.perf_counter()
    result = error = ""
    stopped = ""
    try:
        result = run_isolated(case, space, arguments)
    except RemoteError as problem:  # the function's own, of a class that only the library knows
        error = f"{problem.type_name}: {problem.message}"
    except IsolationError as problem:
        if not problem.ran:
            return Outcome("failed", f"not run: {_line(problem)}")
        stopped = _how_stopped(problem)
    except Exception as problem:  # the function's own
        error = f"{type(problem).__name__}: {problem}"
    seconds = time.perf_counter() - started
    damage = _found_outside(case, space, result + error + stopped)
    if damage:
        return Outcome("harm", damage, seconds)
    if stopped:
        return Outcome("held" if case.attack else "failed", stopped, seconds)
    return _without_damage(case, space, Ended(result=result, error=error, seconds=seconds))


def _without_damage(case: Case, space: Workspace, ended: Ended) -> Outcome:
    text = (ended.error or ended.result).replace(str(space.work.parent), "...")
    if not case.attack:
        failed = bool(ended.error) or ended.result.startswith("failed")
        return Outcome("failed" if failed else "works", text, ended.seconds)
    return Outcome("held", f"nothing got out: {text or 'an empty result'}", ended.seconds)


def _found_outside(case: Case, space: Workspace, came_back: str) -> str:
    """Look for damage that can be seen from outside; "" if there is none."""
    planted = sorted(path for path in space.outside.rglob("*") if path.is_file())
    if any(space.token in path.read_text(errors="replace") for path in planted if path == space.stolen):
        return "code ran, and copied the secret"
    if planted:
        return f"wrote {', '.join(path.name for path in planted)} outside its directory"
    if space.token in came_back:
        return "returned the content of the secret file"
    if case.leaked is not None and (leak := case.leaked(space)):
        return leak
    disk = sum(path.stat().st_blocks * 512 for path in space.work.rglob("*") if path.is_file())
    if disk >= _MUCH_DISK:
        return f"wrote {disk // MIB} MB to the disk, until the demo's own limit"
    return ""


def _how_stopped(problem: IsolationError) -> str:
    if isinstance(problem, TimedOut):
        return f"stopped after {problem.timeout:g} s (TimedOut)"
    if isinstance(problem, LimitExceeded):
        return f"stopped at its limit {problem.limit} (LimitExceeded)"
    if isinstance(problem, Crashed) and problem.signal:
        return f"the isolate died of {signal.Signals(problem.signal).name}, the caller goes on (Crashed)"
    return f"{type(problem).__name__}: {_line(problem)}"


def _line(problem: BaseException) -> str:
    return str(problem).partition("\n")[0]


def _summary(rows: Sequence[Row]) -> str:
    attacks = [row for row in rows if row.case.attack and row.unprotected.status != "unavailable"]

    def count(status: str, side: str) -> int:
        return sum(getattr(row, side).status == status for row in attacks)

    harmed, escaped = count("harm", "unprotected"), count("harm", "isolated") or "none"
    parts = [f"Unprotected, {harmed} of {len(attacks)} attacks did harm; isolated, {escaped}."]
    failed = [row.case.name for row in rows if row.isolated.status == "failed"]
    if failed:
        parts.append(f"Did not work isolated: {', '.join(failed)}.")
    absent = sum(row.isolated.status == "unavailable" for row in rows)
    if absent:
        parts.append(f"{absent} could not be tried.")
    parts.append("Times are of the call; isolated ones include making the isolate.")
    return " ".join(parts)


def _cells(row: Row) -> table.Line:
    sides = (row.unprotected, row.isolated)
    return table.Line(row.case.name, row.case.title, *((side.status, side.text, side.seconds) for side in sides))


def _document(rows: Sequence[Row], held: bool) -> str:
    import json

    cases = [
        {
            "name": row.case.name,
            "title": row.case.title,
            "attack": row.case.attack,
            "unprotected": row.unprotected._asdict(),
            "isolated": row.isolated._asdict(),
        }
        for row in rows
    ]
    return json.dumps({"python": sys.version.split()[0], "held": held, "cases": cases}, indent=2)
