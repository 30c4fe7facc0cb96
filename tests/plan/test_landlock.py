"""Landlock rules from a file tree, what older ABIs make of them, and the kernel's opinion of both."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from landlock_kernel import ABI, code_of, restrict

from isolate_fn._plan.landlock import downgrade, landlock_for_init, landlock_for_mounts, landlock_wanted
from isolate_fn._plan.orders import LandlockOrders, MountOrder
from isolate_fn._sys.landlock_constants import (
    ATTRIBUTE_SIZE,
    FILE_RIGHTS,
    NEWEST_ABI,
    RIGHTS,
    AccessFS,
    AccessNet,
    Scope,
)

R = AccessFS
READ = R.READ_FILE | R.READ_DIR
WRITE = (
    R.WRITE_FILE | R.REMOVE_DIR | R.REMOVE_FILE | R.MAKE_DIR | R.MAKE_REG | R.MAKE_SOCK
    | R.MAKE_FIFO | R.MAKE_SYM | R.REFER | R.TRUNCATE
)  # fmt: skip

TREE = (
    MountOrder("tmpfs", "/dev", size=4096),
    MountOrder("directory", "/etc"),
    MountOrder("symlink", "/lib", "usr/lib"),
    MountOrder("bind", "/usr", "/usr"),
    MountOrder("bind", "/data", "/srv/data", read_only=False, granted=True),
    MountOrder("bind", "/scratch", "/srv/scratch", read_only=False, noexec=True, granted=True),
    MountOrder("bind", "/etc/hosts", "/etc/hosts", is_directory=False),
    MountOrder("bind", "/out.db", "/srv/out.db", read_only=False, is_directory=False),
    MountOrder("device", "/dev/null", "/dev/null"),
    MountOrder("file", "/etc/passwd", data=b"x"),
)


def rules(orders: LandlockOrders) -> dict[str, AccessFS]:
    return {path: AccessFS(access) for path, access in orders.path_rules}


def test_rules_of_a_tree() -> None:
    wanted = landlock_wanted(TREE, ("/tmp", "/work"), exec=False, network=False)

    assert rules(wanted) == {
        "/": R.READ_DIR,
        "/proc": READ,
        "/dev": READ,
        "/usr": READ,
        "/data": READ | WRITE,
        "/scratch": READ | WRITE,
        "/etc/hosts": R.READ_FILE,
        "/out.db": R.READ_FILE | R.WRITE_FILE | R.TRUNCATE,
        "/dev/null": R.READ_FILE | R.WRITE_FILE | R.IOCTL_DEV,
        "/etc/passwd": R.READ_FILE,
        "/tmp": READ | WRITE,
        "/work": READ | WRITE,
    }


def test_execution_is_allowed_where_asked_and_where_the_mount_allows_it() -> None:
    with_exec = rules(landlock_wanted(TREE, ("/tmp",), exec=True, network=False))

    executable = {path for path, access in with_exec.items() if access & R.EXECUTE}
    assert executable == {"/dev", "/usr", "/data", "/etc/hosts", "/out.db"}


def test_everything_is_handled_and_some_things_are_granted_to_nobody() -> None:
    wanted = landlock_wanted(TREE, ("/tmp",), exec=True, network=False)
    granted = AccessFS(0)
    for access in rules(wanted).values():
        granted |= access

    assert wanted.handled_fs == sum(R)
    assert sum(R) & ~granted == R.MAKE_CHAR | R.MAKE_BLOCK | R.RESOLVE_UNIX
    assert wanted.scoped == Scope.ABSTRACT_UNIX_SOCKET | Scope.SIGNAL


def test_files_and_devices_get_no_directory_rights() -> None:
    """The kernel answers EINVAL to those."""
    granted = rules(landlock_wanted(TREE, (), exec=True, network=False))

    for path in ("/etc/hosts", "/out.db", "/dev/null", "/etc/passwd"):
        assert granted[path] & ~FILE_RIGHTS == R(0)


def test_network() -> None:
    assert landlock_wanted((), (), exec=False, network=False).handled_net == sum(AccessNet)
    assert landlock_wanted((), (), exec=False, network=True).handled_net == 0


def test_a_later_entry_covers_an_earlier_one() -> None:
    tree = (MountOrder("bind", "/d", "/a", read_only=False), MountOrder("bind", "/d", "/b"))

    assert rules(landlock_wanted(tree, (), exec=False, network=False))["/d"] == READ


def test_no_proc() -> None:
    assert "/proc" not in rules(landlock_wanted((), (), exec=False, network=False, proc=False))


def test_init_reads_proc_and_lists_directories() -> None:
    orders, dropped = landlock_for_init(NEWEST_ABI)

    assert rules(orders) == {"/": R.READ_DIR, "/proc": READ}
    assert dropped == ()


WANTED = landlock_wanted(TREE, ("/tmp",), exec=True, network=False)

TCP, UDP, SCOPES = "BIND_TCP CONNECT_TCP", "BIND_UDP CONNECT_SEND_UDP", "ABSTRACT_UNIX_SOCKET SIGNAL"

LOST = {  # ABI: names of what it lacks
    1: f"REFER TRUNCATE IOCTL_DEV RESOLVE_UNIX {TCP} {UDP} {SCOPES}",
    2: f"TRUNCATE IOCTL_DEV RESOLVE_UNIX {TCP} {UDP} {SCOPES}",
    3: f"IOCTL_DEV RESOLVE_UNIX {TCP} {UDP} {SCOPES}",
    4: f"IOCTL_DEV RESOLVE_UNIX {UDP} {SCOPES}",
    5: f"RESOLVE_UNIX {UDP} {SCOPES}",
    6: f"RESOLVE_UNIX {UDP}",
    7: f"RESOLVE_UNIX {UDP}",
    8: f"RESOLVE_UNIX {UDP}",
    9: UDP,
    10: "",
    11: "",
}

HANDLED = {  # ABI: handled_fs, handled_net, scoped, bytes of the structure
    1: (0x1FFF, 0, 0, 8),
    2: (0x3FFF, 0, 0, 8),
    3: (0x7FFF, 0, 0, 8),
    4: (0x7FFF, 3, 0, 16),
    5: (0xFFFF, 3, 0, 16),
    6: (0xFFFF, 3, 3, 24),
    9: (0x1FFFF, 3, 3, 24),
    10: (0x1FFFF, 15, 3, 24),
}


@pytest.mark.parametrize("abi", LOST)
def test_what_an_abi_lacks_is_said(abi: int) -> None:
    _, dropped = downgrade(WANTED, abi)

    assert [sentence.split()[0].rpartition("ACCESS_FS_")[2] for sentence in dropped if "ACCESS_FS" in sentence] == [
        name for name in LOST[abi].split() if hasattr(AccessFS, name)
    ]
    assert [sentence.split()[0] for sentence in dropped if "ACCESS_NET" in sentence] == [
        f"ACCESS_NET_{name}" for name in LOST[abi].split() if hasattr(AccessNet, name)
    ]
    assert len(dropped) == len(LOST[abi].split())
    assert all(f"found {abi}" in sentence and "Linux" in sentence for sentence in dropped)


@pytest.mark.parametrize("abi", HANDLED)
def test_what_an_abi_handles(abi: int) -> None:
    orders, _ = downgrade(WANTED, abi)

    assert (orders.handled_fs, orders.handled_net, orders.scoped, orders.attribute_size) == HANDLED[abi]
    assert all(access and not access & ~orders.handled_fs for _, access in orders.path_rules)


def test_each_abi_only_adds() -> None:
    before, lost_before = downgrade(WANTED, 0)
    for abi in range(1, NEWEST_ABI + 1):
        orders, lost = downgrade(WANTED, abi)
        assert before.handled_fs & ~orders.handled_fs == 0
        assert before.handled_net & ~orders.handled_net == 0
        assert abi == 1 or len(lost) <= len(lost_before)
        before, lost_before = orders, lost


def test_no_landlock_at_all() -> None:
    assert downgrade(WANTED, 0) == (
        LandlockOrders(0, 0, 0, (), 0),
        ("Landlock needs Linux 5.13 with landlock among its LSMs; this kernel has none",),
    )


def test_only_what_was_asked_for_can_be_lost() -> None:
    _, dropped = downgrade(landlock_wanted((), (), exec=False, network=True), 3)

    assert not any("ACCESS_NET" in sentence or "REFER" in sentence for sentence in dropped)
    assert not any("REFER" in sentence for sentence in downgrade(landlock_for_init(1)[0], 1)[1])


def test_downgrade_leaves_nothing_more_to_downgrade() -> None:
    for abi in range(1, NEWEST_ABI + 1):
        orders, _ = downgrade(WANTED, abi)
        assert downgrade(orders, abi)[0] == orders
        assert landlock_for_mounts(TREE, ("/tmp",), exec=True, network=False, abi=abi) == orders


def test_the_table_is_complete_and_in_order() -> None:
    assert [right.flag for right in RIGHTS] == [*AccessFS, *AccessNet, *Scope]
    assert all(1 <= right.abi <= NEWEST_ABI for right in RIGHTS)
    assert set(ATTRIBUTE_SIZE) == set(range(NEWEST_ABI + 1))
    assert [right.name for right in RIGHTS if right.abi == 6] == [
        "SCOPE_ABSTRACT_UNIX_SOCKET",
        "SCOPE_SIGNAL",
    ]


# --- the kernel ---------------------------------------------------------------------------------------------

@pytest.mark.skipif(ABI < 1, reason="this kernel has no Landlock (Linux 5.13)")
@pytest.mark.parametrize("abi", range(1, min(ABI, NEWEST_ABI) + 1))
def test_the_kernel_takes_the_rules_of_every_abi_it_knows(
    abi: int, tmp_path: Path, under: Callable[[None, Callable[[], object]], object]
) -> None:
    for name in ("ro", "rw"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    tree = (
        MountOrder("bind", "/usr", "/usr"),
        MountOrder("bind", f"{tmp_path}/ro", "/"),
        MountOrder("bind", f"{tmp_path}/rw", "/", read_only=False),
        MountOrder("bind", "/etc/passwd", "/etc/passwd", is_directory=False),
        MountOrder("device", "/dev/null", "/dev/null"),
    )
    orders = landlock_for_mounts(tree, (), exec=False, network=False, abi=abi)

    def inside() -> dict[str, int]:
        restrict(orders)
        ro, rw = f"{tmp_path}/ro", f"{tmp_path}/rw"
        return {
            "read ro": code_of(lambda: open(f"{ro}/file").close()),
            "append ro": code_of(lambda: open(f"{ro}/file", "a").close()),
            "make in ro": code_of(lambda: open(f"{ro}/new", "w").close()),
            "unlink in ro": code_of(lambda: os.unlink(f"{ro}/file")),
            "list root": code_of(lambda: os.listdir("/")),
            "read elsewhere": code_of(lambda: open("/etc/group").close()),
            "read a file with a rule": code_of(lambda: open("/etc/passwd").close()),
            "write rw": code_of(lambda: open(f"{rw}/file", "w").close()),
            "make in rw": code_of(lambda: os.mkdir(f"{rw}/directory")),
            "fifo in rw": code_of(lambda: os.mkfifo(f"{rw}/fifo")),
            "link in rw": code_of(lambda: os.symlink("x", f"{rw}/link")),
            "rename across": code_of(lambda: os.rename(f"{rw}/file", f"{rw}/directory/file")),
            "device": code_of(lambda: open("/dev/null", "w").close()),
            "execute": code_of(lambda: os.execv("/usr/bin/true", ["true"])),
        }

    assert under(None, inside) == {
        "read ro": 0,
        "append ro": errno.EACCES,
        "make in ro": errno.EACCES,
        "unlink in ro": errno.EACCES,
        "list root": 0,
        "read elsewhere": errno.EACCES,
        "read a file with a rule": 0,
        "write rw": 0,
        "make in rw": 0,
        "fifo in rw": 0,
        "link in rw": 0,
        "rename across": errno.EXDEV if abi < 2 else 0,
        "device": 0,
        "execute": errno.EACCES,
    }
