"""Write docs/parity.md: for every name, error, test and example of extrasafe and pyextrasafe, what here does it.

    python tools/generate_parity_page.py            # rewrite the page
    python tools/generate_parity_page.py --check    # exit 1 when it is not what would be written

The table is tests/parity/rows.toml; tests/parity/test_parity.py checks that no name is missing, that every name here can
be imported and that every test exists. The words around the table are in parity_page.md beside this file.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
ROWS = ROOT / "tests" / "parity" / "rows.toml"
OUTPUT = ROOT / "docs" / "parity.md"
WORDS = Path(__file__).resolve().parent / "parity_page.md"
PLACE = "<!-- tables -->\n"

#: What a row's ``verdict`` can be, and how the page says it.
VERDICTS = {
    "same": "",
    "corrected": "*Corrected.* ",
    "different": "*Different.* ",
    "absent": "*Not here.* ",
}

#: Section of rows.toml -> its heading, in the order of the page.
SECTIONS = {
    "extrasafe-types": "extrasafe: types, functions, macros",
    "extrasafe-rule-sets": "extrasafe: rule sets",
    "extrasafe-safety-context": "extrasafe: SafetyContext",
    "extrasafe-errors": "extrasafe: errors",
    "extrasafe-isolate": "extrasafe: Isolate",
    "extrasafe-tests": "extrasafe: tests",
    "extrasafe-unit-tests": "extrasafe: unit tests and doctests",
    "extrasafe-examples": "extrasafe: examples",
    "pyextrasafe-names": "pyextrasafe: names",
    "pyextrasafe-custom": "pyextrasafe: rules of one's own",
    "pyextrasafe-tests": "pyextrasafe: tests and examples",
    "further-cases": "Cases that follow from their defects",
    "requests": "Requests of their users and authors",
    "too-loose": "Rules of theirs that permit too much",
    "too-narrow": "Rules of theirs that leave out what Python needs",
}


class Row(NamedTuple):
    """One row.

    Attributes:
        section: key of SECTIONS.
        there: the name there.
        verdict: key of VERDICTS.
        here: names here, which can be imported; see `home`.
        how: what here does it, or why it is different.
        tests: ``path::name`` of what shows it, with ``[id]`` for one case of many.
        untested: why there is no test.
    """

    section: str
    there: str
    verdict: str
    here: tuple[str, ...]
    how: str
    tests: tuple[str, ...]
    untested: str


def rows(path: Path = ROWS) -> list[Row]:
    """Return the table.

    Raises:
        ValueError: a section or a field that does not exist, or one that is missing.
    """
    sections = tomllib.loads(path.read_text(encoding="utf-8"))
    if list(sections) != list(SECTIONS):
        raise ValueError(f"sections of {path.name} are not those of SECTIONS: {sorted({*sections} ^ {*SECTIONS})}")
    return [_row(section, there, fields) for section, entries in sections.items() for there, fields in entries.items()]


def _row(section: str, there: str, fields: dict[str, object]) -> Row:
    if unknown := {*fields} - {*Row._fields[2:]}:
        raise ValueError(f"{section}.{there}: unknown fields {sorted(unknown)}")

    def text(name: str) -> str:
        value = fields.get(name, "")
        if not isinstance(value, str):
            raise ValueError(f"{section}.{there}: {name} is no str")
        return value

    def texts(name: str) -> tuple[str, ...]:
        value = fields.get(name, [])
        if not isinstance(value, list):
            raise ValueError(f"{section}.{there}: {name} is no list")
        return tuple(map(str, value))

    return Row(section, there, text("verdict"), texts("here"), text("how"), texts("tests"), text("untested"))


def _code(text: str) -> str:
    return f"`{text}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _line(row: Row) -> str:
    names = ", ".join(map(_code, row.here))
    how = VERDICTS[row.verdict] + ": ".join(filter(None, (names, row.how)))
    tests = "<br>".join(map(_code, row.tests)) or row.untested
    return f"| {' | '.join(map(_cell, (_code(row.there), how, tests)))} |"


def render(table: list[Row]) -> str:
    """Return the text of the page."""
    lines: list[str] = []
    for section, heading in SECTIONS.items():
        lines += [f"## {heading}", "", "| there | here | test |", "| --- | --- | --- |"]
        lines += [_line(row) for row in table if row.section == section]
        lines += [""]
    counted = Counter(row.verdict for row in table)
    numbers = {f"<!-- {verdict} -->": str(counted[verdict]) for verdict in VERDICTS}
    numbers["<!-- rows -->"] = str(len(table))
    before, after = WORDS.read_text(encoding="utf-8").split(PLACE)
    for mark, number in numbers.items():
        before = before.replace(mark, number)
    return before + "\n".join(lines) + after


def main(arguments: list[str] | None = None) -> int:
    """Write the page, or with ``--check`` compare it; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the page is out of date")
    options = parser.parse_args(arguments)
    text = render(rows())
    if OUTPUT.exists() and OUTPUT.read_text(encoding="utf-8") == text:
        return 0
    if options.check:
        sys.stderr.write(f"{OUTPUT.name} is out of date; run {Path(__file__).name} without --check\n")
        return 1
    OUTPUT.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
