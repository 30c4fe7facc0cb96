"""Write docs/performance.md and its plots from the committed figures.

    python -m benchmarks.page --write     # the page; the plots too, where matplotlib is installed
    python -m benchmarks.page --check     # exit 1 when the page is not what would be written, or a plot is missing

The words are in page.md beside this file; a line ``<!-- figures: WHAT -->`` there stands for a table or a sentence.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import functions, plots, profiles, syscalls, table, written
from benchmarks.budgets import BUDGETS, COMPARED
from benchmarks.verdicts import judge

HERE = Path(__file__).resolve().parent
OUTPUT = HERE.parent / "docs" / "performance.md"
PLOTS = HERE.parent / "docs" / "_static" / "performance"
WORDS = HERE / "page.md"
FIGURES = {name: HERE / f"{name}.json" for name in ("figures", "figures_user", "syscalls", "profile", "functions")}

_PLACE = re.compile(r"^<!-- figures: (\w+)(?: (.+?))? -->$", re.MULTILINE)
_PLOT = re.compile(r"_static/performance/([\w-]+\.svg)")

Rows = list[tuple[str, ...]]


def text(figures: dict[str, Any]) -> str:
    """Return the page.

    Args:
        figures: what `FIGURES` names, loaded; what was not measured is not in it.

    Raises:
        KeyError: the words ask for something that does not exist.
    """
    page = _PLACE.sub(lambda found: PARTS[found[1]](figures, found[2] or "").rstrip(), WORDS.read_text("utf-8"))
    return "<!-- Written by `python -m benchmarks.page --write`; the words are in benchmarks/page.md. -->\n\n" + page


def markdown(rows: Rows) -> str:
    """Return cells as a table, figures to the right."""
    widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(rows[0]))]
    rule = ["-" * width if not column else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    lines = [rows[0], rule, *rows[1:]]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def machine(figures: dict[str, Any], which: str) -> str:
    """Return a sentence about what the figures were taken on."""
    if which not in figures:
        return ""
    about = figures[which]["about"]
    quick = ", **a quick run: 200 isolates and 2,000 warm calls where it says 1,000 and 10,000**" * about["quick"]
    return (
        f"Linux {about['kernel']}, {about['machine']}, {about['cpus']} processors, CPython {about['python']}, "
        f"{'root' if about['user'] == 'root' else 'an ordinary user'}, load {about['load']} at the start"
        f"{quick}."
    )


def budgets(figures: dict[str, Any], which: str) -> str:
    """Return the table of budgets."""
    name, _, kind = which.partition(" ")
    if name not in figures:
        return "Not measured yet."
    rows = [table.row(one) for one in judge(figures[name], COMPARED if kind == "compared" else BUDGETS)]
    if kind == "compared":
        return markdown([(*table.HEAD[:5],), *(_compared(row) for row in rows)])
    return markdown([table.HEAD, *(_bold(row) for row in rows)])


def _compared(row: tuple[str, ...]) -> tuple[str, ...]:
    return row[:5] if row[1] != "-" else (row[0], row[6], *row[2:5])


def _bold(row: tuple[str, ...]) -> tuple[str, ...]:
    return (*row[:-1], f"**{row[-1]}**" if row[-1] == "missed" else row[-1])


def contest(figures: dict[str, Any], which: str) -> str:
    """Return what one contest found, the quickest first."""
    found = figures["figures"]["contests"].get(which)
    if found is None:
        return "Not measured yet."
    head, *rows = table.cells(which, found)
    title = f"{found['what']} [{table.unit_of(found)[0]}]"
    rows += [(who, why, *[""] * 5) for who, why in found["missing"].items()]
    return markdown([(title, *head[1:]), *((row[0].strip(), *row[1:]) for row in rows)])


def curve(figures: dict[str, Any], which: str) -> str:
    """Return the medians of a curve."""
    found = figures["figures"]["curves"].get(which)
    if found is None:
        return "Not measured yet."
    head, *rows = table.curve_cells(which, found)
    title = head[0].partition(": ")[2]
    return markdown([(title, *head[1:]), *((row[0].strip(), *row[1:]) for row in rows)])


def facts(figures: dict[str, Any], which: str) -> str:
    """Return single figures whose names begin with something."""
    found = {name: value for name, value in figures["figures"]["facts"].items() if name.startswith(which)}
    if not found:
        return "Not measured yet."
    return markdown([("what", "found"), *((name, table.fact(name, value)) for name, value in found.items())])


def left_over(figures: dict[str, Any], which: str) -> str:
    """Return what was left after many isolates, by kind."""
    found: dict[str, dict[str, float]] = {}
    for name, value in figures["figures"]["facts"].items():
        if name.startswith("left over after ") and ": " in name:
            when, _, kind = name.removeprefix("left over after ").partition(": ")
            found.setdefault(when, {})[kind] = value
    if not found:
        return "Not measured yet."
    kinds = list(next(iter(found.values())))
    rows = [(kind, *(table.number(values.get(kind)) for values in found.values())) for kind in kinds]
    return markdown([("left over after", *found), *rows])


def system_calls(figures: dict[str, Any], which: str) -> str:
    """Return the system calls of one fresh isolate."""
    if "syscalls" not in figures:
        return "Not measured yet."
    rows = syscalls.by_kind(figures["syscalls"]["counts"])
    starts = [number for number, row in enumerate(rows) if row[0] in syscalls.PARTS]
    pieces = [rows[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]
    return "\n\n".join(map(markdown, pieces))


def profile(figures: dict[str, Any], which: str) -> str:
    """Return where the processor time of a fresh call goes: ``by process`` or ``by reason``."""
    if "profile" not in figures:
        return "Not measured yet."
    found = figures["profile"]
    rows = profiles.cells(found["samples"], found["about"]["calls"])
    if which == "by reason":
        return markdown(
            [
                ("processor time of one fresh call [ms]", "all"),
                *((row[0].strip(), row[1]) for row in rows if row[0][0] == " "),
            ]
        )
    return markdown([row for row in rows if row[0][0] != " "])


def by_function(figures: dict[str, Any], which: str) -> str:
    """Return where the caller's processor time goes."""
    if "functions" not in figures:
        return "Not measured yet."
    return markdown(functions.cells(figures["functions"]["samples"]))


PARTS: dict[str, Callable[[dict[str, Any], str], str]] = {
    "machine": machine,
    "budgets": budgets,
    "contest": contest,
    "curve": curve,
    "facts": facts,
    "left_over": left_over,
    "syscalls": system_calls,
    "profile": profile,
    "functions": by_function,
}


def load() -> dict[str, Any]:
    """Return the committed figures, those that exist."""
    return {name: written.load(str(file)) for name, file in FIGURES.items() if file.exists()}


def main() -> int:
    """Write or check; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.page", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true")
    what.add_argument("--check", action="store_true")
    options = parser.parse_args()
    figures = load()
    page = text(figures)
    if options.write:
        OUTPUT.write_text(page, encoding="utf-8")
        if importlib.util.find_spec("matplotlib"):
            plots.draw_all(figures["figures"], str(PLOTS))
    missing = [name for name in _PLOT.findall(page) if not (PLOTS / name).exists()]
    if missing:
        print(f"no plot {', '.join(missing)}: run `python -m benchmarks.page --write`", file=sys.stderr)
    if not OUTPUT.exists() or OUTPUT.read_text("utf-8") != page:
        print(f"{OUTPUT.name} is not what the figures say: run `python -m benchmarks.page --write`", file=sys.stderr)
        return 1
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
