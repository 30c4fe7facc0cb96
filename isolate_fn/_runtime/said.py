"""What a worker said about itself, taken apart at the caller's side: the worker sends files of /proc as they are."""

from __future__ import annotations

import re
from typing import Any

from isolate_fn._enforce.trees import unescape


def taken_apart(said: dict[str, Any]) -> dict[str, Any]:
    """Return the report with what was files of /proc as values.

    Args:
        said: the report. ``status`` becomes ``threads``, a mapping each; ``mounts`` becomes a list of [mount point, options,
            propagation tags, file system].

    Raises:
        TypeError, ValueError, IndexError: it is not what the kernel writes.
    """
    read = dict(said)
    if "status" in said:
        read["threads"] = [dict(_FIELD.findall(text)) for text in said["status"]]
    if "mounts" in said:
        read["mounts"] = [_mount(line) for line in said["mounts"].split("\n") if line]
    return read


_FIELD = re.compile(r"^(\w+):\t(.*?) *$", re.MULTILINE)


def _mount(line: str) -> list[str]:
    fields = line.split(" ")
    dash = fields.index("-")
    return [unescape(fields[4]), fields[5], " ".join(fields[6:dash]), fields[dash + 1]]
