"""Builtin sets are values: immutable, equal, hashable, picklable, printable; and the order of choosing leaves no trace."""

from __future__ import annotations

import copy
import dataclasses
import io
import itertools
import pickle

import pytest
from generate_rules_page import ORDER, Entry, catalogue

import isolate_fn.rules
from isolate_fn.errors import PolicyError
from isolate_fn.policy.rule_sets.builtin import Builtin
from isolate_fn.rules import (
    BasicCapabilities,
    ForkAndExec,
    LandlockRule,
    Networking,
    Pipes,
    Rule,
    RuleSet,
    Signals,
    SystemIO,
    Threads,
    Time,
    UserId,
)

ENTRIES = list(catalogue())
each_entry = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.key)
each_set = pytest.mark.parametrize("owner", ORDER, ids=lambda owner: owner.__name__)


def permitted(value: RuleSet) -> tuple[object, ...]:
    return (
        tuple(value.simple_rules()),
        {call: tuple(rules) for call, rules in value.conditional_rules().items()},
        tuple(value.landlock_rules()),
        tuple(value.landlock_ports()),
        tuple(value.landlock_scopes()),
    )


@each_entry
def test_equal_hash_pickle_copy(entry: Entry) -> None:
    again = next(other.value for other in catalogue() if other.key == entry.key)
    for same in (again, pickle.loads(pickle.dumps(entry.value)), copy.deepcopy(entry.value)):
        assert same == entry.value
        assert hash(same) == hash(entry.value)
        assert permitted(same) == permitted(entry.value)
        assert repr(same) == repr(entry.value)
    assert entry.value != entry.owner.nothing() or not entry.value.simple_rules()


@each_entry
def test_prints_as_the_call_that_makes_it(entry: Entry) -> None:
    if entry.value._tightened:  # conditions print as what they mean
        assert repr(entry.value).startswith("BasicCapabilities().restrict(Rule('mmap', low32(arg2) & 0x4 == 0x0)")
    else:
        assert eval(repr(entry.value), vars(isolate_fn.rules)) == entry.value


@each_entry
def test_immutable(entry: Entry) -> None:
    before = permitted(entry.value)
    with pytest.raises(dataclasses.FrozenInstanceError):
        entry.value._chosen = ()  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        entry.value.anything = 1  # type: ignore[attr-defined]
    entry.value.conditional_rules().clear()
    assert permitted(entry.value) == before


@each_entry
def test_methods_return_a_new_value_and_leave_the_old_one(entry: Entry) -> None:
    start = entry.owner()
    before = permitted(start), repr(start)
    list(catalogue())  # calls every method of every set
    assert (permitted(start), repr(start)) == before
    assert type(entry.value) is entry.owner


@each_set
def test_name(owner: type[Builtin]) -> None:
    assert owner().name == owner.__name__
    assert isinstance(owner(), RuleSet)


@each_set
def test_nothing_and_everything(owner: type[Builtin]) -> None:
    assert permitted(owner.nothing()) == ((), {}, (), (), ())
    everything = owner.everything()
    calls = {*everything.simple_rules(), *everything.conditional_rules()}
    for entry in ENTRIES:
        if entry.owner is owner:
            assert {*entry.value.simple_rules(), *entry.value.conditional_rules()} <= calls, entry.key
    assert owner.everything() == everything


@each_set
def test_yes_really_is_the_set_itself(owner: type[Builtin]) -> None:
    value = owner.everything()
    assert value.yes_really() is value


def test_constructors_of_the_two_kinds() -> None:
    """One purpose: permitted as it is made. Many: nothing until something is chosen."""
    for unit in (BasicCapabilities, ForkAndExec, Pipes):
        assert unit().simple_rules()
    for choice in (SystemIO, Networking, Threads, Time, Signals, UserId):
        assert choice() == choice.nothing()
        assert not choice().simple_rules()


def test_order_and_repetition_leave_no_trace() -> None:
    methods = ("allow_read", "allow_stdout", "allow_close", "allow_metadata")
    values = set()
    for order in itertools.permutations(methods):
        value = SystemIO()
        for method in (*order, *order):
            value = getattr(value, method)()
        values.add(value)
    assert len(values) == 1


def test_paths_are_joined() -> None:
    value = SystemIO().allow_read_path("/a").allow_list_dir("/a/").allow_write_file("/./a").allow_read_path("/b")
    found = {rule.path: rule.rights for rule in value.landlock_rules()}
    assert found == {"/a": {"read_file", "list_dir", "write_file", "truncate"}, "/b": {"read_file"}}


def test_a_path_that_was_named_must_exist_even_if_a_list_has_it_too() -> None:
    listed = SystemIO().allow_dns_files()
    named = listed.allow_read_path("/etc/hosts")
    assert LandlockRule("/etc/hosts", {"read_file"}, optional=True) in listed.landlock_rules()
    assert LandlockRule("/etc/hosts", {"read_file"}) in named.landlock_rules()


def test_descriptors_by_number_and_by_file() -> None:
    class Pretending:
        def fileno(self) -> int:
            return 5

    assert SystemIO().allow_file_read(5) == SystemIO().allow_file_read(Pretending())
    assert SystemIO().allow_file_write(5) == SystemIO().allow_file_write(Pretending())
    assert SystemIO().allow_file_read(5) != SystemIO().allow_file_read(6)
    reads = SystemIO().allow_file_read(5).allow_file_read(6).conditional_rules()["read"]
    assert [rule.matches((fd, 0, 0, 0, 0, 0)) for fd in (4, 5, 6) for rule in reads].count(True) == 2


@pytest.mark.parametrize(
    ("file", "problem"),
    [(-1, "illegal fileno -1"), (1 << 40, "illegal fileno"), ("x", "not a file descriptor"), (True, "not a file")],
)
def test_what_is_no_descriptor(file: object, problem: str) -> None:
    for method in (SystemIO().allow_file_read, SystemIO().allow_file_write):
        with pytest.raises(PolicyError) as caught:
            method(file)  # type: ignore[operator]
        assert problem in caught.value.problem
        assert caught.value.remedy


def test_a_closed_file_is_an_error_of_its_own() -> None:
    with pytest.raises(OSError, match="fileno"):
        SystemIO().allow_file_read(io.BytesIO())


@pytest.mark.parametrize("pid", [0, -1, True, "1", 1 << 23])
def test_what_is_no_process(pid: object) -> None:
    with pytest.raises(PolicyError) as caught:
        Signals().allow_raise(pid)  # type: ignore[arg-type]
    assert "allow_raise" in caught.value.field
    assert caught.value.remedy


@pytest.mark.parametrize("ports", [(), (-1,), (65536,), ("80",), (True,)])
def test_what_is_no_port(ports: tuple[object, ...]) -> None:
    for method in (Networking().allow_connect_ports, Networking().allow_bind_ports):
        with pytest.raises(PolicyError) as caught:
            method(*ports)  # type: ignore[arg-type]
        assert caught.value.remedy


@pytest.mark.parametrize("path", ["", "/a\0b", b"/a", 3, None])
def test_what_is_no_path(path: object) -> None:
    with pytest.raises(PolicyError) as caught:
        SystemIO().allow_read_path(path)  # type: ignore[arg-type]
    assert caught.value.remedy


def test_inheriting_from_a_builtin_set() -> None:
    class Quiet(SystemIO):
        def __init__(self, tag: str) -> None:
            super().__init__()
            object.__setattr__(self, "tag", tag)

        def simple_rules(self) -> tuple[str, ...]:
            return (*super().simple_rules(), "reboot")

    value = Quiet("x").allow_read()
    assert (type(value), value.name, value.tag) == (Quiet, "Quiet", "x")  # type: ignore[attr-defined]
    assert "reboot" in value.simple_rules()
    assert "read" in value.simple_rules()
    assert value != SystemIO().allow_read()


def test_user_ids() -> None:
    assert UserId.get() == UserId().allow_get()
    assert UserId.set() == UserId().allow_set().yes_really()
    assert UserId().allow_everything() == UserId.get().allow_set()
    assert UserId.get().simple_rules() == ("geteuid", "getresuid", "getuid")
    assert UserId.set().simple_rules() == ("setfsuid", "setresuid", "setreuid", "setuid")
    one_by_one = UserId().allow_getuid().allow_geteuid().allow_getresuid()
    assert one_by_one.simple_rules() == UserId.get().simple_rules()


def test_unknown_method_is_an_ordinary_mistake() -> None:
    with pytest.raises(AttributeError):
        SystemIO().allow_everything()  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        SystemIO("read")  # type: ignore[call-arg]
    assert isinstance(Rule("read"), Rule)
