"""The JSON schema for editors: up to date, and of one mind with the reader."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from samples_of_policies import REFUSED, REFUSED_BY_WORDS, accepted

from isolate_fn.errors import PolicyError
from isolate_fn.policy.toml import read
from isolate_fn.policy.toml.place import Place
from isolate_fn.policy.toml.vocabulary import file_shape

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "isolate_fn/policy/toml/policy.schema.json").read_text())
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}


def valid(value: Any, schema: dict[str, Any]) -> bool:
    """Tell whether a schema of draft 7 takes a value; of the draft it knows what this schema uses, and no more."""
    schema = {
        key: each for key, each in schema.items() if key not in ("$schema", "title", "description", "definitions")
    }
    if "$ref" in schema:
        found: Any = SCHEMA
        for step in schema["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        return valid(value, found)
    return all(RULES[key](value, each, schema) for key, each in schema.items())


def has_type(value: Any, name: str, _: Any) -> bool:
    return isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


def names_known(value: Any, more: Any, schema: dict[str, Any]) -> bool:
    free = [each for key, each in value.items() if key not in schema.get("properties", {})]
    return not free if more is False else all(valid(each, more) for each in free)


RULES: dict[str, Any] = {
    "type": has_type,
    "enum": lambda value, words, _: value in words,
    "pattern": lambda value, pattern, _: bool(re.search(pattern.removesuffix("$") + r"\Z", value)),
    "minimum": lambda value, bound, _: value >= bound,
    "maximum": lambda value, bound, _: value <= bound,
    "exclusiveMinimum": lambda value, bound, _: value > bound,
    "anyOf": lambda value, some, _: any(valid(value, one) for one in some),
    "items": lambda value, one, _: all(valid(each, one) for each in value),
    "minItems": lambda value, least, _: len(value) >= least,
    "minProperties": lambda value, least, _: len(value) >= least,
    "required": lambda value, names, _: set(names) <= set(value),
    "properties": lambda value, known, _: all(valid(each, known[key]) for key, each in value.items() if key in known),
    "propertyNames": lambda value, one, _: all(valid(key, one) for key in value),
    "additionalProperties": names_known,
}
# "type" comes first in every schema, and all() stops there: the other rules need not ask for it.


def reader_takes(document: Any) -> bool:
    try:
        file_shape().check(document, Place.nowhere())
    except PolicyError:
        return False
    return True


def test_the_committed_schema_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools/generate_policy_schema.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", [text for text, _ in accepted(sys.modules["policy_names"])])
def test_accepted_by_both(text: str) -> None:
    document = tomllib.loads(text)
    assert reader_takes(document)
    assert valid(document, SCHEMA)


@pytest.mark.parametrize("text", [text for text, *_ in REFUSED])
def test_refused_by_both(text: str) -> None:
    document = tomllib.loads(text)
    assert not reader_takes(document)
    assert not valid(document, SCHEMA)


def test_what_only_the_reader_refuses_fits_the_schema() -> None:
    """These are about more than shape; were one of them refused by the schema, it should move to the other list."""
    for text, _, where, _ in REFUSED_BY_WORDS:
        if where != "the file":
            assert valid(tomllib.loads(text), SCHEMA), text


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in items for place in places(each, (*path, key)))]


WORDS = st.sampled_from(
    ["none", "all", "SystemIO", "everything", "stdout", "ro", "/a", "1M", "a.b", "write", "arg0 == 1", ""]
)
# A float without a fraction is a whole number to JSON and none to TOML; no such one here.
VALUES = st.recursive(
    st.one_of(WORDS, st.integers(-3, 70000), st.booleans(), st.just(2.5)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(WORDS, inner, max_size=2)),
    max_leaves=4,
)


@settings(max_examples=400, deadline=None, database=None, derandomize=True)
@given(st.data())
def test_changed_files_are_judged_alike(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([text for text, _ in accepted(sys.modules["policy_names"])][2:]))
    document = copy.deepcopy(tomllib.loads(text))
    *way, last = data.draw(st.sampled_from([place for place in places(document) if place]))
    holder: Any = document
    for step in way:
        holder = holder[step]
    if data.draw(st.booleans()):
        holder[last] = data.draw(VALUES)
    elif isinstance(holder, dict):
        holder[data.draw(st.one_of(WORDS, st.sampled_from(["set", "allow", "dst", "memory", "call"])))] = holder.pop(
            last
        )
    assert reader_takes(document) == valid(document, SCHEMA)


def test_the_project_table_is_described_too() -> None:
    document = {"policies": {"web": {"timeout": 5}}}
    assert valid(document, SCHEMA)
    assert not valid({"policies": {"web": {"timeot": 5}}}, SCHEMA)
    assert read.PROJECT_TABLE == ("tool", "isolate_fn")
