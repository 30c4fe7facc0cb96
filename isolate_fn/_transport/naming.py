"""Finding a function again by name: the part of the way in that both sides walk, so that they walk it alike.

A function that can be imported inside the isolate is sent as its name. Sending it by value would copy every
global it uses into the payload, secrets included, and would split the module's state into two. But a
decorator has usually replaced it under its name, so a name alone leads to the decorator's object: a
`Location` therefore also says which attributes lead from there to the function itself.

Light on purpose: the worker imports this.
"""

from __future__ import annotations

import functools
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple
else:
    from isolate_fn._records import NamedTuple

# Modules that exist only in the process that runs them; multiprocessing imports the script as __mp_main__.
MAIN_MODULES = frozenset({"__main__", "__mp_main__"})

# Where decorators and descriptors keep what they decorate: functools.wraps, staticmethod and our own
# decorator use __wrapped__; bound methods __func__; property fget; cached_property and partial func; click
# callback.
_BEHIND = ("__wrapped__", "__func__", "fget", "func", "callback")

# A chain of decorators is a handful long. The bound is for objects that answer every attribute with a new one
# (mocks).
_MOST_STEPS = 100


class Location(NamedTuple):
    """Where a function is found: import `module`, walk `qualname`, then follow the attributes in `behind`.

    Attributes:
        module: dotted name.
        qualname: dotted path inside the module, through classes.
        file: the file the caller's module came from, absolute; empty for modules built into the interpreter.
        behind: attribute names that lead from the named object to the function, often ``("__wrapped__",)``.
    """

    module: str
    qualname: str
    file: str
    behind: tuple[str, ...]


def locate(function: object) -> Location | None:
    """Say where `function` can be found by name, or None where no name leads to this very object.

    Args:
        function: a function, class, builtin or decorator object.

    Returns:
        A location that was walked here and reached the same object.
    """
    module_name = getattr(function, "__module__", None)
    qualname = getattr(function, "__qualname__", None)
    if not isinstance(module_name, str) or not isinstance(qualname, str) or "<" in qualname:
        return None
    file = importable_file(module_name)
    if file is None:
        return None
    try:
        named = walk(sys.modules[module_name], qualname)
    except AttributeError:
        return None
    behind = _path_to(function, named)
    return None if behind is None else Location(module_name, qualname, file, behind)


def importable_file(module_name: str | None) -> str | None:
    """Say which file an imported module came from, or None where no other process can import it by name.

    Returns:
        An absolute path, or ``""`` for a module that is built into the interpreter.
    """
    # Types made at run time may have none; runpy's is "<run_path>".
    if not module_name or module_name in MAIN_MODULES or module_name.startswith("<"):
        return None
    module = sys.modules.get(module_name)
    file = getattr(module, "__file__", None)
    if isinstance(file, str):
        return _existing(file)
    origin = getattr(getattr(module, "__spec__", None), "origin", None)
    return "" if origin in ("built-in", "frozen") else None


def walk(module: object, qualname: str) -> Any:
    """Follow a dotted path from a module through classes, without binding methods.

    Raises:
        AttributeError: a part of the path does not exist.
    """
    target = module
    for part in qualname.split("."):
        target = _in_class(target, part) if isinstance(target, type) else getattr(target, part)
    return target


def follow(named: object, behind: tuple[str, ...]) -> Any:
    """Go from the named object to the function behind its decorators.

    Raises:
        AttributeError: the chain of decorators is another one than where the location was made.
    """
    for attribute in behind:
        named = getattr(named, attribute)
    return named


def _in_class(owner: type, name: str) -> object:
    """Look a name up in a class as it is stored: getattr() would bind classmethods and call descriptors."""
    # The compiler stores __private names of a class body under _Class__private; __qualname__ keeps them as
    # written.
    mangled = f"_{owner.__name__.lstrip('_')}{name}"
    for candidate in (name, mangled) if name.startswith("__") else (name,):
        for base in owner.__mro__:
            if candidate in vars(base):
                return vars(base)[candidate]
    raise AttributeError(f"class {owner.__qualname__!r} has no {name!r}")


def _path_to(wanted: object, start: object) -> tuple[str, ...] | None:
    """Breadth first, because the shortest way round a decorator is the one that its author meant."""
    waiting: list[tuple[object, tuple[str, ...]]] = [(start, ())]
    seen: set[int] = set()
    for current, path in waiting:  # grows while it is walked
        if current is wanted:
            return path
        if id(current) in seen or len(waiting) > _MOST_STEPS:
            continue
        seen.add(id(current))
        for attribute in _BEHIND:
            try:
                inner = getattr(current, attribute, None)
            except Exception:  # a decorator's property: whatever it raises, this is not the way
                inner = None
            if inner is not None:
                waiting.append((inner, (*path, attribute)))
    return None


@functools.lru_cache(maxsize=1024)  # asked for every class among a call's arguments
def _existing(file: str) -> str | None:
    """Make a module's file absolute, as the isolate works in another directory; None if it does not exist.

    Modules made by exec() or by an importer of the caller's own name files that do not exist.
    """
    path = outer = os.path.abspath(file)
    # A name inside an archive exists as far as the archive does: zipimport's ``app.zip/module.py``.
    while not os.path.exists(outer):
        outer, name = os.path.split(outer)
        if not name:
            return None
    return path if os.path.isfile(outer) else None
