"""Every key that a policy may have in TOML, and the shape of its value: the one table that reader and schema are made of.

An option is written as in Python, with these differences: TOML has no None, so ``"none"`` stands for it (``"all"`` in
``require``), and what Python names by an object is named by a text: classes and functions as ``"package.module.Name"``,
presets, rule sets and weakenings by their names.
"""

from __future__ import annotations

import functools
import inspect
import re

from isolate_fn.policy import checks
from isolate_fn.policy.limits import Limits
from isolate_fn.policy.network import Network
from isolate_fn.policy.policy import PROPERTIES, Policy
from isolate_fn.policy.tokens import Danger
from isolate_fn.policy.toml.rule_shapes import rules_shape
from isolate_fn.policy.toml.shapes import Either, Flag, Kinds, Many, Names, Number, Shape, Table, Text, Whole, Word

NONE = Word("none")
NAME = r"[A-Za-z0-9_-]+"
_MOST = (1 << 31) - 1

_PATH = Text('an absolute path such as "/data"', r"/[\s\S]*")
_DOTTED = Text('a dotted name such as "package.module.Name"', r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_MODULE = Text('the name of a module such as "numpy"', r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_SIZE = Either(Whole(1, checks.HIGHEST_SIZE), Text('a size such as "512M"', "[0-9]{1,20}[KMGTkmgt]?"))
_SECONDS = Number(checks.YEAR, "a positive number of seconds, at most a year")
_SOURCE = {"dst": _PATH, "optional": Flag()}
_BASE = (
    "What to start from: a preset, or another policy of the same file. Limits of its own replace the base's one by one, "
    "every other key the base's as a whole."
)


def _or_none(*shapes: Shape) -> Shape:
    return Either(NONE, *shapes)


MOUNT = Either(
    _PATH,
    Kinds(
        {
            "ro": Table({"ro": _PATH, **_SOURCE, "noexec": Flag()}, required=("ro",)),
            "rw": Table({"rw": _PATH, **_SOURCE, "noexec": Flag(), "allow_code": Flag()}, required=("rw",)),
            "overlay": Table({"overlay": _PATH, **_SOURCE, "noexec": Flag()}, required=("overlay",)),
            "tmpfs": Table({"tmpfs": _PATH, "size": _SIZE, "noexec": Flag()}, required=("tmpfs",)),
            "file": Kinds(
                {
                    "text": Table({"file": _PATH, "text": Text()}, required=("file", "text")),
                    "base64": Table(
                        {"file": _PATH, "base64": Text("base64", "[A-Za-z0-9+/]*={0,2}")}, required=("file", "base64")
                    ),
                }
            ),
            "dev": Table({"dev": _PATH, **_SOURCE}, required=("dev",)),
            "symlink": Table({"symlink": _PATH, "target": Text()}, required=("symlink", "target")),
        }
    ),
)

NETWORK = Table(
    {"connect": Many(Text('"host:port"', ".+:[0-9]{1,5}")), "loopback": Many(Whole(1, 65535)), "dns": Flag()},
)

LIMITS: dict[str, Shape] = {
    "rootfs_size": _SIZE,
    "rootfs_inodes": Whole(256, _MOST),
    "memory": _or_none(_SIZE),
    "cpu_time": _or_none(_SECONDS),
    "processes": Whole(1, 1 << 22),
    "open_files": Whole(16, 1 << 20),
    "file_size": _or_none(_SIZE),
    "output": _SIZE,
    "result": _SIZE,
    "address_space": _or_none(_SIZE),
    "cpus": _or_none(Number(8192, "a number such as 1 or 1.5, at most 8192")),
}

_TRIPLE = Table({"class": _DOTTED, "encode": _DOTTED, "decode": _DOTTED}, required=("class", "encode", "decode"))
_HOST = Table({"function": _DOTTED, "calls": Whole(1, _MOST), "seconds": _SECONDS}, required=("function",))


def dangers() -> dict[str, type[Danger]]:
    """Return the weakenings by both of their names: ``TrustResult`` and ``isolate_fn.dangerous.TrustResult``."""
    found = {token.__name__: token for token in Danger.__subclasses__() if token.__module__ == "isolate_fn.dangerous"}
    return found | {f"isolate_fn.dangerous.{name}": token for name, token in found.items()}


@functools.cache
def policy_shape() -> Table:
    """Return the shape of one policy."""
    keys: dict[str, Shape] = {
        "base": Text("the name of a preset, or of another policy of this file", NAME),
        "mounts": Many(MOUNT),
        "network": Either(Flag(), _described(NETWORK, Network)),
        "rules": _or_none(rules_shape()),
        "limits": _described(Table(LIMITS), Limits),
        "timeout": _or_none(_SECONDS),
        "env": Names("[^=\0]+", "a name of a variable", Text()),
        "cwd": _PATH,
        "returns": Many(Either(_DOTTED, _TRIPLE)),
        "raises": Many(_DOTTED),
        "preload": Many(_MODULE),
        "reuse": Either(Flag(), Whole(1, _MOST)),
        "prewarm": Whole(0, 1024),
        "idle_timeout": _SECONDS,
        "fresh_exec": Flag(),
        "output": Either(Word("relay", "capture", "discard"), Table({"call": _DOTTED}, required=("call",))),
        "on_denied": Word("report", "errno", "kill"),
        "require": Either(Word("all"), Many(Word(*PROPERTIES))),
        "accept": Many(Word(*dangers())),
        "expose": _or_none(Names("[A-Za-z][A-Za-z0-9_]*", "a public name", Either(_DOTTED, _HOST))),
        "name": Text("a name", ".{1,200}"),
    }
    shape = _described(Table(keys), Policy)
    shape.described["base"] = _BASE
    return shape.as_("policy")


@functools.cache
def file_shape() -> Table:
    """Return the shape of a file: one policy, or several in tables of their names. ``[tool.isolate_fn]`` is one such."""
    policies = Names(NAME, "a name of letters, digits, - and _", policy_shape())
    described = {"policies": "Policies by name."}
    return Table({"policies": policies, **policy_shape().keys}, described=policy_shape().described | described)


def _described(table: Table, words: type) -> Table:
    """Return the table with what the docstring of the words says of each key."""
    text = inspect.cleandoc(words.__doc__ or "").partition("Args:\n")[2].partition("\n\n")[0]
    described = {}
    for entry in re.split(r"\n {4}(?=\w+: )", f"\n{text}"):
        name, colon, said = entry.partition(": ")
        if colon and name in table.keys:
            plain = re.sub(r"\s+", " ", said).replace("``", "`").strip()
            described[name] = plain[:1].upper() + plain[1:]
    return Table(table.keys, required=table.required, described=described)
