"""Look at the sources of a policy's mounts: where they really are, what they are, what they endanger."""

from __future__ import annotations

import itertools
import os
import stat
import sys
from collections.abc import Iterator, Sequence

from isolate_fn._enforce.trees import unescape
from isolate_fn._frozen import dataclass
from isolate_fn._plan.mounts import CodeRoot, Mount, Policy, ResolvedSource, is_within
from isolate_fn._plan.orders import MountOrder
from isolate_fn._runtime import discover_project
from isolate_fn.errors import PolicyError

# How much of a directory is looked at; a warning, not a wall.
_LOOKED_AT = 1000

# What the system runs: programs, libraries, their settings, start-up files.
_SYSTEM = ("/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/sbin", "/usr", "/var/spool/cron")


@dataclass(frozen=True)
class Resolution:
    """What was found.

    Attributes:
        sources: for each of the policy's mounts its source; None for words without one and for those left
        out.
        importable: places whose content this process may later import or run.
        warnings: sentences for the report: mounts that contain unix sockets.
        dropped: optional mounts that were left out because their source is missing, as written.
    """

    sources: tuple[ResolvedSource | None, ...]
    importable: tuple[CodeRoot, ...]
    warnings: tuple[str, ...]
    dropped: tuple[str, ...]


def resolve_sources(policy: Policy) -> Resolution:
    """Look at each source of ``policy.mounts``.

    Raises:
        PolicyError: a source is missing (and not optional), cannot be reached, or is of the wrong kind.
    """
    # Only writable mounts ask for it.
    importable = code_roots() if any(mount.word == "rw" for mount in policy.mounts) else ()
    sources: list[ResolvedSource | None] = []
    warnings: list[str] = []
    dropped: list[str] = []
    for index, mount in enumerate(policy.mounts):
        source = resolve_source(f"mounts[{index}]", mount) if mount.source else None
        sources.append(source)
        if source is not None:
            warnings += _socket_warnings(f"mounts[{index}] {mount!r}", source)
        elif mount.source:
            dropped.append(f"mounts[{index}] {mount!r}: there is no {mount.source!r}")
    return Resolution(tuple(sources), importable, tuple(warnings), tuple(dropped))


def settle_mount_points(orders: Sequence[MountOrder]) -> tuple[MountOrder, ...]:
    """Return the orders, the user's mounts inside other mounts at the mount points that they find there.

    None can be made: a read-only mount allows it not, and a writable one would get it outside as well. Symbolic links of
    the system (``/usr/bin/sh``) are followed, as the kernel would; others not.

    Raises:
        PolicyError: a mount point is missing, lies behind a symbolic link of a granted mount, or is a directory where a file
            is needed or the other way round.
    """
    settled: list[MountOrder] = []
    for order in orders:
        inner = order.granted and order.kind in ("bind", "tmpfs", "device")
        settled.append(_settled(order, settled) if inner else order)
    return tuple(settled)


def _settled(order: MountOrder, earlier: Sequence[MountOrder]) -> MountOrder:
    outer = _innermost(order.destination, earlier)
    if outer is None or outer.kind != "bind":
        return order
    place = outer.source + order.destination.removeprefix(outer.destination)
    wanted = order.kind == "tmpfs" or (order.kind == "bind" and order.is_directory)
    kind = "directory" if wanted else "file"
    real = os.path.realpath(place)
    if real != place and (outer.granted or not _is_as_outside(real, earlier)):  # nobody follows it there, see trees.place
        raise PolicyError(
            order.origin.partition(" ")[0],
            f"{order.origin.partition(' ')[2]} lies in {outer.origin}, where a symbolic link is on the way to {place!r}",
            # Not what it leads to: who could write there may have made it.
            f"put a {kind} where the link is, or leave this mount out where the other shows what you need",
        )
    if not os.path.exists(place) or os.path.isdir(place) != wanted:
        raise PolicyError(
            order.origin.partition(" ")[0],
            f"{order.origin.partition(' ')[2]} lies in {outer.origin}, where no {kind} {place!r} exists",
            f"make {place!r} before, or use another dst",
        )
    return order if real == place else order._replace(destination=real)


def _is_as_outside(path: str, orders: Sequence[MountOrder]) -> bool:
    """Tell whether the runtime shows a path inside at its own place."""
    around = _innermost(path, orders)
    return around is not None and around.kind == "bind" and not around.granted and around.source == around.destination


def code_roots() -> tuple[CodeRoot, ...]:
    """Return the places whose content this process may later import or run, the widest first."""
    roots = [CodeRoot(path, "the system's", True) for path in _SYSTEM]
    roots += [CodeRoot(path, "sys.prefix", True) for path in (sys.prefix, sys.exec_prefix)]
    roots += [CodeRoot(path, "sys.base_prefix", True) for path in (sys.base_prefix, sys.base_exec_prefix)]
    roots.append(CodeRoot(os.path.expanduser("~"), "the home directory", False))
    for entry in sys.path:
        path = discover_project.absolute(str(entry))
        site = os.path.basename(path) in ("site-packages", "dist-packages")
        roots.append(CodeRoot(path, "the sys.path entry", site))
    for _, path in discover_project.editable_mappings():
        roots.append(CodeRoot(path, "an editable install", True))
    resolved = {
        CodeRoot(os.path.realpath(root.path), root.what, root.deep): None for root in roots if root.path
    }
    # Where Python's prefix is the root directory itself, everything would lie in it.
    return tuple(root for root in resolved if root.path != "/" or not root.deep)


def resolve_source(field: str, mount: Mount) -> ResolvedSource | None:
    """Look at one source.

    Args:
        field: what an error names.
        mount: whose.

    Returns:
        None for an optional one that does not exist.

    Raises:
        PolicyError: it is missing (and not optional), cannot be reached, or is of the wrong kind.
    """
    try:
        path = os.path.realpath(mount.source, strict=True)
        mode = os.stat(path).st_mode
    except OSError as error:
        missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        if missing and mount.optional:
            return None
        problem = "does not exist" if missing else f"cannot be reached: {error.strerror}"
        remedy = (
            "check the path" if not missing else f"check the path, or write {mount.word}(..., optional=True)"
        )
        raise PolicyError(field, f"the source of {mount!r} {problem}", remedy) from None
    kind = _kind(field, mount, path, mode)
    code = code_of(path, kind) if mount.word == "rw" else ""
    return ResolvedSource(path, kind, code)


def _kind(field: str, mount: Mount, path: str, mode: int) -> str:
    device = stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
    if mount.word == "dev":
        if not device:
            raise PolicyError(field, f"the source of {mount!r} is not a device", "use ro() or rw() for files")
        return "device"
    if device:
        raise PolicyError(field, f"the source of {mount!r} is a device", "use dev() for devices")
    # The word has checked the path as written; symbolic links may have led elsewhere.
    if is_within(path, "/proc") or path in ("/proc", "/dev"):
        problem = f"the source of {mount!r} is {path!r}, which shows the host's processes or devices"
        raise PolicyError(field, problem, "copy what is needed: file(dst, data)")
    if stat.S_ISDIR(mode):
        _refuse_processes_below(field, mount, path)
        return "directory"
    if stat.S_ISREG(mode) and mount.word != "overlay":
        return "file"
    if stat.S_ISSOCK(mode) and mount.word != "overlay":
        return "socket"
    found = "a named pipe" if stat.S_ISFIFO(mode) else "not a directory"
    raise PolicyError(field, f"the source of {mount!r} is {found}", "mount a directory or a regular file")


def _refuse_processes_below(field: str, mount: Mount, path: str) -> None:
    """Refuse a directory with a proc file system below it: ``/``, or the root of a container.

    Mounts come with everything mounted below them, and that one shows the host's processes, with their arguments.
    """
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            fields = line.split(" ")
            point = unescape(fields[4])
            if fields[fields.index("-") + 1] == "proc" and is_within(point, path):
                problem = f"the source of {mount!r} contains {point!r}, which shows the host's processes"
                raise PolicyError(field, problem, "mount the directories that are needed, one by one")


def _top(directory: str) -> list[os.DirEntry[str]]:
    """Return the first entries of a directory, none if it cannot be read."""
    try:
        with os.scandir(directory) as entries:
            return list(itertools.islice(entries, _LOOKED_AT))
    except OSError:
        return []


def _socket_warnings(origin: str, source: ResolvedSource) -> Iterator[str]:
    """Warn of unix sockets: connect(2) works through a read-only mount, since it does not write the file."""
    names = [os.path.basename(source.path)] if source.kind == "socket" else []
    if source.kind == "directory":
        names = sorted(entry.name for entry in _top(source.path) if _is_socket(entry))
    if names:
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        yield f"{origin} shows unix sockets ({shown}): whoever listens there can be reached from inside"


def _is_socket(entry: os.DirEntry[str]) -> bool:
    # d_type tells almost everywhere; only what is neither is asked for by stat.
    try:
        if entry.is_file() or entry.is_dir():
            return False
        return stat.S_ISSOCK(entry.stat().st_mode)
    except OSError:
        return False


def code_of(path: str, kind: str) -> str:
    """Say why the parent could later run what is written to ``path``, as far as entries tell."""
    entries = _top(path) if kind == "directory" else []
    names = {entry.name for entry in entries}
    if ".git" in names or "/.git/" in f"{path}/":
        return "it holds a .git, whose hooks git runs"
    for entry in entries:
        if entry.is_dir(follow_symlinks=False) and os.path.lexists(f"{entry.path}/.git"):
            return f"it contains {entry.name!r} with a .git, whose hooks git runs"
    return _home_code(path) or _project_code(path, kind, names)


def _home_code(path: str) -> str:
    """Hidden files of the home directory are settings, and many of them name programs to start."""
    home = os.path.realpath(os.path.expanduser("~"))
    top = path.removeprefix(f"{home}/").split("/")[0]
    if is_within(path, home) and (top.startswith(".") or top == "bin"):
        return f"{top!r} in the home directory holds settings or programs"
    return ""


def _project_code(path: str, kind: str, names: set[str]) -> str:
    """Say whether ``path`` can be imported through ``sys.path``; a directory of data there can not."""
    for entry in sys.path:
        root = os.path.realpath(discover_project.absolute(str(entry)) or "/")
        if not is_within(path, root):
            continue
        *directories, last = os.path.relpath(path, root).split("/")
        if kind == "directory":
            directories.append(last)
        elif discover_project.is_module_name(last):
            return "it is a module on sys.path"
        reason = _directory_code(root, directories)
        if reason:
            return reason
        if any(map(discover_project.is_module_name, names)) or "__pycache__" in names:
            return f"it holds modules that can be imported through {root!r}"
    return ""


def _directory_code(root: str, directories: list[str]) -> str:
    """Say whether a directory below a ``sys.path`` entry is, or could become, part of a package."""
    for count in range(1, len(directories) + 1):
        package = os.path.join(root, *directories[:count])
        if discover_project.is_package(package):
            return f"it lies in the package {package!r}"
    top = directories[:1]
    # With an __init__.py written into it, a directory is imported before anything later on sys.path.
    could_shadow = len(directories) == 1 and top[0] in sys.stdlib_module_names
    if could_shadow or (top and top[0] in sys.modules):
        return f"{top[0]!r} on sys.path has the name of a module"
    return ""


def _innermost(destination: str, orders: Sequence[MountOrder]) -> MountOrder | None:
    """Return the mount that a path inside lies in: of several the deepest."""
    around = [
        order
        for order in orders
        if order.kind in ("bind", "tmpfs") and is_within(destination, order.destination)
    ]
    return max(around, key=lambda order: len(order.destination), default=None)
