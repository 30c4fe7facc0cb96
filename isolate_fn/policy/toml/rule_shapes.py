"""Rule sets in TOML: their keys are read off the classes, so that every set and every method of it can be said.

Of ``rules``, one element of each kind::

    rules = [
        "getpgrp",                                                    # a system call, whatever its arguments
        {set = "SystemIO", allow = ["stdout", {read_path = "/x"}]},   # SystemIO().allow_stdout().allow_read_path("/x")
        {set = "Networking", allow = "everything", without = ["listen"]},
        {set = "Signals", allow = ["wait"], keep_inside = true},
        {custom = "tty", permit = [{call = "ioctl", when = ["low32(arg1) == 0x5402"]}]},
        {object = "mypackage.rules.READING"},                         # a set of one's own, by its name in Python
    ]
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from isolate_fn.policy.landlock_words import PATH_RIGHTS, PORT_RIGHTS
from isolate_fn.policy.rule_sets import (
    basic,
    file_changes,
    networking,
    processes,
    python,
    signals,
    system_io,
    threads,
    user_id,
)
from isolate_fn.policy.rule_sets.builtin import Builtin
from isolate_fn.policy.toml.shapes import Either, Flag, Kinds, Many, Shape, Table, Text, Whole, Word

EVERYTHING, NOTHING = "everything", "nothing"
_CALL = Text('the name of a system call such as "write"', "[a-z_][a-z0-9_]*")
_DOTTED = Text('a dotted name such as "package.module.NAME"', r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_CONDITION = Text('a condition such as "arg0 == 1"', ".*arg[0-5].*")
_RULE = {
    "call": _CALL,
    "when": Many(_CONDITION),
    "need": Flag(),
    "gives_way_to": Many(_CALL, least=1),
    "reason": Text(),
}
RULE = Table(_RULE, required=("call",)).as_("rule")
TIGHTER = Table(_RULE, required=("call", "when")).as_("tighter")
PATH = Table(
    {"path": Text(), "rights": Many(Word(*PATH_RIGHTS), least=1), "optional": Flag()}, required=("path", "rights")
)
PORT = Table({"port": Whole(0, 65535), "rights": Many(Word(*PORT_RIGHTS), least=1)}, required=("port", "rights"))

TIGHTENING = Many(Either(TIGHTER, Many(TIGHTER, least=1)), least=1).as_("tightening")
_CALLS = Many(_CALL, least=1).as_("calls")

#: Parameter of a method -> its shape, and whether a list of values is one call, and not a call for each of them.
_PARAMETERS: dict[str, Shape] = {
    "file": Whole(0, (1 << 31) - 1),
    "path": Text('a path such as "/data"', r"[\s\S]+"),
    "pid": Whole(1, 1 << 22),
    "ports": Whole(0, 65535),
}


@functools.cache
def sets() -> dict[str, type[Builtin]]:
    """Return the builtin rule sets by name."""
    homes = (basic, system_io, file_changes, networking, threads, processes, signals, user_id, python)
    return {
        name: value
        for home in homes
        for name, value in vars(home).items()
        if isinstance(value, type) and issubclass(value, Builtin) and value.__module__ == home.__name__
    }


def words_of(cls: type[Builtin]) -> list[str]:
    """Return what ``allow`` takes as plain words."""
    everything = [EVERYTHING] if cls._EVERYTHING else []
    return [*everything, NOTHING, *(name for name, method in _methods(cls).items() if _parameter(method) is None)]


def parameters_of(cls: type[Builtin]) -> dict[str, inspect.Parameter]:
    """Return what ``allow`` takes with a value: word -> parameter of the method."""
    found = {name: _parameter(method) for name, method in _methods(cls).items()}
    return {name: parameter for name, parameter in found.items() if parameter is not None}


def switches_of(cls: type[Builtin]) -> list[str]:
    """Return the keys that are true or left out: methods that promise more instead of permitting more."""
    own = {
        name: value
        for name, value in inspect.getmembers(cls, inspect.isfunction)
        if not name.startswith(("_", "allow_"))
    }
    shared = set(dir(Builtin))
    return [name for name, method in own.items() if name not in shared and _parameter(method) is None]


def _methods(cls: type[Builtin]) -> dict[str, Callable[..., Any]]:
    # everything is a word of its own, for all sets; UserId has a method of that name with less in it.
    methods = inspect.getmembers(cls, inspect.isfunction)
    found: dict[str, Callable[..., Any]] = {
        name.removeprefix("allow_"): value for name, value in methods if name.startswith("allow_")
    }
    found.pop(EVERYTHING, None)
    return found


def _parameter(method: Callable[..., Any]) -> inspect.Parameter | None:
    parameters = [each for name, each in inspect.signature(method).parameters.items() if name != "self"]
    return parameters[0] if parameters else None


def _set_shape(cls: type[Builtin]) -> Table:
    choices: list[Shape] = [Word(*words_of(cls))]
    valued: dict[str, Shape] = {}
    for name, parameter in parameters_of(cls).items():
        one = _PARAMETERS[parameter.name]
        valued[name] = Either(one, Many(one, least=1))
    if valued:
        choices.append(Table(valued, least=1))
    switches: dict[str, Shape] = dict.fromkeys(switches_of(cls), Flag())
    doc = inspect.getdoc(cls) or ""
    return Table(
        {
            "set": Word(cls.__name__),
            "allow": Either(Word(*words_of(cls)), Many(Either(*choices))),
            **switches,
            "restrict": TIGHTENING,
            "without": _CALLS,
        },
        required=("set",),
        described={"set": doc.split("\n", 1)[0]},
    )


class _BySet(Shape):
    """A table with ``set``: its other keys depend on which one."""

    what = "a table with set ="

    def __init__(self) -> None:
        self.tables = {name: _set_shape(cls) for name, cls in sets().items()}

    def _fits(self, value: object) -> bool:
        return isinstance(value, dict) and "set" in value

    def _check(self, value: Any, at: Any) -> None:
        Word(*self.tables).check(value["set"], at.down("set"))
        self.tables[value["set"]].check(value, at)

    def _schema(self) -> dict[str, Any]:
        return {"anyOf": [table.schema() for table in self.tables.values()]}


@functools.cache
def rules_shape() -> Shape:
    """Return the shape of ``rules``."""
    permit = Many(Either(_CALL, Kinds({"call": RULE, "path": PATH, "port": PORT})))
    kinds = Kinds(
        {
            "set": _BySet(),
            "custom": Table({"custom": Text("a name", r"[\s\S]*\S[\s\S]*"), "permit": permit}, required=("custom",)),
            "object": Table({"object": _DOTTED}, required=("object",)),
        }
    )
    return Many(Either(_CALL, kinds))
