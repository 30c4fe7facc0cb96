"""Coverage measured inside isolates: what coverage.py counts there comes back with the answers, into the caller's data.

It happens where coverage.py measures the caller and it was asked for: by ``ISOLATE_FN_COVERAGE=1`` in the environment,
by ``coverage = true`` under ``[tool.isolate_fn]`` in the working directory's ``pyproject.toml``, or by pytest's option
``--isolate-fn-coverage``. The isolate's walls stay as they are: it gets no file to write to. File names and line
numbers come back in the closed format, and of those only what can be lines of mounted files is believed. Code inside
that wants to can lie about coverage, and about nothing else.

Imported only where ``coverage`` is imported already; by `isolate_fn` itself.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

VARIABLE = "ISOLATE_FN_COVERAGE"
INSIDE = "isolate_fn.integrations.coverage_inside"
PRELOAD = ("coverage", "sqlite3", INSIDE)

_PLACES = ("source", "source_pkgs", "source_dirs", "include", "omit")
_lock = threading.Lock()


def settings() -> str:
    """Return what an isolate needs to know to measure as the caller does; nothing where it shall not measure."""
    current = _current()
    try:
        if current is None or not _wanted(os.environ.get(VARIABLE), os.getcwd()):
            return ""
    except FileNotFoundError:  # the working directory is gone
        return ""
    frozen = tuple((name, tuple(_option(current, name) or ())) for name in _PLACES)
    return _settings(frozen, bool(_option(current, "branch")), os.environ.get("COVERAGE_CORE", ""), os.getcwd())


def hear(said: Any, outside: Callable[[str], str | None]) -> None:
    """Add what an isolate has counted to the caller's data, as far as it can be true.

    Args:
        said: hostile data: ``{"arcs": {file: [[from, to], ...]}}`` or ``{"lines": {file: [line, ...]}}``.
        outside: gives the host's path of a mounted file, None for anything else.
    """
    current = _current()
    if current is None or not isinstance(said, dict):
        return
    if isinstance(said.get("problem"), str):
        _complain(said["problem"][:200])
    branch = bool(_option(current, "branch"))
    counted = {}
    for name, told in _items(said.get("arcs" if branch else "lines")):
        path = outside(name) if isinstance(name, str) else None
        if path is None or not path.endswith(".py") or not isinstance(told, (list, tuple)):
            continue
        believed = set(_arcs(told, _length(path)) if branch else _lines(told, _length(path)))
        if believed:
            counted[_as_recorded(path, relative=bool(_option(current, "relative_files")))] = believed
    if counted:
        try:
            with _lock:
                data = current.get_data()
                data.add_arcs(counted) if branch else data.add_lines(counted)
        except Exception as error:  # a call shall not fail because its coverage cannot be kept
            _complain(f"{type(error).__name__}: {error}"[:200])


def _current() -> Any:
    module = sys.modules.get("coverage")
    current = module.Coverage.current() if module is not None and hasattr(module, "Coverage") else None
    return current if current is not None and getattr(current, "_started", True) else None


def _option(current: Any, name: str) -> Any:
    try:
        return current.get_option(f"run:{name}")
    except Exception:  # an option that this version of coverage.py does not know
        return None


@functools.lru_cache(maxsize=8)
def _wanted(variable: str | None, directory: str) -> bool:
    if variable is not None:
        return variable.strip().lower() not in ("", "0", "false", "no", "off")
    import tomllib

    try:
        with open(os.path.join(directory, "pyproject.toml"), "rb") as file:
            return tomllib.load(file).get("tool", {}).get("isolate_fn", {}).get("coverage") is True
    except (OSError, ValueError, AttributeError):
        return False


@functools.lru_cache(maxsize=8)
def _settings(options: tuple[tuple[str, tuple[str, ...]], ...], branch: bool, core: str, directory: str) -> str:
    given = dict(options)
    include = [*_patterns(given["include"])]
    for source in (*given["source"], *given["source_pkgs"], *given["source_dirs"]):
        include += _source(source)
    told = {"branch": branch, "core": core, "include": include, "omit": [*_patterns(given["omit"])]}
    return json.dumps(told, sort_keys=True)


def _patterns(patterns: Iterable[str]) -> Iterator[str]:
    """Make patterns absolute as coverage.py does: those that begin with a wildcard stay."""
    for pattern in patterns:
        yield pattern if pattern.startswith(("*", "?")) else os.path.abspath(pattern)


def _source(source: str) -> list[str]:
    """Return the patterns of a directory, or of a package that has this name."""
    if os.path.isdir(source):
        return [os.path.join(os.path.realpath(source), "*")]
    try:
        spec = importlib.util.find_spec(source)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return [os.path.join(os.path.abspath(source), "*")]
    places = spec.submodule_search_locations
    if places:
        return [os.path.join(os.path.realpath(place), "*") for place in places]
    return [os.path.realpath(spec.origin)] if spec.origin else []


def _items(told: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(told, dict):
        yield from told.items()


def _lines(told: Iterable[Any], most: int) -> Iterator[int]:
    for line in told:
        if type(line) is int and 0 < line <= most:
            yield line


def _arcs(told: Iterable[Any], most: int) -> Iterator[tuple[int, int]]:
    """Return pairs of line numbers; a negative one is the way into or out of the code that begins in that line."""
    for arc in told:
        pair = isinstance(arc, (list, tuple)) and len(arc) == 2
        if pair and all(type(end) is int and 0 < abs(end) <= most for end in arc):
            yield arc[0], arc[1]


def _length(path: str) -> int:
    try:
        return _lines_of(path, os.stat(path).st_mtime_ns)
    except OSError:
        return 0


@functools.lru_cache(maxsize=4096)
def _lines_of(path: str, changed: int) -> int:
    with open(path, "rb") as file:
        return sum(1 for _ in file)


def _as_recorded(path: str, *, relative: bool) -> str:
    here = os.path.join(os.path.realpath(os.getcwd()), "")
    return path.removeprefix(here) if relative else path


@functools.lru_cache(maxsize=16)
def _complain(problem: str) -> None:
    """Say once that an isolate could not measure."""
    import warnings

    shown = "".join(letter if letter.isprintable() else "?" for letter in problem)
    warnings.warn(f"coverage could not be measured inside an isolate: {shown}", RuntimeWarning, stacklevel=2)


__all__ = ["INSIDE", "PRELOAD", "VARIABLE", "hear", "settings"]
