"""Rules and sets of one's own: Rule, RuleSet, Custom, and pyextrasafe's Compare and CompareOp."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable

import pytest

from isolate_fn._plan.rule_sets import compile_rule_sets
from isolate_fn.errors import PolicyError
from isolate_fn.policy.rule_sets.base import check_rule_sets
from isolate_fn.rules import Arg, Compare, CompareOp, Custom, LandlockRule, PortRule, Rule, RuleSet, SystemIO, sysno


def arguments(*first: int) -> tuple[int, ...]:
    return (*first, *[0] * (6 - len(first)))


# --- Rule -----------------------------------------------------------------------------------------------------------


def test_conditions_of_a_rule_are_anded() -> None:
    rule = Rule("openat", Arg(1) != 0, Arg(2, 32) == 0)
    assert rule.matches(arguments(0, 1, 0))
    assert not rule.matches(arguments(0, 0, 0))
    assert not rule.matches(arguments(0, 1, 1))
    assert Rule("openat").matches(arguments(1, 2, 3)), "no condition: always"


def test_and_condition_returns_another_rule() -> None:
    rule = Rule("openat", reason="why", need=True)
    more = rule.and_condition(Arg(2, 32) == 0).and_condition(Arg(3) == 1)
    assert rule.conditions == ()
    assert more == Rule("openat", Arg(2, 32) == 0, Arg(3) == 1, need=True)
    assert more.reason == "why"


def test_rules_are_values() -> None:
    rule = Rule("write", Arg(0) == 1, reason="one", gives_way_to=("write",))
    same = Rule("write", Arg(0) == 1, reason="two", gives_way_to=["write", "write"])
    assert rule == same
    assert hash(rule) == hash(same)
    assert pickle.loads(pickle.dumps(rule)) == rule
    assert pickle.loads(pickle.dumps(rule)).reason == "one"
    assert rule != Rule("write", Arg(0) == 1)
    assert Rule("write", Arg(0) == 1) != Rule("write", Arg(0) == 1, need=True)
    with pytest.raises(dataclasses.FrozenInstanceError):
        rule.syscall = "read"  # type: ignore[misc]


def test_giving_way_is_a_need() -> None:
    assert Rule("write", Arg(0) == 1, gives_way_to=("write",)).need
    assert not Rule("write", Arg(0) == 1).need


def test_how_rules_print() -> None:
    assert str(Rule("write", Arg(0, 32) == 1, Arg(2) < 16)) == "write: low32(arg0) == 0x1 and arg2 < 0x10"
    assert str(Rule("write")) == "write: always"
    assert repr(Rule("write", Arg(0) == 1)) == "Rule('write', arg0 == 0x1)"
    assert repr(Rule("write", need=True)) == "Rule('write', need=True)"
    assert repr(Rule("write", gives_way_to=("read",))) == "Rule('write', gives_way_to=('read',))"


@pytest.mark.parametrize(
    ("mistake", "problem", "remedy"),
    [
        (lambda: Rule(1), "is a number, which differs", '"write"'),  # type: ignore[arg-type]
        (lambda: Rule("Write"), "'Write' is not the name", "syscalls(2)"),
        (lambda: Rule("sys-write"), "is not the name", "syscalls(2)"),
        (lambda: Rule(""), "is not the name", "syscalls(2)"),
        (lambda: Rule(None), "is not the name", "syscalls(2)"),  # type: ignore[arg-type]
        (lambda: Rule("write", 1), "1 is not a condition", "Arg(0) == 1"),
        (lambda: Rule("write", Arg(0)), "is not a condition", "Arg(0) == 1"),
        (lambda: Rule("write", True), "True is not a condition", "Arg(0) == 1"),
        (lambda: Rule("write", Arg(0) & 3), "is not a condition", "Arg(0) == 1"),
        (lambda: Rule("write", need=1), "1 is not a bool", "True or False"),  # type: ignore[arg-type]
        (lambda: Rule("write", gives_way_to="write"), "not a list", 'gives_way_to=("write",)'),
    ],
)
def test_what_is_no_rule(mistake: Callable[[], object], problem: str, remedy: str) -> None:
    with pytest.raises(PolicyError) as caught:
        mistake()
    assert problem in caught.value.problem
    assert remedy in caught.value.remedy
    assert caught.value.ran is False


# --- RuleSet --------------------------------------------------------------------------------------------------------


class Reboot(RuleSet):
    """The set of extrasafe's guide."""

    def simple_rules(self) -> list[str]:
        return ["reboot"]

    def conditional_rules(self) -> dict[str, list[Rule]]:
        return {"socket": [Rule("socket", Arg(0) == 2, (Arg(1) & 0xF) == 1)]}


def test_a_subclass_says_only_what_differs() -> None:
    class Empty(RuleSet):
        pass

    assert (Empty().name, Empty().simple_rules(), Empty().conditional_rules()) == ("Empty", (), {})
    assert (Empty().landlock_rules(), Empty().landlock_ports(), Empty().landlock_scopes()) == ((), (), ())
    assert Empty().yes_really().name == "Empty"


def test_a_subclass_names_itself() -> None:
    class ByProperty(RuleSet):
        @property
        def name(self) -> str:
            return "mine"

    class ByAttribute(RuleSet):
        name = "mine"

    assert Reboot().name == "Reboot"
    assert ByProperty().name == ByAttribute().name == "mine"


def test_a_subclass_is_compiled() -> None:
    policy = compile_rule_sets([Reboot()]).policy
    for call, given, answer in (
        ("reboot", arguments(), "allow"),
        ("socket", arguments(2, 1 | 0o2000000, 6), "allow"),
        ("socket", arguments(17, 3), "errno EPERM"),
        ("socket", arguments(2, 2), "errno EPERM"),
        ("mount", arguments(), "errno EPERM"),
    ):
        assert str(policy.decide("x86_64", call, given)) == answer


# --- Custom ---------------------------------------------------------------------------------------------------------


def test_custom_sorts_its_parts() -> None:
    path, port = LandlockRule("/etc", {"list_dir"}), PortRule(443, {"connect_tcp"})
    first, second = Rule("socket", Arg(0) == 2), Rule("socket", Arg(0) == 10)
    made = Custom("mine", "reboot", first, path, "close", port, second, "reboot", first)
    assert made.name == "mine"
    assert made.simple_rules() == ("reboot", "close")
    assert made.conditional_rules() == {"socket": (first, second)}
    assert made.landlock_rules() == (path,)
    assert made.landlock_ports() == (port,)


def test_custom_is_a_value() -> None:
    made = Custom("mine", "reboot", Rule("socket", Arg(0) == 2))
    same = Custom("mine", "reboot", Rule("socket", Arg(0) == 2))
    assert made == same
    assert hash(made) == hash(same)
    assert pickle.loads(pickle.dumps(made)) == made
    assert made != Custom("other", "reboot", Rule("socket", Arg(0) == 2))
    assert repr(made) == "Custom('mine', 'reboot', Rule('socket', arg0 == 0x2))"
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.parts = ()  # type: ignore[misc]


def test_custom_grows_into_another_value() -> None:
    start = Custom()
    grown = start.add_simple("close", "reboot").add_conditional(Rule("open", Arg(1) == 0), ("open", [(1, "==", 1)]))
    assert (start.name, start.parts) == ("custom", ())
    assert grown.simple_rules() == ("close", "reboot")
    assert grown.conditional_rules() == {"open": (Rule("open", Arg(1) == 0), Rule("open", Arg(1) == 1))}


@pytest.mark.parametrize(
    ("mistake", "problem", "remedy"),
    [
        (lambda: Custom("mine", 3), "is a number", '"write"'),  # type: ignore[arg-type]
        (lambda: Custom("mine", "Reboot"), "not the name", "syscalls(2)"),
        (lambda: Custom("mine", None), "not the name", "syscalls(2)"),  # type: ignore[arg-type]
        (lambda: Custom("mine", SystemIO()), "a rule set of its own", "side by side"),  # type: ignore[arg-type]
        (lambda: Custom(Rule("reboot")), "not a name for a rule set", "name first"),  # type: ignore[arg-type]
        (lambda: Custom(" "), "not a name for a rule set", "name first"),
        (lambda: Custom().add_simple("a b"), "not the name", "syscalls(2)"),
        (lambda: Custom().add_conditional(("open", [3])), "3 is not a condition", "Arg(0) == 1"),
    ],
)
def test_what_is_no_custom_set(mistake: Callable[[], object], problem: str, remedy: str) -> None:
    with pytest.raises(PolicyError) as caught:
        mistake()
    assert problem in caught.value.problem
    assert remedy in caught.value.remedy


def test_plain_names_stand_for_themselves() -> None:
    assert check_rule_sets("rules", "reboot") == ("reboot",)
    assert check_rule_sets("rules", ["reboot", SystemIO()]) == ("reboot", SystemIO())
    policy = compile_rule_sets(["write"]).policy
    assert str(policy.decide("x86_64", "write", arguments())) == "allow"


def test_a_rule_set_that_is_iterable_is_still_one_set() -> None:
    class Listed(RuleSet):
        def __iter__(self) -> object:
            raise AssertionError("not asked for")

    only = Listed()
    assert check_rule_sets("rules", only) == (only,)


# --- Compare, CompareOp ---------------------------------------------------------------------------------------------

COMPARISONS = [
    (CompareOp.NotEqual, "!=", CompareOp.Ne, Arg(0) != 3),
    (CompareOp.Less, "<", CompareOp.Lt, Arg(0) < 3),
    (CompareOp.LessOrEqual, "<=", CompareOp.Le, Arg(0) <= 3),
    (CompareOp.Equal, "==", CompareOp.Eq, Arg(0) == 3),
    (CompareOp.GreaterEqual, ">=", CompareOp.Ge, Arg(0) >= 3),
    (CompareOp.Greater, ">", CompareOp.Gt, Arg(0) > 3),
    (CompareOp.MaskedEqual(7), 7, CompareOp.MaskedEq(7), (Arg(0) & 7) == 3),
]


@pytest.mark.parametrize(("op", "sign", "short", "condition"), COMPARISONS, ids=str)
def test_both_spellings_make_the_same_condition(
    op: CompareOp, sign: object, short: CompareOp, condition: object
) -> None:
    assert Compare(0, op, 3).condition == condition
    assert Compare(0, sign, 3) == Compare(0, op, 3)  # type: ignore[arg-type]
    assert op is short or op == short
    assert Rule("open", Compare(0, op, 3)) == Rule("open", condition)
    assert Rule("open", [(0, op, 3)]) == Rule("open", [condition])
    assert pickle.loads(pickle.dumps(Compare(0, op, 3))) == Compare(0, op, 3)


def test_masked_values_are_masked_as_well() -> None:
    assert Compare(2, CompareOp.MaskedEqual(0xF), 0x31).condition == ((Arg(2) & 0xF) == 1)


def test_how_comparisons_print() -> None:
    assert repr(Compare(0, CompareOp.Equal, 3)) == "Compare(0, CompareOp.Equal, 3)"
    assert repr(CompareOp.NotEqual) == "CompareOp.NotEqual"
    assert repr(CompareOp.MaskedEqual(7)) == "CompareOp.MaskedEqual(7)"


def test_operators_are_ordered_and_hashable() -> None:
    ops = [row[0] for row in COMPARISONS] + [CompareOp.MaskedEqual(8)]
    shuffled = [ops[index] for index in (3, 0, 7, 6, 1, 5, 2, 4)]
    assert sorted(shuffled) == ops
    assert len(set(ops)) == 8
    assert CompareOp.Less <= CompareOp.Less < CompareOp.Equal
    assert CompareOp.MaskedEqual(7).mask == 7
    assert CompareOp.Equal.mask is None
    with pytest.raises(TypeError):
        CompareOp.Less < 3  # type: ignore[operator]  # noqa: B015
    with pytest.raises(dataclasses.FrozenInstanceError):
        CompareOp.Less.word = "x"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("mistake", "error", "message"),
    [
        (lambda: Compare(0, "=", 3), PolicyError, "unknown comparator"),
        (lambda: Compare(0, "=", 3), ValueError, "unknown comparator"),
        (lambda: Compare(0, 1.5, 3), TypeError, "expected: CompareOp | str | int"),  # type: ignore[arg-type]
        (lambda: Compare(0, None, 3), TypeError, "expected: CompareOp | str | int"),  # type: ignore[arg-type]
        (lambda: Compare(0, True, 3), TypeError, "expected: CompareOp | str | int"),
        (lambda: Compare(6, "==", 3), PolicyError, "no argument 6"),
        (lambda: Compare(0, "==", 2**64), PolicyError, "64 bits"),
        (lambda: Compare(0, "<", -1), PolicyError, "unsigned"),
        (lambda: CompareOp.MaskedEqual(2**64), PolicyError, "64 bits"),
        (lambda: CompareOp("Equal", 3), PolicyError, "unknown comparator"),
        (lambda: CompareOp("MaskedEqual"), PolicyError, "unknown comparator"),
    ],
)
def test_what_is_no_comparison(mistake: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        mistake()
    assert message in str(caught.value)


def test_names_for_numbers() -> None:
    assert sysno["open"] == "open"
    assert Rule(sysno["open"], [Compare(0, CompareOp.Equal, 3)]) == Rule("open", Arg(0) == 3)
    with pytest.raises(KeyError):
        sysno["Open!"]
    assert repr(sysno) == "sysno"
