"""Whether there are secrets in files of the host, looked at from outside."""

from __future__ import annotations

import os
import stat

from isolate_fn._diagnose.learn.many import tree
from isolate_fn._plan.sensitive import LOOKED_AT, by_content, by_name, may_hold_keys

_MOST_ENTRIES = 20_000
_PEEK = 4096


def secret_in(path: str) -> str:
    """Say what secrets a file holds, by its name and content; empty for none, and for what is no regular file.

    One that cannot be read counts as none: nobody inside reads it either.
    """
    said = by_name(path)
    if said:
        return said
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return ""
        with open(path, "rb") as file:
            return by_content(path, file.read(LOOKED_AT if may_hold_keys(path) else _PEEK))
    except OSError:
        return ""


def secret_below(directory: str) -> str:
    """Return the first path below a directory that holds secrets; where there is more than is looked at, that counts as one."""
    seen = 0
    for above, directories, files in tree(directory):
        seen += len(directories) + len(files)
        if seen > _MOST_ENTRIES:
            return f"{above}: there is more in it than was looked at"
        for name in directories:
            if by_name(f"{above}/{name}"):
                return f"{above}/{name}"
        for name in files:
            if secret_in(f"{above}/{name}"):
                return f"{above}/{name}"
    return ""
