"""Orders on their way to the spawner: builtin values there, the same orders behind it."""

from __future__ import annotations

import enum
import marshal

import pytest

from isolate_fn._plan import orders
from isolate_fn._plan.orders import LandlockOrders, MountOrder, Narrowing, Plan, Start, plain, plan_of


class Number(enum.IntFlag):
    """As a constant of the standard library."""

    ONE = 1


class Text(str):
    """As a path of somebody's own type."""


LANDLOCK = LandlockOrders(Number.ONE, 0, 0, ((Text("/a\udcff"), Number.ONE),), 24)
PLAN = Plan(
    name="p",
    mounts=(MountOrder("bind", "/a", Text("/b")), MountOrder("file", "/c", data=b"\0")),
    shared=(True, False),
    mount_points=(),
    file_points=("/c",),
    rootfs_size=1,
    rootfs_inodes=2,
    cwd="/work",
    hostname="h",
    namespaces=3,
    inner_id=1000,
    mount_api="detached",
    rlimits=((1, 2, 3),),
    landlock=LANDLOCK,
    landlock_tools=None,
    landlock_init=LANDLOCK,
    filter_worker=b"w",
    filter_tools=b"",
    filter_init=b"i",
    roles=("worker",),
    memory=0,
    cpu_time=0.5,
    idle_timeout=0.0,
    sys_path=("/x",),
    editable=(("a", "/a"),),
    prefixes=("/usr", "/usr"),
    open_check=True,
    interpreter="/usr/bin/python3",
    fresh_exec=False,
    rules=Narrowing(b"p", LANDLOCK, 4, ("/o",), True),
    rules_tools=Narrowing(b"q", None, 4, (), False),
)


def types(value: object) -> set[type]:
    """The types of a value and of everything in it."""
    return {type(value)}.union(*map(types, value)) if isinstance(value, tuple) else {type(value)}


def test_a_plan_arrives_as_it_was() -> None:
    received = plan_of(marshal.loads(marshal.dumps(plain(PLAN))))
    assert received == PLAN
    assert types(received) == types(PLAN) - {Number, Text}
    start = Start(1, 2, 3, -1, ("status", "worker"), b"Nf")
    assert Start(*marshal.loads(marshal.dumps(plain(start)))) == start


def test_what_is_no_order_is_refused() -> None:
    with pytest.raises(TypeError, match="orders hold a list"):
        plain(PLAN._replace(sys_path=["/x"]))


def test_named_tuples_check_their_fields() -> None:
    order = orders.MountOrder("bind", destination="/a")
    assert order == ("bind", "/a", "", True, False, True, 0, b"", False, "", False)
    assert order.destination == "/a"
    assert repr(order._replace(size=5)).startswith("MountOrder(kind='bind', destination='/a', source='', read_only=True")
    for wrong in ((), ("bind", "/a", *[0] * 10)):
        with pytest.raises(TypeError, match="MountOrder takes kind, destination"):
            orders.MountOrder(*wrong)
    with pytest.raises(TypeError, match="kind"):
        orders.MountOrder("bind", "/a", kind="file")
    with pytest.raises(TypeError, match="nothing_such"):
        order._replace(nothing_such=1)
    with pytest.raises(AttributeError):
        order.kind = "file"  # type: ignore[misc]
