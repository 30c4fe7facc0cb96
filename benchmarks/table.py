"""The one table: budgets met or not, then all that was measured."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Sequence

from benchmarks.findings import Contest, Curve
from benchmarks.verdicts import Verdict, failed

HEAD = ("what", "ours", "peer", "ratio", "by round", "budget", "met")


def number(value: float | None) -> str:
    """Return a number with three digits that matter, a dash for none."""
    if value is None:
        return "-"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    for least, form in ((100, ",.0f"), (10, ".1f"), (1, ".2f"), (0.1, ".3f")):
        if abs(value) >= least:
            return format(value, form)
    return format(value, ".2g")


def fact(name: str, value: float) -> str:
    """Return a fact in the unit that its name tells."""
    if any(word in name for word in ("growth of", ", private", ", resident", "bytes of")):
        return f"{number(value / 1e6)} MB"
    return f"{number(value)} s" if ", seconds" in name else number(value)


def row(verdict: Verdict) -> tuple[str, ...]:
    """Return one line of the table as its cells."""
    budget = verdict.budget
    unit = f" {budget.unit}" if budget.unit not in ("", "x") else ""
    factor = budget.how == "ratio"
    sign = "<=" if budget.direction == "at most" else ">="
    bound = "-" if budget.bound is None else f"{sign} {budget.bound:g}{' x' if factor or budget.unit == 'x' else unit}"
    if verdict.ours is None:
        return (budget.what, "-", "-", "-", "-", bound, verdict.why)
    met = {True: "met", False: "not reached" if budget.beyond else "missed", None: "-"}[verdict.met]
    ratio = number(verdict.figure) if verdict.peer is not None else "-"
    peer = number(verdict.peer) + unit if verdict.peer is not None else "-"
    return (budget.what, number(verdict.ours) + unit, peer, ratio, number(verdict.by_round), bound, met)


def budgets(verdicts: Iterable[Verdict]) -> str:
    """Return the table of budgets as plain text."""
    return plain([HEAD, *(row(verdict) for verdict in verdicts)])


def show_budgets(verdicts: Sequence[Verdict]) -> None:
    """Print the table of budgets: with colours where rich is installed and this is a terminal, else as plain text."""
    if not sys.stdout.isatty() or importlib.util.find_spec("rich") is None:
        print(budgets(verdicts))
        return
    from rich.console import Console
    from rich.table import Table

    drawn = Table(*HEAD)
    for verdict in verdicts:
        drawn.add_row(*row(verdict), style="red" if failed(verdict) else None)
    Console().print(drawn)


def curve_cells(name: str, found: Curve) -> list[tuple[str, ...]]:
    """Return the medians of a curve as cells, one column for each point."""
    longest = max(found["lines"].values(), key=len)
    unit = found.get("y", "seconds")
    factor, unit = {"seconds": (1e3, "ms"), "bytes": (1e-6, "MB")}.get(unit, (1.0, unit))
    rows: list[tuple[str, ...]] = [(f"{name}: {found['what']} [{unit}] against {found['x']}",
                                    *(number(point[0]) for point in longest))]  # fmt: skip
    for who, points in found["lines"].items():
        missing = [""] * (len(longest) - len(points))
        rows.append((f"  {who}", *(number(point[1] * factor) for point in points), *missing))
    return rows


def unit_of(contest: Contest) -> tuple[str, float]:
    """Return the unit that suits a contest, and how many of it are a second."""
    slow = max(one["median"] for one in contest["contestants"].values()) >= 1e-3
    return ("ms", 1e3) if slow else ("us", 1e6)


def cells(name: str, contest: Contest) -> list[tuple[str, ...]]:
    """Return what one contest found as cells, in microseconds or milliseconds, the quickest first."""
    unit, factor = unit_of(contest)
    rows: list[tuple[str, ...]] = [
        (f"{name}: {contest['what']} [{unit}]", "median", "min", "p10", "p90", "p99", "calls")
    ]
    for contestant, one in sorted(contest["contestants"].items(), key=lambda item: item[1]["median"]):
        times = (one["median"], one["min"], one["p10"], one["p90"], one["p99"])
        rows.append((f"  {contestant}", *(number(time * factor) for time in times), str(one["count"])))
    return rows


def contestants(name: str, contest: Contest) -> str:
    """Return what one contest found as plain text."""
    missing = (f"  {who}: {why}" for who, why in contest["missing"].items())
    return "\n".join([plain(cells(name, contest)), *missing])


def plain(lines: Sequence[Sequence[str]]) -> str:
    """Return cells in columns, the first to the left and the others to the right but for a last one of words."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 or cell[:1].isalpha() else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
