"""Rule sets from TOML, and back."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from isolate_fn.errors import PolicyError
from isolate_fn.policy.landlock_words import LandlockRule, PortRule
from isolate_fn.policy.rule_sets.base import Custom, Rule, RuleSet
from isolate_fn.policy.rule_sets.builtin import Builtin
from isolate_fn.policy.toml import rule_shapes as shapes
from isolate_fn.policy.toml.conditions import read_condition, write_condition
from isolate_fn.policy.toml.objects import name_of, named
from isolate_fn.policy.toml.place import Place

T = TypeVar("T")


def read_rule_set(entry: Any, at: Place) -> RuleSet | str:
    """Return the rule set of one element of ``rules``, which has fitted its shape.

    Raises:
        PolicyError: a set refuses what it is told.
    """
    if isinstance(entry, str):
        return entry
    if "object" in entry:
        return _own(entry["object"], at.down("object"))
    if "custom" in entry:
        parts = [_part(part, at.down("permit", index)) for index, part in enumerate(entry.get("permit", ()))]
        return Custom(entry["custom"], *parts)
    return _builtin(entry, at)


def _own(name: str, at: Place) -> RuleSet:
    found = named(name, at)
    if isinstance(found, type) and issubclass(found, RuleSet):
        found = found()
    if not isinstance(found, RuleSet):
        raise at.wrong(f"{name!r} is a {type(found).__name__}, not a rule set", "name a RuleSet, or a class of one")
    return found


def _builtin(entry: dict[str, Any], at: Place) -> RuleSet:
    cls = shapes.sets()[entry["set"]]
    allowed = entry.get("allow", [])
    words = [allowed] if isinstance(allowed, str) else allowed
    made = cls()
    for word in (shapes.EVERYTHING, shapes.NOTHING):
        if word in words:
            made = cls.everything() if word == shapes.EVERYTHING else cls.nothing()
    if shapes.EVERYTHING in words and shapes.NOTHING in words:
        raise at.down("allow").wrong("'everything' and 'nothing' at once", "keep one of them")
    for index, word in enumerate(words):
        made = _allow(made, word, at.down("allow", index))
    for switch in shapes.switches_of(cls):
        made = getattr(made, switch)() if entry.get(switch) else made
    tightenings = entry.get("restrict", [])
    for index, some in enumerate([tightenings] if isinstance(next(iter(tightenings), []), dict) else tightenings):
        place = at.down("restrict") if some is tightenings else at.down("restrict", index)
        made = _tried(at.down("restrict"), made.restrict, *_rules(some, place))
    return _tried(at.down("without"), made.without, *entry["without"]) if "without" in entry else made


def _allow(made: Builtin, word: str | dict[str, Any], at: Place) -> Builtin:
    if word in (shapes.EVERYTHING, shapes.NOTHING):
        return made
    if isinstance(word, str):
        return getattr(made, f"allow_{word}")()  # type: ignore[no-any-return]
    parameters = shapes.parameters_of(type(made))
    for name, value in word.items():
        values = value if isinstance(value, list) else [value]
        together = parameters[name].kind is parameters[name].VAR_POSITIONAL
        for arguments in [values] if together else [[each] for each in values]:
            made = _tried(at.down(name), getattr(made, f"allow_{name}"), *arguments)
    return made


def _rules(entries: Any, at: Place) -> list[Rule]:
    if not all(isinstance(entry, dict) for entry in entries):
        raise at.wrong("rules and lists of rules side by side", "write a list of rules for each step of tightening")
    return [_rule(entry, at.down(index)) for index, entry in enumerate(entries)]


def _rule(entry: dict[str, Any], at: Place) -> Rule:
    when = [_tried(at.down("when", i), read_condition, text) for i, text in enumerate(entry.get("when", ()))]
    more = {key: entry[key] for key in ("need", "gives_way_to", "reason") if key in entry}
    return _tried(at, Rule, entry["call"], *when, **more)


def _part(entry: Any, at: Place) -> str | Rule | LandlockRule | PortRule:
    if isinstance(entry, str):
        return entry
    if "path" in entry:
        return _tried(at, LandlockRule, entry["path"], entry["rights"], optional=entry.get("optional", False))
    return _tried(at, PortRule, entry["port"], entry["rights"]) if "port" in entry else _rule(entry, at)


def _tried(at: Place, make: Callable[..., T], *args: Any, **more: Any) -> T:
    try:
        return make(*args, **more)
    except PolicyError as error:
        raise at.tell(error) from None


# --- and back --------------------------------------------------------------------------------------------------------


def write_rule_set(entry: RuleSet | str, field: str) -> Any:
    """Return what `read_rule_set` makes an equal rule set of.

    Raises:
        PolicyError: a set of the user's own class that has no name to find it by.
    """
    if isinstance(entry, str):
        return entry
    if type(entry) is Custom:
        permit = [_written_part(part) for part in entry.parts]
        return {"custom": entry.name, **({"permit": permit} if permit else {})}
    if isinstance(entry, Builtin) and type(entry) is shapes.sets().get(type(entry).__name__):
        return _written_set(entry)
    name = name_of(type(entry), field)
    if vars(entry) and type(entry)() != entry:
        problem = f"{entry!r:.100} is not what its class makes without arguments"
        raise PolicyError(
            field, problem, 'say it by hand: {object = "package.module.NAME"} of a set that is kept there'
        )
    return {"object": name}


def _written_set(entry: Builtin) -> dict[str, Any]:
    cls, chosen = type(entry), {one.method for one in entry._chosen}
    allow: list[Any] = []
    if cls._EVERYTHING and set(cls._EVERYTHING) <= set(entry._chosen):
        allow.append(shapes.EVERYTHING)
        chosen -= {one.method for one in cls._EVERYTHING}
    elif not set(cls._ALWAYS) <= set(entry._chosen):
        allow.append(shapes.NOTHING)
    chosen -= {one.method for one in cls._ALWAYS}
    switches = {f"{name}()": name for name in shapes.switches_of(cls)}
    valued: dict[str, list[Any]] = {}
    for method in sorted(chosen - set(switches)):
        name, _, arguments = method.removeprefix("allow_").partition("(")
        values = ast.literal_eval(f"({arguments[:-1]},)") if arguments != ")" else ()
        if not values:
            allow.append(name)
        elif len(values) > 1:
            allow.append({name: list(values)})
        else:
            valued.setdefault(name, []).extend(values)
    together = {name for name, each in shapes.parameters_of(cls).items() if each.kind is each.VAR_POSITIONAL}
    for name, some in valued.items():
        allow += [{name: one} for one in some] if name in together or len(some) == 1 else [{name: some}]
    found: dict[str, Any] = {"set": cls.__name__}
    if allow:
        found["allow"] = allow if allow not in (["everything"], ["nothing"]) else allow[0]
    found |= {name: True for method, name in switches.items() if method in {one.method for one in entry._chosen}}
    steps = [[_written_rule(rule) for rule in some] for some in entry._tightened]
    found |= {"restrict": steps[0] if len(steps) == 1 else steps} if steps else {}
    return found | ({"without": list(entry._removed)} if entry._removed else {})


def _written_rule(rule: Rule) -> dict[str, Any]:
    found: dict[str, Any] = {"call": rule.syscall}
    found |= {"when": [write_condition(each) for each in rule.conditions]} if rule.conditions else {}
    found |= {"gives_way_to": list(rule.gives_way_to)} if rule.gives_way_to else {"need": True} if rule.need else {}
    return found | ({"reason": rule.reason} if rule.reason else {})


def _written_part(part: str | Rule | LandlockRule | PortRule) -> Any:
    if isinstance(part, str):
        return part
    if isinstance(part, Rule):
        return _written_rule(part)
    place = {"path": part.path} if isinstance(part, LandlockRule) else {"port": part.port}
    optional = {"optional": True} if isinstance(part, LandlockRule) and part.optional else {}
    return {**place, "rights": sorted(part.rights), **optional}


def read_rule_sets(value: Iterable[Any], at: Place) -> tuple[RuleSet | str, ...]:
    """Return all rule sets of a policy."""
    return tuple(read_rule_set(entry, at.down(index)) for index, entry in enumerate(value))
