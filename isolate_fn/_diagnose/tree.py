"""The file tree of an isolate as a tree of names, from its plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from isolate_fn._enforce.scratch import PREFIX, TEMPORARY
from isolate_fn._enforce.template import DEVICE_LINKS, DEVICES
from isolate_fn._plan import sharing
from isolate_fn._plan.orders import MountOrder, Plan
from isolate_fn.policy import checks

# More modules of one directory than this are named by their number.
_MOST_MODULES = 3


class Branch(NamedTuple):
    """One name of the tree.

    Attributes:
        name: from the branch above; several components where nothing else lies on the way.
        access: ``"ro"``, ``"rw"``, ``"own"`` (writable, gone afterwards), ``"link"``, ``"device"``, or empty for a directory
            that only leads on.
        note: what it is and where it comes from.
        below: further branches, by name.
    """

    name: str
    access: str
    note: str
    below: tuple[Branch, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it as builtin types, for JSON."""
        found: dict[str, Any] = {"name": self.name, "access": self.access, "note": self.note}
        return found | ({"below": [branch.as_dict() for branch in self.below]} if self.below else {})


def tree_of(plan: Plan) -> Branch:
    """Return the tree of a plan's isolates."""
    places: dict[str, tuple[str, str]] = {}
    modules = Counter(_directory(order) for order in plan.mounts if _is_module(order))
    for order in plan.mounts:
        if not _is_module(order) or modules[_directory(order)] <= _MOST_MODULES:
            places[order.destination] = _said(order)
    many = {directory: count for directory, count in modules.items() if count > _MOST_MODULES}
    places |= {
        f"{directory}/({count} modules)": ("ro", "runtime: the program's modules") for directory, count in many.items()
    }
    if plan.engine == "landlock":
        return _branch("/", "/", places | _without_mounts(plan))
    size = checks.show_size(plan.rootfs_size)
    for place in sharing.own_places(plan.cwd):
        places.setdefault(place, ("own", f"in memory, {size} together, gone afterwards"))
    places.setdefault("/proc", ("ro", "the isolate's own processes"))
    places |= {f"/dev/{name}": ("device", "harmless") for name in DEVICES}
    places |= {f"/dev/{name}": ("link", f"-> {target}") for name, target in DEVICE_LINKS}
    return _branch("/", "/", places)


def _without_mounts(plan: Plan) -> dict[str, tuple[str, str]]:
    """Return what an isolate without mounts has beside the places of its rules: the rest is the host's, closed."""
    private = f"{plan.scratch.rstrip('/')}/{PREFIX}\N{HORIZONTAL ELLIPSIS}"
    size = checks.show_size(plan.rootfs_size)
    return {
        "/": ("", "the host's: of everything that is not below, names and sizes are seen, and content is not"),
        private + plan.cwd: ("own", f"the working directory; {size} together, gone afterwards"),
        private + TEMPORARY: ("own", "tempfile.gettempdir()"),
    }


def _is_module(order: MountOrder) -> bool:
    """Tell whether it shows one file of the program's own: of those there may be hundreds."""
    return not order.granted and not (order.kind == "bind" and order.is_directory) and order.origin.endswith("modules")


def _directory(order: MountOrder) -> str:
    return order.destination.rpartition("/")[0]


def _said(order: MountOrder) -> tuple[str, str]:
    if order.kind == "symlink":
        return "link", f"-> {order.source}"
    if order.kind == "device":
        return "device", order.origin
    moved = f", {order.source} on the host" if order.kind == "bind" and order.source != order.destination else ""
    noexec = ", noexec" if order.noexec else ""
    if order.kind == "tmpfs":
        return "own", f"{order.origin}{noexec}"
    return "ro" if order.read_only else "rw", f"{order.origin or 'runtime'}{moved}{noexec}"


def _branch(path: str, name: str, places: dict[str, tuple[str, str]]) -> Branch:
    """Return the branch at a path; a chain of directories that only lead on is one branch."""
    prefix = path.rstrip("/") + "/"
    children = sorted(
        {place[len(prefix) :].partition("/")[0] for place in places if place.startswith(prefix) and place != path}
    )
    access, note = places.get(path, ("", ""))
    if len(children) == 1 and not note and path != "/":
        return _branch(prefix + children[0], f"{name}/{children[0]}", places)
    below = tuple(_branch(prefix + child, child, places) for child in children)
    return Branch(name, access, note, below)


def tree_lines(branch: Branch, indent: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield (drawn name, access, note) of each line of a drawing."""
    if not indent:
        yield branch.name, branch.access, branch.note
    for index, each in enumerate(branch.below):
        last = index == len(branch.below) - 1
        yield f"{indent}{'└── ' if last else '├── '}{each.name}", each.access, each.note
        yield from _deeper(each, indent + ("    " if last else "│   "))


def _deeper(branch: Branch, indent: str) -> Iterator[tuple[str, str, str]]:
    return tree_lines(branch._replace(name=""), indent) if branch.below else iter(())
