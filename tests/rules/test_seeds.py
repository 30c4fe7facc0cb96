"""Every set and method against what extrasafe's permits: each difference is listed, with its reason, and no more."""

from __future__ import annotations

from collections import Counter

import pytest
from generate_rules_page import ORDER, Entry, catalogue
from seed_rule_sets import DIFFERENCES, SEED_PATHS, SEEDS, Seed

from isolate_fn import rules
from isolate_fn.policy.rule_sets.builtin import Builtin
from isolate_fn.rules import Networking, SystemIO

ENTRIES = {entry.key: entry for entry in catalogue()}
NOT_SIMPLE = {"removed", "checked", "corrected"}


def listed(key: str, *changes: str) -> list[str]:
    return [call for entry in DIFFERENCES.get(key, ()) if entry.change in changes for call in entry.calls.split()]


def test_every_builtin_set_is_in_the_catalogue() -> None:
    builtin = {value for value in vars(rules).values() if isinstance(value, type) and issubclass(value, Builtin)}
    assert set(ORDER) == builtin
    assert {entry.owner for entry in ENTRIES.values()} == builtin


def test_every_seed_is_there() -> None:
    assert set(SEEDS) <= set(ENTRIES)
    assert set(DIFFERENCES) <= set(SEEDS)


@pytest.mark.parametrize("key", SEEDS)
def test_calls(key: str) -> None:
    """Simple calls are the seed's, less what is removed or checked, plus what is added."""
    seed, value = SEEDS[key], ENTRIES[key].value

    simple = set(seed.simple.split()) - set(listed(key, "removed", "checked")) | set(listed(key, "added"))
    conditional = set(seed.conditional.split()) - set(listed(key, "removed"))
    conditional |= set(listed(key, "checked", "added, checked"))

    assert set(value.simple_rules()) == simple
    assert set(value.conditional_rules()) == conditional


@pytest.mark.parametrize("key", DIFFERENCES)
def test_differences_are_differences(key: str) -> None:
    seed = SEEDS[key]
    seed_simple, seed_conditional = set(seed.simple.split()), set(seed.conditional.split())

    assert set(listed(key, "removed")) <= seed_simple | seed_conditional
    assert set(listed(key, "checked")) <= seed_simple
    assert set(listed(key, "corrected")) <= seed_conditional
    assert not set(listed(key, "added", "added, checked")) & (seed_simple | seed_conditional)
    assert all(entry.reason and entry.reason[-1] not in ".;," for entry in DIFFERENCES[key])
    twice = [call for call, times in Counter(listed(key, "added", "added, checked", *NOT_SIMPLE)).items() if times > 1]
    assert not twice


PATH_METHODS = [key for key, seed in SEEDS.items() if seed.landlock]


@pytest.mark.parametrize("key", PATH_METHODS)
def test_rights(key: str) -> None:
    (rule,) = ENTRIES[key].value.landlock_rules()
    assert rule.path == "/path"
    assert rule.rights == set(SEEDS[key].landlock.split()) | set(listed(key, "right"))
    assert not rule.optional


@pytest.mark.parametrize("key", SEED_PATHS)
def test_lists_of_paths(key: str) -> None:
    """The seed's paths and some more, none of which has to exist."""
    found = {rule.path: rule.rights for rule in ENTRIES[key].value.landlock_rules()}
    assert {path: set(words.split()) for path, words in SEED_PATHS[key].items()}.items() <= found.items()
    assert all(rule.optional for rule in ENTRIES[key].value.landlock_rules())


@pytest.mark.parametrize("entry", [e for e in ENTRIES.values() if e.key not in PATH_METHODS], ids=lambda e: e.key)
def test_landlock_elsewhere(entry: Entry) -> None:
    expected = {
        **{f"SystemIO().{name}(path)": 1 for name in MORE_PATH_METHODS},
        "SystemIO().allow_ssl_files()": 12,
        "SystemIO().allow_dns_files()": 7,
    }
    assert len(entry.value.landlock_rules()) == expected.get(entry.key, 0)


MORE_PATH_METHODS = {
    "allow_move_in_dir": {"create_file", "create_dir", "create_symlink", "remove_file", "remove_dir", "move"},
    "allow_link_in_dir": {"create_symlink"},
    "allow_create_socket_in_dir": {"create_socket"},
    "allow_execute_path": {"execute", "read_file"},
}


@pytest.mark.parametrize(("name", "rights"), MORE_PATH_METHODS.items())
def test_rights_that_the_seed_cannot_say(name: str, rights: set[str]) -> None:
    (rule,) = getattr(SystemIO(), name)("/path").landlock_rules()
    assert rule.rights == rights


def test_ports_and_scopes() -> None:
    ports = {
        entry.key: [(rule.port, set(rule.rights)) for rule in entry.value.landlock_ports()]
        for entry in ENTRIES.values()
        if entry.value.landlock_ports()
    }
    scopes = {e.key: e.value.landlock_scopes() for e in ENTRIES.values() if e.value.landlock_scopes()}

    assert ports == {
        "Networking().allow_connect_ports(*ports)": [(443, {"connect_tcp"})],
        "Networking().allow_bind_ports(*ports)": [(443, {"bind_tcp"})],
    }
    assert scopes == {
        "Networking().keep_abstract_sockets_inside()": ("abstract_unix_socket",),
        "Signals().keep_inside()": ("signal",),
    }
    both = Networking().allow_bind_ports(80, 443).allow_connect_ports(443).landlock_ports()
    assert {rule.port: set(rule.rights) for rule in both} == {80: {"bind_tcp"}, 443: {"bind_tcp", "connect_tcp"}}


def test_a_seed_is_what_it_says() -> None:
    """The table itself: the sizes that the seed's groups have."""
    union = {call for seed in SEEDS.values() for call in f"{seed.simple} {seed.conditional}".split()}
    union -= {"setfsuid", "setresuid", "setreuid", "setuid", "getuid", "geteuid", "getresuid"}
    assert len(union) == 105
    assert len(SEEDS["BasicCapabilities()"].simple.split()) == 28
    assert isinstance(SEEDS["Pipes()"], Seed)
