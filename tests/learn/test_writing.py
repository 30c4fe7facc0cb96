"""The decorator that is printed is Python, and makes the same policy where it is pasted."""

from __future__ import annotations

import ast
import decimal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from isolate_fn import Host, Limits, Policy, learn, ro
from isolate_fn._diagnose.learn.writing import decorator, imports
from isolate_fn.dangerous import NoLandlock, TrustResult
from isolate_fn.errors import PolicyError
from isolate_fn.rules import BasicCapabilities, SystemIO

ROOT = Path(__file__).parents[2]


class Currency:
    class Code:
        @classmethod
        def read(cls, data):
            return cls()


def encode(value):
    return b""


def decode(data):
    return Currency()


def lookup(name):
    return name


def pasted(policy, home="", **names):
    """Return the policy that what is printed makes, in a namespace that has nothing else."""
    exec(imports(policy, home), names)
    text = decorator(policy, home)
    exec(f"{text}\ndef pasted(): ...", names)
    return Policy.from_options(names["pasted"].policy, name=policy.name)


@pytest.mark.parametrize(
    "options",
    [
        {"expose": {"lookup": lookup}},
        {"expose": {"lookup": Host(lookup, calls=3, seconds=0.5), "dumps": Currency.Code.read, "two": len}},
        {"output": lookup},
        {"returns": ((Currency, encode, decode), Currency.Code, decimal.Decimal, int)},
        {"raises": (decimal.InvalidOperation,)},
        {"raises": (decimal.InvalidOperation, KeyError, subprocess.TimeoutExpired)},
        {"accept": (TrustResult, NoLandlock), "returns": (decimal.Decimal,)},
        {"rules": [SystemIO.nothing().allow_stdout(), BasicCapabilities(), "reboot"]},
        {"mounts": [ro("/etc/hosts"), ro(f"/{'x' * 120}")], "limits": Limits(memory="1G"), "network": True},
        {"expose": {f"name{number}": lookup for number in range(20)}, "env": {"A": "'\n"}},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_is_printed_makes_the_same_policy(options):
    policy = Policy(**options)
    assert pasted(policy) == policy


def test_the_same_name_twice_and_names_that_are_taken(tmp_path, monkeypatch):
    for module in ("one_of_two", "other_of_two"):
        source = "def lookup(x): ...\ndef ro(x): ...\nclass KeyError(Exception): ...\nclass SystemIO: ...\n"
        (tmp_path / f"{module}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    import one_of_two
    import other_of_two

    expose = {"a": one_of_two.lookup, "b": other_of_two.lookup, "c": one_of_two.ro}
    raises = (KeyError, one_of_two.KeyError)
    policy = Policy(
        expose=expose, raises=raises, mounts=[ro("/etc/hosts")], returns=(one_of_two.SystemIO,), rules=SystemIO.everything()
    )
    made = pasted(policy)
    assert made == policy
    assert made.raises == raises


def test_what_is_of_the_functions_own_module_needs_no_import():
    policy = Policy(expose={"lookup": lookup}, raises=(decimal.InvalidOperation,))
    assert imports(policy, __name__) == "from decimal import InvalidOperation\nfrom isolate_fn import isolated"
    assert pasted(policy, __name__, lookup=lookup) == policy
    assert f"from {__name__} import lookup" in imports(policy)


def test_of_the_script_itself():
    script = """
        from isolate_fn import Policy
        from isolate_fn._diagnose.learn.writing import decorator, imports
        def lk(name): ...
        policy = Policy(expose={"lk": lk})
        assert imports(policy, "__main__") == "from isolate_fn import isolated"
        print(decorator(policy, "__main__"))
        print(decorator(policy, "elsewhere"))
    """
    environment = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], env=environment, text=True, capture_output=True, check=True
    )
    assert done.stdout.splitlines() == [
        "@isolated(expose={'lk': lk})",
        "# expose['lk']: lk: no import reaches it; write it where ... stands",
        "@isolated(expose={'lk': ...})",
    ]


def test_what_has_no_name_is_said_and_refused_until_it_is_written():
    def local(name):
        return name

    policy = Policy(
        expose={"a": lambda: 1, "b": Host(local, calls=2), "c": Currency().Code().read.__func__.__get__(Currency())},
        output=local,
    )
    text = decorator(policy)
    remarks = [line for line in text.splitlines() if line.startswith("# ")]
    assert [line.partition(":")[0] for line in remarks] == ["# output", "# expose['a']", "# expose['b']", "# expose['c']"]
    assert "test_what_has_no_name_is_said_and_refused_until_it_is_written.<locals>.local" in text
    (called,) = ast.parse(f"{text}\ndef function(): ...").body[0].decorator_list
    assert {option.arg for option in called.keywords} == {"output", "expose"}
    with pytest.raises(PolicyError, match="Ellipsis is not callable"):
        pasted(policy)


def test_no_weakening_without_its_import():
    assert "from isolate_fn.dangerous import TrustResult" in imports(Policy(accept=(TrustResult,)))


@pytest.mark.needs("namespaces", "landlock")
def test_learning_says_so_too():
    with learn(Policy(expose={"lookup": lookup}, raises=(decimal.InvalidOperation,))) as seen:
        seen.call(len, "abc")
    assert pasted(seen.policy) == seen.policy
    assert "from decimal import InvalidOperation" in seen.imports()
    assert "lookup" in seen.decorator()
