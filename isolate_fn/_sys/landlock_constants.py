"""Numbers of <linux/landlock.h>, and which Landlock ABI brought each.

The tables at the end are the only place that knows what an ABI supports: code compares against them and never
writes ``if abi >= 4``.

How the table was checked: every right of ABI 1 to 7, with and without the rule that permits it, against Linux 6.18
(tests/plan/test_landlock_rights.py does so wherever it runs, as far as the kernel goes). ABI 8 to 10 after
Documentation/userspace-api/landlock.rst and <linux/landlock.h> of Linux 7.0, 7.1 and 7.2; Linux 7.2 reports ABI 10 and
accepts a rule set that handles all of them (tests/kernels).
"""

from __future__ import annotations

import enum

from isolate_fn._frozen import dataclass


class AccessFS(enum.IntFlag):
    """LANDLOCK_ACCESS_FS_*: what a path rule may allow."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15
    RESOLVE_UNIX = 1 << 16


class AccessNet(enum.IntFlag):
    """LANDLOCK_ACCESS_NET_*: what a port rule may allow."""

    BIND_TCP = 1 << 0
    CONNECT_TCP = 1 << 1
    BIND_UDP = 1 << 2
    CONNECT_SEND_UDP = 1 << 3


class Scope(enum.IntFlag):
    """LANDLOCK_SCOPE_*: what reaches only processes of the same domain. Takes no rules."""

    ABSTRACT_UNIX_SOCKET = 1 << 0
    SIGNAL = 1 << 1


class RestrictFlag(enum.IntFlag):
    """LANDLOCK_RESTRICT_SELF_*: flags of landlock_restrict_self(2)."""

    LOG_SAME_EXEC_OFF = 1 << 0  # ABI 7, Linux 6.15
    LOG_NEW_EXEC_ON = 1 << 1  # ABI 7, Linux 6.15
    LOG_SUBDOMAINS_OFF = 1 << 2  # ABI 7, Linux 6.15
    TSYNC = 1 << 3  # ABI 8, Linux 7.0: every thread of the process


class CreateFlag(enum.IntFlag):
    """LANDLOCK_CREATE_RULESET_*: questions to landlock_create_ruleset(2)."""

    VERSION = 1 << 0
    ERRATA = 1 << 1  # Linux 6.15


#: The rights that the kernel takes in a rule for something that is not a directory; others are EINVAL there.
FILE_RIGHTS = (
    AccessFS.EXECUTE
    | AccessFS.WRITE_FILE
    | AccessFS.READ_FILE
    | AccessFS.TRUNCATE
    | AccessFS.IOCTL_DEV
    | AccessFS.RESOLVE_UNIX
)


@dataclass(frozen=True)
class Right:
    """One right or scope, and where it came from.

    Attributes:
        flag: its bit.
        abi: the first Landlock ABI that has it.
        linux: the first kernel release that has it.
        meaning: what is denied when it is handled and no rule allows it.
    """

    flag: AccessFS | AccessNet | Scope
    abi: int
    linux: str
    meaning: str

    @property
    def name(self) -> str:
        """Return the constant's name without its LANDLOCK_ prefix: ``ACCESS_FS_TRUNCATE``."""
        prefix = {AccessFS: "ACCESS_FS", AccessNet: "ACCESS_NET", Scope: "SCOPE"}[type(self.flag)]
        return f"{prefix}_{self.flag.name}"


#: Every right, in the order of the kernel's header.
RIGHTS = (
    Right(AccessFS.EXECUTE, 1, "5.13", "execve of a file; mapping it executable is not meant"),
    Right(AccessFS.WRITE_FILE, 1, "5.13", "opening a file for writing"),
    Right(AccessFS.READ_FILE, 1, "5.13", "opening a file for reading"),
    Right(AccessFS.READ_DIR, 1, "5.13", "opening or listing a directory"),
    Right(AccessFS.REMOVE_DIR, 1, "5.13", "removing or renaming a directory"),
    Right(AccessFS.REMOVE_FILE, 1, "5.13", "unlinking or renaming a file"),
    Right(AccessFS.MAKE_CHAR, 1, "5.13", "making a character device"),
    Right(AccessFS.MAKE_DIR, 1, "5.13", "making a directory"),
    Right(AccessFS.MAKE_REG, 1, "5.13", "making a regular file"),
    Right(AccessFS.MAKE_SOCK, 1, "5.13", "making a unix socket"),
    Right(AccessFS.MAKE_FIFO, 1, "5.13", "making a named pipe"),
    Right(AccessFS.MAKE_BLOCK, 1, "5.13", "making a block device"),
    Right(AccessFS.MAKE_SYM, 1, "5.13", "making a symbolic link"),
    Right(AccessFS.REFER, 2, "5.19", "linking or renaming into another directory; always denied before ABI 2"),
    Right(AccessFS.TRUNCATE, 3, "6.2", "truncating a file, also by truncate(2) and O_TRUNC"),
    Right(AccessFS.IOCTL_DEV, 5, "6.10", "ioctl of a device that is opened from now on"),
    Right(AccessFS.RESOLVE_UNIX, 9, "7.1", "reaching a unix socket by its path, unless made in the same domain"),
    Right(AccessNet.BIND_TCP, 4, "6.7", "binding a TCP port"),
    Right(AccessNet.CONNECT_TCP, 4, "6.7", "connecting to a TCP port"),
    Right(AccessNet.BIND_UDP, 10, "7.2", "binding a UDP port, also implicitly"),
    Right(AccessNet.CONNECT_SEND_UDP, 10, "7.2", "connecting or sending to a UDP port"),
    Right(Scope.ABSTRACT_UNIX_SOCKET, 6, "6.12", "connecting to abstract unix sockets of other domains"),
    Right(Scope.SIGNAL, 6, "6.12", "signals to processes of other domains"),
)

#: The newest ABI that the table above describes.
NEWEST_ABI = 10

#: sizeof(struct landlock_ruleset_attr) by ABI, in bytes, as far as this package fills it: handled_access_fs,
#: then handled_access_net (ABI 4), then scoped (ABI 6). The fields of ABI 10 are left out; the kernel takes
#: them as zero.
ATTRIBUTE_SIZE = {0: 0, 1: 8, 2: 8, 3: 8, 4: 16, 5: 16, 6: 24, 7: 24, 8: 24, 9: 24, 10: 24}
