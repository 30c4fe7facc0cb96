"""What a worker said about itself, taken apart at the caller's side: the worker sends files of /proc as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from isolate_fn._enforce.trees import unescape
from isolate_fn._transport.frames import Frame


class Files(NamedTuple):
    """The files of /proc in a report.

    Attributes:
        mounts: mountinfo, as it is; empty where there was none.
        threads: what matters of each thread's status.
        namespaces: inode by name.
    """

    mounts: bytes
    threads: list[dict[str, str]]
    namespaces: dict[str, int]


def files_of(names: Sequence[str], texts: Sequence[memoryview | bytes]) -> Files:
    """Return what files say.

    Args:
        names: of each file.
        texts: their content.

    Raises:
        ValueError: they are not what the kernel writes, or their number is wrong.
    """
    mounts, threads, namespaces = b"", [], {}
    for name, text in zip(names, map(bytes, texts), strict=True):
        if name == "mounts":
            mounts = text
        elif name == "status":
            threads.append(_fields(text))
        else:
            namespaces = {kind.decode(): int(inode) for kind, inode in map(bytes.split, text.splitlines())}
    return Files(mounts, threads, namespaces)


def read(frame: Frame) -> dict[str, Any]:
    """Return a worker's report as one mapping.

    Args:
        frame: READY. Its JSON has under ``files`` the name of each buffer.

    Returns:
        The report, with the fields of `Files` that it has.

    Raises:
        TypeError, ValueError, KeyError: it is none.
    """
    said: dict[str, Any] = json.loads(frame.json)
    files = files_of(said["files"], frame.buffers)
    return {**said, **{name: value for name, value in files._asdict().items() if value}}


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
