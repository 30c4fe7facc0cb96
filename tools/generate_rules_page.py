"""Write docs/rules.md from the rule sets themselves.

    python tools/generate_rules_page.py            # rewrite the page
    python tools/generate_rules_page.py --check    # exit 1 when it is not what would be written

The words around the tables are in rules_page.md beside this file, the comparison with extrasafe in seed_rule_sets.py.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

from seed_rule_sets import DIFFERENCES, SEEDS, Difference  # noqa: E402

from isolate_fn import rules  # noqa: E402
from isolate_fn._sys import numbers  # noqa: E402
from isolate_fn.policy.rule_sets.base import Rule  # noqa: E402
from isolate_fn.policy.rule_sets.builtin import Builtin  # noqa: E402

OUTPUT = ROOT / "docs" / "rules.md"
WORDS = Path(__file__).resolve().parent / "rules_page.md"
PLACE = "<!-- tables -->\n"

#: Parameter of a method -> what it is called with here.
SAMPLES = {"file": 7, "path": "/path", "pid": 7, "ports": 443}
#: The sets, in the order of the page.
ORDER = (
    rules.BasicCapabilities,
    rules.SystemIO,
    rules.FileChanges,
    rules.Networking,
    rules.Threads,
    rules.Time,
    rules.ForkAndExec,
    rules.Pipes,
    rules.Signals,
    rules.UserId,
    rules.Memory,
    rules.Interpreter,
    rules.Asyncio,
    rules.Multiprocessing,
    rules.Sqlite,
)


class Entry(NamedTuple):
    """One way to say what a set permits.

    Attributes:
        owner: the class.
        key: how it is written: ``"SystemIO().allow_file_read(file)"``.
        value: the set that this makes, with sample arguments.
        text: the docstring.
    """

    owner: type[Builtin]
    key: str
    value: Builtin
    text: str


def catalogue() -> Iterator[Entry]:
    """Yield every constructor and method that permits something, in the order of the source."""
    for owner in ORDER:
        if owner._ALWAYS:
            yield Entry(owner, f"{owner.__name__}()", owner(), inspect.getdoc(owner) or "")
        if "everything" in vars(owner):
            yield Entry(owner, f"{owner.__name__}.everything()", owner.everything(), _doc(owner, "everything"))
        for name in methods(owner):
            made, shown = _call(owner, name)
            yield Entry(owner, f"{owner.__name__}().{name}({shown})", made, _doc(owner, name))


def methods(owner: type[Builtin]) -> list[str]:
    """Return the names of a set's own methods that return another value of it."""
    lines = {}
    for base in owner.__mro__:
        if base is Builtin:
            break
        for name, member in vars(base).items():
            if inspect.isfunction(member) and not name.startswith("_") and name not in ("restrict", "without"):
                lines.setdefault(name, (base.__module__ != owner.__module__, member.__code__.co_firstlineno))
    return sorted(lines, key=lambda name: lines[name])


def _call(owner: type[Builtin], name: str) -> tuple[Builtin, str]:
    parameters = list(inspect.signature(getattr(owner, name)).parameters.values())[1:]
    shown = ", ".join(f"*{one.name}" if one.kind is one.VAR_POSITIONAL else one.name for one in parameters)
    return getattr(owner(), name)(*(SAMPLES[one.name] for one in parameters)), shown


def _doc(owner: type[Builtin], name: str) -> str:
    return inspect.getdoc(getattr(owner, name)) or ""


def permits(text: str) -> list[str]:
    """Return the lines below "Permits:" of a docstring."""
    lines = text.splitlines()
    if "Permits:" not in lines:
        return []
    listed = lines[lines.index("Permits:") + 1 :]
    end = next((index for index, line in enumerate(listed) if not line.startswith(" ")), len(listed))
    return [line.strip() for line in listed[:end]]


def _prose(text: str) -> list[str]:
    """Return the paragraphs of a docstring that are not sections."""
    kept = []
    for paragraph in text.split("\n\n"):
        if not paragraph.startswith(("Permits:", "Args:", "Raises:")):
            kept += [paragraph.replace("``", "`"), ""]
    return kept


def _where(rule: Rule) -> str:
    weight = "gives way" if rule.gives_way_to else "a need" if rule.need else "a promise"
    conditions = " and ".join(f"`{condition}`" for condition in rule.conditions)
    return f"{rule.reason}: {conditions} ({weight})"


def _table(entry: Entry, common: Builtin | None) -> list[str]:
    """Return what an entry permits beyond `common`."""
    known = set(common.simple_rules()) if common else set()
    known_rules = common.conditional_rules() if common else {}
    rows = []
    simple = [call for call in entry.value.simple_rules() if call not in known]
    if simple:
        rows.append((" ".join(simple), "always"))
    by_text: dict[str, list[str]] = {}
    for call, found in entry.value.conditional_rules().items():
        for rule in found:
            if rule not in known_rules.get(call, ()):
                by_text.setdefault(_where(rule), []).append(call)
    rows += [(" ".join(calls), where) for where, calls in by_text.items()]
    rows += [(f"Landlock: {' '.join(sorted(rule.rights))}", _place(rule)) for rule in entry.value.landlock_rules()]
    rows += [(f"Landlock: {' '.join(sorted(rule.rights))}", "these ports") for rule in entry.value.landlock_ports()]
    rows += [(f"Landlock scope: {scope}", "always") for scope in entry.value.landlock_scopes()]
    return ["| permitted | where |", "| --- | --- |", *(f"| {left} | {right} |" for left, right in rows), ""]


def _place(rule: rules.LandlockRule) -> str:
    if rule.path == SAMPLES["path"]:
        return "the path"
    return f"`{rule.path}`" + (", where it exists" if rule.optional else "")


def _difference(difference: Difference) -> str:
    calls = ", ".join(f"`{call}`" for call in difference.calls.split())
    change = "Landlock rights" if difference.change == "right" else difference.change
    return f"- **{change}** {calls}: {difference.reason}"


def _section(entry: Entry, entries: dict[str, Entry]) -> list[str]:
    """Return the part of the page about one entry."""
    lines = [f"### `{entry.key}`", "", *_prose(entry.text)]
    listed = permits(entry.text)
    common = None
    if listed and listed[0].startswith("as "):
        name = listed[0].removeprefix("as ")
        common = next(
            other.value for key, other in entries.items() if f"().{name}(" in key and other.owner is entry.owner
        )
        lines += [f"All that `{name}` permits, and:" if len(listed) > 1 else f"All that `{name}` permits.", ""]
    if len(listed) > 1 or common is None:
        lines += _table(entry, common)
    if entry.key in DIFFERENCES:
        lines += ["Unlike extrasafe:", "", *map(_difference, DIFFERENCES[entry.key]), ""]
    elif entry.key in SEEDS:
        lines += ["The same as in extrasafe.", ""]
    return lines


def _siblings(entries: dict[str, Entry]) -> list[str]:
    """Return the table of names that one of the architectures lacks."""
    used = {
        call for entry in entries.values() for call in (*entry.value.simple_rules(), *entry.value.conditional_rules())
    }
    lacking = {machine: sorted(used - set(numbers.table(machine))) for machine in numbers.MACHINES}
    rows = [f"| {machine} | {' '.join(names) or 'none'} |" for machine, names in lacking.items()]
    return ["| machine | calls of these sets that it does not have |", "| --- | --- |", *rows, ""]


def render() -> str:
    """Return the text of the page."""
    entries = {entry.key: entry for entry in catalogue()}
    lines: list[str] = []
    for owner in ORDER:
        lines += [f"## {owner.__name__}", ""]
        own = [entry for entry in entries.values() if entry.owner is owner]
        if not owner._ALWAYS:
            lines += _prose(inspect.getdoc(owner) or "")
        for entry in own:
            lines += _section(entry, entries)
    lines += ["## Machines", "", *_siblings(entries)]
    before, after = WORDS.read_text().split(PLACE)
    return before + "\n".join(lines) + after


def main(arguments: list[str] | None = None) -> int:
    """Write the page, or with ``--check`` compare it; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the page is out of date")
    options = parser.parse_args(arguments)
    text = render()
    if OUTPUT.exists() and OUTPUT.read_text() == text:
        return 0
    if options.check:
        sys.stderr.write(f"{OUTPUT.name} is out of date; run {Path(__file__).name} without --check\n")
        return 1
    OUTPUT.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
