"""Landlock rule sets from words: as tables, and each word in the kernel, with it and without it."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from landlock_kernel import ABI, code_of, restrict

from isolate_fn._plan.landlock_rights import (
    EVERY_FS,
    access_bits,
    downgrade,
    landlock_orders,
    missing_rights,
    require_rights,
    right_of,
)
from isolate_fn._plan.orders import LandlockOrders
from isolate_fn._plan.rule_sets import PathWish, PortWish
from isolate_fn._sys.landlock_constants import (
    ATTRIBUTE_SIZE,
    FILE_RIGHTS,
    NEWEST_ABI,
    RIGHTS,
    AccessFS,
    AccessNet,
    Scope,
)
from isolate_fn.errors import PolicyError, Unsupported
from isolate_fn.policy.landlock_words import PATH_RIGHTS, PORT_RIGHTS, SCOPES

Under = Callable[[bytes | None, Callable[[], object]], object]


def wish(path: str | Path, *words: str) -> PathWish:
    return PathWish(str(path), frozenset(words), "Mine")


def port(number: int, *words: str) -> PortWish:
    return PortWish(number, frozenset(words), "Mine")


# --- words ------------------------------------------------------------------------------------------------------


def test_every_right_has_a_word_and_every_word_a_right() -> None:
    words = [*PATH_RIGHTS, *PORT_RIGHTS, *SCOPES]

    assert len(words) == len(set(words)) == len(RIGHTS)
    assert {right_of(word) for word in words} == set(RIGHTS)
    assert {type(right_of(word).flag) for word in PATH_RIGHTS} == {AccessFS}
    assert {type(right_of(word).flag) for word in PORT_RIGHTS} == {AccessNet}
    assert {type(right_of(word).flag) for word in SCOPES} == {Scope}


def test_bits() -> None:
    assert access_bits(()) == 0
    assert access_bits({"read_file", "list_dir"}) == 1 << 2 | 1 << 3
    assert access_bits(PATH_RIGHTS) == EVERY_FS == (1 << 17) - 1
    assert access_bits({"bind_tcp", "connect_send_udp"}) == 0b1001
    assert access_bits({"signal"}) == 0b10


@pytest.mark.parametrize("call", [right_of, lambda word: access_bits([word]), lambda word: require_rights([word], 1)])
def test_unknown_words_are_refused(call: Callable[[str], object]) -> None:
    with pytest.raises(PolicyError, match=r"'read_files' is not a Landlock right.*\n.*\n.*read_file"):
        call("read_files")


# --- rule sets --------------------------------------------------------------------------------------------------


def test_with_a_path_all_rights_on_files_are_handled() -> None:
    orders = landlock_orders([wish("/etc", "read_file", "list_dir"), wish("/tmp", "create_file")])

    assert orders == LandlockOrders(EVERY_FS, 0, 0, (("/etc", 0b1100), ("/tmp", 1 << 8)), ATTRIBUTE_SIZE[NEWEST_ABI])
    assert not orders.empty


def test_of_ports_and_scopes_only_what_is_named_is_handled() -> None:
    orders = landlock_orders(
        (), ports=[port(443, "connect_tcp"), port(80, "bind_tcp"), port(443, "bind_tcp")], scopes={"signal"}
    )

    assert (orders.handled_fs, orders.handled_net, orders.scoped) == (0, 0b11, 0b10)
    assert orders.port_rules == ((80, 0b01), (443, 0b11))
    assert orders.path_rules == ()


def test_nothing_asked_is_nothing_restricted() -> None:
    assert landlock_orders(()).empty


def test_files_get_the_rights_of_files() -> None:
    everything = wish("/etc/passwd", *PATH_RIGHTS)

    (rule,) = landlock_orders([everything], files={"/etc/passwd"}).path_rules
    assert rule == ("/etc/passwd", int(FILE_RIGHTS))
    (rule,) = landlock_orders([everything]).path_rules
    assert rule == ("/etc/passwd", EVERY_FS)


def test_a_file_of_which_only_rights_of_directories_are_asked() -> None:
    with pytest.raises(PolicyError, match=r"'Mine' asks for create_file, list_dir on /etc/passwd.*not a directory"):
        landlock_orders([wish("/etc/passwd", "list_dir", "create_file")], files=["/etc/passwd"])


# --- older kernels ----------------------------------------------------------------------------------------------

WANTED = landlock_orders(
    [wish("/data", *PATH_RIGHTS), wish("/run", "reach_socket")],
    ports=[port(443, "connect_tcp", "bind_tcp"), port(53, "connect_send_udp")],
    scopes=SCOPES,
)


@pytest.mark.parametrize("abi", range(NEWEST_ABI + 2))
def test_downgrade_keeps_what_the_abi_has_and_names_the_rest(abi: int) -> None:
    remaining, dropped = downgrade(WANTED, abi)
    known = {right for right in RIGHTS if right.abi <= abi}
    asked = {right for right in RIGHTS if right.flag is not AccessNet.BIND_UDP}

    if abi == 0:
        assert remaining.empty
        assert len(dropped) == 1
        return
    assert {right for right in known if not _left(remaining, right.flag)} == known - asked
    assert not any(_left(remaining, right.flag) for right in RIGHTS if right not in known)
    assert [sentence.split()[0] for sentence in dropped] == [
        right.name for right in RIGHTS if right in asked and right not in known
    ]
    assert missing_rights(WANTED, abi) == tuple(right for right in RIGHTS if right in asked and right not in known)
    assert all(access and not access & ~remaining.handled_net for _, access in remaining.port_rules)
    assert all(access and not access & ~remaining.handled_fs for _, access in remaining.path_rules)
    assert remaining.attribute_size == ATTRIBUTE_SIZE[min(abi, NEWEST_ABI)]


def _left(orders: LandlockOrders, flag: AccessFS | AccessNet | Scope) -> bool:
    fields = {AccessFS: orders.handled_fs, AccessNet: orders.handled_net, Scope: orders.scoped}
    return bool(fields[type(flag)] & flag)


def test_rules_of_which_nothing_is_left_go() -> None:
    remaining, _ = downgrade(WANTED, 3)

    assert [path for path, _ in remaining.path_rules] == ["/data"]
    assert remaining.port_rules == ()
    assert [number for number, _ in downgrade(WANTED, 9)[0].port_rules] == [443]


@pytest.mark.parametrize("word", [*PATH_RIGHTS, *PORT_RIGHTS, *SCOPES])
def test_require_refuses_one_abi_before_and_accepts_from_there(word: str) -> None:
    right = right_of(word)

    require_rights([word], right.abi)
    require_rights([word], NEWEST_ABI)
    with pytest.raises(Unsupported) as refusal:
        require_rights([word, "read_file"], right.abi - 1)
    assert word in refusal.value.feature
    assert refusal.value.needs == f"Landlock ABI {right.abi} (Linux {right.linux})"
    assert refusal.value.found == (f"ABI {right.abi - 1}" if right.abi > 1 else "no Landlock")
    assert right.linux in refusal.value.remedy


def test_require_names_all_that_is_missing_and_the_newest_that_is_needed() -> None:
    with pytest.raises(Unsupported) as refusal:
        require_rights({"truncate", "signal", "connect_tcp", "read_file"}, 2)
    assert refusal.value.feature == "require: connect_tcp, signal, truncate"
    assert refusal.value.needs == "Landlock ABI 6 (Linux 6.12)"


# --- the kernel -------------------------------------------------------------------------------------------------

@pytest.fixture
def tree() -> Iterator[Path]:
    """A directory with one of everything; its name is short, as that of a socket must be."""
    with tempfile.TemporaryDirectory(dir="/tmp") as path:
        yield from _filled(Path(path))


def _filled(tmp_path: Path) -> Iterator[Path]:
    for name in ("in", "in/empty", "in/other"):
        (tmp_path / name).mkdir()
    (tmp_path / "in/file").write_text("content")
    (tmp_path / "in/program").write_text("#!/bin/true\n")
    (tmp_path / "in/program").chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "in/socket"))
        listener.listen()
        yield tmp_path


def _connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def _ioctl_of_a_device() -> None:
    terminal = os.open("/dev/ptmx", os.O_RDWR)
    fcntl.ioctl(terminal, 0x80045430, bytearray(4))  # TIOCGPTN


#: word -> what it is for. Where the word is missing, the errno.
DEEDS: dict[str, tuple[Callable[[str], object], int]] = {
    "read_file": (lambda d: os.open(f"{d}/file", os.O_RDONLY), errno.EACCES),
    "write_file": (lambda d: os.open(f"{d}/file", os.O_WRONLY), errno.EACCES),
    "truncate": (lambda d: os.truncate(f"{d}/file", 0), errno.EACCES),
    "execute": (lambda d: os.execve(f"{d}/program", ["program"], {}), errno.EACCES),
    "list_dir": (lambda d: os.listdir(d), errno.EACCES),
    "create_file": (lambda d: os.mknod(f"{d}/new", 0o100600), errno.EACCES),
    "create_dir": (lambda d: os.mkdir(f"{d}/new"), errno.EACCES),
    "create_symlink": (lambda d: os.symlink("x", f"{d}/new"), errno.EACCES),
    "create_fifo": (lambda d: os.mkfifo(f"{d}/new"), errno.EACCES),
    "create_socket": (lambda d: socket.socket(socket.AF_UNIX).bind(f"{d}/new"), errno.EACCES),
    "remove_file": (lambda d: os.unlink(f"{d}/file"), errno.EACCES),
    "remove_dir": (lambda d: os.rmdir(f"{d}/empty"), errno.EACCES),
    "move": (lambda d: os.rename(f"{d}/file", f"{d}/other/file"), errno.EXDEV),
    "reach_socket": (lambda d: _connect(f"{d}/socket"), errno.EACCES),
}


def test_every_path_word_is_tried() -> None:
    """Devices apart: making one takes privilege, and their ioctl has a test of its own."""
    assert DEEDS.keys() == PATH_RIGHTS.keys() - {"create_char_device", "create_block_device", "ioctl_device"}


@pytest.mark.parametrize(
    "word", [pytest.param(word, marks=pytest.mark.needs(f"landlock>={right_of(word).abi}")) for word in DEEDS]
)
def test_each_word_permits_its_deed_and_nothing_else_does(word: str, tree: Path, under: Under) -> None:
    deed, denied = DEEDS[word]
    outside = [wish("/bin", "read_file", "execute"), wish("/usr", "read_file", "execute"), wish("/lib", "execute")]
    if Path("/lib64").exists():
        outside.append(wish("/lib64", "execute"))

    def attempt(*words: str) -> object:
        orders, _ = downgrade(landlock_orders([wish(tree / "in", *words), *outside]), ABI)

        def inside() -> int:
            restrict(orders)
            return code_of(lambda: deed(f"{tree}/in"))

        return _attempt(inside, under)

    assert attempt(*PATH_RIGHTS.keys() - {word}) == denied
    assert attempt(*PATH_RIGHTS) == 0


def _attempt(inside: Callable[[], int], under: Under) -> object:
    """As under(), but a child that executes a program successfully counts as 0: it has no answer to give."""
    try:
        return under(None, inside)
    except EOFError:
        return 0


@pytest.mark.needs("landlock>=5")
def test_ioctl_of_devices(under: Under) -> None:
    def attempt(*words: str) -> object:
        orders, _ = downgrade(landlock_orders([wish("/dev", *words)]), ABI)

        def inside() -> int:
            restrict(orders)
            return code_of(_ioctl_of_a_device)

        return under(None, inside)

    assert attempt("read_file", "write_file", "ioctl_device") == 0
    assert attempt("read_file", "write_file") == errno.EACCES


@pytest.mark.needs("landlock")
def test_a_right_of_directories_on_a_file_is_what_the_kernel_refuses(tree: Path, under: Under) -> None:
    """Why landlock_orders() wants to know which paths are files."""
    path = str(tree / "in/file")

    def attempt(files: tuple[str, ...]) -> object:
        orders, _ = downgrade(landlock_orders([wish(path, "read_file", "list_dir")], files=files), ABI)
        return under(None, lambda: code_of(lambda: restrict(orders)))

    assert attempt(()) == errno.EINVAL
    assert attempt((path,)) == 0


def _listening() -> tuple[socket.socket, int]:
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, listener.getsockname()[1]


@pytest.mark.needs("landlock>=4")
def test_ports(under: Under) -> None:
    (one, first), (two, second) = _listening(), _listening()
    with one, two:
        orders, _ = downgrade(landlock_orders((), ports=[port(first, "connect_tcp"), port(0, "bind_tcp")]), ABI)

        def inside() -> list[int]:
            restrict(orders)
            clients = [socket.socket() for _ in range(2)]
            return [
                code_of(lambda: clients[0].connect(("127.0.0.1", first))),
                code_of(lambda: clients[1].connect(("127.0.0.1", second))),
                code_of(lambda: socket.socket().bind(("127.0.0.1", 0))),
                code_of(lambda: socket.socket().bind(("127.0.0.1", second))),
                code_of(lambda: os.open("/etc/passwd", os.O_RDONLY)),
            ]

        # The last but one would be EADDRINUSE without the rule.
        assert under(None, inside) == [0, errno.EACCES, 0, errno.EACCES, 0]


@pytest.mark.needs("landlock>=6")
def test_scopes(under: Under) -> None:
    """Another process's abstract socket, and a signal to the parent; both work without the scope."""
    name = f"\0isolate-fn-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()

        def attempt(*scopes: str) -> object:
            orders, _ = downgrade(landlock_orders((), scopes=scopes), ABI)
            parent = os.getpid()

            def inside() -> tuple[int, int]:
                if not orders.empty:
                    restrict(orders)
                return code_of(lambda: _connect(name)), code_of(lambda: os.kill(parent, signal.SIGCONT))

            return under(None, inside)

        assert attempt() == (0, 0)
        assert attempt("abstract_unix_socket") == (errno.EPERM, 0)
        assert attempt("signal") == (0, errno.EPERM)
        assert attempt("signal", "abstract_unix_socket") == (errno.EPERM, errno.EPERM)
