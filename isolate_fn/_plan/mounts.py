"""Decide the isolate's file tree: the runtime's mounts, then the user's, as orders to carry out in sequence.

Pure: what the file system knows (which sources exist, what they are, what the parent may import or run) is
found out before, by `isolate_fn._runtime.sources`, and comes in as values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from isolate_fn._frozen import dataclass
from isolate_fn._plan.orders import MountOrder
from isolate_fn.errors import ConflictingRules, PolicyError

# Exported for `isolate_fn._runtime.sources`, which knows plans and not words.
from isolate_fn.policy.mounts import Mount as Mount
from isolate_fn.policy.policy import Policy as Policy


@dataclass(frozen=True)
class ResolvedSource:
    """A mount's source as it was found.

    Attributes:
        path: real path: absolute, every symbolic link followed.
        kind: ``"directory"``, ``"file"``, ``"socket"`` or ``"device"``.
        code: why the parent could later run what is written there, as far as only its entries tell; empty if
        not.
    """

    path: str
    kind: str
    code: str = ""


@dataclass(frozen=True)
class CodeRoot:
    """A place whose content the parent may later import or run.

    Attributes:
        path: real path.
        what: what it is: ``"sys.prefix"``.
        deep: everything within it counts too; else only what is or contains it.
    """

    path: str
    what: str
    deep: bool


_ALLOW_CODE = "give it a directory of its own, or write rw(..., allow_code=True) if this is what you want"
# How many symbolic links one path may lead through, as in the kernel (path_resolution(7)).
_MOST_LINKS = 40


def compile_mounts(
    policy: Policy,
    view_orders: Sequence[MountOrder],
    *,
    resolved_sources: Sequence[ResolvedSource | None],
    importable: Sequence[CodeRoot],
) -> tuple[MountOrder, ...]:
    """Return all mount orders, the runtime's first, then the user's in the order given.

    A mount point behind a symbolic link of the runtime (``/bin``) is moved to where that leads, so that both paths show it.

    Args:
        policy: whose ``mounts`` to compile.
        view_orders: the runtime's orders; one that the user's mount replaces by the same thing is left out.
        resolved_sources: for each of ``policy.mounts`` its source; None for words without one, and for
        optional
            mounts to leave out.
        importable: what the parent may later import or run; `rw` of it needs ``allow_code=True``.

    Raises:
        PolicyError: a writable mount reaches code of the parent.
        ConflictingRules: a mount hides a part of the runtime or an earlier mount, or would have to be written into one.
    """
    runtime = list(view_orders)
    granted: list[MountOrder] = []
    for index, (mount, source) in enumerate(zip(policy.mounts, resolved_sources, strict=True)):
        if mount.source and source is None:
            continue
        if source is not None and mount.word == "rw" and not mount.allow_code:
            refuse_code(f"mounts[{index}]", mount, source, importable)
        # Of those that are left: a mount in the place of a link has no link behind it.
        links = {kept.destination: kept.source for kept in runtime if kept.kind == "symlink"}
        order = _order(index, mount, source, through_links(mount.destination, links))
        if any(order._replace(origin=earlier.origin) == earlier for earlier in granted):
            continue  # /bin/sh and /usr/bin/sh
        _refuse_hiding(index, mount, order, granted)
        _refuse_writing_into(index, mount, order, [*runtime, *granted])
        runtime = [kept for kept in runtime if not _replaces(index, mount, order, kept)]
        granted.append(order)
    return (*runtime, *granted)


def through_links(path: str, links: Mapping[str, str]) -> str:
    """Return where a path inside leads, given the symbolic links (path: text) that the runtime makes."""
    place, pending, seen = "", path.split("/")[::-1], 0
    while pending:
        part = pending.pop()
        if part in ("", "."):
            continue
        if part == "..":
            place = place.rpartition("/")[0]
            continue
        place = f"{place}/{part}"
        if place in links and pending and seen < _MOST_LINKS:
            seen += 1
            text = links[place]
            place = "" if text.startswith("/") else place.rpartition("/")[0]
            pending.extend(text.split("/")[::-1])
    return place or "/"


def _order(index: int, mount: Mount, source: ResolvedSource | None, place: str) -> MountOrder:
    origin = f"mounts[{index}] {mount!r}"
    if source is None:
        return MountOrder(
            mount.word,  # tmpfs, file and symlink are called the same among the orders
            place,
            mount.target,
            read_only=mount.word != "tmpfs",
            noexec=mount.noexec,
            size=mount.size,
            data=mount.data,
            granted=True,
            origin=origin,
        )
    return MountOrder(
        "device" if mount.word == "dev" else "bind",
        place,
        source.path,
        read_only=mount.word == "ro",
        noexec=mount.noexec or mount.word == "dev",
        is_directory=source.kind == "directory",
        granted=True,
        origin=origin,
    )


def refuse_code(field: str, mount: Mount, source: ResolvedSource, importable: Sequence[CodeRoot]) -> None:
    """Refuse to let the isolate write what the parent runs later: that would be the way out.

    Raises:
        PolicyError: naming ``field``.
    """
    reason = code_reason(source, importable)
    if reason:
        problem = f"{mount!r} would let the isolate change what this program may import or run: {reason}"
        raise PolicyError(field, problem, _ALLOW_CODE)


def code_reason(source: ResolvedSource, importable: Sequence[CodeRoot]) -> str:
    """Say why the parent may later run what is written there; empty if it does not."""
    reason = source.code
    for root in importable:
        if source.path == root.path:
            reason = f"it is {root.what}"
        elif is_within(root.path, source.path):
            reason = f"it contains {root.what} {root.path!r}"
        elif root.deep and is_within(source.path, root.path):
            reason = f"it lies in {root.what} {root.path!r}"
        if reason:
            break
    return reason


def writable_instead(order: MountOrder) -> str:
    """Return which word makes writable what a granted mount shows read-only, and in place of which."""
    inside = "" if order.source == order.destination else f", {order.destination!r}"
    return f"in place of {order.origin.partition(' ')[2]}: rw({order.source!r}{inside})"


def is_within(path: str, directory: str) -> bool:
    """Tell whether a normalised path lies strictly below a directory."""
    return path != directory and path.startswith("/" if directory == "/" else f"{directory}/")


def _refuse_hiding(index: int, mount: Mount, order: MountOrder, earlier: Sequence[MountOrder]) -> None:
    """Refuse what `isolate_fn.policy.conflicts` refuses of paths as written, where only a link shows that they meet."""
    for other in earlier:
        if order.destination != other.destination and not is_within(other.destination, order.destination):
            continue
        same = order.destination == other.destination
        problem = f"{mount!r} {'has the same place inside as' if same else 'would hide'} {other.origin}"
        remedy = "keep one of them, or give one another dst" if same else "put the outer mount first, then the inner one"
        raise ConflictingRules(f"mounts[{index}]", f"{problem}: {order.destination!r}", remedy, (repr(mount), other.origin))


def _refuse_writing_into(index: int, mount: Mount, inner: MountOrder, earlier: Sequence[MountOrder]) -> None:
    """Refuse a file or link in a mount: it cannot be read-only, and a writable one is the host's own."""
    if mount.word not in ("file", "symlink"):
        return
    for order in earlier:
        if order.kind == "bind" and is_within(inner.destination, order.destination):
            sets = (repr(mount), order.origin)
            problem = f"{mount!r} would have to be written into {order.origin}"
            raise ConflictingRules(f"mounts[{index}]", problem, "give it a dst that lies in no mount", sets)


def _replaces(index: int, mount: Mount, order: MountOrder, other: MountOrder) -> bool:
    """Tell whether the user's mount takes the place of a runtime order, which is then left out.

    Raises:
        ConflictingRules: it would show something else there.
    """
    if other.destination != order.destination and not is_within(other.destination, order.destination):
        return False
    if other.kind not in ("bind", "copy"):
        # A synthetic file or a link of the runtime: whoever mounts /etc or /etc/hosts wants theirs.
        return True
    same = order.source + other.destination.removeprefix(order.destination)
    if order.kind == "bind" and same == other.source and not mount.noexec:
        return True
    problem = f"{mount!r} would hide {other.origin} at {other.destination!r}, without which Python cannot run"
    remedy = "use another dst, or mount the entries that are needed one by one"
    raise ConflictingRules(f"mounts[{index}]", problem, remedy, (repr(mount), other.origin))
