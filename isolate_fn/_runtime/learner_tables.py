"""Where the paths of system calls are, and what becomes of them: for `isolate_fn._runtime.learner`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from isolate_fn._records import NamedTuple


class Call(NamedTuple):
    """A system call with paths.

    Attributes:
        kind: ``"open"``, ``"look"``, ``"run"``, ``"write"`` (of what is there), or ``"change"`` (of names in a directory).
        paths: (argument with the descriptor of a directory or -1, argument with the pointer) of each.
        flags: argument with the flags of an open.
    """

    kind: str
    paths: tuple[tuple[int, int], ...]
    flags: int = 0


def is_loopback(host: str) -> bool:
    """Tell whether an address, written as text, is of the machine itself; that of no interface in particular is."""
    return host.startswith("127.") or host in ("::1", "0.0.0.0", "::")  # noqa: S104 - it is read, not bound


_ONE, _AT = ((-1, 0),), ((0, 1),)


def _each(names: str, kind: str, paths: tuple[tuple[int, int], ...], flags: int = 0) -> dict[str, Call]:
    return dict.fromkeys(names.split(), Call(kind, paths, flags))


CALLS: dict[str, Call] = {
    **_each("open creat", "open", _ONE, 1),
    **_each("openat openat2", "open", _AT, 2),
    **_each("stat lstat access readlink statfs chdir getxattr lgetxattr listxattr llistxattr", "look", _ONE),
    **_each("newfstatat statx faccessat faccessat2 readlinkat inotify_add_watch", "look", _AT),
    **_each("execve", "run", _ONE),
    **_each("execveat", "run", _AT),
    **_each("mkdir unlink rmdir mknod", "change", _ONE),
    **_each("mkdirat unlinkat mknodat", "change", _AT),
    **_each("rename link", "change", ((-1, 0), (-1, 1))),
    **_each("renameat renameat2 linkat", "change", ((0, 1), (2, 3))),
    **_each("symlink", "change", ((-1, 1),)),
    **_each("symlinkat", "change", ((1, 2),)),
    **_each("truncate chmod chown lchown utime utimes setxattr lsetxattr", "write", _ONE),
    **_each("fchmodat fchmodat2 fchownat utimensat futimesat", "write", _AT),
}
