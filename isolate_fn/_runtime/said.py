"""What a worker said about itself, taken apart at the caller's side: the worker sends files of /proc nearly as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from isolate_fn._enforce.trees import unescape
from isolate_fn._transport.frames import Frame
from isolate_fn.errors import SetupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def changing_of(files: Sequence[tuple[str, bytes]]) -> dict[str, Any]:
    """Return what files say of this isolate alone: ``namespaces``, inodes by name, and ``id_maps``, as far as they are there.

    Args:
        files: name and content of each.

    Raises:
        ValueError: they are not what the kernel writes.
    """
    changing: dict[str, Any] = {}
    for name, text in files:
        if name == "namespaces":
            changing[name] = {kind.decode(): int(inode) for kind, inode in map(bytes.split, text.splitlines())}
        elif name == "id map":
            changing.setdefault("id_maps", []).append([int(number) for number in text.split()])
    return changing


def lasting_of(files: Sequence[tuple[str, bytes]]) -> tuple[bytes, list[bytes]]:
    """Return what files say of every isolate of a plan, to be compared as it is.

    Returns:
        the mounts, empty where there were none, and of each thread's status the lines that `_fields` looks at, which stand
        together, see proc_pid_status(5).
    """
    mounts, threads = b"", []
    for name, text in files:
        if name == "mounts":
            mounts = text
        elif name == "status":
            threads.append(text[text.find(b"\nCapInh:") : text.find(b"\nCpus_allowed:")])
    return mounts, threads


def is_complete(lasting: tuple[bytes, list[bytes]]) -> bool:
    """Tell whether these are the lines: where they stand otherwise, equal parts would not mean equal walls."""
    return all(name in walls for walls in lasting[1] for name in _NAMES)


def files_of(frame: Frame, names: Sequence[str]) -> list[tuple[str, bytes]]:
    """Return name and content of each file of a report.

    Raises:
        ValueError: their number is wrong.
    """
    return list(zip(names, map(bytes, frame.buffers), strict=True))


def read(frame: Frame) -> dict[str, Any]:
    """Return a worker's report as one mapping.

    Args:
        frame: READY. Its JSON has under ``files`` the name of each buffer.

    Returns:
        The report, with ``mounts``, ``threads`` and what is `changing_of` it, as far as they are there.

    Raises:
        TypeError, ValueError, KeyError: it is none.
    """
    said: dict[str, Any] = json.loads(frame.json)
    files = files_of(frame, said["files"])
    said |= changing_of(files)
    threads = [_fields(text) for name, text in files if name == "status"]
    mounts = next((text for name, text in files if name == "mounts"), b"")
    return {**said, **({"threads": threads} if threads else {}), **({"mounts": mounts} if mounts else {})}


_FIELD = re.compile(rb"^(Seccomp|NoNewPrivs|Cap[A-Z][a-z]{2}):\t(.*?) *$", re.MULTILINE)
_NAMES = (b"\nCapInh:", b"\nCapPrm:", b"\nCapEff:", b"\nCapBnd:", b"\nCapAmb:", b"\nNoNewPrivs:", b"\nSeccomp:")


def _fields(status: bytes) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in _FIELD.findall(status)}


def mounts_of(mounts: bytes) -> Sequence[list[str]]:
    """Return a list of [mount point, options, propagation tags, file system].

    Args:
        mounts: lines of mountinfo, see proc_pid_mountinfo(5), from the fourth field on.

    Raises:
        ValueError, IndexError: it is not what the kernel writes.
    """
    return [_mount(line) for line in mounts.decode("utf-8", "surrogateescape").split("\n") if line]


def _mount(line: str) -> list[str]:
    fields = line.split(" ")
    dash = fields.index("-")
    return [unescape(fields[1]), fields[2], " ".join(fields[3:dash]), fields[dash + 1]]


def refuse(step: str, failed: list[str]) -> None:
    """Raise the error that names what is not as planned; do nothing where all is.

    Args:
        step: which check.
        failed: a sentence for each.

    Raises:
        SetupError: there are any.
    """
    if failed:
        raise SetupError(
            step,
            "; ".join(failed),
            0,
            "this is no setting of yours: something on this machine changed what the kernel was told; "
            "please report it with the output of uname -a",
        )
