"""What arguments tell of files: some lie where an isolate has a place of its own, some are programs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from isolate_fn._diagnose.learn.secrets import secret_below, secret_in
from isolate_fn._plan.mounts import is_within
from isolate_fn._plan.sharing import own_places
from isolate_fn.policy.mounts import Mount


def shown(arguments: Iterable[Any], cwd: str, allowed: Sequence[str]) -> Iterator[str]:
    """Yield host files that arguments name in places that an isolate has of its own: they would be hidden otherwise.

    A directory with secrets in it is none of them: there, everything could be read.

    Args:
        arguments: of a call or a program.
        cwd: working directory inside.
        allowed: paths with secrets that may be read.
    """
    for path in _paths(arguments):
        if not any(is_within(path, place) for place in own_places(cwd)) or not os.path.exists(path):
            continue
        if path in allowed or not (secret_in(path) or (os.path.isdir(path) and secret_below(path))):
            yield path


def programs_among(arguments: Iterable[Any]) -> set[str]:
    """Return the real paths of files that arguments name and that can be executed; names are looked up as a shell does."""
    found = set()
    for index, each in enumerate(arguments):
        text = os.fspath(each) if isinstance(each, (str, os.PathLike)) and not isinstance(each, Mount) else ""
        path = shutil.which(text) if text and isinstance(text, str) and "\0" not in text else None
        if path is not None and (index == 0 or text.startswith("/")) and may_be_executed(os.path.realpath(path)):
            found.add(os.path.realpath(path))
    return found


def may_be_executed(path: str) -> bool:
    """Tell whether a file may be executed, and so read, without being asked for: it holds no secrets."""
    return os.path.isfile(path) and os.access(path, os.X_OK) and not secret_in(path)


def _paths(arguments: Iterable[Any]) -> Iterator[str]:
    for each in arguments:
        if isinstance(each, (str, os.PathLike)) and not isinstance(each, Mount):
            text = os.fspath(each)
            if isinstance(text, str) and text.startswith("/") and "\0" not in text:
                yield os.path.normpath(text)
