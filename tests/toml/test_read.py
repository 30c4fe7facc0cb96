"""Policies from TOML and back: every key, every mistake, every rule set."""

from __future__ import annotations

import inspect
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from samples_of_policies import REFUSED, REFUSED_BY_WORDS, accepted

from isolate_fn import Limits, Network, Policy, presets, rules
from isolate_fn.errors import ConflictingRules, PolicyError
from isolate_fn.policy.rule_sets.builtin import Builtin
from isolate_fn.policy.toml import rule_shapes, vocabulary
from isolate_fn.policy.toml.conditions import read_condition, write_condition
from isolate_fn.rules import Arg, Custom, Rule, Signals, SystemIO

Read = Callable[..., Policy]
COUNT = 43


@pytest.mark.parametrize("index", range(COUNT))
def test_what_is_said(index: int, read: Read) -> None:
    samples = [sample for sample in accepted(sys.modules["policy_names"]) if sample[1] is not None]
    assert len(samples) == COUNT
    text, policy = samples[index]
    assert read(text) == policy


@pytest.mark.parametrize("index", range(COUNT))
def test_and_back(index: int, read: Read) -> None:
    policy = [policy for _, policy in accepted(sys.modules["policy_names"]) if policy is not None][index]
    assert read(policy.to_toml()) == policy
    assert read(policy.to_toml("policies.x"), "x") == policy
    assert read(policy.to_toml()).to_toml() == policy.to_toml()


@pytest.mark.parametrize("name", presets.__all__)
def test_presets_and_back(name: str, read: Read) -> None:
    preset = getattr(presets, name)
    assert read(preset.to_toml()) == preset
    assert read(f'base = "{name}"') == preset


def ids(samples: list[tuple[str, int, str, str]]) -> list[str]:
    return [f"{where} {said}" for _, _, where, said in samples]


@pytest.mark.parametrize(
    ("text", "line", "key", "said"), REFUSED + REFUSED_BY_WORDS, ids=ids(REFUSED + REFUSED_BY_WORDS)
)
def test_mistakes(text: str, line: int, key: str, said: str, read: Read, tmp_path: Path) -> None:
    with pytest.raises(PolicyError) as refusal:
        read(text, "main" if "policies.main" in text else None)
    error = refusal.value
    assert (error.file, error.line, error.field) == (str(tmp_path / "policy.toml"), line, key)
    assert said in f"{error.problem} {error.remedy}"
    assert str(error).startswith(f"{tmp_path / 'policy.toml'}:{line}: {key}: ")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.file, copy.line, str(copy)) == (error.file, error.line, str(error))


def test_a_conflict_stays_one(read: Read) -> None:
    with pytest.raises(ConflictingRules) as refusal:
        read('\nmounts = ["/a/b", "/a"]')
    assert refusal.value.line == 2
    assert refusal.value.sets == ("ro('/a/b')", "ro('/a')")


def test_an_error_without_a_file_names_none() -> None:
    with pytest.raises(PolicyError) as refusal:
        Policy(timeout=0)
    assert (refusal.value.file, refusal.value.line) == ("", 0)
    assert str(refusal.value).startswith("timeout: 0 is not")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "missing.toml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(PolicyError, match=said) as refusal:
            Policy.from_toml(path)
        assert str(path) in str(refusal.value)
    (tmp_path / "latin.toml").write_bytes(b"a = 1\nname = '\xe9'\n")
    with pytest.raises(PolicyError, match=r"latin\.toml:2: .*is not UTF-8"):
        Policy.from_toml(tmp_path / "latin.toml")
    (tmp_path / "deep.toml").write_text("name = " + "[" * 100_000)
    with pytest.raises(PolicyError, match="is not TOML"):
        Policy.from_toml(tmp_path / "deep.toml")
    with open(tmp_path / "long.toml", "wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(PolicyError, match="is longer than"):
        Policy.from_toml(tmp_path / "long.toml")


def test_named_policies_of_a_file(read: Read) -> None:
    text = '[policies.web]\nbase = "common"\ntimeout = 1\n[policies.common]\nprewarm = 3\nlimits.processes = 7\n'
    assert read(text, "web") == Policy(timeout=1, prewarm=3, limits=Limits(processes=7))
    with pytest.raises(PolicyError, match="the policies here have names: web, common"):
        read(text)
    with pytest.raises(PolicyError, match="there is no policy 'webb'") as refusal:
        read(text, "webb")
    assert "did you mean 'web'?" in refusal.value.remedy
    assert "policies there: web, common; presets: COMPUTE" in refusal.value.remedy
    with pytest.raises(PolicyError, match="there is no policy 'READ_FILES'"):
        read(text, "READ_FILES")


# --- nothing is missing -------------------------------------------------------------------------------------------------


def test_every_option_has_a_key_and_a_description() -> None:
    for table, words in (
        (vocabulary.policy_shape(), Policy), (vocabulary.policy_shape().keys["limits"], Limits),
        (vocabulary.policy_shape().keys["network"].shapes[1], Network),  # type: ignore[attr-defined]
    ):  # fmt: skip
        assert set(table.keys) - {"base"} == set(words.__annotations__)  # type: ignore[attr-defined]
        assert set(table.described) == set(table.keys)  # type: ignore[attr-defined]
    assert {*vocabulary.dangers()} >= set(__import__("isolate_fn.dangerous").dangerous.__all__)


def builtin_sets() -> dict[str, type[Builtin]]:
    found = {name: getattr(rules, name) for name in rules.__all__}
    return {name: each for name, each in found.items() if isinstance(each, type) and issubclass(each, Builtin)}


def test_every_rule_set_can_be_said() -> None:
    assert rule_shapes.sets() == builtin_sets()


ARGUMENTS = {"file": 7, "path": "/some where", "pid": 7, "ports": 443}


def methods() -> list[tuple[str, str]]:
    return [
        (name, method)
        for name, cls in builtin_sets().items()
        for method, value in inspect.getmembers(cls)
        if callable(value) and not method.startswith("_") and method not in dir(Builtin)
        and not isinstance(inspect.getattr_static(cls, method), classmethod)
    ]  # fmt: skip


def test_there_are_methods() -> None:
    assert len(methods()) > 70


@pytest.mark.parametrize(("name", "method"), methods())
def test_every_method_can_be_said(name: str, method: str, read: Read) -> None:
    made = getattr(builtin_sets()[name](), method)
    made = made(*(ARGUMENTS[parameter] for parameter in inspect.signature(made).parameters))
    policy = Policy(rules=[made])
    assert made != builtin_sets()[name]() or policy.rules == (builtin_sets()[name](),)
    assert read(policy.to_toml()) == policy


@pytest.mark.parametrize("name", builtin_sets())
@pytest.mark.parametrize("start", ["everything", "nothing"])
def test_every_start_can_be_said(name: str, start: str, read: Read) -> None:
    cls = builtin_sets()[name]
    policy = Policy(rules=[getattr(cls, start)()])
    assert read(policy.to_toml()) == policy
    if start == "nothing" or cls._EVERYTHING:
        assert read(f'rules = [{{set = "{name}", allow = "{start}"}}]') == policy


CONDITIONS = [
    Arg(0) == 3, Arg(5) != 3, Arg(1, 32) == -1, Arg(0).one_of(1, 2, 3), Arg(0, 32).none_of(1, 2), Arg(1).masked(0xF) == 1,
    Arg(2, 32).has_none(4), Arg(2).masked(7).one_of(1, 2), Arg(0) > 3, Arg(0) >= 3, Arg(0, 32) < 3, Arg(0) <= 3,
    Arg(0, 32).signed() > -1, Arg(0).signed() <= -5, Arg(0, 32).signed() >= 7, Arg(0).signed() < 0, Arg(3) == (1 << 64) - 1,
]  # fmt: skip


@pytest.mark.parametrize("condition", CONDITIONS, ids=str)
def test_conditions_and_back(condition: object) -> None:
    assert read_condition(write_condition(condition)) == condition  # type: ignore[arg-type]
    assert read_condition(str(condition)) == condition


def test_conditions_as_people_write_them() -> None:
    assert read_condition(" arg0==0b11 ") == (Arg(0) == 3)
    assert read_condition("low32( arg1 )&0o17 not in { 1,2 }") == Arg(1, 32).none_of(1, 2, mask=15)
    assert read_condition("signed arg0 == -1") == (Arg(0) == -1)


# --- what has no name in TOML -------------------------------------------------------------------------------------------


def test_what_has_no_name_is_refused() -> None:
    class Local(Exception):
        pass

    names = sys.modules["policy_names"]
    for policy, field in (
        (Policy(output=lambda stream, data: None), "output"),
        (Policy(raises=[Local]), "raises[0]"),
        (Policy(expose={"f": lambda: 1}), "expose['f']"),
        (Policy(rules=[names.Needy("write")]), "rules[0]"),
    ):
        with pytest.raises(PolicyError) as refusal:
            policy.to_toml()
        assert refusal.value.field == field


def test_sets_of_ones_own_are_said_by_their_class(read: Read) -> None:
    policy = Policy(rules=[sys.modules["policy_names"].Rebooting()])
    again = read(policy.to_toml())
    assert again.rules is not None
    assert policy.rules is not None
    assert type(again.rules[0]) is type(policy.rules[0])


def test_text_that_is_none_is_refused() -> None:
    with pytest.raises(PolicyError, match="is no text"):
        Policy(mounts=["/data/\udcff"]).to_toml()


def test_odd_texts_and_back(read: Read) -> None:
    odd = 'q" \\ \t\n\r\x01\x7fé\U0001f40d\'\'\'"""'
    policy = Policy(env={odd: odd}, mounts=[f"/{odd}"], rules=[Custom(odd, "read"), SystemIO().allow_read_path(odd)])
    assert read(policy.to_toml()) == policy


def test_long_lists_and_tables_are_laid_out() -> None:
    text = Policy(rules=[Signals().allow_wait(), Custom("m", Rule("read", Arg(0) == 1))], env={"A": "1"}).to_toml(
        "tool.x"
    )
    assert text == (
        '[tool.x]\nrules = [\n    {set = "Signals", allow = ["wait"]},\n'
        '    {custom = "m", permit = [{call = "read", when = ["arg0 == 0x1"]}]},\n]\n\n[tool.x.env]\nA = "1"\n'
    )
