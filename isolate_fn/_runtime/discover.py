"""What this interpreter needs of the host's files, so that an isolate can run Python as the caller does.

Everything is shown read-only at the same path as outside: the interpreter, the standard library,
site-packages, the shared libraries, the importable part of the user's own directories, and a small /etc that
tells nothing of the host.

The view holds paths, not contents, except for a few files of /etc. Computing it looks at many directories;
the caller keeps it as long as `runtime_key` stays the same.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterable

from isolate_fn._frozen import dataclass
from isolate_fn._plan.orders import MountOrder
from isolate_fn._runtime import discover_project, discover_system
from isolate_fn._runtime.discover_tree import Tree
from isolate_fn._runtime.executable import VERSION, find_interpreter


@dataclass(frozen=True)
class RuntimeView:
    """What an isolate sees of this interpreter.

    Attributes:
        orders: mounts, none within another.
        sys_path: ``sys.path`` for inside: the same order, absolute, without what does not exist there.
        editable: (module name, path) of editable installs that work by an import hook: a package's directory,
            a module's file, or a directory of a namespace package (which may occur several times).
        interpreter: real path of the executable.
        prefix: `sys.prefix` to set inside.
        exec_prefix: `sys.exec_prefix` to set inside.
        base_prefix: `sys.base_prefix` to set inside.
    """

    orders: tuple[MountOrder, ...]
    sys_path: tuple[str, ...]
    editable: tuple[tuple[str, str], ...]
    interpreter: str
    prefix: str
    exec_prefix: str
    base_prefix: str



def discover_runtime(
    *, tools: bool = False, network: bool = False, extra_sys_path: Iterable[str] = ()
) -> RuntimeView:
    """Find out what an isolate needs to run Python as this process does.

    Args:
        tools: show the system's programs and their data as well.
        network: show what clients of the network need: name servers, certificates, names of services.
        extra_sys_path: further directories to import from, after those of ``sys.path``.

    Raises:
        Unsupported: this program has no Python interpreter that could be started.
        SetupError: the user's directories hold too many single modules.
    """
    tree = Tree()
    interpreter = find_interpreter()
    discover_system.add_system(tree, tools=tools)
    discover_system.add_etc(tree, network=network)
    _add_python(tree, interpreter)
    if tools:
        discover_system.add_tools(tree)
    editable = tuple(discover_project.editable_mappings())
    for _, path in editable:
        _add_editable(tree, path)
    left = _left(len(sys.modules), tuple(sys.path))
    entries = _add_sys_path(tree, (*sys.path, *left, *extra_sys_path))
    # A path without anything to import would be looked up in vain by every import.
    shown = (entry for entry in entries if tree.shows_below(tree.resolve(entry)))
    return RuntimeView(
        orders=tree.orders(),
        sys_path=tuple(shown),
        editable=editable,
        interpreter=interpreter,
        prefix=sys.prefix,
        exec_prefix=sys.exec_prefix,
        base_prefix=sys.base_prefix,
    )


def runtime_key() -> tuple[object, ...]:
    """Return what a view depends on, in some microseconds; equal keys, equal views.

    Modules that are added to a known directory later do not change it.
    """
    path = tuple(sys.path)
    here = discover_project.absolute("") if _has_relative(path) else ""
    count = len(sys.modules)
    found = _editable_hooks(count), _left(count, path)
    return (path, here, sys.prefix, sys.base_prefix, sys.executable, len(sys.meta_path), found)


@functools.lru_cache(maxsize=8)
def _has_relative(path: tuple[str, ...]) -> bool:
    """Tell whether an entry means the current directory; the placeholders of setuptools' editable installs do not."""
    return any(not os.path.isabs(entry) and not entry.endswith("__path_hook__") for entry in path)


@functools.lru_cache(maxsize=8)
def _editable_hooks(modules: int) -> tuple[str, ...]:
    """Return the finders of editable installs; a program with ``modules`` modules in memory does not look for them twice."""
    return tuple(name for name in list(sys.modules) if name.startswith("__editable___"))


@functools.lru_cache(maxsize=8)
def _left(modules: int, path: tuple[str, ...]) -> tuple[str, ...]:
    """Return the working directory, if modules came from it that ``sys.path`` no longer leads to.

    Looked for as seldom as the finders, so it is that of the time of the last import. Of other directories that were on the
    path once nobody expects it any more, and each would be one more to look into for every import.
    """
    here = discover_project.absolute("")
    known = {discover_project.absolute(entry) for entry in path if isinstance(entry, str)}
    return (here,) if here and here not in known and discover_project.was_imported_from(here) else ()


def _add_python(tree: Tree, interpreter: str) -> None:
    tree.add(interpreter, "interpreter")
    if os.path.isabs(sys.executable or "") and "python" in os.path.basename(sys.executable):
        tree.add(sys.executable, "interpreter")
    if sys.base_prefix not in ("/usr", "/"):
        for prefix in (sys.base_prefix, sys.base_exec_prefix):
            tree.add(f"{prefix}/lib", "Python's libraries")
            if sys.platlibdir != "lib":
                tree.add(f"{prefix}/{sys.platlibdir}", "Python's libraries")
    tree.add(os.path.dirname(os.__file__), "standard library")
    if sys.prefix != sys.base_prefix:
        tree.add(f"{sys.prefix}/pyvenv.cfg", "virtual environment")
    _add_libpython(tree)


def _add_libpython(tree: Tree) -> None:
    """Show libpython where it is not in the usual place, by the path that the loader will look for."""
    loaded = mapped_libpython()
    if not loaded or tree.covers(loaded):
        return
    import sysconfig  # slow, and only for unusual layouts

    tree.add(loaded, "libpython")
    # The executable's RUNPATH is normally the LIBDIR it was configured with.
    for variable in ("LIBDIR", "LIBPL"):
        directory = sysconfig.get_config_var(variable)
        if directory:
            tree.add(os.path.join(directory, os.path.basename(loaded)), "libpython")


def mapped_libpython() -> str:
    """Return the real path of the libpython in this process, nothing where Python is linked statically."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
            for line in maps:
                path = line.rstrip("\n").split(maxsplit=5)[-1]
                if os.path.basename(path).startswith(f"libpython{VERSION}"):
                    return path
    except OSError:
        pass
    return ""


def _add_editable(tree: Tree, path: str) -> None:
    if os.path.isdir(path) and not os.path.isfile(f"{path}/__init__.py"):
        discover_project.add_project(tree, path)
    elif not tree.covers(tree.resolve(path)):
        discover_project.add_importable(tree, path)


def _add_sys_path(tree: Tree, entries: Iterable[object]) -> list[str]:
    """Show what can be imported from each entry, and return the entries as absolute paths."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    paths: list[str] = []
    for entry in (*entries, os.path.dirname(package)):
        # importlib ignores anything else; '' is the current directory (importlib.machinery.PathFinder).
        if not isinstance(entry, str):
            continue
        path = discover_project.absolute(entry)
        if path and path not in paths:
            paths.append(path)
    for path in paths:
        _add_entry(tree, path)
    if not tree.covers(tree.resolve(package)):
        discover_project.add_importable(tree, package)
    return paths


def _add_entry(tree: Tree, path: str) -> None:
    if tree.covers(tree.resolve(path)):
        tree.add(path, "modules")  # for the links on its way
    elif os.path.isdir(path):
        if os.path.basename(path) in ("site-packages", "dist-packages"):
            tree.add(path, "site-packages")
        else:
            discover_project.add_project(tree, path)
    else:
        # A zip file, or a path into one.
        while path != "/" and not os.path.exists(path):
            path = os.path.dirname(path)
        if os.path.isfile(path):
            tree.add(path, "zip file on sys.path")
