"""Docstrings list exactly what a set permits, and docs/rules.md is what the generator writes."""

from __future__ import annotations

import inspect
from pathlib import Path

import generate_rules_page
import pytest
from generate_rules_page import SAMPLES, Entry, catalogue, permits

from isolate_fn.policy.rule_sets.builtin import Builtin

ENTRIES = {entry.key: entry for entry in catalogue()}
BY_NAME = {(entry.owner, entry.key.split(").", 1)[-1].split("(")[0]): entry for entry in ENTRIES.values()}

#: (call, reason, gives way) for a rule; ("call", "", False) for a simple one; ("Landlock ...", words, False).
Fact = tuple[str, str, bool]


def facts_of(value: Builtin) -> set[Fact]:
    found: set[Fact] = {(call, "", False) for call in value.simple_rules()}
    for call, rules in value.conditional_rules().items():
        found |= {(call, rule.reason, bool(rule.gives_way_to)) for rule in rules}
    for path in value.landlock_rules():
        place = "path" if path.path == SAMPLES["path"] else path.path
        found |= {(f"Landlock {place}", word, False) for word in path.rights}
    found |= {("Landlock port", word, False) for port in value.landlock_ports() for word in port.rights}
    return found | {("Landlock scope", scope, False) for scope in value.landlock_scopes()}


def facts_in(entry: Entry) -> set[Fact]:
    found: set[Fact] = set()
    for line in permits(entry.text):
        names, colon, words = line.partition(": ")
        if line.startswith("as "):
            other = BY_NAME[entry.owner, line.removeprefix("as ")]
            found |= {fact for fact in facts_in(other) if not fact[0].startswith("Landlock")}
        elif line.startswith("Landlock "):
            found |= {(names, word, False) for word in words.split()}
        elif colon:
            way = words.endswith(" (gives way)")
            found |= {(name, words.removesuffix(" (gives way)"), way) for name in names.split()}
        else:
            found |= {(name, "", False) for name in names.split()}
    return found


#: Permits nothing of its own: test_tightening.py holds it against BasicCapabilities().
NARROWER = {"BasicCapabilities().without_executable_memory()"}
PAGE = generate_rules_page.render()


@pytest.mark.parametrize("entry", [e for e in ENTRIES.values() if e.key not in NARROWER], ids=lambda entry: entry.key)
def test_docstring_says_what_is_permitted(entry: Entry) -> None:
    assert facts_in(entry) == facts_of(entry.value)


def test_every_rule_has_a_reason() -> None:
    for entry in ENTRIES.values():
        for rules in entry.value.conditional_rules().values():
            assert all(rule.reason and rule.conditions for rule in rules), entry.key


def test_every_set_and_public_method_is_described() -> None:
    for owner in {entry.owner for entry in ENTRIES.values()}:
        assert inspect.getdoc(owner)
        for name, member in inspect.getmembers(owner):
            if not name.startswith("_") and callable(member):
                assert inspect.getdoc(member), f"{owner.__name__}.{name}"


def test_page_is_up_to_date() -> None:
    assert generate_rules_page.main(["--check"]) == 0


def test_check_fails_for_another_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate_rules_page, "OUTPUT", tmp_path / "rules.md")
    assert generate_rules_page.main(["--check"]) == 1
    assert generate_rules_page.main([]) == 0
    assert generate_rules_page.main(["--check"]) == 0
    (tmp_path / "rules.md").write_text("old")
    assert generate_rules_page.main(["--check"]) == 1


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.key)
def test_page_names_everything(entry: Entry) -> None:
    """Each entry has its section; a call is in its table, or in that of the method it refers to."""
    section = PAGE.split(f"### `{entry.key}`", 1)[1].split("\n## ")[0].split("\n### ")[0]
    listed = permits(entry.text)
    if listed and listed[0].startswith("as "):
        assert f"All that `{listed[0].removeprefix('as ')}` permits" in section
    else:
        words = section.replace("|", " ").split()
        assert {*entry.value.simple_rules(), *entry.value.conditional_rules()} <= set(words)
