"""``isolate-fn selftest``: the attacks of `isolate_fn.selftest`, as a table, as JSON, and for continuous integration."""

from __future__ import annotations

import argparse
import contextlib
import os
import stat
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from isolate_fn import SelfTest, selftest
from isolate_fn.cli import terminal
from isolate_fn.cli.output import NotWritten
from isolate_fn.cli.progress import progress
from isolate_fn.errors import PolicyError

EXIT_USAGE = 2

_WORDS = {"held": "held", "broken": "BROKEN", "moot": "moot", "not applicable": "n/a", "not promised": "OPEN"}
_COLOURS = {
    "held": ("32", "green"),
    "broken": ("31", "red"),
    "moot": ("33", "yellow"),
    "not applicable": ("33", "yellow"),
    "not promised": ("33", "yellow"),
}
_HEADINGS = ("", "attack", "what it tries", "without walls")
_SIDE = len("not tried")


def run(options: argparse.Namespace) -> int:
    """Carry out the subcommand; return the exit status."""
    if options.list:
        for line in listing():
            print(line)
        return 0
    if options.json == "-" and options.junit == "-":
        print("isolate-fn selftest: one of --json and --junit may write to stdout", file=sys.stderr)
        return EXIT_USAGE
    with contextlib.ExitStack() as opened:
        try:
            # Before minutes of attacks, and not emptied: what is in there is kept until there is something better.
            json, junit = (_open(target, opened) for target in (options.json, options.junit))
        except OSError as error:
            print(f"isolate-fn selftest: {error.filename}: {error.strerror}", file=sys.stderr)
            return EXIT_USAGE
        try:
            result = _result(options)
        except PolicyError as wrong:
            print(f"isolate-fn selftest: {wrong.problem}; {wrong.remedy}", file=sys.stderr)
            return EXIT_USAGE
        _write(json, result.to_json)
        _write(junit, result.to_junit)
    if "-" not in (options.json, options.junit):
        show(result)
    elif result.error is not None:
        print(result.error, file=sys.stderr)
    return 0 if result.held else 1


def _result(options: argparse.Namespace) -> SelfTest:
    with progress("selftest", None if options.only else len(SelfTest.catalogue())) as step:
        return selftest(only=options.only or (), without=options.without, progress=lambda done, total, name: step(name))


def _open(target: str | None, opened: contextlib.ExitStack) -> TextIO | None:
    if target == "-":
        return sys.stdout
    return opened.enter_context(open(target, "a", encoding="utf-8")) if target else None


def _write(file: TextIO | None, text: Callable[[], str]) -> None:
    if file is None:
        return
    try:
        if file is sys.stdout:
            print(text().rstrip("\n"))
            return
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.truncate(0)
        file.write(text())
        file.flush()
    except OSError as failure:
        with contextlib.suppress(OSError):
            file.close()  # what is still buffered fails once more
        raise NotWritten(f"{file.name}: {failure.strerror}") from failure


def listing() -> Iterator[str]:
    """Return the lines of ``--list``: promises, and below each its attacks."""
    width = max(len(attack.id) for attack in SelfTest.catalogue())
    for number, (name, text) in SelfTest.promises().items():
        yield f"{number} {name}: {text}"
        for attack in SelfTest.catalogue():
            if attack.promise == number:
                known = f" ({attack.known})" if attack.known else ""
                yield f"  {attack.id:{width}}  {attack.title}{known}"


def show(result: SelfTest) -> None:
    """Print the table and a summary to stdout."""
    terminal.replace_what_cannot_be_shown()
    print(textwrap.fill(_machine(result), terminal.width()))
    if result.error is not None:
        print(f"\nIsolation does not work here.\n{result.error}")
        return
    if not (terminal.colours(sys.stdout) and _show_with_rich(result)):
        for line in plain(result, width=terminal.width(), colours=terminal.colours(sys.stdout)):
            print(line)
    print(textwrap.fill(summary(result), terminal.width()))


def _machine(result: SelfTest) -> str:
    about = result.machine()
    parts = [
        f"isolate_fn {about['isolate_fn']}",
        f"Python {about['python']}",
        f"Linux {about['kernel']} {about['machine']}",
    ]
    parts.append("root" if about["user"] == 0 else f"user {about['user']}")
    if "engine" in about:
        parts.append(f"engine {about['engine']}")
        parts.append(f"which promises {', '.join(about['properties'])}")
        parts.append(f"Landlock ABI {about['landlock_abi']}" if about["landlock_abi"] else "no Landlock")
    return ", ".join(parts)


def plain(result: SelfTest, *, width: int, colours: bool) -> Iterator[str]:
    """Lay the findings out as lines of text.

    Args:
        result: the selftest.
        width: columns of the whole table.
        colours: mark the verdicts with terminal colours.
    """
    findings = result.findings
    name = max((len(finding.attack.id) for finding in findings), default=6)
    title = max(width - name - 6 - _SIDE - 8, 24)
    for number, (_, text) in result.promises().items():
        ours = [finding for finding in findings if finding.attack.promise == number]
        if not ours:
            continue
        yield ""
        yield from textwrap.wrap(f"{number}. {text}", width)
        for finding in ours:
            cells = _cells(finding)
            wrapped = [
                textwrap.wrap(cell, size) or [""] for cell, size in zip(cells, (6, name, title, _SIDE), strict=True)
            ]
            for index in range(max(map(len, wrapped))):
                row = [part[index] if index < len(part) else "" for part in wrapped]
                word = row[0].ljust(6)
                if colours and index == 0:
                    word = f"\x1b[{_COLOURS[finding.verdict][0]}m{word}\x1b[0m"
                yield f"  {word}  {row[1]:{name}}  {row[2]:{title}}  {row[3]}".rstrip()
            if finding.verdict != "held":
                yield from textwrap.wrap(_detail(finding), width, initial_indent=" " * 10, subsequent_indent=" " * 10)
    yield ""


def _cells(finding: Any) -> tuple[str, str, str, str]:
    return _WORDS[finding.verdict], finding.attack.id, finding.attack.title, finding.without


def _detail(finding: Any) -> str:
    return terminal.harmless(finding.detail)


def _show_with_rich(result: SelfTest) -> bool:
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    grid = Table(*_HEADINGS)
    for number, (_, text) in result.promises().items():
        ours = [finding for finding in result.findings if finding.attack.promise == number]
        if ours:
            grid.add_section()
            grid.add_row("", "", Text(f"{number}. {text}", style="bold"), "")
        for finding in ours:
            word, name, title, side = _cells(finding)
            told = title if finding.verdict == "held" else f"{title}\n{_detail(finding)}"
            grid.add_row(Text(word, style=_COLOURS[finding.verdict][1]), Text(name), Text(told), Text(side))
    Console().print(grid)
    return True


def summary(result: SelfTest) -> str:
    """Return the closing sentences: counts, and what is broken."""
    counts = result.counts
    parts = [
        f"{len(result.findings)} attacks in {result.seconds:.0f} s: {counts['held']} held, {counts['broken']} broken"
    ]
    parts[0] += f", {counts['moot']} moot, {counts['not applicable']} not applicable."
    works = sum(finding.without == "works" for finding in result.findings)
    tried = sum(finding.without != "not tried" for finding in result.findings)
    if tried:
        parts.append(f"Without walls {works} of the {tried} that were tried work.")
    broken = [finding.attack.id for finding in result.findings if finding.verdict == "broken"]
    if broken:
        parts.append(f"BROKEN: {', '.join(broken)}. Please report it, with the output of --json.")
    opened = [finding.attack.id for finding in result.findings if finding.verdict == "not promised"]
    if opened:
        parts.append(
            f"OPEN, because the engine of this machine does not promise otherwise (docs/engines.md): {', '.join(opened)}."
        )
    return " ".join(parts)
