"""What one call is given beside its policy: mount words and open files among its arguments.

Imported when a call has any.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from isolate_fn._api.granted import is_grant
from isolate_fn._plan.lending import covering_grants, grant_rules, place_for
from isolate_fn._plan.mounts import refuse_code
from isolate_fn._plan.orders import MountOrder
from isolate_fn._runtime.prepared import Prepared
from isolate_fn._runtime.sources import code_roots, resolve_source
from isolate_fn.errors import PolicyError
from isolate_fn.policy.mounts import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from isolate_fn._api.open_files import Loan

    # The preparation for this call alone, its arguments as they travel, and what is passed open.
    Given = tuple[Prepared, tuple[Any, ...], dict[str, Any], Loan | None]

MOST_MOUNTS = 16
"""Mounts that one call may be given."""


def give(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], prepared: Prepared, *, box: bool = False
) -> Given:
    """Replace mount words, open files and sockets among the arguments of one call.

    Args:
        function: for the names of its parameters.
        args: positional arguments, bound ones included.
        kwargs: keyword arguments.
        prepared: the policy's.
        box: the call is one of a `sandbox` block, whose isolate stands already.

    Returns:
        (prepared, args, kwargs, loan): the preparation for this call alone where it is given anything, the arguments as they
        travel, and what is passed open, None for nothing.

    Raises:
        PolicyError: one of them cannot be granted; names the parameter.
    """
    values = [*args, *kwargs.values()]
    naming = Naming(function, args, kwargs)
    mounts = [value for value in values if isinstance(value, Mount)]
    opened = [value for value in values if is_grant(value) and not isinstance(value, Mount)]
    orders = _orders(mounts, naming, prepared, box=box)
    if orders and prepared.plan.engine == "landlock":
        orders = [(mount, _where_it_is(order, prepared)) for mount, order in orders]
    replaced: dict[int, Any] = {id(mount): Path(order.destination) for mount, order in orders}
    loan = None
    if opened:
        from isolate_fn._api.open_files import lend  # imports more

        prepared, loan, lent = lend(opened, naming, prepared, box=box)
        replaced |= lent
    if orders:
        grants = tuple([order for _, order in orders])
        prepared = prepared.for_call(grants=grants, grant_rules=grant_rules(prepared.plan, grants))
    now = [replaced.get(id(value), value) if is_grant(value) else value for value in values]
    return prepared, tuple(now[: len(args)]), dict(zip(kwargs, now[len(args) :], strict=True)), loan


def give_in_box(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], prepared: Prepared
) -> tuple[tuple[Any, ...], dict[str, Any], Loan | None]:
    """Do what `give` does for a call of a `sandbox` block, which may have none; return arguments and loan.

    Raises:
        PolicyError: see `give`.
    """
    if not any(map(is_grant, (*args, *kwargs.values()))):
        return args, kwargs, None
    return give(function, args, kwargs, prepared, box=True)[1:]


class Naming:
    """Names the parameters of one call in errors; looks them up only then.

    Args:
        function: called.
        args: positional arguments.
        kwargs: keyword arguments.
    """

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._call = (function, args, kwargs)

    def __call__(self, culprit: object) -> str:
        """Return how an error names an argument."""
        from isolate_fn._transport.rejection import named_arguments

        return next((f"argument {name!r}" for name, value in named_arguments(*self._call) if value is culprit), "an argument")


def _orders(mounts: list[Mount], naming: Naming, prepared: Prepared, *, box: bool) -> list[tuple[Mount, MountOrder]]:
    """Return each mount word with its order; a word that is passed twice is mounted once."""
    if not mounts:
        return []
    field = naming(mounts[0]) if box or prepared.terms.reuse != 1 else ""
    if box:
        remedy = "give it to sandbox(mounts=...), pass an open file, or use box.put()"
        raise PolicyError(field, f"{mounts[0]!r} cannot be mounted in a sandbox that is open already", remedy)
    if prepared.terms.reuse != 1:
        problem = f"{mounts[0]!r} cannot be mounted in a worker that serves more than one call"
        raise PolicyError(field, problem, "pass an open file, put it into mounts=, or use reuse=False")
    distinct = list({id(mount): mount for mount in mounts}.values())
    if len(distinct) > MOST_MOUNTS:
        problem = f"{len(distinct)} mounts for one call are more than {MOST_MOUNTS}"
        raise PolicyError(naming(distinct[MOST_MOUNTS]), problem, "grant the directory that holds them")
    covering = covering_grants(prepared.plan)
    if covering:
        problem = f"what is granted to one call is mounted in /grants, where {covering} lies"
        raise PolicyError(naming(mounts[0]), problem, "use another dst for that one")
    return [(mount, _order(index, mount, naming)) for index, mount in enumerate(distinct)]


def _order(index: int, mount: Mount, naming: Naming) -> MountOrder:
    _refuse_shape(mount, naming)
    try:
        source = resolve_source("", mount)
    except PolicyError as error:
        remedy = "check the path" if "optional=" in error.remedy else error.remedy
        raise PolicyError(naming(mount), error.problem, remedy) from None
    if source is None or source.kind not in ("directory", "file"):
        found = source.kind if source else "missing"
        problem = f"the source of {mount!r} is a {found}, which cannot be granted to one call"
        raise PolicyError(naming(mount), problem, "put it into mounts=, or pass a connected socket")
    if mount.word == "rw" and not mount.allow_code:
        try:
            refuse_code("", mount, source, code_roots())
        except PolicyError as error:
            raise PolicyError(naming(mount), error.problem, error.remedy) from None
    return MountOrder(
        "bind",
        place_for(index, os.path.basename(mount.source.rstrip("/")) or os.path.basename(source.path)),
        source.path,
        read_only=mount.word == "ro",
        noexec=mount.noexec,
        is_directory=source.kind == "directory",
        granted=True,
        origin=f"grant {index + 1}: {mount!r}",
    )


def _where_it_is(order: MountOrder, prepared: Prepared) -> MountOrder:
    """Grant it by the path that it has on the host: without mounts there is no other.

    Raises:
        Unsupported: the isolate's own id may not use it, or other isolates' private directories lie in it.
    """
    from isolate_fn._runtime.host_paths import check_grant

    check_grant(order, prepared.plan.scratch, prepared.features)
    return order._replace(destination=order.source)


def _refuse_shape(mount: Mount, naming: Naming) -> None:
    """Refuse words and options that mean nothing for one call."""
    if mount.word not in ("ro", "rw"):
        problem = f"{mount!r} cannot be granted to one call: only ro() and rw() can"
        raise PolicyError(naming(mount), problem, "put it into mounts=")
    if mount.moved:
        problem = f"{mount!r} says where it lies inside, but the function is told where by the argument it receives"
        raise PolicyError(naming(mount), problem, "leave dst out, or put it into mounts=")
    if mount.optional:
        problem = f"{mount!r} is optional, but the function would receive nothing in its place"
        raise PolicyError(naming(mount), problem, "leave optional out, and pass None where the file is missing")
