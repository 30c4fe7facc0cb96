"""Which Landlock rules go with a file tree, and what an older kernel makes of them.

Pure: nothing here asks the kernel. `landlock_wanted()` says what we want from the newest kernel,
`downgrade()` says what remains of it at a given ABI and names each thing that does not, and
`landlock_for_mounts()` is both in a row.

Landlock stands behind the mounts, not instead of them: it does not see chmod, chown, stat, utime, flock or
extended attributes, and it allows what any parent directory allows. A read-only mount inside a writable one
is kept by the mount alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from isolate_fn._plan.orders import LandlockOrders, MountOrder
from isolate_fn._sys.landlock_constants import (
    ATTRIBUTE_SIZE,
    FILE_RIGHTS,
    NEWEST_ABI,
    RIGHTS,
    AccessFS,
    AccessNet,
    Right,
    Scope,
)

_EVERY_FS = sum(int(right.flag) for right in RIGHTS if isinstance(right.flag, AccessFS))
_EVERY_NET = sum(int(right.flag) for right in RIGHTS if isinstance(right.flag, AccessNet))
_EVERY_SCOPE = sum(int(right.flag) for right in RIGHTS if isinstance(right.flag, Scope))

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
        handled_fs=_EVERY_FS,
        handled_net=0 if network else _EVERY_NET,
        scoped=_EVERY_SCOPE,
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


def downgrade(orders: LandlockOrders, abi: int) -> tuple[LandlockOrders, tuple[str, ...]]:
    """Return what remains of a rule set at an older ABI, and a sentence for each thing that does not.

    A right that the kernel does not know is taken out of what is handled, which leaves it *unrestricted*, and
    out of every rule. REFER is the exception: before ABI 2 it is always denied, so there the loss is that
    renames between directories fail.

    Args:
        orders: a rule set for the newest ABI.
        abi: of the kernel; 0 for none. One newer than the tables is taken as the newest they know.
    """
    if abi < 1:
        empty = LandlockOrders(0, 0, 0, (), 0)
        return empty, ("Landlock needs Linux 5.13 with landlock among its LSMs; this kernel has none",)
    abi = min(abi, NEWEST_ABI)
    known_fs, known_net, known_scope = _known(abi, AccessFS), _known(abi, AccessNet), _known(abi, Scope)
    handled_fs = orders.handled_fs & known_fs
    rules = ((path, access & handled_fs) for path, access in orders.path_rules)
    remaining = LandlockOrders(
        handled_fs=handled_fs,
        handled_net=orders.handled_net & known_net,
        scoped=orders.scoped & known_scope,
        path_rules=tuple((path, access) for path, access in rules if access),
        attribute_size=ATTRIBUTE_SIZE[abi],
    )
    return remaining, tuple(_loss(right, abi) for right in RIGHTS if right.abi > abi and _asked(orders, right))


def _known(abi: int, kind: type[AccessFS | AccessNet | Scope]) -> int:
    return sum(int(right.flag) for right in RIGHTS if isinstance(right.flag, kind) and right.abi <= abi)


def _asked(orders: LandlockOrders, right: Right) -> bool:
    if right.flag is AccessFS.REFER:  # handled or not, it is denied: only rules that allow it lose something
        return any(access & right.flag for _, access in orders.path_rules)
    if isinstance(right.flag, AccessFS):
        return bool(orders.handled_fs & right.flag)
    if isinstance(right.flag, AccessNet):
        return bool(orders.handled_net & right.flag)
    return bool(orders.scoped & right.flag)


def _loss(right: Right, abi: int) -> str:
    effect = "denied everywhere" if right.flag is AccessFS.REFER else "not restricted by Landlock"
    needs = f"{right.name} needs Landlock ABI {right.abi} (Linux {right.linux}), found {abi}"
    return f"{needs}; {effect}: {right.meaning}"
