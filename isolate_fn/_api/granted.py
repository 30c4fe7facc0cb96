"""Which arguments do not travel as data; asked for every call that has more than plain values, so it imports next to nothing."""

from __future__ import annotations

import _io

from isolate_fn.policy.mounts import Mount

_FILES = {Mount, _io.FileIO, _io.BufferedReader, _io.BufferedWriter, _io.BufferedRandom, _io.TextIOWrapper}
# By name: their modules are not imported for this question.
_NAMES = {("socket", "socket"), ("tempfile", "_TemporaryFileWrapper"), ("tempfile", "SpooledTemporaryFile")}


def is_grant(value: object) -> bool:
    """Tell whether an argument is a mount word, an open file or a socket."""
    kind = type(value)  # a class derived from these may keep more than a descriptor, and may know how to be pickled
    return kind in _FILES or (kind.__module__, kind.__name__) in _NAMES
