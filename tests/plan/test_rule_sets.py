"""Rule sets compiled: what is permitted, what contradicts, who said it, and what it costs."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import pytest

from isolate_fn._plan.bpf import length
from isolate_fn._plan.emulator import SeccompData, run
from isolate_fn._plan.fallbacks import FALLBACKS, UNSEEN
from isolate_fn._plan.rule_sets import Compiled, PathWish, PortWish, compile_rule_sets
from isolate_fn._plan.seccomp import ENOSYS, EPERM, KILL_THREAD, Action, verdict
from isolate_fn._sys import numbers
from isolate_fn._sys.seccomp_constants import AUDIT_ARCH
from isolate_fn.errors import ConflictingRules, PolicyError
from isolate_fn.policy import actions
from isolate_fn.policy.conditions import Arg
from isolate_fn.policy.landlock_words import LandlockRule, PortRule
from isolate_fn.policy.rule_sets.base import Custom, Rule, RuleSet
from isolate_fn.policy.rule_sets.basic import BasicCapabilities

ALLOW = verdict(actions.ALLOW)
STDOUT = Custom("Stdout", Rule("write", Arg(0) == 1))
STDERR = Custom("Stderr", Rule("write", Arg(0) == 2))
WRITING = Custom("Writing", "write")
NOTHING_EXECUTABLE = Custom("NoCode", *(Rule(call, Arg(2, 32).has_none(4)) for call in ("mmap", "mprotect")))


def answer(compiled: Compiled, name: str, *values: int) -> Action:
    """Ask the filters of every architecture that has the call; they must agree."""
    found = set()
    for machine in numbers.MACHINES:
        if name in numbers.table(machine):
            data = SeccompData(numbers.table(machine)[name], AUDIT_ARCH[machine], values)
            found.add(run(compiled.filter(machine), data).verdict)
    assert len(found) == 1, (name, values, found)
    return Action(found.pop())


# --- what is permitted ------------------------------------------------------------------------------------------


def test_what_no_set_permits_is_denied() -> None:
    compiled = compile_rule_sets([STDOUT, "reboot"])

    assert answer(compiled, "reboot", 1, 2, 3) == ALLOW
    assert answer(compiled, "write", 1) == ALLOW
    assert answer(compiled, "write", 2) == answer(compiled, "write", 1 << 32 | 1) == EPERM
    assert answer(compiled, "read", 1) == answer(compiled, "ptrace") == EPERM


def test_conditions_are_and_ed_and_rules_and_sets_or_ed() -> None:
    both = Custom("Both", Rule("socket", Arg(0) == 2, (Arg(1) & 0xF) == 1), Rule("socket", Arg(0) == 10))
    compiled = compile_rule_sets([both, Custom("More", Rule("socket", Arg(0) == 1)), STDOUT, STDERR])

    allowed = [(2, 1), (2, 0x80801), (10, 3), (1, 2)]
    assert all(answer(compiled, "socket", *values) == ALLOW for values in allowed)
    assert answer(compiled, "socket", 2, 3) == answer(compiled, "socket", 38, 5) == EPERM
    assert answer(compiled, "write", 1) == answer(compiled, "write", 2) == ALLOW
    assert answer(compiled, "write", 0) == EPERM


def test_basic_capabilities_are_added() -> None:
    compiled = compile_rule_sets(["reboot"])

    for call in ("futex", "rseq", "restart_syscall", "rt_sigreturn", "exit_group", "munmap", "brk"):
        assert answer(compiled, call, *[2**64 - 1] * 6) == ALLOW
    assert compiled.origins["futex"] == ("BasicCapabilities",)
    assert compile_rule_sets([]).origins == compile_rule_sets([BasicCapabilities()]).origins


def test_an_explicit_basic_capabilities_replaces_the_automatic_one() -> None:
    compiled = compile_rule_sets([BasicCapabilities().without("mremap"), "reboot"])

    assert answer(compiled, "mremap") == EPERM
    assert answer(compiled, "munmap") == ALLOW
    assert answer(compile_rule_sets([BasicCapabilities.nothing(), "reboot"]), "futex") == EPERM


@pytest.mark.parametrize("sets", [[NOTHING_EXECUTABLE], [NOTHING_EXECUTABLE, "read"]])
def test_a_call_of_basic_capabilities_can_be_tightened(sets: Sequence[RuleSet | str]) -> None:
    compiled = compile_rule_sets(sets)

    for call in ("mmap", "mprotect"):
        assert answer(compiled, call, 0, 4096, 3, 0x22) == ALLOW
        assert answer(compiled, call, 0, 4096, 5, 0x22) == EPERM
        assert answer(compiled, call, 0, 4096, 4, 0x2) == EPERM
    assert ("BasicCapabilities", "mmap", "NoCode") in [entry[:3] for entry in compiled.left_out]
    assert answer(compiled, "munmap") == ALLOW


def test_tightening_holds_against_what_other_sets_need_of_the_call() -> None:
    """Reading files needs private mappings of them; beside it the restriction would be void."""
    mapping = Custom("Reading", "read", Rule("mmap", (Arg(3, 32) & 0xF) == 2, need=True))

    assert answer(compile_rule_sets([mapping]), "mmap", 0, 4096, 5, 2) == ALLOW
    for basic in ((), (BasicCapabilities().without("mprotect"),)):
        compiled = compile_rule_sets([mapping, NOTHING_EXECUTABLE, *basic])
        assert answer(compiled, "mmap", 0, 4096, 5, 2) == EPERM
        assert answer(compiled, "mmap", 0, 4096, 5, 0x22) == EPERM
        assert answer(compiled, "mmap", 0, 4096, 1, 2) == ALLOW
        assert "Reading: mmap left out, because NoCode restricts mmap" in map(str, compiled.left_out)


def test_a_tightened_basic_capabilities_binds_itself_alone() -> None:
    mapping = Custom("Reading", Rule("mmap", (Arg(3, 32) & 0xF) == 2, need=True))
    compiled = compile_rule_sets([mapping, BasicCapabilities().without_executable_memory()])

    assert answer(compiled, "mmap", 0, 4096, 5, 0x21) == EPERM
    assert answer(compiled, "mmap", 0, 4096, 5, 2) == ALLOW
    assert compiled.left_out == ()


def test_a_rule_that_every_call_satisfies_restricts_nothing() -> None:
    anything = Custom("Anything", Rule("write", Arg(0) >= 0))

    assert answer(compile_rule_sets([anything]), "write", 77) == ALLOW
    with pytest.raises(ConflictingRules, match=r"`write` from RuleSet `Stdout`.*`Anything`"):
        compile_rule_sets([STDOUT, anything])


def test_names_of_one_architecture_are_left_out_of_the_other() -> None:
    compiled = compile_rule_sets(["open", "openat"])

    assert answer(compiled, "openat") == ALLOW
    data = SeccompData(numbers.table("x86_64")["open"], AUDIT_ARCH["x86_64"])
    assert run(compiled.filter("x86_64"), data).verdict == ALLOW.verdict
    assert compiled.origins["open"] == ("open",)


# --- needs, and giving way --------------------------------------------------------------------------------------

NEEDS = Custom("Needs", Rule("ioctl", Arg(1, 32) == 0x5421, need=True))
SOCKETS = Custom("Sockets", Rule("write", Arg(0) >= 3, gives_way_to=("write", "writev")), "sendto")


def test_a_need_is_no_restriction() -> None:
    for sets in ([NEEDS, "ioctl"], ["ioctl", NEEDS]):
        assert answer(compile_rule_sets(sets), "ioctl", 0, 1) == ALLOW
    assert answer(compile_rule_sets([NEEDS]), "ioctl", 0, 1) == EPERM
    assert answer(compile_rule_sets([NEEDS]), "ioctl", 0, 0x5421) == ALLOW


def test_a_rule_gives_way_to_a_restriction_in_another_set() -> None:
    compiled = compile_rule_sets([SOCKETS, STDOUT])

    assert answer(compiled, "write", 1) == ALLOW
    assert answer(compiled, "write", 3) == EPERM
    assert answer(compiled, "sendto") == ALLOW
    assert list(map(str, compiled.left_out)) == ["Sockets: write left out, because Stdout restricts write"]
    by_another_call = compile_rule_sets([SOCKETS, Custom("V", Rule("writev", Arg(0) == 1))])
    assert answer(by_another_call, "write", 3) == EPERM


def test_nothing_gives_way_to_a_need_to_itself_or_where_the_call_is_simple_anyway() -> None:
    need = Custom("Need", Rule("write", Arg(0) == 1, need=True))
    own = Custom("Own", Rule("write", Arg(0) >= 3, gives_way_to=("writev",)), Rule("writev", Arg(0) == 1))

    assert answer(compile_rule_sets([SOCKETS, need]), "write", 3) == ALLOW
    assert answer(compile_rule_sets([own]), "write", 3) == ALLOW
    with pytest.raises(ConflictingRules):
        compile_rule_sets([SOCKETS, STDOUT, WRITING])


# --- contradictions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sets", [(STDOUT, WRITING), (WRITING, STDOUT), (STDOUT, "write"), ("write", STDERR, STDOUT)])
def test_a_restriction_that_another_set_would_void(sets: tuple[RuleSet | str, ...]) -> None:
    with pytest.raises(ConflictingRules) as refusal:
        compile_rule_sets(sets)

    error = refusal.value
    simple = next(name for name in ("Writing", "write") if name in error.sets)
    restricted = error.sets[0]
    assert error.syscall == "write"
    assert restricted in ("Stdout", "Stderr")
    assert error.sets == (restricted, simple)
    assert (
        f"A conditional rule on syscall `write` from RuleSet `{restricted}` would be overridden by a simple rule from "
        f"RuleSet `{simple}`" in str(error)
    )
    assert "need=True" in error.remedy
    assert error.ran is False


def test_inside_one_set_too() -> None:
    with pytest.raises(ConflictingRules) as refusal:
        compile_rule_sets([Custom("Mine", "read", Rule("read", Arg(0) == 0))])
    assert refusal.value.sets == ("Mine", "Mine")
    assert refusal.value.syscall == "read"


def test_the_first_in_the_alphabet_is_named_and_the_others_counted() -> None:
    many = Custom("Many", Rule("write", Arg(0) == 1), Rule("read", Arg(0) == 0), Rule("lseek", Arg(0) == 0))
    for order in ([many, "write", "read", "lseek"], ["lseek", "read", "write", many]):
        with pytest.raises(ConflictingRules, match=r"likewise read, write") as refusal:
            compile_rule_sets(order)
        assert refusal.value.syscall == "lseek"


@pytest.mark.parametrize(
    ("restricted", "newer"),
    [("clone", "clone3"), ("openat", "openat2"), ("open", "openat2"), ("socket", "io_uring_setup")],
)
def test_a_call_that_does_the_same_unseen(restricted: str, newer: str) -> None:
    with pytest.raises(ConflictingRules, match=f"`{restricted}` from RuleSet `A`.*`{newer}`") as refusal:
        compile_rule_sets([newer, Custom("A", Rule(restricted, Arg(0) == 1))])
    assert refusal.value.sets == ("A", newer)
    assert refusal.value.syscall == restricted
    compile_rule_sets([newer, Custom("A", Rule(restricted, Arg(0) == 1, need=True))])


def test_an_explicit_basic_capabilities_contradicts_like_any_other() -> None:
    with pytest.raises(ConflictingRules, match=r"`mprotect`.*`NoCode`.*`BasicCapabilities`") as refusal:
        compile_rule_sets([BasicCapabilities(), NOTHING_EXECUTABLE])
    assert "leave BasicCapabilities() out" in refusal.value.remedy


def test_the_same_permission_twice_is_no_contradiction() -> None:
    for sets in (["read", "read"], [STDOUT, STDOUT], [STDOUT, Custom("Again", Rule("write", Arg(0) == 1))]):
        compile_rule_sets(sets)
    assert compile_rule_sets([STDOUT, STDOUT]).policy == compile_rule_sets([STDOUT]).policy


# --- mistakes ---------------------------------------------------------------------------------------------------


class Shaped(RuleSet):
    """A set whose methods return what they are told."""

    def __init__(self, simple: object = (), conditional: object = None, paths: object = ()) -> None:
        self.simple, self.conditional, self.paths = simple, conditional or {}, paths

    def simple_rules(self) -> object:  # type: ignore[override]
        return self.simple

    def conditional_rules(self) -> object:  # type: ignore[override]
        return self.conditional

    def landlock_rules(self) -> object:  # type: ignore[override]
        return self.paths


@pytest.mark.parametrize(
    ("sets", "message", "remedy"),
    [
        (["wriet"], "no system call is named 'wriet'", "'write'"),
        ([Custom("Mine", "opnat")], "'Mine': no system call is named 'opnat'", "'openat'"),
        ([Custom("Mine", Rule("sockett", Arg(0) == 1))], "'sockett'", "'socket'"),
        (["qqqqqq"], "'qqqqqq'", "syscalls(2)"),
        ([Custom("A", Rule("read", Arg(0) == 1, Arg(0) == 2))], "no call can satisfy the rule on 'read'", "one_of"),
        ([Custom("A", Rule("read", Arg(0) < 5, Arg(0) > 4))], "arg0 < 0x5 and arg0 > 0x4", "two Rules"),
        ([Shaped("read")], "returned the text 'read'", "['read']"),
        ([Shaped([3])], "3 is not the name", '"write"'),
        ([Shaped((), {"read": [Rule("write", Arg(0) == 1)]})], "a rule on 'write' under 'read'", "under its own call"),
        ([Shaped((), {"read": ["write"]})], "is not a Rule", "Rule('read'"),
        ([Shaped((), {}, ["/etc"])], "is not a LandlockRule", "LandlockRule("),
        ([3], "3 is not a rule set", "isolate_fn.rules"),
        ([BasicCapabilities], "is a class", "BasicCapabilities()"),
    ],
)
def test_mistakes_are_told_with_a_remedy(sets: list[RuleSet | str], message: str, remedy: str) -> None:
    with pytest.raises(PolicyError) as refusal:
        compile_rule_sets(sets)
    assert message in refusal.value.problem
    assert remedy in refusal.value.remedy


def test_the_field_is_named() -> None:
    with pytest.raises(PolicyError) as refusal:
        compile_rule_sets(["wriet"], field="enable")
    assert refusal.value.field == "enable"


# --- answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (actions.ERRNO(errno.EACCES), 0x0005000D),
        (actions.ERRNO(4095), 0x00050FFF),
        (actions.KILL_PROCESS, 0x80000000),
        (actions.TRAP(7), 0x00030007),
        (actions.LOG, 0x7FFC0000),
        (actions.NOTIFY, 0x7FC00000),
        (KILL_THREAD, 0),
    ],
)
def test_any_action_can_be_the_default(word: actions.Action | Action, expected: int) -> None:
    compiled = compile_rule_sets([STDOUT], default=word)

    assert answer(compiled, "mount").verdict == answer(compiled, "write", 5).verdict == expected
    assert answer(compiled, "write", 1) == ALLOW


def test_a_default_that_denies_nothing_is_refused() -> None:
    with pytest.raises(PolicyError, match="denies nothing"):
        compile_rule_sets([STDOUT], default=actions.ALLOW)


def test_numbers_beyond_the_tables() -> None:
    for machine in numbers.MACHINES:
        beyond = SeccompData(5000, AUDIT_ARCH[machine])
        assert run(compile_rule_sets([]).filter(machine), beyond).verdict == ENOSYS.verdict
        killed = compile_rule_sets([], unknown=actions.KILL_PROCESS).filter(machine)
        assert run(killed, beyond).verdict == 0x80000000


@pytest.mark.parametrize("rule", [Rule("clone", Arg(0, 32).has_none(0x7E020000)), "clone"])
def test_clone3_is_enosys_wherever_clone_is_permitted(rule: Rule | str) -> None:
    compiled = compile_rule_sets([Custom("Threads", rule)], default=actions.KILL_PROCESS)

    assert answer(compiled, "clone3") == ENOSYS
    assert answer(compile_rule_sets(["clone", "clone3"]), "clone3") == ALLOW


def test_a_newer_call_falls_back_only_where_the_older_is_permitted() -> None:
    assert answer(compile_rule_sets(["newfstatat"]), "statx") == ENOSYS
    assert answer(compile_rule_sets([]), "statx") == answer(compile_rule_sets([]), "clone3") == EPERM
    assert answer(compile_rule_sets(["newfstatat", "statx"]), "statx") == ALLOW
    assert answer(compile_rule_sets(["newfstatat"], default=actions.LOG), "statx").verdict == 0x7FFC0000


def test_every_name_in_the_tables_exists() -> None:
    for table in (FALLBACKS, UNSEEN):
        for call, others in table.items():
            assert all(numbers.is_known(name) for name in (call, *others.split())), call
            assert call not in others.split()


@pytest.mark.parametrize("machine", numbers.MACHINES)
def test_every_fallback_exists_where_the_newer_call_does(machine: str) -> None:
    table = numbers.table(machine)
    for call, older in FALLBACKS.items():
        assert call not in table or any(name in table for name in older.split()), call


# --- who said it ------------------------------------------------------------------------------------------------


def test_origins() -> None:
    compiled = compile_rule_sets([STDOUT, STDERR, "reboot", "gettid"])

    assert compiled.origins["write"] == ("Stdout", "Stderr")
    assert compiled.origins["reboot"] == ("reboot",)
    assert compiled.origins["gettid"] == ("gettid", "BasicCapabilities")
    assert "mount" not in compiled.origins
    assert list(compiled.origins) == sorted(compiled.origins)


def test_reasons_name_the_sets() -> None:
    compiled = compile_rule_sets([Custom("Mine", Rule("write", Arg(0) == 1, Arg(2) < 9, reason="short lines")), STDERR])

    assert [rule.reason for rule in compiled.policy.by_name()["write"].rules] == ["Mine: short lines", "Stderr"]


# --- Landlock ---------------------------------------------------------------------------------------------------


def test_paths_ports_and_scopes_are_collected() -> None:
    class Scoped(RuleSet):
        def landlock_scopes(self) -> tuple[str, ...]:
            return ("signal",)

    files = Custom(
        "Files", LandlockRule("/etc/", {"read_file"}), LandlockRule("/var//log", {"list_dir"}, optional=True)
    )
    compiled = compile_rule_sets([files, Custom("Web", PortRule(443, {"connect_tcp"})), Scoped()])

    assert compiled.landlock == (
        PathWish("/etc", frozenset({"read_file"}), "Files"),
        PathWish("/var/log", frozenset({"list_dir"}), "Files", True),
    )
    assert compiled.ports == (PortWish(443, frozenset({"connect_tcp"}), "Web"),)
    assert compiled.scopes == {"signal"}
    assert compiled.wants_landlock
    assert not compile_rule_sets([STDOUT]).wants_landlock


def test_one_set_may_name_a_path_twice_and_two_sets_may_not() -> None:
    read, listing = LandlockRule("/etc", {"read_file"}), LandlockRule("//etc/.", {"list_dir"}, optional=True)

    (wish,) = compile_rule_sets([Custom("A", read, listing)]).landlock
    assert (wish.words, wish.optional) == ({"read_file", "list_dir"}, False)
    with pytest.raises(ConflictingRules) as refusal:
        compile_rule_sets([Custom("A", read), Custom("B", listing)])
    assert 'The same path ("/etc") was used in two different landlock rules' in refusal.value.problem
    assert refusal.value.sets == ("A", "B")
    assert refusal.value.syscall == ""
    compile_rule_sets([Custom("A", read), Custom("B", LandlockRule("/etc/ssl", {"list_dir"}))])


# --- what it costs ----------------------------------------------------------------------------------------------


def test_too_long_a_program_names_the_sets_that_cost_most() -> None:
    small = Custom("Small", Rule("read", Arg(0).one_of(*range(0, 20, 2))))
    wide = Custom("Wide", Rule("write", Arg(0).one_of(*range(0, 9000, 2)), need=True))
    wider = Custom("Wider", Rule("writev", Arg(0).one_of(*range(0, 20000, 2)), need=True))
    compiled = compile_rule_sets([small, wide, wider])

    with pytest.raises(PolicyError, match=r"at most 4096. Most come from: Wider \(\d+\), Wide \(\d+\), ") as refusal:
        compiled.filter("x86_64")
    assert refusal.value.field == "rules"
    costs = compiled.cost("aarch64")
    assert costs["Wider"] > costs["Wide"] > 4096 > costs["Small"] > 10


def test_many_sets_for_one_descriptor_each_are_one_search() -> None:
    sets = [Custom(f"fd{fd}", Rule("read", Arg(0) == fd)) for fd in range(100, 400, 3)]
    compiled = compile_rule_sets(sets)

    (rule,) = compiled.policy.by_name()["read"].rules
    assert len(rule.conditions[0].values) == 100  # type: ignore[union-attr]
    for machine in numbers.MACHINES:
        program = compiled.filter(machine)
        assert length(program) < 500
        for fd in range(99, 401):
            outcome = run(program, SeccompData(numbers.table(machine)["read"], AUDIT_ARCH[machine], (fd,)))
            assert (outcome.verdict == ALLOW.verdict) == (100 <= fd < 400 and fd % 3 == 1)
            assert outcome.cost < 40
