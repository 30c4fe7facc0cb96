"""Importing inside what the caller has imported: the same name, and the same file behind it.

The worker's sys.path is made to lead where the caller's leads. These are the ways for modules that it does
not reach, or reaches another file for. Light on purpose: the worker imports this.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from isolate_fn.errors import CallRejected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class EditableFinder:
    """Import names from given paths: editable installs, and modules that sys.path leads elsewhere or nowhere.

    Args:
        paths: dotted module name -> its ``.py`` or extension file, or its package directory (with or without
            ``__init__.py``).
    """

    def __init__(self, paths: Mapping[str, str]) -> None:
        self.paths = dict(paths)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Answer the import system (PEP 451)."""
        location = self.paths.get(name)
        if location is None:
            return None
        from importlib.machinery import ModuleSpec
        from importlib.util import spec_from_file_location

        if not os.path.isdir(location):
            return spec_from_file_location(name, location)
        init = os.path.join(location, "__init__.py")
        if os.path.isfile(init):
            return spec_from_file_location(name, init, submodule_search_locations=[location])
        namespace = ModuleSpec(name, None, is_package=True)
        namespace.submodule_search_locations = [location]
        return namespace

    @classmethod
    def install(cls, paths: Mapping[str, str], *, first: bool = False) -> EditableFinder:
        """Add a finder to this process: after sys.path as editable installs do, or `first`, overriding it."""
        finder = cls(paths)
        sys.meta_path.insert(0 if first else len(sys.meta_path), finder)
        return finder


def import_as_at_the_caller(name: str, file: str) -> Any:
    """Import by name; where that finds nothing or another file, load the caller's file under that name.

    Args:
        name: dotted name of the module.
        file: where the caller has it from; empty for modules built into the interpreter.

    Raises:
        CallRejected: neither works; says why and what to try.
    """
    failure: BaseException | None = None
    module = None
    try:
        __import__(name)
        module = sys.modules[name]
    except BaseException as error:  # SystemExit too: a script without a __main__ guard
        failure = error
    if module is not None and (not file or _is_file(module, file)):
        return module
    if not file or not os.path.isfile(file) or (failure is not None and _would_be_the_same(name, file)):
        raise _not_importable(name, file, module, failure) from failure
    try:
        return _load_file(name, file)
    except BaseException as error:
        raise _not_importable(name, file, module, error) from error


def _load_file(name: str, file: str) -> Any:
    """Import `name` from `file`, overriding whatever sys.path says of its top-level package."""
    top = name.partition(".")[0]
    root = _root_of(name, file)
    for loaded in [loaded for loaded in sys.modules if loaded == top or loaded.startswith(top + ".")]:
        if root or loaded == name:
            del sys.modules[loaded]
    if not root and "." in name:
        # A made-up name for a file: its supposed parents do not exist, and importing them would fail.
        from importlib.util import module_from_spec

        spec = EditableFinder({name: file}).find_spec(name)
        sys.modules[name] = module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    EditableFinder.install({top: root or file}, first=True)
    __import__(name)
    return sys.modules[name]


def _root_of(name: str, file: str) -> str:
    """Path of the top-level package or module, where the path of `file` ends as `name` does; else empty."""
    parts = name.split(".")
    path, base = os.path.split(file)
    stem = base.partition(".")[0]
    if stem == "__init__":
        below = parts
    elif stem == parts[-1]:
        below = parts[:-1]
        if not below:
            return file
    else:
        return ""
    for index, part in enumerate(reversed(below)):
        if index:
            path = os.path.dirname(path)
        if os.path.basename(path) != part:
            return ""
    return path


def _is_file(module: Any, file: str) -> bool:
    own = getattr(module, "__file__", None)
    return isinstance(own, str) and (own == file or os.path.realpath(own) == os.path.realpath(file))


def _would_be_the_same(name: str, file: str) -> bool:
    """Say, after a failed import, whether it failed in this very file: not worth running a second time."""
    from importlib.util import find_spec

    try:
        spec = find_spec(name)
    except Exception:
        return False
    origin = getattr(spec, "origin", None)
    return origin is not None and os.path.realpath(origin) == os.path.realpath(file)


def origin(module: Any) -> str:
    """Say where a module came from, for messages."""
    return getattr(module, "__file__", None) or "built into the interpreter"


def _not_importable(name: str, file: str, module: Any, failure: BaseException | None) -> CallRejected:
    what = f"the function's module {name!r}"
    missing = failure.name if isinstance(failure, ModuleNotFoundError) else None
    if missing and not f"{name}.".startswith(f"{missing}."):
        problem = f"importing it inside failed: no module named {missing!r} there"
        remedy = f"mount the directory that holds {missing!r} with mounts=[ro(...)], keep it on sys.path"
    elif failure is not None and not isinstance(failure, ModuleNotFoundError):
        problem = f"importing it inside failed: {type(failure).__name__}: {failure}"
        remedy = "grant what the module needs at import, or move that out of the module's top level"
    elif module is not None:
        problem = (
            f"inside, that name is {origin(module)}, but the caller has it from {file}, which is not visible inside"
        )
        remedy = f"mount it with mounts=[ro({os.path.dirname(file)!r})], or rename one of the two"
    else:
        problem = f"no module of that name inside; the caller has it from {file or 'no file'}"
        remedy = f"add its directory to sys.path before the call, or mounts=[ro({os.path.dirname(file)!r})]"
    return CallRejected(what, problem, remedy)
