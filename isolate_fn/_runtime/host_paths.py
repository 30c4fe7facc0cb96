"""What an isolate without mounts may reach, by the paths that the host has: looked up once for each policy."""

from __future__ import annotations

import importlib.machinery
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import cache_from_source

from isolate_fn._enforce.scratch import PREFIX
from isolate_fn._plan.landlock_engine import HostView, check_places
from isolate_fn._plan.mounts import is_within
from isolate_fn._plan.orders import MountOrder
from isolate_fn._runtime.discover import RuntimeView, mapped_libpython
from isolate_fn._sys.features import Features
from isolate_fn.errors import Unsupported

_SUFFIXES = sorted(importlib.machinery.all_suffixes(), key=len, reverse=True)
_DEVICES = ("null", "zero", "full", "random", "urandom")
_PLACES = ("/tmp", "/var/tmp", "/dev/shm", "/run/shm")


def look(view: RuntimeView, mounts: Sequence[MountOrder], features: Features, *, fresh_exec: bool = False) -> HostView:
    """Return what of the runtime and of the caller's mounts can be reached where it is.

    Args:
        view: the runtime.
        mounts: all orders, the caller's among them.
        features: of this machine.
        fresh_exec: the interpreter is executed anew under the isolate's id.

    Raises:
        Unsupported: a mount is to lie elsewhere inside; the id that isolates get may not reach it, or the interpreter; there
            is no directory to write in.
    """
    granted = [order for order in mounts if order.granted]
    check_places(granted, [os.path.realpath(order.destination) for order in granted], features)
    runtime = [order for order in mounts if not order.granted]
    modules = list(_on_host(runtime))
    devices = [MountOrder("device", f"/dev/{name}", f"/dev/{name}", is_directory=False) for name in _DEVICES]
    absent = sorted(order.destination for order in runtime if order.kind == "file" and not _same_on_host(order))
    differences = [f"files: {', '.join(absent)}: not shown, because the host's tell more"] if absent else []
    if features.changes_ids:
        for order in granted:
            check_reachable(order)
        differences += _unreachable(view, modules, fresh_exec=fresh_exec)
    return HostView(
        orders=(*modules, *devices, *granted),
        entries=_entries(view, [order for order in runtime if order.origin == "runtime: the program's modules"]),
        scratch=_scratch(granted, features),
        differences=tuple(differences),
    )


def _on_host(orders: Iterable[MountOrder]) -> Iterator[MountOrder]:
    """Yield the orders that name what is there: links are there anyway, and files are made of nothing only by mounting."""
    for order in orders:
        if order.kind in ("bind", "device"):
            yield order
        elif order.kind == "copy":
            yield order._replace(kind="bind", is_directory=False)
            if order.source.endswith(".py"):
                compiled = cache_from_source(order.source)
                yield order._replace(kind="bind", source=compiled, destination=compiled, is_directory=False)
        elif order.kind == "file" and _same_on_host(order):
            real = os.path.realpath(order.destination)
            yield order._replace(kind="bind", source=real, is_directory=False, data=b"")


def _same_on_host(order: MountOrder) -> bool:
    try:
        with open(order.destination, "rb") as file:
            return file.read(len(order.data) + 1) == order.data
    except OSError:
        return False


def _entries(view: RuntimeView, modules: Sequence[MountOrder]) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    """Return what can be imported from directories that are not shown as a whole: of the path, and of packages in parts."""
    roots = {os.path.realpath(path) for path in view.sys_path}
    entries: dict[str, dict[str, str]] = {}
    for order in modules:
        path = order.source
        name = _module_name(path, is_directory=order.kind == "bind" and order.is_directory)
        while name:
            above = os.path.dirname(path)
            entries.setdefault(above, {}).setdefault(name, path)
            if not any(is_within(above, root) for root in roots):
                break
            path, name = above, os.path.basename(above)  # a namespace package, or one that is shown in parts
    return tuple((path, tuple(names.items())) for path, names in entries.items())


def _module_name(path: str, *, is_directory: bool) -> str:
    base = os.path.basename(path)
    if is_directory:
        return base if base.isidentifier() else ""
    suffix = next((suffix for suffix in _SUFFIXES if base.endswith(suffix)), "")
    return base.removesuffix(suffix) if suffix else ""


def _scratch(granted: Sequence[MountOrder], features: Features) -> str:
    """Return a directory to make private directories in, outside of everything that isolates of this policy may reach.

    Raises:
        Unsupported: there is none.
    """
    wanted = [os.environ.get(name, "") for name in ("TMPDIR", "TEMP", "TMP")]
    for path in (*wanted, *_PLACES):
        real = os.path.realpath(path) if os.path.isabs(path) else ""
        if not real or not os.path.isdir(real) or not os.access(real, os.W_OK | os.X_OK):
            continue
        shown = any(real == order.source or is_within(real, order.source) for order in granted)
        if not shown and not (features.changes_ids and _closed_to_others(real, 0o001)):
            return real
    raise Unsupported(
        "engine 'landlock'",
        "a writable directory for private ones, which no mount of the policy shows",
        f"none of TMPDIR, {', '.join(_PLACES)}",
        "set TMPDIR to one; in Kubernetes mount an emptyDir at /tmp, in Docker use --tmpfs /tmp",
    )


def check_grant(order: MountOrder, scratch: str, features: Features) -> None:
    """Refuse a grant of one call that this engine cannot make.

    Args:
        order: the grant.
        scratch: `Plan.scratch`.
        features: of this machine.

    Raises:
        Unsupported: see `check_reachable`; or private directories of isolates lie in it.
    """
    if scratch == order.source or is_within(scratch, order.source):
        raise Unsupported(
            order.origin,
            "a directory for private ones that lies elsewhere",
            f"{scratch!r}, which is within the grant",
            "set TMPDIR to another directory, or grant less",
        )
    if features.changes_ids:
        check_reachable(order)


def check_reachable(order: MountOrder) -> None:
    """Refuse a grant that the isolate's own id may not use: Landlock takes away, and never gives what permissions deny.

    Raises:
        Unsupported: names the first thing on the path that is closed, and what to do.
    """
    needed = (0o005 if order.is_directory else 0o004) | (0 if order.read_only else 0o002)
    closed = _closed_to_others(order.source, needed)
    if closed:
        raise Unsupported(
            order.origin,
            "permissions for every user, or the engine 'namespaces' with id-mapped mounts",
            f"{closed}; a root caller's isolates run under an unused id",
            "chmod it for others, pass an open file as an argument, or run the caller as the user who owns it",
        )


def _closed_to_others(path: str, needed: int) -> str:
    """Return what of a real path is closed to those who do not own it, and how; empty for nothing."""
    parts = path.split("/")
    try:
        for count in range(1, len(parts)):
            above = "/".join(parts[:count]) or "/"
            mode = os.stat(above).st_mode
            if not mode & 0o001:
                return f"{above!r} has mode {stat.S_IMODE(mode):04o}"
        mode = os.stat(path).st_mode
    except OSError as failure:
        return f"{path!r}: {failure.strerror}"
    return "" if mode & needed == needed else f"{path!r} has mode {stat.S_IMODE(mode):04o}"


def _unreachable(view: RuntimeView, modules: Sequence[MountOrder], *, fresh_exec: bool) -> list[str]:
    """Return a sentence about modules that the isolate's id may not read.

    Raises:
        Unsupported: the interpreter or the standard library is among them.
    """
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    needed = {view.interpreter: 0o001, os.path.dirname(os.__file__): 0o001, package: 0o001}
    if fresh_exec and (library := mapped_libpython()):  # which the loader opens again, before there is anybody to say so
        needed[library] = 0o004
    for path, permission in needed.items():
        closed = _closed_to_others(os.path.realpath(path), permission)
        if closed:
            raise Unsupported(
                "engine 'landlock'",
                "an interpreter that every user may run",
                f"{closed}; a root caller's isolates run under an unused id",
                "install Python where others may enter, or run the caller as an ordinary user",
            )
    closed_ones = [order.source for order in modules if os.path.exists(order.source) and _closed_to_others(order.source, 0o004)]
    if not closed_ones:
        return []
    return [f"files: not readable by the isolate's id, which is not the caller's: {', '.join(sorted(closed_ones)[:8])}"]


def name_of_private(parent: str) -> str:
    """Return the path of a private directory that does not exist yet."""
    return f"{parent}/{PREFIX}{os.geteuid()}-{os.urandom(8).hex()}"
