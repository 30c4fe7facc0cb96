"""Policies as a command line names them: ``--policy FILE``, ``FILE:NAME``, or the name of a preset or of the project's."""

from __future__ import annotations

import os

from isolate_fn import Policy
from isolate_fn.errors import IsolationError, PolicyError


def policy_named(text: str) -> Policy:
    """Return the policy that a text names.

    Args:
        text: a TOML file, ``FILE:NAME``, a preset, or a name in a pyproject.toml, which is looked for from the working
            directory: a command line has no file.

    Raises:
        PolicyError: there is none, or what is there is wrong.
    """
    if os.sep in text or text.endswith(".toml") or ".toml:" in text:
        path, name = text, None
        if not text.endswith(".toml"):
            before, colon, after = text.rpartition(":")
            path, name = (before, after) if colon else (text, None)
        return Policy.from_toml(path, name)
    from isolate_fn.policy.toml.find import policy_named

    return policy_named(text, os.curdir)


def absolute(path: str) -> str:
    """Return a path as seen from the working directory.

    Raises:
        PolicyError: it starts there, and the working directory has been removed.
    """
    try:
        return os.path.abspath(path)
    except FileNotFoundError:
        from isolate_fn.policy.toml.find import gone

        raise PolicyError(path, gone(), "change to a directory that exists") from None


def said(error: IsolationError) -> str:
    """Return an error as a command line says it: without the sentence on a function."""
    if not isinstance(error, PolicyError):
        return str(error)
    where = f"{error.file}:{error.line}: " if error.file else ""
    return f"{where}{error.field}: {error.problem}\n  try: {error.remedy}"
