"""What long work is busy with: a bar by rich where it is installed, a line where it is not, nothing without a terminal.

On stderr, so that what a command prints can be redirected; it leaves no trace when the work is done.

    with progress("demo", len(cases)) as step:
        for case in cases:
            step(case.name)
            play(case)
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from isolate_fn.cli import terminal

_ERASE = "\r\x1b[K"


@contextlib.contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Callable[[str], None]]:
    """Show how far work has come, until the block ends.

    Args:
        what: the work, in a word or two.
        total: how many steps it has; None where that is not known.

    Yields:
        A function to be called with the name of each step when it begins.
    """
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":  # a dumb terminal cannot erase a line
        yield _ignore
        return
    bar = _bar(total)
    if bar is None:
        with _line(what, total) as step:
            yield step
        return
    with bar:
        task = bar.add_task(what, total=total, step="")
        started = 0

        def step(name: str) -> None:
            nonlocal started
            bar.update(task, completed=started, step=terminal.harmless(name))
            started += 1

        yield step


def _ignore(name: str) -> None:
    """Show nothing."""


def _bar(total: int | None) -> Any:
    """Return rich's progress bar, None where rich is not installed."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    except ImportError:
        return None

    columns: list[Any] = [SpinnerColumn(), TextColumn("{task.description}")]
    if total is not None:
        columns += [BarColumn(), MofNCompleteColumn()]
    columns += [TimeElapsedColumn(), TextColumn("{task.fields[step]}", markup=False)]
    return Progress(*columns, console=Console(stderr=True), transient=True)


@contextlib.contextmanager
def _line(what: str, total: int | None) -> Iterator[Callable[[str], None]]:
    started = 0

    def step(name: str) -> None:
        nonlocal started
        started += 1
        count = f" {started}/{total}" if total is not None else ""
        text = terminal.harmless(f"{what}{count}: {name} ...")
        sys.stderr.write(_ERASE + text[: terminal.width() - 1])
        sys.stderr.flush()

    try:
        yield step
    finally:
        sys.stderr.write(_ERASE)
        sys.stderr.flush()
