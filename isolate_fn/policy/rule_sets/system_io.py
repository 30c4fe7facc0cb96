"""Files: by descriptor, by the way they are opened, and (in `system_io_paths.py`) by path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

from isolate_fn.errors import PolicyError
from isolate_fn.policy import checks
from isolate_fn.policy.conditions import Arg

from .base import Rule
from .builtin import Permission, rules
from .groups import (
    CLOSE,
    DESCRIPTOR_FLAGS,
    DUPLICATE,
    FCNTL_LOCKS,
    LINK,
    MAP_PRIVATE,
    METADATA,
    MODE,
    OPEN,
    OPEN_READ_ONLY,
    OWNER,
    READ,
    READING,
    RENAME,
    TIMES,
    UNLINK,
    WRITE,
    WRITING,
)
from .kernel_words import FILE_TYPE_MASK, MAP_TYPE_MASK, AtFlag, FileType, Ioctl, MapType
from .system_io_paths import SystemIOPaths


class HasFileno(Protocol):
    """An open file or a socket."""

    def fileno(self) -> int:
        """Return its descriptor."""
        ...


_SPECIAL = "regular files, pipes and sockets; no devices"
_TYPES = (FileType.NONE, FileType.REGULAR, FileType.FIFO, FileType.SOCKET)
_EVERYTHING = Permission(
    "everything()",
    f"{READ} {WRITE} {OPEN} creat {METADATA} {UNLINK} {CLOSE} {DUPLICATE} {RENAME} {LINK} {MODE} {OWNER} {TIMES} "
    "fcntl flock mkdir mkdirat rmdir truncate fallocate umask chdir fchdir sync syncfs sync_file_range "
    "fadvise64 readahead copy_file_range sendfile splice tee mmap msync mincore "
    "getxattr lgetxattr fgetxattr getxattrat listxattr llistxattr flistxattr listxattrat "
    "setxattr lsetxattr fsetxattr setxattrat removexattr lremovexattr fremovexattr removexattrat "
    "inotify_init inotify_init1 inotify_add_watch inotify_rm_watch",
    (
        *rules(
            "ioctl",
            Arg(1, 32).none_of(Ioctl.TIOCSTI, Ioctl.TIOCLINUX),
            reason="all but TIOCSTI and TIOCLINUX, which type into the terminal",
            need=True,
        ),
        *rules("mknod", Arg(1, 32).one_of(*_TYPES, mask=FILE_TYPE_MASK), reason=_SPECIAL, need=True),
        *rules("mknodat", Arg(2, 32).one_of(*_TYPES, mask=FILE_TYPE_MASK), reason=_SPECIAL, need=True),
    ),
)
_READ = Permission("allow_read()", READ, MAP_PRIVATE)
_WRITE = Permission("allow_write()", WRITE)
_UNLINK = Permission("allow_unlink()", UNLINK)
_OPEN = Permission("allow_open()", f"{OPEN} creat")
_OPEN_READONLY = Permission("allow_open_readonly()", "", OPEN_READ_ONLY)
_METADATA = Permission("allow_metadata()", METADATA)
_IOCTL = Permission("allow_ioctl()", "", (*DESCRIPTOR_FLAGS, *FCNTL_LOCKS))
_CLOSE = Permission("allow_close()", CLOSE)
_STDIN = Permission("allow_stdin()", "", rules("read readv", Arg(0, 32).eq(0), reason="standard input"))
_STDOUT = Permission("allow_stdout()", "", rules("write writev", Arg(0, 32).eq(1), reason="standard output"))
_STDERR = Permission("allow_stderr()", "", rules("write writev", Arg(0, 32).eq(2), reason="standard error"))


@dataclass(frozen=True, init=False, repr=False)
class SystemIO(SystemIOPaths):
    """Files.

    ``SystemIO()`` permits nothing; choose with its methods, or with ``SystemIO.everything()``. On one value the
    broader of two choices wins: with allow_write() on it, allow_stdout() is one descriptor of many. Between values it
    is a conflict: a set that permits write() voids another's promise that nothing but standard output is written to.

    The methods with a path add Landlock rules (Linux 5.13): with any, every other path is denied, to all sets. They
    are in turn the only ones that look at paths; a filter sees numbers, not what a pointer leads to.
    """

    _EVERYTHING = (_EVERYTHING,)

    @classmethod
    def everything(cls) -> Self:
        """Return the set that permits all that can be done with files, terminals excepted.

        Permits:
            read readv preadv preadv2 pread64 lseek
            write writev pwritev pwritev2 pwrite64 fsync fdatasync ftruncate
            open openat openat2 creat close close_range dup dup2 dup3
            stat fstat newfstatat lstat statx statfs fstatfs getdents getdents64 getcwd
            access faccessat faccessat2 readlink readlinkat
            unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat mkdir mkdirat rmdir
            chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat utimensat utime utimes futimesat
            truncate fallocate umask chdir fchdir fcntl flock sync syncfs sync_file_range fadvise64 readahead
            copy_file_range sendfile splice tee mmap msync mincore
            getxattr lgetxattr fgetxattr getxattrat listxattr llistxattr flistxattr listxattrat
            setxattr lsetxattr fsetxattr setxattrat removexattr lremovexattr fremovexattr removexattrat
            inotify_init inotify_init1 inotify_add_watch inotify_rm_watch
            ioctl: all but TIOCSTI and TIOCLINUX, which type into the terminal
            mknod mknodat: regular files, pipes and sockets; no devices

        Not in here: mounts, io_uring and asynchronous I/O, which no filter sees into, and open_by_handle_at.
        """
        return super().everything()

    def allow_read(self) -> Self:
        """Permit to read whatever is open.

        Permits:
            read readv preadv preadv2 pread64 lseek
            mmap: MAP_PRIVATE (gives way)
        """
        return self._with(_READ)

    def allow_write(self) -> Self:
        """Permit to write to, cut off and flush whatever is open for writing.

        Permits:
            write writev pwritev pwritev2 pwrite64 fsync fdatasync ftruncate lseek
        """
        return self._with(_WRITE)

    def allow_unlink(self) -> Self:
        """Permit to remove files, and by unlinkat(AT_REMOVEDIR) empty directories.

        Permits:
            unlink unlinkat
        """
        return self._with(_UNLINK)

    def allow_open(self) -> Self:
        """Permit to open and create any file in any way.

        Permits:
            open openat openat2 creat
        """
        return self._with(_OPEN)

    def allow_open_readonly(self) -> Self:
        """Permit to open files that exist for reading, without creating, changing or emptying them.

        Permits:
            open openat: without O_WRONLY O_RDWR O_APPEND O_CREAT O_EXCL O_TRUNC O_TMPFILE

        openat2 keeps its flags behind a pointer and is not permitted; nothing uses it without need.
        """
        return self._with(_OPEN_READONLY)

    def allow_metadata(self) -> Self:
        """Permit to look at sizes, times, modes, links and the names in directories, of any path.

        Permits:
            stat fstat newfstatat lstat statx getdents getdents64 getcwd
            access faccessat faccessat2 readlink readlinkat statfs fstatfs
        """
        return self._with(_METADATA)

    def allow_ioctl(self) -> Self:
        """Permit what Python and libc ask of descriptors: their flags, locks, sizes of terminals.

        Permits:
            ioctl: TCGETS TCGETS2 TIOCGWINSZ FIONREAD FIONBIO FIOCLEX FIONCLEX
            fcntl: F_DUPFD F_DUPFD_CLOEXEC F_DUPFD_QUERY F_GETFD F_SETFD F_GETFL F_SETFL
            fcntl: F_GETLK F_SETLK F_SETLKW F_OFD_GETLK F_OFD_SETLK F_OFD_SETLKW

        For other requests enable a set of your own beside it: ``Custom("tty", Rule("ioctl", Arg(1, 32) == TCSETS))``.
        """
        return self._with(_IOCTL)

    def allow_close(self) -> Self:
        """Permit to close descriptors.

        Permits:
            close close_range
        """
        return self._with(_CLOSE)

    def allow_stdin(self) -> Self:
        """Permit to read from standard input, and promise that nothing else is read by these calls.

        Permits:
            read readv: standard input
        """
        return self._with(_STDIN)

    def allow_stdout(self) -> Self:
        """Permit to write to standard output, and promise that nothing else is written to by these calls.

        Permits:
            write writev: standard output
        """
        return self._with(_STDOUT)

    def allow_stderr(self) -> Self:
        """Permit to write to standard error; like allow_stdout(), and on one value both.

        Permits:
            write writev: standard error
        """
        return self._with(_STDERR)

    def allow_file_read(self, file: int | HasFileno) -> Self:
        """Permit to read one file that is open.

        Permits:
            read readv preadv preadv2 pread64: that descriptor
            lseek fstat getdents getdents64: that descriptor
            newfstatat: that descriptor, AT_EMPTY_PATH
            statx: that descriptor, AT_EMPTY_PATH
            mmap: that descriptor, MAP_PRIVATE (gives way)

        That nothing else is read is a promise; the calls of the other lines are needs. newfstatat and statx are how libc
        asks about a descriptor. Their path cannot be checked, so they also tell size, times and mode (not the content)
        of other files.

        Args:
            file: a descriptor, or an object with fileno(). What is opened in its place later counts as well.

        Raises:
            PolicyError: not a descriptor.
        """
        number = _descriptor(file)
        return self._with(Permission(f"allow_file_read({number})", "", _reading(number)))

    def allow_file_write(self, file: int | HasFileno) -> Self:
        """Permit to write to one file that is open.

        Permits:
            write writev pwritev pwritev2 pwrite64 ftruncate: that descriptor
            fsync fdatasync lseek: that descriptor

        That nothing else is written to is a promise; the calls of the second line are needs.

        Args:
            file: as for allow_file_read().

        Raises:
            PolicyError: not a descriptor.
        """
        number = _descriptor(file)
        at_it = Arg(0, 32).eq(number)
        made = (
            *rules(f"{WRITING} ftruncate", at_it, reason=_THAT),
            *rules("fsync fdatasync lseek", at_it, reason=_THAT, need=True),
        )
        return self._with(Permission(f"allow_file_write({number})", "", made))


_THAT = "that descriptor"


def _reading(number: int) -> tuple[Rule, ...]:
    at_it, empty = Arg(0, 32).eq(number), f"{_THAT}, AT_EMPTY_PATH"
    private = Arg(3, 32).one_of(MapType.PRIVATE, mask=MAP_TYPE_MASK)
    return (
        *rules(READING, at_it, reason=_THAT),
        *rules("lseek fstat getdents getdents64", at_it, reason=_THAT, need=True),
        *rules("newfstatat", at_it, Arg(3, 32).has_all(AtFlag.EMPTY_PATH), reason=empty, need=True),
        *rules("statx", at_it, Arg(2, 32).has_all(AtFlag.EMPTY_PATH), reason=empty, need=True),
        *rules("mmap", Arg(4, 32).eq(number), private, reason=f"{_THAT}, MAP_PRIVATE", gives_way_to="mmap"),
    )


def _descriptor(file: int | HasFileno) -> int:
    field = "SystemIO"
    if isinstance(file, bool) or not (isinstance(file, int) or hasattr(file, "fileno")):
        remedy = "pass an int such as 3, or an open file"
        raise PolicyError(field, f"{checks.show(file)} is not a file descriptor", remedy)
    number = file if isinstance(file, int) else file.fileno()
    if not 0 <= number < 1 << 31:
        raise PolicyError(field, f"illegal fileno {number}", "pass a descriptor that is open: 0 or greater")
    return number
