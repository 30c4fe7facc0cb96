"""Files by path: what `SystemIO` says with the help of Landlock."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from isolate_fn.policy.landlock_words import LandlockRule

from . import access
from .base import Rule
from .builtin import Builtin, Permission
from .groups import (
    CLOSE,
    DESCRIPTOR_FLAGS,
    MAP_PRIVATE,
    METADATA,
    OPEN_TO_READ,
    OPEN_UNDER_LANDLOCK,
    READ,
    RENAME,
    UNLINK,
    WRITE,
)

Path = str | os.PathLike[str]

#: Where systems keep certificates and the configuration of OpenSSL. Debian's /etc/ssl/certs are links to the two
#: directories of ca-certificates; Landlock looks at what a link leads to.
SSL_DIRECTORIES = (
    "/etc/ssl/certs",
    "/etc/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust",
    "/var/lib/ca-certificates",
)
SSL_FILES = ("/etc/ssl/openssl.cnf", "/etc/ssl/cert.pem", "/etc/pki/tls/openssl.cnf", "/etc/pki/tls/cert.pem")
#: What the names of hosts and services are looked up in.
DNS_FILES = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
)

_READING = f"{CLOSE} {READ} {METADATA}"
_READING_RULES = (*OPEN_TO_READ, *MAP_PRIVATE, *DESCRIPTOR_FLAGS)


def _some(paths: Iterable[str], rights: frozenset[str]) -> tuple[LandlockRule, ...]:
    """Return rules for paths of which a system has some and not others."""
    return tuple(LandlockRule(path, rights, optional=True) for path in paths)


_SSL = Permission(
    "allow_ssl_files()",
    _READING,
    _READING_RULES,
    (
        *_some(SSL_DIRECTORIES, access.read_path() | access.list_dir()),
        *_some((*SSL_FILES, "/etc/localtime"), access.read_path()),
    ),
)
_DNS = Permission("allow_dns_files()", _READING, _READING_RULES, _some(DNS_FILES, access.read_path()))


@dataclass(frozen=True, init=False, repr=False)
class SystemIOPaths(Builtin):
    """The methods of `SystemIO` that name paths. Rights for one path that is named twice are joined."""

    def allow_read_path(self, path: Path) -> Self:
        """Permit to open a file, or everything below a directory, for reading.

        Permits:
            close close_range read readv preadv preadv2 pread64 lseek
            stat fstat newfstatat lstat statx getdents getdents64 getcwd
            access faccessat faccessat2 readlink readlinkat statfs fstatfs
            open openat: without O_WRONLY O_RDWR O_APPEND O_CREAT O_EXCL O_TRUNC O_TMPFILE
            mmap: MAP_PRIVATE (gives way)
            ioctl: TCGETS TCGETS2 TIOCGWINSZ FIONREAD FIONBIO FIOCLEX FIONCLEX
            fcntl: F_DUPFD F_DUPFD_CLOEXEC F_DUPFD_QUERY F_GETFD F_SETFD F_GETFL F_SETFL
            Landlock path: read_file
        """
        return self._on("allow_read_path", path, access.read_path(), _READING, _READING_RULES)

    def allow_write_file(self, path: Path) -> Self:
        """Permit to open a file that exists, or any below a directory, for writing, and to empty it.

        Permits:
            close close_range write writev pwritev pwritev2 pwrite64 fsync fdatasync ftruncate lseek
            stat fstat newfstatat lstat statx getdents getdents64 getcwd
            access faccessat faccessat2 readlink readlinkat statfs fstatfs
            open openat
            ioctl: TCGETS TCGETS2 TIOCGWINSZ FIONREAD FIONBIO FIOCLEX FIONCLEX
            fcntl: F_DUPFD F_DUPFD_CLOEXEC F_DUPFD_QUERY F_GETFD F_SETFD F_GETFL F_SETFL
            Landlock path: write_file truncate
        """
        calls = f"{CLOSE} {WRITE} {METADATA} {OPEN_UNDER_LANDLOCK}"
        return self._on("allow_write_file", path, access.write_file(), calls, DESCRIPTOR_FLAGS)

    def allow_create_in_dir(self, path: Path) -> Self:
        """Permit to create files in a directory, and to open them for writing.

        Permits:
            creat open openat close
            ioctl: TCGETS TCGETS2 TIOCGWINSZ FIONREAD FIONBIO FIOCLEX FIONCLEX
            fcntl: F_DUPFD F_DUPFD_CLOEXEC F_DUPFD_QUERY F_GETFD F_SETFD F_GETFL F_SETFL
            Landlock path: create_file write_file truncate

        Writing to them takes allow_write_file() of the same directory, or another set that permits write().
        """
        rights = access.create_file() | access.write_file()
        return self._on("allow_create_in_dir", path, rights, f"creat close {OPEN_UNDER_LANDLOCK}", DESCRIPTOR_FLAGS)

    def allow_list_dir(self, path: Path) -> Self:
        """Permit to list a directory and those below it.

        Permits:
            close close_range
            stat fstat newfstatat lstat statx getdents getdents64 getcwd
            access faccessat faccessat2 readlink readlinkat statfs fstatfs
            open openat: without O_WRONLY O_RDWR O_APPEND O_CREAT O_EXCL O_TRUNC O_TMPFILE
            ioctl: TCGETS TCGETS2 TIOCGWINSZ FIONREAD FIONBIO FIOCLEX FIONCLEX
            fcntl: F_DUPFD F_DUPFD_CLOEXEC F_DUPFD_QUERY F_GETFD F_SETFD F_GETFL F_SETFL
            Landlock path: list_dir
        """
        rules = (*OPEN_TO_READ, *DESCRIPTOR_FLAGS)
        return self._on("allow_list_dir", path, access.list_dir(), f"{CLOSE} {METADATA}", rules)

    def allow_create_dir(self, path: Path) -> Self:
        """Permit to create directories in a directory.

        Permits:
            mkdir mkdirat
            Landlock path: create_dir
        """
        return self._on("allow_create_dir", path, access.create_dir(), "mkdir mkdirat")

    def allow_remove_file(self, path: Path) -> Self:
        """Permit to remove files from a directory.

        Permits:
            unlink unlinkat
            Landlock path: remove_file
        """
        return self._on("allow_remove_file", path, access.delete_file(), UNLINK)

    def allow_remove_dir(self, path: Path) -> Self:
        """Permit to remove empty directories from a directory, not that directory itself.

        Permits:
            rmdir unlinkat
            Landlock path: remove_dir
        """
        return self._on("allow_remove_dir", path, access.delete_dir(), "rmdir unlinkat")

    def allow_move_in_dir(self, path: Path) -> Self:
        """Permit to rename files and directories within a directory and between directories that have this right.

        Permits:
            rename renameat renameat2
            Landlock path: create_file create_dir create_symlink remove_file remove_dir move
        """
        rights = {"create_file", "create_dir", "create_symlink", "remove_file", "remove_dir", "move"}
        return self._on("allow_move_in_dir", path, frozenset(rights), RENAME)

    def allow_link_in_dir(self, path: Path) -> Self:
        """Permit to make symbolic links in a directory, to anything.

        Permits:
            symlink symlinkat
            Landlock path: create_symlink
        """
        return self._on("allow_link_in_dir", path, frozenset({"create_symlink"}), "symlink symlinkat")

    def allow_create_socket_in_dir(self, path: Path) -> Self:
        """Permit to bind unix sockets in a directory; the socket itself is for ``Networking``.

        Permits:
            Landlock path: create_socket
        """
        return self._on("allow_create_socket_in_dir", path, frozenset({"create_socket"}))

    def allow_execute_path(self, path: Path) -> Self:
        """Permit to execute a file, or everything below a directory, and to read it; for ``ForkAndExec``.

        Programs need their loader and libraries as well, so the usual path is ``"/usr"``.

        Permits:
            as allow_read_path
            Landlock path: execute read_file
        """
        rights = access.execute() | access.read_path()
        return self._on("allow_execute_path", path, rights, _READING, _READING_RULES)

    def allow_ssl_files(self) -> Self:
        """Permit to read the certificates and the OpenSSL configuration of the system; what it lacks is left out.

        Permits:
            as allow_read_path
            Landlock /etc/ssl/certs: read_file list_dir
            Landlock /etc/ca-certificates: read_file list_dir
            Landlock /usr/share/ca-certificates: read_file list_dir
            Landlock /usr/local/share/ca-certificates: read_file list_dir
            Landlock /etc/pki/tls/certs: read_file list_dir
            Landlock /etc/pki/ca-trust: read_file list_dir
            Landlock /var/lib/ca-certificates: read_file list_dir
            Landlock /etc/ssl/openssl.cnf: read_file
            Landlock /etc/ssl/cert.pem: read_file
            Landlock /etc/pki/tls/openssl.cnf: read_file
            Landlock /etc/pki/tls/cert.pem: read_file
            Landlock /etc/localtime: read_file
        """
        return self._with(_SSL)

    def allow_dns_files(self) -> Self:
        """Permit to read what host names are looked up in; what the system lacks is left out.

        Permits:
            as allow_read_path
            Landlock /etc/resolv.conf: read_file
            Landlock /etc/hosts: read_file
            Landlock /etc/host.conf: read_file
            Landlock /etc/nsswitch.conf: read_file
            Landlock /etc/gai.conf: read_file
            Landlock /etc/services: read_file
            Landlock /etc/protocols: read_file
        """
        return self._with(_DNS)

    def _on(
        self,
        method: str,
        path: Path,
        rights: frozenset[str],
        calls: str = "",
        more: tuple[Rule, ...] = (),
    ) -> Self:
        rule = LandlockRule(path, rights)
        return self._with(Permission(f"{method}({rule.path!r})", calls, more, (rule,)))
