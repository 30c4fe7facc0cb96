"""What Landlock can allow, in words: rights on paths, rights on ports, scopes.

The kernel's numbers, and which Landlock ABI brought each, are in `_sys/landlock_constants.py`; the tables here name
its members, and a test holds both against each other.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from isolate_fn.errors import PolicyError

from . import checks

#: word -> member of AccessFS: what may be done with a path and everything below it.
PATH_RIGHTS = {
    "read_file": "READ_FILE",
    "write_file": "WRITE_FILE",
    "truncate": "TRUNCATE",
    "execute": "EXECUTE",
    "list_dir": "READ_DIR",
    "create_file": "MAKE_REG",
    "create_dir": "MAKE_DIR",
    "create_symlink": "MAKE_SYM",
    "create_fifo": "MAKE_FIFO",
    "create_socket": "MAKE_SOCK",
    "create_char_device": "MAKE_CHAR",
    "create_block_device": "MAKE_BLOCK",
    "remove_file": "REMOVE_FILE",
    "remove_dir": "REMOVE_DIR",
    "move": "REFER",
    "ioctl_device": "IOCTL_DEV",
    "reach_socket": "RESOLVE_UNIX",
}

#: word -> member of AccessNet: what may be done with a port number.
PORT_RIGHTS = {
    "bind_tcp": "BIND_TCP",
    "connect_tcp": "CONNECT_TCP",
    "bind_udp": "BIND_UDP",
    "connect_send_udp": "CONNECT_SEND_UDP",
}

#: word -> member of Scope: what then reaches only processes under the same Landlock domain.
SCOPES = {
    "abstract_unix_socket": "ABSTRACT_UNIX_SOCKET",
    "signal": "SIGNAL",
}


@dataclass(frozen=True, init=False)
class LandlockRule:
    """What may be done with one path and, where it is a directory, with everything below it.

    Args:
        path: absolute, or relative to the working directory when it is enforced. A symbolic link is followed then.
        rights: words of PATH_RIGHTS, such as ``{"read_file", "list_dir"}`` or ``access.read_path()``.
        optional: leave it out where the path does not exist, instead of refusing; for lists of places that differ
            between systems.

    Attributes:
        path: as given, without repeated and trailing slashes and ``.`` components, so that two spellings of one
            path are equal; ``..`` stays, because a symbolic link before it would change its meaning.

    Raises:
        PolicyError: an empty path, one that is not a path, or an unknown right.
    """

    path: str
    rights: frozenset[str]
    optional: bool

    def __init__(self, path: str | os.PathLike[str], rights: Iterable[str], *, optional: bool = False) -> None:
        object.__setattr__(self, "path", clean_path(path))
        object.__setattr__(self, "rights", _words("rights", rights, PATH_RIGHTS, "LandlockRule"))
        object.__setattr__(self, "optional", checks.boolean("LandlockRule.optional", optional))

    def __repr__(self) -> str:
        optional = ", optional=True" if self.optional else ""
        return f"LandlockRule({self.path!r}, {_listed(self.rights)}{optional})"


@dataclass(frozen=True, init=False)
class PortRule:
    """What may be done with one port number. All other ports are then denied for the same rights.

    Args:
        port: 0 to 65535. Binding port 0 means any port of the system's choice.
        rights: words of PORT_RIGHTS, such as ``{"connect_tcp"}``. TCP needs Landlock ABI 4 (Linux 6.7), UDP ABI 10.

    Raises:
        PolicyError: a port out of range, or an unknown right.
    """

    port: int
    rights: frozenset[str]

    def __init__(self, port: int, rights: Iterable[str]) -> None:
        number = checks.number_of("PortRule.port", port, minimum=0, maximum=65535)
        object.__setattr__(self, "port", number)
        object.__setattr__(self, "rights", _words("rights", rights, PORT_RIGHTS, "PortRule"))

    def __repr__(self) -> str:
        return f"PortRule({self.port}, {_listed(self.rights)})"


def clean_path(path: object) -> str:
    """Return a path without repeated slashes and ``.`` components.

    Raises:
        PolicyError: not a path, empty, or with a NUL character.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise PolicyError("path", f"{checks.show(path)} is not a path", 'use a str or a pathlib.Path, such as "/data"')
    text = os.fspath(path)
    if not isinstance(text, str):
        raise PolicyError("path", f"{checks.show(path)} is a path of bytes", "use os.fsdecode() of it")
    if not text or "\0" in text:
        raise PolicyError("path", f"{checks.show(text)} is not a path", "name a file or a directory")
    parts = "/".join(part for part in text.split("/") if part not in ("", "."))
    return f"/{parts}" if text.startswith("/") else parts or "."


def _words(field: str, given: object, known: dict[str, str], owner: str) -> frozenset[str]:
    words = checks.items(f"{owner}.{field}", given, f'{{"{next(iter(known))}"}}')
    if not words:
        raise PolicyError(f"{owner}.{field}", "no right at all", f"name at least one of {', '.join(known)}")
    for word in words:
        checks.one_of(f"{owner}.{field}", word, *known)
    return frozenset(words)


def _listed(words: frozenset[str]) -> str:
    return f"{{{', '.join(map(repr, sorted(words)))}}}"
