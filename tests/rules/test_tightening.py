"""without() and restrict(): a set that permits less."""

from __future__ import annotations

import pickle

import pytest
from generate_rules_page import ORDER

from isolate_fn._plan.rule_sets import compile_rule_sets
from isolate_fn.errors import ConflictingRules, PolicyError
from isolate_fn.policy.rule_sets.builtin import Builtin
from isolate_fn.rules import Arg, BasicCapabilities, Custom, Interpreter, Networking, Rule, SystemIO, Threads

PROT_EXEC, MAP_PRIVATE, MAP_ANONYMOUS = 4, 2, 0x20
NO_EXEC = Arg(2, 32).has_none(PROT_EXEC)


def mapping(protection: int, flags: int) -> tuple[int, ...]:
    return (0, 4096, protection, flags, 2**64 - 1, 0)


def allowed(sets: list[object], call: str, arguments: tuple[int, ...]) -> bool:
    policy = compile_rule_sets(sets).policy  # type: ignore[arg-type]
    return str(policy.decide("x86_64", call, arguments)) == "allow"


@pytest.mark.parametrize("owner", ORDER, ids=lambda owner: owner.__name__)
def test_without_every_single_call(owner: type[Builtin]) -> None:
    value = owner.everything()
    calls = {*value.simple_rules(), *value.conditional_rules()}
    for call in calls:
        less = value.without(call)
        assert {*less.simple_rules(), *less.conditional_rules()} == calls - {call}
    assert value.without(*calls).simple_rules() == ()
    assert value.without(*calls).conditional_rules() == {}


def test_without_holds_for_what_is_chosen_later() -> None:
    value = SystemIO().allow_read().without("lseek").allow_write()
    assert "lseek" not in value.simple_rules()
    assert "write" in value.simple_rules()
    assert value == SystemIO().allow_write().allow_read().without("lseek")
    assert repr(value) == "SystemIO().allow_read().allow_write().without('lseek')"
    assert pickle.loads(pickle.dumps(value)) == value


@pytest.mark.parametrize(
    ("call", "remedy"), [("reads", "did you mean 'read'?"), ("socket", "what is not permitted is denied")]
)
def test_tightening_what_is_not_permitted(call: str, remedy: str) -> None:
    for tighten in (
        lambda: SystemIO().allow_read().without(call),
        lambda: SystemIO().allow_read().restrict(Rule(call, Arg(0) == 1)),
    ):
        with pytest.raises(PolicyError) as caught:
            tighten()
        assert f"does not permit {call!r}" in caught.value.problem
        assert remedy in caught.value.remedy


@pytest.mark.parametrize("rule", [Rule("read"), "read", Arg(0) == 1, ("read", Arg(0) == 1), None])
def test_restricting_by_what_is_no_condition(rule: object) -> None:
    with pytest.raises(PolicyError) as caught:
        SystemIO().allow_read().restrict(rule)  # type: ignore[arg-type]
    assert "not a rule with conditions" in caught.value.problem
    assert "without(" in caught.value.remedy


def test_restrict_makes_a_simple_call_conditional() -> None:
    value = SystemIO().allow_read().restrict(Rule("read", Arg(0, 32) == 0), Rule("read", Arg(0, 32) == 5))
    assert "read" not in value.simple_rules()
    assert "readv" in value.simple_rules()
    rules = value.conditional_rules()["read"]
    for fd, expected in ((0, True), (5, True), (6, False)):
        assert any(rule.matches((fd, 0, 0, 0, 0, 0)) for rule in rules) is expected
    assert not any(rule.need for rule in rules), "what restrict() says is a promise"


def test_restricting_again_tightens_further() -> None:
    once = SystemIO().allow_read().restrict(Rule("read", Arg(0, 32) == 0), Rule("read", Arg(0, 32) == 5))
    twice = once.restrict(Rule("read", Arg(2) <= 4096))
    for fd, size, expected in ((0, 4096, True), (0, 4097, False), (5, 1, True), (6, 1, False)):
        rules = twice.conditional_rules()["read"]
        assert any(rule.matches((fd, 0, size, 0, 0, 0)) for rule in rules) is expected


def test_restrict_narrows_rules_that_are_there() -> None:
    value = Threads().allow_create().restrict(Rule("prctl", Arg(0, 32) == 15))
    (rule,) = value.conditional_rules()["prctl"]
    assert rule.matches((15, 0, 0, 0, 0, 0))
    assert not rule.matches((16, 0, 0, 0, 0, 0)), "PR_GET_NAME was permitted before"
    assert not rule.matches((3, 0, 0, 0, 0, 0)), "and this was never"


def test_basic_capabilities_without_executable_memory() -> None:
    value = BasicCapabilities().without_executable_memory()
    plain = BasicCapabilities()
    assert set(plain.simple_rules()) - set(value.simple_rules()) == {"mprotect"}
    assert {*value.conditional_rules()} == {*plain.conditional_rules(), "mprotect"}

    assert allowed([value], "mmap", mapping(3, MAP_PRIVATE | MAP_ANONYMOUS))
    assert not allowed([value], "mmap", mapping(7, MAP_PRIVATE | MAP_ANONYMOUS))
    assert not allowed([value], "mprotect", (0, 4096, PROT_EXEC, 0, 0, 0))
    assert allowed([plain], "mmap", mapping(7, MAP_PRIVATE | MAP_ANONYMOUS))
    assert allowed([plain], "mprotect", (0, 4096, PROT_EXEC, 0, 0, 0))


def test_no_other_builtin_set_brings_executable_memory_back() -> None:
    """They give way in mmap; the one that permits it simply is a conflict."""
    value = BasicCapabilities().without_executable_memory()
    assert allowed([Interpreter()], "mmap", mapping(5, MAP_PRIVATE))
    for owner in ORDER:
        if owner is not BasicCapabilities and owner is not SystemIO:
            assert not allowed([value, owner.everything()], "mmap", mapping(5, MAP_PRIVATE)), owner
            assert not allowed([value, owner.everything()], "mmap", mapping(5, MAP_PRIVATE | MAP_ANONYMOUS)), owner
    with pytest.raises(ConflictingRules) as caught:
        compile_rule_sets([value, SystemIO.everything()])
    assert caught.value.syscall == "mmap"
    assert set(caught.value.sets) == {"BasicCapabilities", "SystemIO"}


def test_a_rule_of_the_users_is_enough() -> None:
    """The automatic BasicCapabilities gives way to it, and so do the sets that map files."""
    rules = Custom("no new code", Rule("mmap", NO_EXEC), Rule("mprotect", NO_EXEC))
    sets = [rules, Interpreter(), SystemIO().allow_read()]
    assert allowed(sets, "mmap", mapping(1, MAP_PRIVATE))
    assert not allowed(sets, "mmap", mapping(5, MAP_PRIVATE))
    assert not allowed(sets, "mmap", mapping(5, MAP_PRIVATE | MAP_ANONYMOUS))
    assert not allowed(sets, "mprotect", (0, 4096, PROT_EXEC, 0, 0, 0))
    assert allowed(sets, "mprotect", (0, 4096, 1, 0, 0, 0))


def test_nothing_replaces_the_automatic_set() -> None:
    assert allowed([SystemIO()], "brk", (0,) * 6)
    assert not allowed([SystemIO(), BasicCapabilities.nothing()], "brk", (0,) * 6)


def test_networking_can_be_narrowed_to_an_address_family() -> None:
    value = Networking().allow_start_tcp_clients().restrict(Rule("socket", Arg(0, 32) == 2))
    assert allowed([value], "socket", (2, 1, 6, 0, 0, 0))
    assert not allowed([value], "socket", (10, 1, 6, 0, 0, 0))
