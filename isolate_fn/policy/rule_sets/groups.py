"""Groups of system calls and rules that several sets share.

Old names and their modern siblings stand together: aarch64 has the modern ones only.
"""

from __future__ import annotations

from isolate_fn.policy.conditions import Arg

from .builtin import rules
from .kernel_words import (
    CLONE_NAMESPACES,
    MAP_TYPE_MASK,
    SOCK_TYPE_MASK,
    CloneFlag,
    Family,
    Fcntl,
    Ioctl,
    MapType,
    MessageFlag,
    OpenFlag,
    SockType,
)

READ = "read readv preadv preadv2 pread64 lseek"
WRITE = "write writev pwritev pwritev2 pwrite64 fsync fdatasync ftruncate lseek"
OPEN = "open openat openat2"
METADATA = (
    "stat fstat newfstatat lstat statx getdents getdents64 getcwd "
    "access faccessat faccessat2 readlink readlinkat statfs fstatfs"
)
CLOSE = "close close_range"
UNLINK = "unlink unlinkat"
DUPLICATE = "dup dup2 dup3"
WAIT = (
    "epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 select pselect6 poll ppoll "
    "eventfd eventfd2"
)
RENAME = "rename renameat renameat2"
LINK = "link linkat symlink symlinkat"
MODE = "chmod fchmod fchmodat fchmodat2"
OWNER = "chown fchown lchown fchownat"
TIMES = "utimensat utime utimes futimesat"

#: What a rule about reading, or about writing, gives way to.
READING = "read readv preadv preadv2 pread64"
WRITING = "write writev pwritev pwritev2 pwrite64"

WRITES = (
    OpenFlag.WRONLY
    | OpenFlag.RDWR
    | OpenFlag.APPEND
    | OpenFlag.CREAT
    | OpenFlag.EXCL
    | OpenFlag.TRUNC
    | OpenFlag.TMPFILE
)
_READ_ONLY = "without O_WRONLY O_RDWR O_APPEND O_CREAT O_EXCL O_TRUNC O_TMPFILE"

#: A promise: nothing is opened in another way.
OPEN_READ_ONLY = (
    *rules("open", Arg(1, 32).has_none(WRITES), reason=_READ_ONLY),
    *rules("openat", Arg(2, 32).has_none(WRITES), reason=_READ_ONLY),
)
#: The same without the promise.
OPEN_TO_READ = (
    *rules("open", Arg(1, 32).has_none(WRITES), reason=_READ_ONLY, need=True),
    *rules("openat", Arg(2, 32).has_none(WRITES), reason=_READ_ONLY, need=True),
)
#: Beside Landlock rules, which hold what may be opened and how.
OPEN_UNDER_LANDLOCK = "open openat"

#: What CPython and libc ask of descriptors. The other requests of ioctl(2) steer terminals and devices.
IOCTL = rules(
    "ioctl",
    Arg(1, 32).one_of(
        Ioctl.TCGETS,
        Ioctl.TCGETS2,
        Ioctl.TIOCGWINSZ,
        Ioctl.FIONREAD,
        Ioctl.FIONBIO,
        Ioctl.FIOCLEX,
        Ioctl.FIONCLEX,
    ),
    reason="TCGETS TCGETS2 TIOCGWINSZ FIONREAD FIONBIO FIOCLEX FIONCLEX",
    need=True,
)
#: Flags of descriptors. The other commands of fcntl(2) send signals, take leases and watch directories.
FCNTL = rules(
    "fcntl",
    Arg(1, 32).one_of(
        Fcntl.DUPFD,
        Fcntl.DUPFD_CLOEXEC,
        Fcntl.DUPFD_QUERY,
        Fcntl.GETFD,
        Fcntl.SETFD,
        Fcntl.GETFL,
        Fcntl.SETFL,
    ),
    reason="F_DUPFD F_DUPFD_CLOEXEC F_DUPFD_QUERY F_GETFD F_SETFD F_GETFL F_SETFL",
    need=True,
)
FCNTL_LOCKS = rules(
    "fcntl",
    Arg(1, 32).one_of(Fcntl.GETLK, Fcntl.SETLK, Fcntl.SETLKW, Fcntl.OFD_GETLK, Fcntl.OFD_SETLK, Fcntl.OFD_SETLKW),
    reason="F_GETLK F_SETLK F_SETLKW F_OFD_GETLK F_OFD_SETLK F_OFD_SETLKW",
    need=True,
)
DESCRIPTOR_FLAGS = (*IOCTL, *FCNTL)

#: Reading a file by mapping it, which is also how extension modules and libraries are loaded. Gives way, so that one
#: rule of the user's on mmap(2), such as "never executable", holds for all sets.
MAP_PRIVATE = rules(
    "mmap", Arg(3, 32).one_of(MapType.PRIVATE, mask=MAP_TYPE_MASK), reason="MAP_PRIVATE", gives_way_to="mmap"
)
#: Memory that processes share through a file, which mapping it so can also write.
MAP_SHARED = rules(
    "mmap", Arg(3, 32).one_of(MapType.SHARED, mask=MAP_TYPE_MASK), reason="MAP_SHARED", gives_way_to="mmap"
)

_THREAD = CloneFlag.VM | CloneFlag.SIGHAND | CloneFlag.THREAD
CLONE_THREAD = rules(
    "clone",
    Arg(0, 32).masked(_THREAD | CLONE_NAMESPACES, _THREAD),
    reason="CLONE_THREAD CLONE_SIGHAND CLONE_VM, and no namespace",
)
CLONE_PROCESS = rules(
    "clone",
    Arg(0, 32).has_none(CLONE_NAMESPACES | CloneFlag.PARENT),
    reason="without namespaces and CLONE_PARENT",
)

#: A datagram pair could send to any socket file, so stream pairs only.
SOCKETPAIR = rules(
    "socketpair",
    Arg(0, 32).one_of(Family.UNIX),
    Arg(1, 32).one_of(SockType.STREAM, mask=SOCK_TYPE_MASK),
    reason="AF_UNIX, SOCK_STREAM",
    need=True,
)

#: With MSG_FASTOPEN, sending connects: past a filter without connect(2), and past Landlock, which looks at connect(2).
_NO_CONNECTING = "without MSG_FASTOPEN"
SENDTO = rules("sendto", Arg(3, 32).has_none(MessageFlag.FASTOPEN), reason=_NO_CONNECTING, need=True)
SEND = (
    *SENDTO,
    *rules("sendmsg", Arg(2, 32).has_none(MessageFlag.FASTOPEN), reason=_NO_CONNECTING, need=True),
    *rules("sendmmsg", Arg(3, 32).has_none(MessageFlag.FASTOPEN), reason=_NO_CONNECTING, need=True),
)

#: Reading and writing of what is no standard stream, for sets that can do without it or have other calls for it.
_OPENED = "descriptors from 3 up"
READ_OPENED = rules("read readv", Arg(0, 32) >= 3, reason=_OPENED, gives_way_to=READING)
WRITE_OPENED = rules("write writev", Arg(0, 32) >= 3, reason=_OPENED, gives_way_to=WRITING)
