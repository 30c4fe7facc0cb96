"""The rights of a `LandlockRule` by what they are for: ``LandlockRule("/data", access.read_path() | access.list_dir())``.

Each function returns a frozenset of words of ``landlock_words.PATH_RIGHTS``; join them with ``|``.
"""

from __future__ import annotations


def read_path() -> frozenset[str]:
    """Return the right to open files for reading."""
    return frozenset({"read_file"})


def write_file() -> frozenset[str]:
    """Return the rights to open files for writing and to cut them off; without the second ``open(path, "w")`` fails.

    Truncation is a right of its own since Landlock ABI 3 (Linux 6.2); before that it is not restricted.
    """
    return frozenset({"write_file", "truncate"})


def list_dir() -> frozenset[str]:
    """Return the right to open and list directories."""
    return frozenset({"list_dir"})


def create_file() -> frozenset[str]:
    """Return the right to make regular files in a directory."""
    return frozenset({"create_file"})


def create_dir() -> frozenset[str]:
    """Return the right to make directories in a directory."""
    return frozenset({"create_dir"})


def delete_file() -> frozenset[str]:
    """Return the right to remove files from a directory."""
    return frozenset({"remove_file"})


def delete_dir() -> frozenset[str]:
    """Return the right to remove directories from a directory, not that directory itself."""
    return frozenset({"remove_dir"})


def execute() -> frozenset[str]:
    """Return the right to execute files."""
    return frozenset({"execute"})
