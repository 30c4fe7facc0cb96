"""Policy, Limits and Network: values, normalisation, and every kind of bad option."""

from __future__ import annotations

import dataclasses
import enum
import pathlib
import pickle
import types

import pytest

from isolate_fn import dangerous, presets
from isolate_fn.dangerous import HostNetwork, NoLandlock, NoSeccomp, TrustResult
from isolate_fn.errors import ConflictingRules, PolicyError, Unsupported
from isolate_fn.policy import (
    FrozenDict,
    Limits,
    Network,
    Policy,
    dev,
    file,
    overlay,
    refuse_unbuilt,
    ro,
    rw,
    symlink,
    tmpfs,
)
from isolate_fn.rules import Arg, Rule, SystemIO


class Point:
    """A class for returns=."""


def echo(stream: str, data: bytes) -> None:
    """Take output."""


NAMES = {name: value for name, value in globals().items() if not name.startswith("_")}

VALUES = [
    (Policy(), "Policy()"),
    (Policy(timeout=5, reuse=3), "Policy(timeout=5, reuse=3)"),
    (Policy(reuse=1), "Policy()"),
    (Policy(mounts=["/data", rw("/out")]), "Policy(mounts=(ro('/data'), rw('/out')))"),
    (Policy(limits=Limits(memory="512M")), "Policy(limits=Limits(memory='512M'))"),
    (Policy(env={"B": "2", "A": "1"}), "Policy(env={'B': '2', 'A': '1'})"),
    (Policy(cwd=pathlib.Path("/a//b/")), "Policy(cwd='/a/b')"),
    (Policy(network=Network(connect=["DB:5432"])), "Policy(network=Network(connect=('db:5432',)))"),
    (Policy(require=["network"]), "Policy(require={'network'})"),
    (Policy(require=["syscalls", "network"]), "Policy(require={'network', 'syscalls'})"),
    (Policy(require=()), "Policy(require=())"),
    (
        Policy(returns=[Point], raises=[KeyError, OSError]),
        "Policy(returns=(Point,), raises=(KeyError, OSError))",
    ),
    (Policy(accept=(TrustResult,)), "Policy(accept=(TrustResult,))"),
    (Policy(preload=["numpy", "PIL.Image"]), "Policy(preload=('numpy', 'PIL.Image'))"),
    (Policy(reuse=True, prewarm=0, name="thumbs"), "Policy(reuse=True, prewarm=0, name='thumbs')"),
    (Limits(), "Limits()"),
    (Limits(rootfs_size=1 << 30, cpu_time=2.5), "Limits(rootfs_size='1G', cpu_time=2.5)"),
    (Network(loopback=[5432], dns=True), "Network(loopback=(5432,), dns=True)"),
    (presets.COMPUTE, None),
    (presets.READ_FILES, None),
    (presets.TOOLS, None),
    (presets.NETWORK_CLIENT, None),
]


@pytest.mark.parametrize(("value", "text"), VALUES, ids=[str(text) for _, text in VALUES])
def test_values(value: Policy, text: str | None) -> None:
    """They print as the call that makes them, compare, hash, pickle, and cannot be changed."""
    assert text in (None, repr(value))
    again = eval(repr(value), dict(NAMES))
    assert again == value
    assert hash(again) == hash(value)
    assert pickle.loads(pickle.dumps(value)) == value
    assert dataclasses.replace(value) == value
    with pytest.raises(AttributeError):
        value.anything = 1  # type: ignore[attr-defined]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, dataclasses.fields(value)[0].name, None)


def test_env_is_copied_and_frozen() -> None:
    env = {"A": "1"}
    policy = Policy(env=env)
    env["B"] = "2"
    assert policy.env == {"A": "1"}
    assert isinstance(policy.env, FrozenDict)
    with pytest.raises(TypeError):
        policy.env["A"] = "2"  # type: ignore[index]
    assert Policy(env={"A": "1", "B": "2"}) == Policy(env=types.MappingProxyType({"B": "2", "A": "1"}))
    assert hash(FrozenDict({"a": 1, "b": 2})) == hash(FrozenDict({"b": 2, "a": 1}))


def test_unhashable_content_is_fine() -> None:
    policy = Policy(
        returns=(Point, (Point, str, Point)), raises=(KeyError,), output=echo, accept=[TrustResult]
    )
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert isinstance(hash(policy), int)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("64K", 65536),
        ("64k", 65536),
        ("1M", 1 << 20),
        ("2G", 2 << 30),
        ("1T", 1 << 40),
        ("70000", 70000),
        (70000, 70000),
    ],
)
def test_sizes(written: int | str, kept: int) -> None:
    assert Limits(rootfs_size=written).rootfs_size == kept


def test_integers_of_other_types() -> None:
    class Count(enum.IntEnum):
        MANY = 100

    assert type(Limits(processes=Count.MANY).processes) is int


def test_from_options_overrides() -> None:
    base = Policy(timeout=5, mounts=["/a"], env={"A": "1"})
    changed = Policy.from_options(base, timeout=None, mounts=["/b"])
    assert changed == Policy(mounts=["/b"], env={"A": "1"})
    assert base.timeout == 5
    assert Policy.from_options(base) == base
    assert Policy.from_options() == Policy()


def test_accept_is_a_set_in_meaning() -> None:
    assert Policy(accept=(NoSeccomp, TrustResult)) == Policy(accept=[TrustResult, NoSeccomp, TrustResult])


BAD_POLICY = [
    # options, field, in the problem, in the remedy
    ({"tiemout": 3}, "tiemout", "no option", "did you mean timeout=?"),
    ({"mount": []}, "mount", "no option", "mounts="),
    ({"zzz": 1}, "zzz", "no option", "the options are mounts"),
    ({"timeout": -1}, "timeout", "-1", "positive"),
    ({"timeout": 0}, "timeout", "0", "positive"),
    ({"timeout": True}, "timeout", "True", "positive"),
    ({"timeout": "5"}, "timeout", "'5'", "positive"),
    ({"timeout": float("nan")}, "timeout", "nan", "positive"),
    ({"timeout": float("inf")}, "timeout", "inf", "positive"),
    ({"timeout": 1e12}, "timeout", "1000000000000.0", "a year"),
    ({"idle_timeout": None}, "idle_timeout", "None", "positive"),
    ({"idle_timeout": 0}, "idle_timeout", "0", "positive"),
    ({"limits": {"memory": 1}}, "limits", "not a Limits", "Limits("),
    ({"limits": None}, "limits", "not a Limits", "Limits("),
    ({"network": "no"}, "network", "'no'", "True or False"),
    ({"network": 1}, "network", "1", "True or False"),
    ({"network": ["host:443"]}, "network", "['host:443']", "Network(connect=[...]), which this version cannot enforce"),
    ({"network": "host:443"}, "network", "'host:443'", "use False, or True"),
    ({"env": [("A", "1")]}, "env", "not a dictionary", "{"),
    ({"env": {"A": 1}}, "env['A']", "1 is not a str", "str(1)"),
    ({"env": {"A=B": "1"}}, "env", "'A=B'", "'='"),
    ({"env": {"": "1"}}, "env", "''", "non-empty"),
    ({"env": {1: "1"}}, "env", "1", "str"),
    ({"env": {"A\0": "1"}}, "env", "A", "NUL"),
    ({"env": {"A": "x\0y"}}, "env['A']", "NUL", "leave it out"),
    ({"cwd": "work"}, "cwd", "relative path", "absolute"),
    ({"cwd": "/a/../b"}, "cwd", "'..'", "without '..'"),
    ({"cwd": "/"}, "cwd", "own root", "below"),
    ({"cwd": "/proc"}, "cwd", "/proc", "another"),
    ({"cwd": None}, "cwd", "not a path", "str"),
    ({"returns": Point}, "returns", "not a list", "returns=(MyClass,)"),
    ({"returns": ["Point"]}, "returns[0]", "not a class", "the class itself"),
    ({"returns": [(Point, 1, 2)]}, "returns[0]", "not a class", "(class, encode, decode)"),
    ({"raises": ValueError}, "raises", "not a list", "raises=(MyError,)"),
    ({"raises": [Point]}, "raises[0]", "not an Exception", "subclass of Exception"),
    ({"raises": [SystemExit]}, "raises[0]", "not an Exception", "subclass of Exception"),
    ({"raises": [KeyError, KeyboardInterrupt]}, "raises[1]", "not an Exception", "subclass of Exception"),
    ({"raises": [StopIteration]}, "raises[0]", "control flow", "leave it out"),
    ({"raises": [ValueError()]}, "raises[0]", "not an Exception", "subclass"),
    ({"preload": "numpy"}, "preload", "not a list", '("numpy",)'),
    ({"preload": ["a-b"]}, "preload[0]", "not the name", "absolute name"),
    ({"preload": [".x"]}, "preload[0]", "not the name", "absolute name"),
    ({"preload": [""]}, "preload[0]", "not the name", "absolute name"),
    ({"reuse": 0}, "reuse", "0", "from 1"),
    ({"reuse": -3}, "reuse", "-3", "from 1"),
    ({"reuse": 2.0}, "reuse", "2.0", "int"),
    ({"reuse": None}, "reuse", "None", "int"),
    ({"prewarm": -1}, "prewarm", "-1", "from 0"),
    ({"prewarm": True}, "prewarm", "True", "int"),
    ({"prewarm": 10**6}, "prewarm", "1000000", "to 1024"),
    ({"fresh_exec": 1}, "fresh_exec", "1", "True or False"),
    ({"output": "print"}, "output", "'print'", "'relay' or 'capture' or 'discard'"),
    ({"output": None}, "output", "None", "'relay'"),
    ({"on_denied": "ignore"}, "on_denied", "'ignore'", "'report' or 'errno' or 'kill'"),
    ({"require": "network"}, "require", "not a list", "filesystem"),
    ({"require": ["net"]}, "require", "'net'", "'network'"),
    ({"accept": TrustResult}, "accept", "not a list", "(TrustResult,)"),
    ({"accept": [TrustResult()]}, "accept[0]", "weakening", "itself"),
    ({"accept": [object]}, "accept[0]", "weakening", "isolate_fn.dangerous"),
    ({"accept": ["TrustResult"]}, "accept[0]", "weakening", "isolate_fn.dangerous"),
    ({"expose": [echo]}, "expose", "not a dictionary", "lookup"),
    ({"expose": {"a b": echo}}, "expose", "'a b'", "identifier"),
    ({"expose": {"_x": echo}}, "expose", "'_x'", "identifier"),
    ({"expose": {"x": 1}}, "expose['x']", "not callable", "function"),
    ({"name": ""}, "name", "''", "non-empty"),
    ({"name": "a\nb"}, "name", "a", "printable"),
    ({"name": "x" * 201}, "name", "x", "200"),
    ({"mounts": "/data"}, "mounts", "not a list", "mounts=["),
    ({"mounts": ro("/data")}, "mounts", "not a list", "mounts=["),
    ({"mounts": None}, "mounts", "not a list", "mounts=["),
    ({"mounts": ["/a", "b"]}, "mounts[1]", "relative path", "absolute"),
    ({"mounts": ["~/a"]}, "mounts[0]", "~", "expanduser"),
    ({"mounts": [3]}, "mounts[0]", "not a path", "str"),
]


@pytest.mark.parametrize(("options", "field", "problem", "remedy"), BAD_POLICY)
def test_bad_options(options: dict[str, object], field: str, problem: str, remedy: str) -> None:
    """Both ways to a policy refuse them with the field and the remedy."""
    for make in (Policy, Policy.from_options):
        with pytest.raises(PolicyError) as caught:
            make(**options)  # type: ignore[operator]
        error = caught.value
        assert error.field == field
        assert problem in error.problem
        assert remedy in error.remedy
        assert error.ran is False


BAD_LIMITS = [
    ({"memroy": 1}, "limits.memroy", "no option", "memory"),
    ({"memory": -1}, "limits.memory", "-1", "from 1"),
    ({"memory": 0}, "limits.memory", "0", "from 1"),
    ({"memory": True}, "limits.memory", "True", '"512M"'),
    ({"memory": 1e9}, "limits.memory", "1000000000.0", '"512M"'),
    ({"memory": float("nan")}, "limits.memory", "nan", '"512M"'),
    ({"memory": 1 << 63}, "limits.memory", "out of range", "to"),
    ({"memory": "9" * 5000}, "limits.memory", "not a size", '"512M"'),
    ({"memory": "512X"}, "limits.memory", "'512X'", '"512M"'),
    ({"memory": "512MB"}, "limits.memory", "'512MB'", '"512M"'),
    ({"memory": "1.5G"}, "limits.memory", "'1.5G'", '"512M"'),
    ({"memory": "-1M"}, "limits.memory", "'-1M'", '"512M"'),
    ({"memory": "M"}, "limits.memory", "'M'", '"512M"'),
    ({"memory": ""}, "limits.memory", "''", '"512M"'),
    ({"memory": "²M"}, "limits.memory", "'²M'", '"512M"'),
    ({"rootfs_size": None}, "limits.rootfs_size", "None", '"512M"'),
    ({"rootfs_size": 0}, "limits.rootfs_size", "0", "from 64K"),
    ({"rootfs_size": "1K"}, "limits.rootfs_size", "'1K'", "from 64K"),
    ({"rootfs_inodes": 0}, "limits.rootfs_inodes", "0", "from 256"),
    ({"processes": 0}, "limits.processes", "0", "from 1"),
    ({"processes": "64"}, "limits.processes", "'64'", "int"),
    ({"processes": 10**9}, "limits.processes", "1000000000", "4194304"),
    ({"open_files": 3}, "limits.open_files", "3", "from 16"),
    ({"cpu_time": 0}, "limits.cpu_time", "0", "positive"),
    ({"cpu_time": float("inf")}, "limits.cpu_time", "inf", "positive"),
    ({"output": 0}, "limits.output", "0", "from 1"),
    ({"result": -5}, "limits.result", "-5", "from 1"),
    ({"file_size": []}, "limits.file_size", "[]", '"512M"'),
    ({"address_space": False}, "limits.address_space", "False", '"512M"'),
    ({"cpus": 0}, "limits.cpus", "0", "1.5"),
    ({"cpus": float("nan")}, "limits.cpus", "nan", "1.5"),
    ({"cpus": "2"}, "limits.cpus", "'2'", "1.5"),
]


@pytest.mark.parametrize(("options", "field", "problem", "remedy"), BAD_LIMITS)
def test_bad_limits(options: dict[str, object], field: str, problem: str, remedy: str) -> None:
    with pytest.raises(PolicyError) as caught:
        Limits(**options)  # type: ignore[arg-type]
    assert caught.value.field == field
    assert problem in caught.value.problem
    assert remedy in caught.value.remedy


def test_a_limit_given_as_an_option_says_where_it_belongs() -> None:
    with pytest.raises(PolicyError, match=r"Limits\(memory=\.\.\.\)"):
        Policy.from_options(memory="512M")


def test_a_policy_that_is_none() -> None:
    with pytest.raises(PolicyError, match="presets"):
        Policy.from_options("COMPUT")
    with pytest.raises(PolicyError, match="presets"):
        Policy.from_options(len)  # type: ignore[arg-type]


GOOD_DESTINATIONS = ["db:1", "*.example.org:443", "10.0.0.1:80", "[::1]:65535", "a_b-c.d:5432"]


@pytest.mark.parametrize("destination", GOOD_DESTINATIONS)
def test_network_destinations(destination: str) -> None:
    assert Network(connect=[destination]).connect == (destination,)
    assert Network(connect=[destination]).reaches_something


BAD_NETWORK = [
    ({"connect": "db:1"}, "network.connect", "not a list", "connect"),
    ({"connect": ["db"]}, "network.connect[0]", "no port", "host:port"),
    ({"connect": ["db:"]}, "network.connect[0]", "no port", "host:port"),
    ({"connect": ["db:http"]}, "network.connect[0]", "no port", "host:port"),
    ({"connect": ["db:0"]}, "network.connect[0]", "0", "65535"),
    ({"connect": ["db:65536"]}, "network.connect[0]", "65536", "65535"),
    ({"connect": ["a:1", "http://db:80"]}, "network.connect[1]", "not a host", "scheme"),
    ({"connect": ["*:80"]}, "network.connect[0]", "not a host", "*.name"),
    ({"connect": [":80"]}, "network.connect[0]", "not a host", "name"),
    ({"connect": ["::1:80"]}, "network.connect[0]", "not a host", "brackets"),
    ({"connect": ["[x]:80"]}, "network.connect[0]", "not a host", "brackets"),
    ({"connect": ["-a:80"]}, "network.connect[0]", "not a host", "name"),
    ({"connect": [80]}, "network.connect[0]", "not a str", "connect="),
    ({"loopback": 5432}, "network.loopback", "not a list", "[5432]"),
    ({"loopback": [0]}, "network.loopback[0]", "0", "65535"),
    ({"loopback": [True]}, "network.loopback[0]", "True", "int"),
    ({"dns": 1}, "network.dns", "1", "True or False"),
    ({"conect": []}, "network.conect", "no option", "connect"),
]


@pytest.mark.parametrize(("options", "field", "problem", "remedy"), BAD_NETWORK)
def test_bad_network(options: dict[str, object], field: str, problem: str, remedy: str) -> None:
    with pytest.raises(PolicyError) as caught:
        Network(**options)  # type: ignore[arg-type]
    assert caught.value.field == field
    assert problem in caught.value.problem
    assert remedy in caught.value.remedy


CONFLICTS = [
    ([ro("/a"), ro("/a")], "mounts[1]", "same place"),
    ([ro("/a"), rw("/b", "/a")], "mounts[1]", "same place"),
    (["/a/b", "/x", "/a"], "mounts[2]", "would hide mounts[0]"),
    ([ro("/a/b"), tmpfs("/a")], "mounts[1]", "would hide mounts[0]"),
    ([file("/a", b""), ro("/x", "/a/b")], "mounts[1]", "not a directory"),
    ([symlink("/a", "x"), tmpfs("/a/b")], "mounts[1]", "not a directory"),
    ([dev("/dev/fuse", "/a"), tmpfs("/a/b")], "mounts[1]", "not a directory"),
    ([ro("/a"), file("/a/b", b"")], "mounts[1]", "written into mounts[0]"),
    ([rw("/a"), symlink("/a/b", "x")], "mounts[1]", "written into mounts[0]"),
]


@pytest.mark.parametrize(("mounts", "field", "problem"), CONFLICTS)
def test_conflicting_mounts_name_both(mounts: list[object], field: str, problem: str) -> None:
    with pytest.raises(ConflictingRules) as caught:
        Policy(mounts=mounts)  # type: ignore[arg-type]
    error = caught.value
    assert error.field == field
    assert problem in error.problem
    assert len(error.sets) == 2
    assert all(word in error.problem for word in error.sets)


def test_mounts_that_do_not_conflict() -> None:
    Policy(mounts=["/a", "/ab", "/a/b", tmpfs("/t"), file("/t/x", b""), ro("/y", "/t/y")])


@pytest.mark.parametrize(("token", "lost"), [(NoSeccomp, "syscalls"), (HostNetwork, "network")])
def test_requiring_what_is_given_up(token: type, lost: str) -> None:
    with pytest.raises(ConflictingRules, match=token.__name__):
        Policy(accept=(token,), require={lost})
    assert Policy(accept=(token,)).accept == (token,)
    assert Policy(accept=(NoLandlock,), require={lost}).require == {lost}


@pytest.mark.parametrize(
    ("rules", "field", "problem", "remedy"),
    [
        ([object()], "rules[0]", "is not a rule set", "isolate_fn.rules"),
        (object(), "rules", "is not a rule set", "isolate_fn.rules"),
        ([SystemIO.everything(), 3], "rules[1]", "3 is not a rule set", "isolate_fn.rules"),
        ({"write": 1}, "rules", "is not a rule set", "isolate_fn.rules"),
        (SystemIO, "rules", "SystemIO is a class", "SystemIO()"),
        ([SystemIO], "rules[0]", "SystemIO is a class", "SystemIO()"),
        ([Rule("write", Arg(0) == 1)], "rules[0]", "stands in a set", 'Custom("name", Rule('),
        (["Write"], "rules[0]", "'Write' is not the name", "syscalls(2)"),
        ("", "rules", "'' is not the name", "syscalls(2)"),
        (["__NR_write "], "rules[0]", "is not the name", "without prefix"),
    ],
)
def test_what_is_no_rule_set(rules: object, field: str, problem: str, remedy: str) -> None:
    with pytest.raises(PolicyError) as caught:
        Policy(rules=rules)  # type: ignore[arg-type]
    assert caught.value.field == field
    assert problem in caught.value.problem
    assert remedy in caught.value.remedy


def test_rule_sets_are_kept_in_order() -> None:
    stdout = SystemIO().allow_stdout()
    assert Policy(rules=stdout).rules == (stdout,)
    assert Policy(rules="reboot").rules == ("reboot",)
    assert Policy(rules=iter([stdout, "reboot"])).rules == (stdout, "reboot")
    assert Policy(rules=[]).rules == ()
    assert Policy().rules is None
    assert pickle.loads(pickle.dumps(Policy(rules=[stdout]))) == Policy(rules=[stdout])
    assert repr(Policy(rules=[stdout, "reboot"])) == "Policy(rules=(SystemIO().allow_stdout(), 'reboot'))"


UNBUILT = [
    (Policy(network=Network(connect=["a:1"])), "network=Network(...)"),
    (Policy(network=Network(loopback=[1])), "network=Network(...)"),
    (Policy(network=Network(dns=True)), "network=Network(...)"),
    (Policy(mounts=[overlay("/a")]), "overlay()"),
    (Policy(limits=Limits(cpus=1)), "limits.cpus"),
]


@pytest.mark.parametrize(("policy", "feature"), UNBUILT)
def test_what_cannot_be_enforced_is_refused(policy: Policy, feature: str) -> None:
    with pytest.raises(Unsupported) as caught:
        refuse_unbuilt(policy)
    assert feature in caught.value.feature
    assert caught.value.remedy


@pytest.mark.parametrize(
    "policy",
    [
        Policy(),
        Policy(network=True),
        Policy(network=Network()),
        Policy(mounts=["/a", rw("/b"), tmpfs("/c")], on_denied="kill"),
        *(getattr(presets, name) for name in presets.__all__),
    ],
)
def test_the_rest_is_accepted(policy: Policy) -> None:
    refuse_unbuilt(policy)


def test_the_weakenings_say_what_goes() -> None:
    for name in dangerous.__all__:
        token = getattr(dangerous, name)
        assert token.__module__ == "isolate_fn.dangerous"
        assert "What goes:" in token.__doc__
        assert pickle.loads(pickle.dumps(token)) is token
