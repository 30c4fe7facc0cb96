"""What parts of Python need: imports, multiprocessing, asyncio, sqlite3."""

from __future__ import annotations

from dataclasses import dataclass

from .builtin import Builtin, Permission
from .groups import (
    CLONE_PROCESS,
    DESCRIPTOR_FLAGS,
    FCNTL_LOCKS,
    MAP_PRIVATE,
    MAP_SHARED,
    METADATA,
    OPEN_TO_READ,
    SENDTO,
    SOCKETPAIR,
    WRITE_OPENED,
)

_INTERPRETER = Permission(
    "",
    f"read pread64 lseek close fadvise64 {METADATA} sysinfo getrusage times",
    (*OPEN_TO_READ, *MAP_PRIVATE, *DESCRIPTOR_FLAGS),
)
_MULTIPROCESSING = Permission(
    "",
    "fork wait4 waitid pipe pipe2 close read write poll ppoll kill open openat stat lstat fstat newfstatat "
    "link linkat unlink unlinkat ftruncate",
    (*CLONE_PROCESS, *MAP_SHARED, *DESCRIPTOR_FLAGS),
)
_ASYNCIO = Permission(
    "",
    "epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait recvfrom getsockname close",
    (*SENDTO, *SOCKETPAIR, *DESCRIPTOR_FLAGS, *WRITE_OPENED),
)
_SQLITE = Permission(
    "",
    f"open openat close pread64 pwrite64 lseek fsync fdatasync ftruncate fallocate unlink unlinkat {METADATA}",
    (*MAP_SHARED, *DESCRIPTOR_FLAGS, *FCNTL_LOCKS),
)


@dataclass(frozen=True, init=False, repr=False)
class Interpreter(Builtin):
    """Imports, of Python modules and extension modules alike, and what tracebacks and warnings read of sources.

    Permits:
        read pread64 lseek close fadvise64
        stat fstat newfstatat lstat statx getdents getdents64 getcwd
        access faccessat faccessat2 readlink readlinkat statfs fstatfs
        sysinfo getrusage times
        open openat: without O_WRONLY O_RDWR O_APPEND O_CREAT O_EXCL O_TRUNC O_TMPFILE
        mmap: MAP_PRIVATE (gives way)
        ioctl: TCGETS TCGETS2 TIOCGWINSZ FIONREAD FIONBIO FIOCLEX FIONCLEX
        fcntl: F_DUPFD F_DUPFD_CLOEXEC F_DUPFD_QUERY F_GETFD F_SETFD F_GETFL F_SETFL

    That is every file, for reading. To narrow it to where modules are, put Landlock beside it:
    ``SystemIO().allow_read_path(sys.prefix).allow_list_dir(sys.prefix)`` and the same for each entry of sys.path.
    Libraries that start threads when they are imported, as numpy does, need ``Threads().allow_create()`` as well.
    """

    _ALWAYS = (_INTERPRETER,)


@dataclass(frozen=True, init=False, repr=False)
class Multiprocessing(Builtin):
    """Processes by fork, with their queues, pools, locks and shared memory.

    Permits:
        fork wait4 waitid pipe pipe2 close read write poll ppoll kill
        open openat stat lstat fstat newfstatat link linkat unlink unlinkat ftruncate
        clone: without namespaces and CLONE_PARENT
        mmap: MAP_SHARED (gives way)
        ioctl: TCGETS TCGETS2 TIOCGWINSZ FIONREAD FIONBIO FIOCLEX FIONCLEX
        fcntl: F_DUPFD F_DUPFD_CLOEXEC F_DUPFD_QUERY F_GETFD F_SETFD F_GETFL F_SETFL

    Locks and shared memory are files in /dev/shm, made, linked and removed; no filter sees their paths. kill() ends the
    workers of a pool; ``Signals().keep_inside()`` holds it to them. For the start methods spawn and forkserver, and for
    SharedMemory, which starts a helper program, add ``ForkAndExec()`` and ``Interpreter()``. Import what is needed
    before, or enable Interpreter().

    Pipes are read and written by read() and write(): beside it no set can promise that standard output is all that is
    written to. Leave allow_stdin(), allow_stdout() and allow_stderr() out.
    """

    _ALWAYS = (_MULTIPROCESSING,)


@dataclass(frozen=True, init=False, repr=False)
class Asyncio(Builtin):
    """Event loops: asyncio.run(), tasks, timeouts, signal handlers.

    Permits:
        epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait
        recvfrom getsockname close
        sendto: without MSG_FASTOPEN
        socketpair: AF_UNIX, SOCK_STREAM
        ioctl: TCGETS TCGETS2 TIOCGWINSZ FIONREAD FIONBIO FIOCLEX FIONCLEX
        fcntl: F_DUPFD F_DUPFD_CLOEXEC F_DUPFD_QUERY F_GETFD F_SETFD F_GETFL F_SETFL
        write writev: descriptors from 3 up (gives way)

    Connections are for ``Networking()``, threads of to_thread() and of executors for ``Threads()``, subprocesses for
    ``ForkAndExec()``. The loop wakes itself through a pair of sockets. Signal handlers of the loop write into it with
    write(), which gives way where another set restricts writing: such signals then wait for the next event.
    """

    _ALWAYS = (_ASYNCIO,)


@dataclass(frozen=True, init=False, repr=False)
class Sqlite(Builtin):
    """Databases in files, by sqlite3; databases in memory need nothing.

    Permits:
        open openat close pread64 pwrite64 lseek fsync fdatasync ftruncate fallocate unlink unlinkat
        stat fstat newfstatat lstat statx getdents getdents64 getcwd
        access faccessat faccessat2 readlink readlinkat statfs fstatfs
        mmap: MAP_SHARED (gives way)
        ioctl: TCGETS TCGETS2 TIOCGWINSZ FIONREAD FIONBIO FIOCLEX FIONCLEX
        fcntl: F_DUPFD F_DUPFD_CLOEXEC F_DUPFD_QUERY F_GETFD F_SETFD F_GETFL F_SETFL
        fcntl: F_GETLK F_SETLK F_SETLKW F_OFD_GETLK F_OFD_SETLK F_OFD_SETLKW

    Files are opened for writing and created, wherever Landlock lets them be: ``SystemIO().allow_read_path(d)
    .allow_write_file(d).allow_create_in_dir(d).allow_remove_file(d)`` for the directory `d` of the database. sqlite
    reads and writes at offsets, so read() and write() are not in here, and ``SystemIO().allow_stdout()`` holds.
    """

    _ALWAYS = (_SQLITE,)
