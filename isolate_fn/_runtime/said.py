"""What a worker said about itself, taken apart at the caller's side: the worker sends files of /proc as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from isolate_fn._enforce.trees import unescape
from isolate_fn._transport.frames import Frame


def read(frame: Frame) -> dict[str, Any]:
    """Return a worker's report as one mapping.

    Args:
        frame: READY. Its JSON has under ``files`` the name of each buffer.

    Returns:
        The report. ``mounts`` is a text of mountinfo, ``threads`` one mapping for each text of status.

    Raises:
        TypeError, ValueError, KeyError: it is none.
    """
    said: dict[str, Any] = json.loads(frame.json)
    files = list(zip(said.pop("files"), map(bytes, frame.buffers), strict=True))
    said.update((name, text) for name, text in files if name == "mounts")
    threads = [_fields(text) for name, text in files if name == "status"]
    return {**said, "threads": threads} if threads else said


_FIELD = re.compile(rb"^(Seccomp|NoNewPrivs|Cap[A-Z][a-z]{2}):\t(.*?) *$", re.MULTILINE)


def _fields(status: bytes) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in _FIELD.findall(status)}


_NUMBERS = re.compile(rb"^\d+ \d+ \d+:\d+ ", re.MULTILINE)


def without_numbers(mounts: bytes) -> bytes:
    """Return a text of mountinfo without what is another number in each isolate: mounts, their parents, devices."""
    return _NUMBERS.sub(b"", mounts)


def mounts_of(mounts: bytes) -> Sequence[list[str]]:
    """Return a list of [mount point, options, propagation tags, file system].

    Raises:
        ValueError, IndexError: it is not what the kernel writes.
    """
    return [_mount(line) for line in mounts.decode("utf-8", "surrogateescape").split("\n") if line]


def _mount(line: str) -> list[str]:
    fields = line.split(" ")
    dash = fields.index("-")
    return [unescape(fields[4]), fields[5], " ".join(fields[6:dash]), fields[dash + 1]]
