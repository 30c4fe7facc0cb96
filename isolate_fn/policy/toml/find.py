"""Policies by name: presets, and ``[tool.isolate_fn.policies.NAME]`` of the project that the asking code belongs to.

The project is that of the *file which says the name*: the nearest pyproject.toml in its directory or one above. Not that
of the working directory: a service, a cron job or a test runner starts anywhere, and whoever chooses the directory that
a program is started in (an upload directory, /tmp) would choose what its functions may do. Code without a file (a REPL, a
notebook, ``python -c``) is the exception: it imports from the working directory as well, so nothing is lost there.

For the same reason a file that somebody else may write is refused.
"""

from __future__ import annotations

import os
import stat
import sys

from isolate_fn.errors import PolicyError
from isolate_fn.policy.inside import inside
from isolate_fn.policy.policy import Policy
from isolate_fn.policy.toml import read
from isolate_fn.policy.toml.place import File, Place

_PACKAGES = ("site-packages", "dist-packages")


def policy_named(name: str, near: str | os.PathLike[str] | None = None) -> Policy:
    """Return a preset, or a policy of the nearest pyproject.toml.

    Args:
        name: of the policy.
        near: file or directory to look at first, and then above; the file of the calling code if left out.

    Raises:
        PolicyError: there is no policy of that name (says which ones there are), or the file is not to be trusted.
    """
    preset = read.presets().get(name)
    try:
        start = os.path.abspath(near if near is not None else calling_file())
    except FileNotFoundError:
        if preset is None:
            raise _nowhere(name) from None
        return preset  # no file is above a directory that is gone
    try:
        path = nearest_project(start)
    except PolicyError:
        if preset is None:
            raise
        path = None  # a file that does not count cannot mean something else by the preset's name
    if path is None:
        if preset is None:
            raise _none_above(name, start)
        return preset
    table, at = read.policies_of(read.load(path))  # refuses a policy that is called like a preset
    return preset if preset is not None else read.named_policy(table, at, name)


def _nowhere(name: str) -> PolicyError:
    problem = f"there is no preset {name!r}, and no {read.PROJECT_FILE} to look into: {gone()}"
    return PolicyError("policy", problem, "change to a directory that exists, or name a file")


def gone() -> str:
    """Return what an error says of a working directory that somebody has removed."""
    try:
        path = os.readlink("/proc/self/cwd").removesuffix(" (deleted)")
    except OSError:  # no /proc
        return "the working directory has been removed"
    return f"the working directory, {path!r}, has been removed"


def policy_or_none_inside(name: str) -> Policy | None:
    """Return what `policy_named` does; inside an isolate None where that fails, because no policy decides anything there.

    A module that is imported to run one of its functions has decorators, and the project's file need not be mounted.
    """
    try:
        return policy_named(name)
    except PolicyError:
        if inside():
            return None
        raise


def calling_file(*through: str) -> str:
    """Return the file of the code that called into this package; the working directory where it has none.

    Args:
        *through: other packages that the call came through.
    """
    frame, passed = sys._getframe(1), ("isolate_fn", *through)
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] in passed:
        frame = frame.f_back
    file = frame.f_globals.get("__file__")
    # A notebook's cells run in a module of ipykernel's without a file of its own; so does the REPL.
    return file if isinstance(file, str) and os.path.exists(file) else os.getcwd()


def nearest_project(start: str) -> str | None:
    """Return the pyproject.toml of a path's own directory, or of the nearest one above; None where there is none.

    Raises:
        PolicyError: somebody else may write it.
    """
    directory = start if os.path.isdir(start) else os.path.dirname(start)
    while True:
        path = os.path.join(directory, read.PROJECT_FILE)
        if os.path.isfile(path):
            _refuse_strangers(path, start)
            return path
        above = os.path.dirname(directory)
        # What is above an installed package is the project of whoever installed it.
        if above == directory or os.path.basename(directory) in _PACKAGES:
            return None
        directory = above


def _refuse_strangers(path: str, start: str) -> None:
    """Refuse a file of which others decide: whoever writes it decides what the isolates may do."""
    state, code = os.stat(path), os.stat(start)
    if state.st_uid not in (0, os.geteuid(), code.st_uid):
        problem = f"{path!r} belongs to user {state.st_uid}, who is neither root, nor you, nor the owner of {start!r}"
        raise PolicyError("policy", problem, "pass a file that is meant: Policy.from_toml(path, name)")
    if state.st_mode & stat.S_IWOTH:
        raise PolicyError("policy", f"{path!r} can be written by everybody", f"chmod o-w {path}")


def _none_above(name: str, start: str) -> PolicyError:
    error = read.unknown_policy(name, {}, Place(File("", {}, {})))
    error.file, error.line = "", 0
    installed = any(part in start.split(os.sep) for part in _PACKAGES)
    why = (
        ": installed packages have none; read a file of the package's own with Policy.from_toml(path)"
        if installed
        else ""
    )
    directory = start if os.path.isdir(start) else os.path.dirname(start)
    error.problem += f", and no {read.PROJECT_FILE} in or above {directory!r}{why}"
    return error
