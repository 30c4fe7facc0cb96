"""``isolate-fn doctor``: the checks as a table for people, or as JSON."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from isolate_fn import doctor
from isolate_fn.cli import terminal
from isolate_fn.cli.progress import progress
from isolate_fn.errors import PolicyError

EXIT_NOT_ISOLATED = 1
EXIT_USAGE = 2
_WORDS = {"ok": "ok", "weaker": "WEAKER", "failed": "FAILED", "info": "-"}
# SGR colour of a status, and rich's name for it.
_COLOURS = {"ok": ("32", "green"), "weaker": ("33", "yellow"), "failed": ("31", "red"), "info": ("2", "dim")}
_INDENT = 2
_STATUS = max(map(len, _WORDS.values()))


def run(*, as_json: bool = False, problems: bool = False) -> int:
    """Run the doctor and print what it found.

    Args:
        as_json: print one JSON document instead of a table.
        problems: leave out what is as it should be.

    Returns:
        0 when isolation works here, 1 when it does not, 2 when it was asked nonsense.
    """
    try:
        with progress("doctor") as step:
            step("looking at this machine, and making one isolated call")
            diagnosis = doctor()
    except PolicyError as error:
        print(f"isolate-fn doctor: {error.field}: {error.problem}\n  try: {error.remedy}", file=sys.stderr)
        return EXIT_USAGE
    document = diagnosis.as_dict()
    if as_json:
        import json

        print(json.dumps(document, indent=2))
    else:
        show(document, problems=problems)
    return 0 if diagnosis.works else EXIT_NOT_ISOLATED


def show(document: Mapping[str, Any], *, problems: bool = False) -> None:
    """Print a diagnosis to stdout.

    Args:
        document: as `Diagnosis.as_dict` returns it.
        problems: leave out what is as it should be.
    """
    terminal.replace_what_cannot_be_shown()
    coloured = terminal.colours(sys.stdout)
    if coloured and _show_with_rich(document, problems):
        return
    for line in plain(document, width=terminal.width(), colours=coloured, problems=problems):
        print(line)


def plain(document: Mapping[str, Any], *, width: int, colours: bool = False, problems: bool = False) -> Iterator[str]:
    """Lay a diagnosis out as lines of text.

    Args:
        document: as `Diagnosis.as_dict` returns it.
        width: columns.
        colours: mark the statuses with terminal colours.
        problems: leave out what is as it should be.
    """
    checks = _chosen(document, problems)
    names = max((len(check["name"]) for check in checks), default=0)
    group = ""
    for check in checks:
        if check["group"] != group:
            group = check["group"]
            yield from ("", group) if check is not checks[0] else (group,)
        status = _WORDS[check["status"]].ljust(_STATUS)
        start = f"{' ' * _INDENT}{status}  {check['name'].ljust(names)}  "
        lines = textwrap.wrap(
            terminal.harmless(check["found"]), width - len(start), break_long_words=True, break_on_hyphens=False
        ) or [""]
        shown = f"\x1b[{_COLOURS[check['status']][0]}m{status}\x1b[0m" if colours else status
        yield start.replace(status, shown, 1) + lines[0]
        yield from (" " * len(start) + line for line in lines[1:])
        for label, text in _explained(check):
            yield from _block(label, text, len(start), width)
    yield ""
    for line in _summary(document):
        yield from textwrap.wrap(terminal.harmless(line), width, subsequent_indent="  ", break_on_hyphens=False)


def _block(label: str, text: str, start: int, width: int) -> Iterator[str]:
    first = " " * (start - len("cause  ")) + label.ljust(len("cause")) + "  "
    yield from textwrap.wrap(
        terminal.harmless(text), width, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False
    )


def _explained(check: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if check["cause"]:
        yield "cause" if check["status"] in ("weaker", "failed") else "note", check["cause"]
    if check["fix"]:
        yield "fix", check["fix"]


def _chosen(document: Mapping[str, Any], problems: bool) -> Sequence[Mapping[str, Any]]:
    return [check for check in document["checks"] if not problems or check["status"] in ("weaker", "failed")]


def _summary(document: Mapping[str, Any]) -> Iterator[str]:
    enforcement = document["enforcement"]
    if enforcement is None:
        failed = sum(check["status"] == "failed" for check in document["checks"])
        yield f"Isolation does NOT work here: {document['why']}. No function runs without it: calls raise."
        yield f"{failed} check(s) failed; mend the first one first, others often follow from it."
        return
    yield f"Isolation works here, by the engine {document['engine']!r}: {document['why']}."
    yield f"In force: {', '.join(enforcement['layers'])}."
    for title, key in (("Otherwise", "differences"), ("Left out", "dropped"), ("Mind", "warnings")):
        for sentence in enforcement[key]:
            yield f"{title}: {sentence}."


def _show_with_rich(document: Mapping[str, Any], problems: bool) -> bool:
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    table = Table("", "check", "found, cause and fix", show_lines=False)
    group = ""
    for check in _chosen(document, problems):
        if check["group"] != group:
            group = check["group"]
            table.add_section()
            table.add_row("", Text(group, style="bold"), "")
        found = Text(terminal.harmless(check["found"]))
        for label, text in _explained(check):
            found.append(f"\n{label}: ", style="bold")
            found.append(terminal.harmless(text))
        table.add_row(Text(_WORDS[check["status"]], style=_COLOURS[check["status"]][1]), check["name"], found)
    console = Console(width=terminal.width())
    console.print(table)
    for line in _summary(document):
        console.print(Text(terminal.harmless(line)))
    return True
