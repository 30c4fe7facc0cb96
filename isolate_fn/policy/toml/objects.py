"""Python objects by their dotted names, both ways: for classes, functions and sets that a policy file names."""

from __future__ import annotations

import importlib
from typing import Any

from isolate_fn.errors import PolicyError
from isolate_fn.policy.toml.place import Place, nearest


def named(name: str, at: Place) -> Any:
    """Return the object of a dotted name: ``KeyError``, ``package.module.Class.Inner``. Imports its module.

    Raises:
        PolicyError: there is no such module, or nothing of that name in it.
    """
    parts = name.split(".")
    if len(parts) == 1:
        parts = ["builtins", name]
    module: Any = None
    for length in range(1, len(parts)):
        try:
            module, rest = importlib.import_module(".".join(parts[:length])), parts[length:]
        except ModuleNotFoundError as missing:
            if module is None or not ".".join(parts[:length]).startswith(str(missing.name)):
                raise at.wrong(f"{name!r}: {missing}", "check the name, and what sys.path holds") from missing
            break
        except ImportError as failed:
            raise at.wrong(f"{name!r}: {failed}", f"see why `import {'.'.join(parts[:length])}` fails") from failed
    found = module
    for part in rest:
        if not hasattr(found, part):
            owner = getattr(found, "__name__", "") or str(found)
            public = [each for each in dir(found) if not each.startswith("_")]
            near = nearest(part, public)
            remedy = near if near.startswith("did") else f"define it in {owner}"
            raise at.wrong(f"{owner} has no {part!r}", remedy)
        found = getattr(found, part)
    return found


def name_of(value: Any, field: str) -> str:
    """Return the dotted name of a class or function.

    Raises:
        PolicyError: it has none under which another program could find it: a lambda, something local, of ``__main__``.
    """
    module, qualname = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not module or not qualname:
        raise _nameless(field, value)
    name = qualname if module == "builtins" else f"{module}.{qualname}"
    try:
        found = named(name, Place.nowhere())
    except PolicyError:
        found = None
    if module == "__main__" or found is not value:
        raise _nameless(field, value)
    return name


def _nameless(field: str, value: object) -> PolicyError:
    problem = f"{value!r:.100} has no name by which TOML could say it"
    return PolicyError(field, problem, "define it at the top of an importable module")
