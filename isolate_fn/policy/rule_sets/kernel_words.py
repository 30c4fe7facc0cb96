"""Values of system call arguments that the rule sets name, with the header they stand in.

Equal on x86_64 and aarch64. `_sys/seccomp_constants.py` has the same values for the plan's own tables, which words
may not import; a test compares the two.
"""

from __future__ import annotations

import enum


class Family(enum.IntEnum):
    """AF_* of <linux/socket.h>: an enumeration, never a set of bits."""

    UNIX = 1
    INET = 2
    INET6 = 10


class SockType(enum.IntEnum):
    """SOCK_* of <linux/net.h>: an enumeration, in the low four bits; SOCK_CLOEXEC and SOCK_NONBLOCK are above."""

    STREAM = 1
    DGRAM = 2


SOCK_TYPE_MASK = 0xF


class Protocol(enum.IntEnum):
    """IPPROTO_* of <linux/in.h>."""

    DEFAULT = 0
    TCP = 6
    UDP = 17


class MessageFlag(enum.IntFlag):
    """MSG_* of <linux/socket.h>."""

    FASTOPEN = 0x20000000  # Linux 3.6


class OpenFlag(enum.IntFlag):
    """O_* of <asm-generic/fcntl.h>, those that are equal on both architectures.

    O_TMPFILE is __O_TMPFILE | O_DIRECTORY and O_DIRECTORY differs, so __O_TMPFILE alone is looked at.
    """

    WRONLY = 0o1
    RDWR = 0o2
    CREAT = 0o100
    EXCL = 0o200
    TRUNC = 0o1000
    APPEND = 0o2000
    TMPFILE = 0o20000000


class AtFlag(enum.IntFlag):
    """AT_* of <linux/fcntl.h>."""

    REMOVEDIR = 0x200
    EMPTY_PATH = 0x1000


class FileType(enum.IntEnum):
    """S_IF* of <linux/stat.h>: an enumeration in the bits of S_IFMT."""

    NONE = 0  # mknod(2): a regular file
    FIFO = 0o010000
    REGULAR = 0o100000
    SOCKET = 0o140000


FILE_TYPE_MASK = 0o170000


class Protection(enum.IntFlag):
    """PROT_* of <asm-generic/mman-common.h>."""

    WRITE = 2
    EXEC = 4


class MapType(enum.IntEnum):
    """MAP_SHARED and MAP_PRIVATE of <linux/mman.h>: an enumeration in the bits of MAP_TYPE."""

    SHARED = 1
    PRIVATE = 2


MAP_TYPE_MASK = 0xF


class MapFlag(enum.IntFlag):
    """MAP_* of <asm-generic/mman-common.h>."""

    ANONYMOUS = 0x20


class CloneFlag(enum.IntFlag):
    """CLONE_* of <linux/sched.h>; the low byte of clone(2)'s first argument is the exit signal."""

    VM = 0x00000100
    SIGHAND = 0x00000800
    PARENT = 0x00008000
    THREAD = 0x00010000
    NEWNS = 0x00020000
    NEWCGROUP = 0x02000000
    NEWUTS = 0x04000000
    NEWIPC = 0x08000000
    NEWUSER = 0x10000000
    NEWPID = 0x20000000
    NEWNET = 0x40000000


#: Every namespace that clone(2) can make. CLONE_NEWTIME lies in the signal byte: clone3(2) only.
CLONE_NAMESPACES = (
    CloneFlag.NEWNS
    | CloneFlag.NEWCGROUP
    | CloneFlag.NEWUTS
    | CloneFlag.NEWIPC
    | CloneFlag.NEWUSER
    | CloneFlag.NEWPID
    | CloneFlag.NEWNET
)


class Ioctl(enum.IntEnum):
    """Requests of ioctl(2), from <asm-generic/ioctls.h>."""

    TCGETS = 0x5401
    TIOCSTI = 0x5412
    TIOCGWINSZ = 0x5413
    FIONREAD = 0x541B
    TIOCLINUX = 0x541C
    FIONBIO = 0x5421
    FIONCLEX = 0x5450
    FIOCLEX = 0x5451
    TCGETS2 = 0x802C542A  # what isatty(3) asks from glibc 2.42 on


class Fcntl(enum.IntEnum):
    """Commands of fcntl(2), from <asm-generic/fcntl.h> and <linux/fcntl.h>."""

    DUPFD = 0
    GETFD = 1
    SETFD = 2
    GETFL = 3
    SETFL = 4
    GETLK = 5
    SETLK = 6
    SETLKW = 7
    OFD_GETLK = 36
    OFD_SETLK = 37
    OFD_SETLKW = 38
    DUPFD_QUERY = 1027  # Linux 6.10
    DUPFD_CLOEXEC = 1030
    SETPIPE_SZ = 1031
    GETPIPE_SZ = 1032
    ADD_SEALS = 1033
    GET_SEALS = 1034


class Prctl(enum.IntEnum):
    """Options of prctl(2), from <linux/prctl.h>."""

    SET_NAME = 15
    GET_NAME = 16


class ArchPrctl(enum.IntEnum):
    """Codes of arch_prctl(2), from <asm/prctl.h>; x86_64 only."""

    SET_GS = 0x1001
    SET_FS = 0x1002
    GET_FS = 0x1003
    GET_GS = 0x1004
    GET_XCOMP_SUPP = 0x1021  # Linux 5.16
    GET_XCOMP_PERM = 0x1022  # Linux 5.16
    REQ_XCOMP_PERM = 0x1023  # Linux 5.16
    CET_STATUS = 0x3001  # asked by glibc 2.28-2.38; never in a released kernel
    SHSTK_ENABLE = 0x5001  # Linux 6.6
    SHSTK_DISABLE = 0x5002  # Linux 6.6
    SHSTK_LOCK = 0x5003  # Linux 6.6
    SHSTK_STATUS = 0x5005  # Linux 6.6
