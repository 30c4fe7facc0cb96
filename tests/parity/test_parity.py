"""docs/parity.md: nothing of the two projects is left out, every name here exists, and so does every test."""

from __future__ import annotations

import ast
import functools
import importlib
import re
import tomllib
from pathlib import Path

import generate_parity_page
import pytest
from generate_parity_page import SECTIONS, VERDICTS, Row, rows
from seed_rule_sets import SEEDS

ROOT = Path(__file__).resolve().parents[2]
#: What the two projects have, section by section, written down from their sources.
INVENTORY: dict[str, list[str]] = tomllib.loads(Path(__file__).with_name("inventory.toml").read_text("utf-8"))
TABLE = rows()
#: Where names without a module are looked for.
HOMES = ("isolate_fn.rules", "isolate_fn", "isolate_fn.errors")
#: Sections in which every row is one of their tests or examples: each has a counterpart that runs.
PORTED = {
    "extrasafe-tests",
    "extrasafe-unit-tests",
    "extrasafe-examples",
    "pyextrasafe-tests",
    "further-cases",
}

each_row = pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.section}: {row.there}")


@pytest.mark.parametrize("section", SECTIONS)
def test_nothing_is_left_out_and_nothing_is_invented(section: str) -> None:
    listed = [row.there for row in TABLE if row.section == section]
    assert len(INVENTORY[section]) == len(set(INVENTORY[section]))
    assert sorted(listed) == sorted(INVENTORY[section])


def test_the_inventory_has_no_other_sections() -> None:
    assert list(INVENTORY) == list(SECTIONS)


def test_every_rule_set_of_the_tables_has_a_row() -> None:
    """tools/seed_rule_sets.py knows what each of them permits."""
    assert set(SEEDS) <= {row.there for row in TABLE if row.section == "extrasafe-rule-sets"}


@each_row
def test_names_here_can_be_imported(row: Row) -> None:
    for name in row.here:
        assert found(name), f"{name} is nowhere"


def found(name: str) -> bool:
    """Whether a dotted name exists, in one of HOMES or with its module in full."""
    if name.startswith("isolate_fn."):
        parts = name.split(".")
        for length in range(len(parts) - 1, 0, -1):
            try:
                module = importlib.import_module(".".join(parts[:length]))
            except ModuleNotFoundError:
                continue
            return has(module, parts[length:])
        return False
    return any(has(importlib.import_module(home), name.split(".")) for home in HOMES)


def has(owner: object, attributes: list[str]) -> bool:
    for attribute in attributes:
        if attribute in getattr(owner, "__dataclass_fields__", ()):
            return attribute == attributes[-1]  # fields without a default are no attributes of the class
        if not hasattr(owner, attribute):
            return False
        owner = getattr(owner, attribute)
    return True


@each_row
def test_tests_exist(row: Row) -> None:
    for test in row.tests:
        matched = re.fullmatch(r"(tests/[\w/]+\.py)::(\w+)(?:\[(.+)\])?", test)
        assert matched, f"{test} is not path::name"
        path, name, case = matched.groups()
        assert (ROOT / path).exists(), f"{path} does not exist"
        names, texts = contents(ROOT / path)
        assert name in names, f"{path} has no {name}"
        assert case is None or case in texts, f"{path} has no case {case!r}"


@functools.cache
def contents(path: Path) -> tuple[frozenset[str], frozenset[str]]:
    """The tests of a file, and what cases can be called: its texts, and functions beside it. Read, not run."""
    tests, words = definitions_and_texts(path)
    for beside in path.parent.glob("*.py"):
        if not beside.name.startswith("test_"):
            words |= definitions_and_texts(beside)[0]
    return frozenset(name for name in tests if name.startswith("test_")), frozenset(words)


@functools.cache
def definitions_and_texts(path: Path) -> tuple[frozenset[str], frozenset[str]]:
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return frozenset(names), frozenset(texts)


@each_row
def test_rows_are_complete(row: Row) -> None:
    assert row.verdict in VERDICTS
    assert row.how or row.here, "say what does it, or why nothing does"
    assert row.how or row.verdict == "same", "say what is different, and why"
    assert bool(row.tests) is not bool(row.untested), "name a test, or say why there is none"
    assert row.tests or row.section not in PORTED, "this one is a test or an example: port it"
    assert not row.how.endswith((".", " ")) or row.how.endswith("...")
    assert len(row.how) < 260, "one short sentence"


def test_page_is_up_to_date() -> None:
    assert generate_parity_page.main(["--check"]) == 0


def test_check_fails_for_another_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate_parity_page, "OUTPUT", tmp_path / "parity.md")
    assert generate_parity_page.main(["--check"]) == 1
    assert generate_parity_page.main([]) == 0
    assert generate_parity_page.main(["--check"]) == 0
    (tmp_path / "parity.md").write_text("old")
    assert generate_parity_page.main(["--check"]) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[other.x]\nhow='x'", "sections"),
        ("[{0}.x]\nhwo='x'", "unknown fields"),
        ("[{0}.x]\nhow=3", "how is no str"),
        ("[{0}.x]\ntests='tests/a.py::b'", "tests is no list"),
    ],
)
def test_a_table_with_a_mistake_is_refused(text: str, message: str, tmp_path: Path) -> None:
    first, *rest = SECTIONS
    table = tmp_path / "rows.toml"
    table.write_text("\n".join([text.format(first), *(f"[{section}]" for section in rest)]))
    with pytest.raises(ValueError, match=message):
        rows(table)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SystemIO.allow_read", True),
        ("SafetyContext", True),
        ("Restrictions.landlock_abi", True),
        ("Rule.conditions", True),
        ("isolate_fn.dangerous.NoSeccomp", True),
        ("SystemIO.allow_raed", False),
        ("isolate_fn.nowhere.Nothing", False),
        ("Rule.conditions.more", False),
    ],
)
def test_finding_names(name: str, expected: bool) -> None:
    assert found(name) is expected


def test_a_test_that_is_not_there_is_seen() -> None:
    names, texts = contents(Path(__file__))
    assert "test_a_test_that_is_not_there_is_seen" in names
    assert "test_" + "nothing" not in names
    assert "tests is no list" in texts
