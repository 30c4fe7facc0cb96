"""Any policy that has a name for everything in it reads back from its own TOML as an equal one."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings

from isolate_fn import Limits, Network, Policy, dev, file, ro, rw, symlink, tmpfs
from isolate_fn.dangerous import HostNetwork, NoLandlock, NoSeccomp, TrustResult
from isolate_fn.policy.mounts import Mount
from isolate_fn.rules import Arg, Custom, FileChanges, LandlockRule, Networking, PortRule, Rule, Signals, SystemIO

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
NAMES = TEXTS.map(lambda text: f"n{text.replace('/', '_')}")
SIZES = st.integers(64 << 10, 1 << 40)
SECONDS = st.one_of(st.integers(1, 1000), st.floats(0.001, 1000))
SOURCES = st.lists(NAMES, min_size=1, max_size=3).map(lambda parts: f"/{'/'.join(parts)}")
FLAGS = st.fixed_dictionaries({"noexec": st.booleans(), "optional": st.booleans()})


def mount(place: str) -> st.SearchStrategy[Mount]:
    return st.one_of(
        st.builds(lambda source, more: ro(source, place, **more), SOURCES, FLAGS),
        st.builds(lambda source, more: rw(source, place, **more), SOURCES, FLAGS),
        st.builds(lambda size, noexec: tmpfs(place, size, noexec=noexec), SIZES, st.booleans()),
        st.builds(lambda data: file(place, data), st.one_of(TEXTS, st.binary(max_size=9))),
        st.builds(lambda target: symlink(place, target), SOURCES),
        st.builds(lambda optional: dev("/dev/fuse", place, optional=optional), st.booleans()),
        st.just(ro(place)),
    )


VALUES = st.integers(0, (1 << 32) - 1)
ARGUMENTS = st.builds(Arg, st.integers(0, 5), st.sampled_from([32, 64]))
CONDITIONS = st.one_of(
    st.builds(lambda arg, value: arg == value, ARGUMENTS, VALUES),
    st.builds(lambda arg, values: arg.none_of(*values), ARGUMENTS, st.lists(VALUES, min_size=1, max_size=3)),
    st.builds(lambda arg, mask, value: (arg & mask) == (value & mask), ARGUMENTS, VALUES, VALUES),
    st.builds(lambda arg, value: arg >= value, ARGUMENTS, VALUES),
    st.builds(lambda arg, value: arg.signed() < value, ARGUMENTS, st.integers(-(1 << 31), (1 << 31) - 1)),
)
CALLS = st.sampled_from(["read", "write", "openat", "reboot", "ioctl"])
RULES = st.builds(
    lambda call, conditions, need: Rule(call, *conditions, need=need),
    CALLS,
    st.lists(CONDITIONS, max_size=3),
    st.booleans(),
)
PARTS = st.one_of(
    CALLS,
    RULES,
    st.builds(LandlockRule, SOURCES, st.sampled_from([{"read_file"}, {"list_dir", "move"}]), optional=st.booleans()),
    st.builds(PortRule, st.integers(0, 65535), st.just({"connect_tcp"})),
)
SETS: st.SearchStrategy[Any] = st.one_of(
    CALLS,
    st.builds(lambda name, parts: Custom(name, *parts), NAMES, st.lists(PARTS, max_size=4)),
    st.builds(lambda path: SystemIO().allow_read().allow_read_path(path).allow_list_dir(path), SOURCES),
    st.builds(lambda value: SystemIO.everything().restrict(Rule("read", Arg(0) <= value)), VALUES),
    st.builds(
        lambda ports: Networking().allow_connect_ports(*ports), st.lists(st.integers(0, 65535), min_size=1, max_size=3)
    ),
    st.builds(lambda pid: Signals().allow_raise(pid).keep_inside(), st.integers(1, 99999)),
    st.just(FileChanges.everything().without("rmdir", "mkdir")),
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    places = draw(st.lists(NAMES, max_size=4, unique=True))
    maybe: dict[str, st.SearchStrategy[Any]] = {
        "network": st.one_of(st.just(True), st.just(Network(connect=["a.b:1", "*.c:65535"], loopback=[3], dns=True))),
        "rules": st.lists(SETS, max_size=4),
        "limits": st.builds(
            Limits, memory=SIZES, rootfs_size=SIZES, cpu_time=SECONDS, processes=st.integers(1, 99), result=SIZES
        ),
        "timeout": SECONDS,
        "env": st.dictionaries(NAMES.filter(lambda name: "=" not in name), TEXTS, max_size=3),
        "cwd": SOURCES,
        "preload": st.just(["json", "xml.etree"]),
        "reuse": st.one_of(st.booleans(), st.integers(1, 99)),
        "prewarm": st.integers(0, 9),
        "idle_timeout": SECONDS,
        "fresh_exec": st.booleans(),
        "output": st.sampled_from(["relay", "capture", "discard"]),
        "on_denied": st.sampled_from(["report", "errno", "kill"]),
        "require": st.sets(st.sampled_from(["filesystem", "processes"])),
        "accept": st.sets(st.sampled_from([HostNetwork, NoLandlock, NoSeccomp, TrustResult])),
        "raises": st.just([KeyError, OSError]),
        "name": st.sampled_from(["x", "none", "a b", '"']),
    }
    chosen = {key: draw(strategy) for key, strategy in maybe.items() if draw(st.booleans())}
    return Policy(mounts=[draw(mount(f"/m/{place}")) for place in places], **chosen)


@settings(max_examples=100, deadline=None, database=None, derandomize=True)
@given(policies())
def test_round_trip(policy: Policy) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "policy.toml")
        path.write_text(policy.to_toml(), encoding="utf-8")
        assert Policy.from_toml(path) == policy
        path.write_text(policy.to_toml("policies.one"), encoding="utf-8")
        assert Policy.from_toml(path, "one") == policy
