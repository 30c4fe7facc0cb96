"""What of the user's own directories an isolate sees: importable packages and modules, nothing beside.

A directory on ``sys.path`` is never mounted itself: ``.env``, ``.git`` and data lie there too, and what is
put there later would show up inside. Shown are, one by one,

- packages: directories with ``__init__``, mounted whole, with the data files inside them;
- modules: files that Python can import, copied (again when they change);
- namespace packages: directories without ``__init__`` that hold packages or modules, by the same rule;
- metadata of installed distributions (``*.egg-info``, ``*.dist-info``), which `importlib.metadata` reads.

Hidden entries are left out. A package with something like ``.env`` or ``.git`` inside is mounted entry by
entry.
"""

from __future__ import annotations

import importlib.machinery
import itertools
import os
import sys
from collections.abc import Iterator

from isolate_fn._runtime.discover_tree import Tree

_SUFFIXES = tuple(importlib.machinery.all_suffixes())
# Names that are never meant for the program itself: secrets and histories of versions.
_SECRETS = frozenset(
    {
        ".env",
        ".envrc",
        ".git",
        ".hg",
        ".svn",
        ".ssh",
        ".aws",
        ".gnupg",
        ".netrc",
        ".pypirc",
        ".npmrc",
        ".htpasswd",
    }
)
# Never a package of the program, but often large.
_SKIPPED = frozenset({"__pycache__", "node_modules"})
# Directories that get onto sys.path by accident (a script in /tmp, `python -c` in the home directory or in a
# container's /). Their modules and packages are shown, but any directory would look like a namespace package
# there.
_SHARED_ROOTS = frozenset(
    {
        "/",
        "/boot",
        "/etc",
        "/home",
        "/media",
        "/mnt",
        "/opt",
        "/root",
        "/run",
        "/srv",
        "/tmp",
        "/usr",
        "/var",
        "/var/tmp",
    }
)
_NAMESPACE_DEPTH = 6
# A directory of data is given up as a namespace package when this many entries hold no module.
_NAMESPACE_ENTRIES = 1000
# Directories of one package that are searched for secrets below its top.
_SEARCHED_DIRECTORIES = 500


def add_project(tree: Tree, root: str) -> None:
    """Show what can be imported from a directory on ``sys.path``.

    Args:
        tree: where to add it.
        root: absolute path of the directory; nothing happens if it cannot be read.

    Raises:
        SetupError: it holds too many single modules.
    """
    real = tree.resolve(root)
    shared = real in _SHARED_ROOTS or real == tree.resolve(os.path.expanduser("~"))
    for path in _importable(real, 0 if shared else _NAMESPACE_DEPTH):
        add_importable(tree, path)
    if real != root:
        tree.add_link(root)


def add_importable(tree: Tree, path: str) -> None:
    """Show a package or module; a package with secrets inside without them and its hidden entries."""
    if os.path.isdir(path) and _holds_secret(path):
        for entry in _entries(path):
            if not entry.name.startswith("."):
                add_importable(tree, entry.path)
    else:
        tree.add(path, "the program's modules", may_copy=True)


def _importable(directory: str, depth: int) -> Iterator[str]:
    """Yield paths of the packages and modules in a directory, those of namespace packages included."""
    for entry in _entries(directory):
        if _is_module(entry) or _is_package(entry):
            yield entry.path
        elif depth > 0 and _may_be_namespace(entry):
            yield from _importable_below(entry.path, depth - 1)


def _importable_below(directory: str, depth: int) -> Iterator[str]:
    """Yield the same of a directory that may as well be full of data: look at its beginning first."""
    try:
        with os.scandir(directory) as entries:
            first = list(itertools.islice(entries, _NAMESPACE_ENTRIES))
    except OSError:
        return
    data_only = len(first) == _NAMESPACE_ENTRIES and not any(map(_is_module, first))
    if not data_only:
        yield from _importable(directory, depth)


def _is_module(entry: os.DirEntry[str]) -> bool:
    return is_module_name(entry.name) and _is_file(entry)


def _is_package(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith(".") or not _is_directory(entry):
        return False
    if entry.name.endswith((".egg-info", ".dist-info")):
        return True
    if not entry.name.isidentifier() or entry.name in _SKIPPED:
        return False
    return is_package(entry.path)


def absolute(entry: str) -> str:
    """Return an entry of ``sys.path`` as an absolute path; nothing where its current directory is deleted."""
    try:
        return os.path.abspath(entry)
    except FileNotFoundError:
        return ""


def is_module_name(name: str) -> bool:
    """Tell whether Python would import a file of this name."""
    return name.endswith(_SUFFIXES) and not name.startswith(".")


def is_package(directory: str) -> bool:
    """Tell whether a directory has an ``__init__`` of any kind."""
    return any(os.path.isfile(f"{directory}/__init__{suffix}") for suffix in _SUFFIXES)


def _may_be_namespace(entry: os.DirEntry[str]) -> bool:
    if not entry.name.isidentifier() or entry.name in _SKIPPED or not _is_directory(entry):
        return False
    # A link may lead back up or anywhere; an environment holds other programs.
    return not entry.is_symlink() and not os.path.exists(f"{entry.path}/pyvenv.cfg")


def _holds_secret(package: str) -> bool:
    """Search a package, breadth first and within bounds, for entries that are not meant to be seen."""
    pending = [package]
    for directory in itertools.islice(
        iter(lambda: pending.pop(0) if pending else None, None), _SEARCHED_DIRECTORIES
    ):
        for entry in _entries(directory):
            if entry.name in _SECRETS or entry.name.startswith(".env."):
                return True
            if entry.name not in _SKIPPED and entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
    return False


def _entries(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def was_imported_from(directory: str) -> bool:
    """Tell whether a top-level module of this program was found in a directory by way of ``sys.path``.

    Programs put one there for an import alone, as the command ``celery`` does with the working directory. For what came
    through ``sys.path`` the import system keeps the finder of the directory; what was loaded from a file by its path leaves
    none.
    """
    if not sys.path_importer_cache.get(directory):
        return False
    return any(_home_of(name, module) == directory for name, module in list(sys.modules.items()))


def _home_of(name: str, module: object) -> str:
    """Return the directory in which a top-level module was found; empty for none."""
    try:
        file = object.__getattribute__(module, "__spec__").origin  # which does not load a lazy module
    except AttributeError:
        return ""
    if "." in name or not isinstance(file, str) or not os.path.isabs(file):
        return ""
    directory, base = os.path.split(file)
    if base.startswith("__init__."):
        directory, base = os.path.split(directory)
    return directory if base.partition(".")[0] == name else ""


def editable_mappings() -> Iterator[tuple[str, str]]:
    """Yield (module name, path) of editable installs that work by an import hook instead of ``sys.path``.

    Known are the finder that setuptools generates (module ``__editable___NAME_finder`` with ``MAPPING`` and
    ``NAMESPACES``) and that of the library editables, which hatchling and pdm use (``RedirectingFinder``).
    The path is the package's directory or the module's file.
    """
    for name, module in sorted(sys.modules.items()):
        if name.startswith("__editable___") and name.endswith("_finder"):
            yield from _setuptools_mappings(vars(module))
    for finder in sys.meta_path:
        redirections = getattr(finder, "_redirections", None)
        if getattr(finder, "__name__", "") == "RedirectingFinder" and isinstance(redirections, dict):
            for name, path in sorted(redirections.items()):
                text = os.fspath(path)
                package = os.path.basename(text).startswith("__init__.")
                yield name, os.path.dirname(text) if package else text


def _setuptools_mappings(finder: dict[str, object]) -> Iterator[tuple[str, str]]:
    mapping, namespaces = finder.get("MAPPING"), finder.get("NAMESPACES")
    for name, path in sorted(mapping.items()) if isinstance(mapping, dict) else ():
        text = os.fspath(path)
        if os.path.isdir(text):
            yield name, text
            continue
        # A module is given without its suffix.
        files = (text + suffix for suffix in ("", *_SUFFIXES))
        yield from ((name, file) for file in itertools.islice(filter(os.path.isfile, files), 1))
    for name, paths in sorted(namespaces.items()) if isinstance(namespaces, dict) else ():
        yield from ((name, os.fspath(path)) for path in paths)
