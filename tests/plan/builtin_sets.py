"""Every builtin rule set in every single form: empty, whole, and each method by itself."""

from __future__ import annotations

import inspect

from isolate_fn import rules
from isolate_fn.policy.rule_sets.builtin import Builtin
from isolate_fn.rules import RuleSet

#: What methods with arguments are tried with, by the argument's name.
ARGUMENTS = {"file": 7, "path": "/usr", "pid": 4321, "ports": 443}

CLASSES = sorted(
    (value for value in vars(rules).values() if isinstance(value, type) and issubclass(value, Builtin)),
    key=lambda one: one.__name__,
)


def forms(of: type[Builtin]) -> dict[str, RuleSet]:
    """Return the values of one class by how they are written."""
    made: dict[str, RuleSet] = {f"{of.__name__}()": of(), f"{of.__name__}.everything()": of.everything()}
    for name, method in inspect.getmembers(of, inspect.isfunction):
        if name.startswith(("allow_", "keep_", "without_")):
            wanted = [word for word in inspect.signature(method).parameters if word != "self"]
            made[f"{of.__name__}.{name}"] = getattr(of(), name)(*(ARGUMENTS[word] for word in wanted))
    return made


EVERY = {label: value for of in CLASSES for label, value in forms(of).items()}
WHOLE = {of.__name__: of.everything() for of in CLASSES}
