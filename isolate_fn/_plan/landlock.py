"""Which Landlock rules go with a file tree, and what an older kernel makes of them.

Pure: nothing here asks the kernel. `landlock_wanted()` says what we want from the newest kernel, `downgrade()` of
`landlock_rights.py` what remains of it at a given ABI, and `landlock_for_mounts()` is both in a row.

Landlock stands behind the mounts, not instead of them: it does not see chmod, chown, stat, utime, flock or
extended attributes, and it allows what any parent directory allows. A read-only mount inside a writable one
is kept by the mount alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from isolate_fn._plan.landlock_rights import EVERY_FS, EVERY_NET, EVERY_SCOPE
from isolate_fn._plan.landlock_rights import downgrade as downgrade
from isolate_fn._plan.orders import LandlockOrders, MountOrder
from isolate_fn._sys.landlock_constants import ATTRIBUTE_SIZE, FILE_RIGHTS, NEWEST_ABI, AccessFS

_READ = AccessFS.READ_FILE | AccessFS.READ_DIR
#: Never MAKE_CHAR and MAKE_BLOCK: nobody inside makes devices. Never RESOLVE_UNIX: sockets made inside need
#: no right, and those of the host are not to be reached, also where a mount holds one.
_WRITE = (
    AccessFS.WRITE_FILE
    | AccessFS.REMOVE_DIR
    | AccessFS.REMOVE_FILE
    | AccessFS.MAKE_DIR
    | AccessFS.MAKE_REG
    | AccessFS.MAKE_SOCK
    | AccessFS.MAKE_FIFO
    | AccessFS.MAKE_SYM
    | AccessFS.REFER
    | AccessFS.TRUNCATE
)
_DEVICE = AccessFS.READ_FILE | AccessFS.WRITE_FILE | AccessFS.IOCTL_DEV


def landlock_wanted(
    orders: Sequence[MountOrder],
    writable: Sequence[str],
    *,
    exec: bool,  # noqa: A002 - the word that the options use
    network: bool,
    proc: bool = True,
) -> LandlockOrders:
    """Return the rule set that a file tree asks for, for the newest ABI.

    Args:
        orders: the file tree. Where two have one destination, the later covers the earlier.
        writable: directories of the root tmpfs that are writable without a mount of their own.
        exec: allow execve(2) of files below read-only mounts and below writable ones that are not noexec.
            Loading shared libraries needs no right.
        network: leave TCP and UDP to the network namespace; without it no port at all may be used.
        proc: whether there will be a /proc to read.
    """
    rules: dict[str, int] = {"/": int(AccessFS.READ_DIR)}  # every directory on the way may be listed
    if proc:
        rules["/proc"] = int(_READ)
    for order in orders:
        access = _access(order, exec)
        if order.kind == "copy":  # one rule for all modules of a directory, which holds nothing else of ours
            directory = order.destination.rpartition("/")[0] or "/"
            rules[directory] = rules.get(directory, 0) | int(_READ)
        elif access:
            rules[order.destination] = rules.get(order.destination, 0) & int(_READ) | int(access)
    for path in writable:
        rules[path] = rules.get(path, 0) | int(_READ | _WRITE)
    return LandlockOrders(
        handled_fs=EVERY_FS,
        handled_net=0 if network else EVERY_NET,
        scoped=EVERY_SCOPE,
        path_rules=tuple(rules.items()),
        attribute_size=ATTRIBUTE_SIZE[NEWEST_ABI],
    )


def _access(order: MountOrder, execute: bool) -> AccessFS:
    """Return what one entry of the file tree allows; nothing for what needs no rule."""
    if order.kind == "device":
        return _DEVICE
    if order.kind == "file":
        return AccessFS.READ_FILE if order.read_only else AccessFS.READ_FILE | AccessFS.WRITE_FILE | AccessFS.TRUNCATE
    if order.kind not in ("bind", "tmpfs"):  # a link's target and a mount point have their own entries
        return AccessFS(0)
    access = _READ if order.read_only else _READ | _WRITE
    if execute and not order.noexec:
        access |= AccessFS.EXECUTE
    if order.kind == "bind" and not order.is_directory:
        access &= FILE_RIGHTS
    return access


def host_rules(orders: Sequence[MountOrder], *, exec: bool) -> dict[str, int]:  # noqa: A002
    """Return path -> rights of orders that are where they are on the host: nothing is mounted, so no path covers another.

    Args:
        orders: bind and device orders.
        exec: allow execve(2) of files below read-only ones, and below writable ones that are not noexec.
    """
    rules: dict[str, int] = {}
    for order in orders:
        access = _access(order, exec)
        if access:
            rules[order.source] = rules.get(order.source, 0) | int(access)
    return rules


def landlock_on_host(rules: Mapping[str, int], *, network: bool) -> LandlockOrders:
    """Return a rule set for the newest ABI that allows these paths and nothing else.

    Args:
        rules: path -> rights.
        network: leave TCP and UDP alone; without it no port at all may be used.
    """
    return LandlockOrders(
        handled_fs=EVERY_FS,
        handled_net=0 if network else EVERY_NET,
        scoped=EVERY_SCOPE,
        path_rules=tuple(rules.items()),
        attribute_size=ATTRIBUTE_SIZE[NEWEST_ABI],
    )


def scratch_rights() -> int:
    """Return what an isolate may do in its private directory, for the newest ABI."""
    return int(_READ | _WRITE)


def grant_rights(order: MountOrder) -> int:
    """Return what the directory allows that holds one mount and nothing else."""
    return int(_READ if order.read_only else _READ | _WRITE)


def landlock_for_init(abi: int, *, proc: bool = True) -> tuple[LandlockOrders, tuple[str, ...]]:
    """Return the rule set of PID 1, which reads /proc and nothing else, and what this ABI lacks of it."""
    return downgrade(landlock_wanted((), (), exec=False, network=False, proc=proc), abi)


def landlock_for_mounts(
    orders: Sequence[MountOrder],
    writable: Sequence[str],
    *,
    exec: bool,  # noqa: A002 - the word that the options use
    network: bool,
    abi: int,
    proc: bool = True,
) -> LandlockOrders:
    """Return landlock_wanted() as far as a kernel of this ABI knows it.

    See landlock_wanted() for the arguments; downgrade() tells what is left out.
    """
    return downgrade(landlock_wanted(orders, writable, exec=exec, network=network, proc=proc), abi)[0]
