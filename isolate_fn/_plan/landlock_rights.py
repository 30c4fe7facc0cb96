"""Landlock rule sets from words, and what is left of one on an older kernel.

Pure: nothing here asks the kernel. `landlock_orders()` says what rule sets want from the newest kernel, `downgrade()`
what remains of it at a given ABI, with a sentence for each thing that does not; `require_rights()` refuses in place of
reporting. The table of rights by ABI is RIGHTS in `_sys/landlock_constants.py`, and nothing else knows an ABI's number.

What no ABI restricts, and other layers must: chdir, stat, access, chmod, chown, utime, extended attributes, flock and
fcntl (landlock(7), "Limitations").
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Sequence

from isolate_fn._plan.orders import LandlockOrders
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
from isolate_fn.errors import PolicyError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from isolate_fn._plan.rule_sets import PathWish, PortWish

EVERY_FS = sum(int(right.flag) for right in RIGHTS if isinstance(right.flag, AccessFS))
EVERY_NET = sum(int(right.flag) for right in RIGHTS if isinstance(right.flag, AccessNet))
EVERY_SCOPE = sum(int(right.flag) for right in RIGHTS if isinstance(right.flag, Scope))


@functools.cache
def _flags() -> dict[str, AccessFS | AccessNet | Scope]:
    from isolate_fn.policy.landlock_words import (  # words of rule sets; most calls have none
        PATH_RIGHTS,
        PORT_RIGHTS,
        SCOPES,
    )

    return {
        **{word: AccessFS[name] for word, name in PATH_RIGHTS.items()},
        **{word: AccessNet[name] for word, name in PORT_RIGHTS.items()},
        **{word: Scope[name] for word, name in SCOPES.items()},
    }


def right_of(word: str) -> Right:
    """Return the row of the table that a word stands for.

    Args:
        word: of PATH_RIGHTS, PORT_RIGHTS or SCOPES in ``policy/landlock_words.py``: ``"truncate"``, ``"bind_tcp"``.

    Raises:
        PolicyError: no such word.
    """
    flag = _flags().get(word)
    if flag is None:
        raise PolicyError("landlock", f"{word!r} is not a Landlock right", f"use one of {', '.join(_flags())}")
    return next(right for right in RIGHTS if right.flag == flag and type(right.flag) is type(flag))


def access_bits(words: Iterable[str]) -> int:
    """Return the kernel's bits for words of one kind (paths, ports or scopes).

    Raises:
        PolicyError: no such word.
    """
    bits = 0
    for word in words:
        bits |= int(right_of(word).flag)
    return bits


def landlock_orders(
    paths: Sequence[PathWish],
    *,
    ports: Sequence[PortWish] = (),
    scopes: Iterable[str] = (),
    files: Collection[str] = (),
) -> LandlockOrders:
    """Return the rule set that rule sets ask for, for the newest ABI.

    With any path, every right on files is handled: what no rule allows is denied. Of ports and scopes only those rights
    are handled that are named, so a set that speaks of TCP ports leaves UDP and files alone.

    Args:
        paths: from Compiled.landlock; each once.
        ports: from Compiled.ports; rights on the same port are joined.
        scopes: from Compiled.scopes.
        files: those of the paths that are not directories. They get only the rights that a file can have: the kernel
            answers EINVAL to others.

    Raises:
        PolicyError: nothing but rights on directories is asked for a file.
    """
    rules = tuple((wish.path, _bits_for(wish, wish.path in files)) for wish in paths)
    by_port: dict[int, int] = {}
    for wish in ports:
        by_port[wish.port] = by_port.get(wish.port, 0) | access_bits(wish.words)
    handled_net = 0
    for access in by_port.values():
        handled_net |= access
    return LandlockOrders(
        handled_fs=EVERY_FS if rules else 0,
        handled_net=handled_net,
        scoped=access_bits(scopes),
        path_rules=rules,
        attribute_size=ATTRIBUTE_SIZE[NEWEST_ABI],
        port_rules=tuple(sorted(by_port.items())),
    )


def _bits_for(wish: PathWish, is_file: bool) -> int:
    access = access_bits(wish.words)
    if not is_file:
        return access
    if not access & int(FILE_RIGHTS):
        asked = ", ".join(sorted(wish.words))
        problem = f"rule set {wish.origin!r} asks for {asked} on {wish.path}, which is not a directory"
        raise PolicyError("landlock", problem, "name the directory that holds it")
    return access & int(FILE_RIGHTS)


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
    handled_fs = orders.handled_fs & _known(abi, AccessFS)
    handled_net = orders.handled_net & _known(abi, AccessNet)
    remaining = LandlockOrders(
        handled_fs=handled_fs,
        handled_net=handled_net,
        scoped=orders.scoped & _known(abi, Scope),
        path_rules=tuple((path, access & handled_fs) for path, access in orders.path_rules if access & handled_fs),
        attribute_size=ATTRIBUTE_SIZE[abi],
        port_rules=tuple((port, access & handled_net) for port, access in orders.port_rules if access & handled_net),
    )
    return remaining, tuple(_loss(right, abi) for right in missing_rights(orders, abi))


def missing_rights(orders: LandlockOrders, abi: int) -> tuple[Right, ...]:
    """Return the rights that a rule set speaks of and that a kernel of this ABI does not know."""
    return tuple(right for right in RIGHTS if right.abi > abi and _asked(orders, right))


def require_rights(words: Iterable[str], abi: int) -> None:
    """Refuse a kernel that cannot enforce what is named.

    Args:
        words: of PATH_RIGHTS, PORT_RIGHTS or SCOPES: ``{"truncate", "connect_tcp", "signal"}``.
        abi: of the kernel; 0 for none.

    Raises:
        Unsupported: one of them is missing; names the newest that is needed.
        PolicyError: no such word.
    """
    rights = {word: right_of(word) for word in words}
    missing = {word: right for word, right in rights.items() if right.abi > abi}
    if not missing:
        return
    needed = max(missing.values(), key=lambda right: right.abi)
    raise Unsupported(
        f"require: {', '.join(sorted(missing))}",
        f"Landlock ABI {needed.abi} (Linux {needed.linux})",
        f"ABI {abi}" if abi else "no Landlock",
        f"run on Linux {needed.linux} or newer with landlock among its LSMs, or do not require it",
    )


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
