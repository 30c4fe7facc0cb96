"""The mount words: what of the host's files a call sees, and where.

Each word returns a frozen `Mount` that prints as the word itself. All that can be checked without looking at
the file system is checked here; that a source exists and is of the right kind is found out once per call,
when it is opened.
"""

from __future__ import annotations

import os

from isolate_fn._frozen import dataclass
from isolate_fn.errors import PolicyError

from . import checks

Source = str | os.PathLike[str]


@dataclass(frozen=True, kw_only=True, repr=False)
class Mount:
    """One entry of the isolate's file tree; each word makes one.

    Attributes:
        word: the function that made it.
        destination: absolute, normalised path inside.
        source: absolute path outside, as written (ro, rw, overlay, dev); symlinks in it are followed once per
            call.
        target: text of a symbolic link.
        size: bytes that a tmpfs may hold.
        data: content of a file.
        noexec: refuse to execute or map executable what lies below.
        optional: leave the mount out where the source does not exist.
        allow_code: let the isolate write what the parent may later import or run.
    """

    word: str
    destination: str
    source: str = ""
    target: str = ""
    size: int = 0
    data: bytes = b""
    noexec: bool = False
    optional: bool = False
    allow_code: bool = False

    __isolate_fn__ = "grant"

    def __repr__(self) -> str:
        arguments = {
            "tmpfs": lambda: [repr(self.destination), f"size={checks.show_size(self.size)!r}"],
            "file": lambda: [repr(self.destination), _show_data(self.data)],
            "symlink": lambda: [repr(self.destination), repr(self.target)],
        }.get(self.word, self._show_paths)()
        flags = ("noexec", "optional", "allow_code")
        return (
            f"{self.word}({', '.join(arguments + [f'{name}=True' for name in flags if getattr(self, name)])})"
        )

    def _show_paths(self) -> list[str]:
        return [repr(self.source), repr(self.destination)] if self.moved else [repr(self.source)]

    @property
    def moved(self) -> bool:
        """True where it lies elsewhere inside than outside."""
        return self.destination != _tidy(self.source)


TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    class Grant(Mount, Path):
        """What `ro` and `rw` return, as a type checker sees it: accepted where a function's parameter is a path."""
else:
    Grant = Mount


def ro(src: Source, dst: Source | None = None, *, noexec: bool = False, optional: bool = False) -> Grant:
    """Show a file or directory read-only, everything mounted below it included.

    Passed as an argument it is mounted for that one call, and the function receives its path inside.

    Args:
        src: absolute path outside.
        dst: absolute path inside; the same as outside if left out.
        noexec: refuse to execute or map executable what lies below it.
        optional: leave it out where ``src`` does not exist, instead of raising.

    Raises:
        PolicyError: a path is relative, starts with ``~``, or leads where nothing may be mounted.
    """
    return _bind("ro", src, dst, noexec=noexec, optional=optional)


def rw(
    src: Source,
    dst: Source | None = None,
    *,
    noexec: bool = False,
    optional: bool = False,
    allow_code: bool = False,
) -> Grant:
    """Show a file or directory writable: what the isolate writes is there outside, for good.

    Passed as an argument it is mounted for that one call, and the function receives its path inside.

    Args:
        src: absolute path outside.
        dst: absolute path inside; the same as outside if left out.
        noexec: refuse to execute or map executable what lies below it.
        optional: leave it out where ``src`` does not exist, instead of raising.
        allow_code: permit a source that the parent could later import or run (on ``sys.path``, a project with
            ``.git``, the home directory, the system's programs). Whoever controls the isolate then controls
            those.

    Raises:
        PolicyError: a path is relative, starts with ``~``, or leads where nothing may be mounted.
    """
    allow_code = checks.boolean("rw(allow_code=)", allow_code)
    return _bind("rw", src, dst, noexec=noexec, optional=optional, allow_code=allow_code)


def overlay(src: Source, dst: Source | None = None, *, noexec: bool = False, optional: bool = False) -> Mount:
    """Show a directory as if writable: what the isolate writes vanishes with it.

    Args:
        src: absolute path outside.
        dst: absolute path inside; the same as outside if left out.
        noexec: refuse to execute or map executable what lies below it.
        optional: leave it out where ``src`` does not exist, instead of raising.

    Raises:
        PolicyError: a path is relative, starts with ``~``, or leads where nothing may be mounted.
    """
    return _bind("overlay", src, dst, noexec=noexec, optional=optional)


def tmpfs(dst: Source, size: int | str = "64M", *, noexec: bool = False) -> Mount:
    """Make an empty, writable directory in memory, with a size of its own.

    Args:
        dst: absolute path inside.
        size: bytes, or text such as ``"64M"``; at least 4K, one page.
        noexec: refuse to execute or map executable what lies below it.

    Raises:
        PolicyError: the path or the size is wrong.
    """
    return Mount(
        word="tmpfs",
        destination=_destination("tmpfs(dst)", dst),
        # tmpfs takes size=0 for "no limit".
        size=checks.size("tmpfs(size=)", size, minimum=4 << 10),
        noexec=checks.boolean("tmpfs(noexec=)", noexec),
    )


def file(dst: Source, data: bytes | str) -> Mount:
    """Make a read-only file with the given content; it counts towards ``limits.rootfs_size``.

    Args:
        dst: absolute path inside.
        data: its content; text is encoded as UTF-8.

    Raises:
        PolicyError: the path is wrong or ``data`` is neither bytes nor text.
    """
    return Mount(word="file", destination=_destination("file(dst)", dst), data=_content(data))


def dev(src: Source, dst: Source | None = None, *, optional: bool = False) -> Mount:
    """Show a device, readable and writable as its permissions say.

    Its driver becomes reachable for the isolate.

    Args:
        src: absolute path of a character or block device outside.
        dst: absolute path inside; the same as outside if left out.
        optional: leave it out where ``src`` does not exist, instead of raising.

    Raises:
        PolicyError: a path is relative, starts with ``~``, or leads where nothing may be mounted.
    """
    source = _source("dev(src)", src)
    return Mount(
        word="dev",
        source=source,
        destination=_destination("dev(dst)", source if dst is None else dst, device=True),
        optional=checks.boolean("dev(optional=)", optional),
    )


def symlink(dst: Source, target: Source) -> Mount:
    """Make a symbolic link.

    Args:
        dst: absolute path of the link inside.
        target: what it points to, seen from inside; may be relative and need not exist.

    Raises:
        PolicyError: the path is wrong or the target is empty.
    """
    destination = _destination("symlink(dst)", dst)
    text = _text("symlink(target)", target)
    if len(os.fsencode(text)) > 4095:
        raise PolicyError("symlink(target)", f"{checks.show(text)} is too long", "use at most 4095 bytes (PATH_MAX)")
    return Mount(word="symlink", destination=destination, target=text)


def _bind(
    word: str, src: Source, dst: Source | None, *, noexec: bool, optional: bool, allow_code: bool = False
) -> Grant:
    source = _source(f"{word}(src)", src)
    _refuse_kernel_files(f"{word}(src)", source)
    return Grant(
        word=word,
        source=source,
        destination=_destination(f"{word}(dst)", source if dst is None else dst),
        noexec=checks.boolean(f"{word}(noexec=)", noexec),
        optional=checks.boolean(f"{word}(optional=)", optional),
        allow_code=allow_code,
    )


def _text(field: str, path: object) -> str:
    """Return the path as a non-empty str without NUL."""
    if isinstance(path, Mount):
        raise PolicyError(field, f"{path!r} is a mount already", "use it by itself")
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str):
        raise PolicyError(field, f"{checks.show(path)} is not a path", "use a str or a pathlib.Path")
    if not text or "\0" in text:
        problem = "holds a NUL character" if text else "is empty"
        raise PolicyError(field, f"{checks.show(text)} {problem}", "name a file or directory")
    return text


def _absolute(field: str, path: object) -> str:
    text = _text(field, path)
    if text.startswith("~"):
        raise PolicyError(field, f"{text!r}: ~ is not expanded", "use Path.home() / ... or os.path.expanduser()")
    if not text.startswith("/"):
        raise PolicyError(field, f"{text!r} is a relative path", "use an absolute path, or Path(...).resolve()")
    return text


def _source(field: str, path: object) -> str:
    """Check a path outside. ``..`` stays: with symbolic links only the kernel knows where it leads."""
    text = _absolute(field, path)
    return text if ".." in text.split("/") else _tidy(text)


def _tidy(path: str) -> str:
    """Remove what never changes the meaning: ``//``, ``/./`` and a trailing slash."""
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def _destination(field: str, path: object, *, device: bool = False) -> str:
    """Check a path inside."""
    text = _absolute(field, path)
    if ".." in text.split("/"):
        raise PolicyError(field, f"{text!r} holds '..'", "write the path without '..', or use Path(...).resolve()")
    text = _tidy(text)
    if text == "/":
        raise PolicyError(field, "'/' is the isolate's own root", "mount below it, such as ro(src, '/data')")
    if len(os.fsencode(text)) > 4095 or any(len(os.fsencode(part)) > 255 for part in text.split("/")):
        remedy = "use at most 4095 bytes, 255 for each name (PATH_MAX, NAME_MAX)"
        raise PolicyError(field, f"{checks.show(text)} is too long", remedy)
    for tree in ("/proc",) if device else ("/proc", "/dev"):
        if text == tree or text.startswith(f"{tree}/"):
            remedy = "use dev() for devices, or another dst" if tree == "/dev" else "use another dst"
            raise PolicyError(field, f"{text!r} lies in {tree}, which the isolate has of its own", remedy)
    if text == "/dev":
        raise PolicyError(field, "'/dev' is a directory of the isolate's own", "name one device, such as /dev/fuse")
    return text


def _refuse_kernel_files(field: str, source: str) -> None:
    """The host's /proc would show its processes, its /dev its hardware; both defeat the isolate."""
    if source == "/proc" or source.startswith("/proc/"):
        raise PolicyError(field, f"{source!r} shows the host's processes", "copy what is needed: file(dst, data)")
    shared_memory = source.startswith("/dev/shm/")
    if not shared_memory and (source == "/dev" or source.startswith("/dev/")):
        raise PolicyError(field, f"{source!r} is a device or holds devices", "use dev() for each device needed")


def _content(data: object) -> bytes:
    if isinstance(data, str):
        return data.encode()
    if not isinstance(data, (bytes, bytearray, memoryview)):
        problem = f"{checks.show(data)} is neither bytes nor str"
        raise PolicyError("file(data)", problem, "pass the content itself")
    return bytes(data)


def _show_data(data: bytes) -> str:
    return repr(data) if len(data) <= 64 else f"<{len(data)} bytes>"
