"""Promise 2: no network unless granted; abstract and named unix sockets, netlink, packet and crypto sockets included.

Each attack succeeds without the walls that stand in its way. Traffic stays on the loopback interface.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time

import native
import pytest
from native import abstract_address, inet_address, reach, unix_address
from support import open_without, run_without

from isolate_fn import ro, rw
from isolate_fn.dangerous import HostNetwork

pytestmark = pytest.mark.needs("namespaces")

EPERM, EACCES, ENOSYS = -errno.EPERM, -errno.EACCES, -errno.ENOSYS
NO_FAMILY, REFUSED = -errno.EAFNOSUPPORT, -errno.ECONNREFUSED
UNIX, INET, INET6, NETLINK, PACKET, ALG, VSOCK = 1, 2, 10, 16, 17, 38, 40
STREAM, DGRAM, RAW, SEQPACKET = 1, 2, 3, 5
HIGH = 1 << 32
HOST = {"accept": (HostNetwork,)}


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_tcp_to_the_host(listener):
    """Three walls: filter, Landlock (ABI 4), and a network of its own."""
    address = inet_address(listener.getsockname()[1])
    tried = lambda: reach(INET, STREAM, address)  # noqa: E731
    assert run_without((), tried) == EPERM
    assert run_without((), tried, **HOST) == EPERM
    assert run_without(("seccomp",), tried) in (EACCES, REFUSED)
    assert run_without(("seccomp", "landlock"), tried) == REFUSED
    assert run_without(("seccomp", "landlock"), tried, **HOST) == 0


@pytest.mark.needs("landlock>=4")
def test_landlock_alone_keeps_tcp(listener):
    address = inet_address(listener.getsockname()[1])
    assert run_without(("seccomp",), lambda: reach(INET, STREAM, address), **HOST) == EACCES


def test_udp_to_the_host():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        address = inet_address(server.getsockname()[1])
        tried = lambda: reach(INET, DGRAM, address, b"attack")  # noqa: E731
        assert run_without((), tried) == EPERM
        assert run_without((), tried, **HOST) == EPERM
        run_without(("seccomp",), tried)  # arrives nowhere: the network is empty
        with pytest.raises(BlockingIOError):
            server.recv(100)
        assert run_without(("seccomp",), tried, **HOST) == 6
        assert server.recv(100) == b"attack"


def test_names_are_not_resolved_and_nobody_waits_for_it():
    def resolve():
        import socket

        try:
            return socket.getaddrinfo("attack.example.org", 53)
        except OSError as refused:
            return type(refused).__name__

    began = time.monotonic()
    assert run_without((), resolve) == "gaierror"
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("extra", [0, HIGH], ids=["plain", "high bits"])
def test_no_family_of_sockets(extra):
    assert {result for *_, result in run_without((), native.families, extra)} == {EPERM}
    opened = {(family, kind) for family, kind, result in run_without(("seccomp",), native.families, extra) if result == 0}
    assert {(UNIX, STREAM), (UNIX, DGRAM), (INET, STREAM), (INET, DGRAM), (NETLINK, RAW)} <= opened


def test_netlink():
    """A request for the list of interfaces."""
    request = struct.pack("=IHHIIBxHiII", 32, 18, 0x301, 1, 0, 0, 0, 0, 0, 0)

    def ask():
        import ctypes

        import native

        results = [native.call("socket", 16, 3, protocol) for protocol in (0, 9, 12, 16)]
        if results[0] < 0:
            return results
        native.call("sendto", results[0], request, len(request), 0, 0, 0)
        answer = ctypes.create_string_buffer(8192)
        return native.call("recvfrom", results[0], answer, 8192, 0, 0, 0)

    assert run_without((), ask) == [EPERM] * 4
    assert run_without(("seccomp",), ask) > 32


def test_raw_packets():
    """AF_PACKET asks for CAP_NET_RAW over the network; in a user namespace of its own nobody has it."""
    tried = [("socket", PACKET, RAW, 0x300), ("socket", INET, RAW, 1), ("socket", INET, DGRAM, 1)]
    assert run_without((), native.calls, *tried) == [EPERM] * 3
    assert run_without(("seccomp", "capabilities"), native.calls, *tried)[:2] == [EPERM] * 2
    bare = run_without(("seccomp", "capabilities", "user namespace"), native.calls, *tried)
    assert min(bare[:2]) >= 0


def test_abstract_unix_sockets_of_the_host():
    name = f"attack-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        tried = lambda: reach(UNIX, STREAM, abstract_address(name))  # noqa: E731
        assert run_without((), tried) == EPERM
        assert run_without((), tried, **HOST) == EPERM
        assert run_without(("seccomp", "landlock"), tried) == REFUSED
        assert run_without(("seccomp", "landlock"), tried, **HOST) == 0


@pytest.mark.needs("landlock>=6")
def test_landlock_alone_keeps_abstract_sockets():
    name = f"attack-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        assert run_without(("seccomp",), lambda: reach(UNIX, STREAM, abstract_address(name)), **HOST) == EPERM


@pytest.mark.parametrize("word", [ro, rw])
def test_unix_sockets_in_a_mount(host, word):
    """NW-07: connect(2) does not ask whether a mount is read-only; the filter keeps it."""
    with socket.socket(socket.AF_UNIX) as stream, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        stream.bind(str(host / "stream"))
        stream.listen()
        datagrams.bind(str(host / "datagrams"))
        datagrams.setblocking(False)
        for name in ("stream", "datagrams"):
            (host / name).chmod(0o777)

        def tried():
            import native

            pairs = []
            for kind in (2, 3, 5, 2 | 1 << 32, 1):
                import ctypes

                pair = (ctypes.c_int * 2)()
                made = native.call("socketpair", 1, kind, 0, pair)
                address = unix_address("/data/datagrams")
                pairs.append(made if made else native.call("sendto", pair[0], b"attack", 6, 0, address, len(address)))
            return [
                reach(UNIX, STREAM, unix_address("/data/stream")),
                reach(UNIX, DGRAM, unix_address("/data/datagrams"), b"attack"),
                *pairs,
            ]

        mounts = [word(host, "/data")]
        *denied, stream_pair = run_without((), tried, mounts=mounts)
        assert denied == [EPERM] * 6
        # A pair of streams may be made; it takes no address.
        assert stream_pair in (-errno.EISCONN, -errno.EOPNOTSUPP)
        with pytest.raises(BlockingIOError):
            datagrams.recv(100)
        reached = run_without(("seccomp", "landlock"), tried, mounts=mounts)
        assert reached[:3] == [0, 6, 6]
        assert datagrams.recv(100) == b"attack"


def test_a_stream_pair_does_not_become_a_client(host):
    """With the network granted connect(2) and bind(2) are there; a pair of streams must not be turned round."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(host / "stream"))
        server.listen()
        (host / "stream").chmod(0o777)
        address = unix_address("/data/stream")

        def turn():
            import ctypes

            import native

            pair = (ctypes.c_int * 2)()
            native.call("socketpair", 1, 1, 0, pair)
            native.call("close", pair[1])
            native.call("connect", pair[0], struct.pack("=HH12x", 0, 0), 16)  # AF_UNSPEC dissolves others
            found = [native.call("connect", pair[0], address, len(address))]
            native.call("bind", pair[0], unix_address("/tmp/own"), 11)
            found.append(native.call("listen", pair[0], 1))
            found.append(native.call("connect", 3, address, len(address)))
            return found

        assert run_without((), turn, mounts=[ro(host, "/data")], network=True) == [
            -errno.EISCONN,
            -errno.EINVAL,
            -errno.EISCONN,
        ]


@pytest.mark.parametrize("family", [ALG, VSOCK], ids=["AF_ALG", "AF_VSOCK"])
@pytest.mark.parametrize("extra", [0, HIGH], ids=["plain", "high bits"])
def test_families_outside_the_network_namespace(family, extra):
    """vsock knows no network namespaces, the crypto API is an attack surface of the kernel's."""
    tried = [("socket", family | extra, kind, 0) for kind in (STREAM, DGRAM, SEQPACKET)]
    assert run_without((), native.calls, *tried) == [EPERM] * 3
    # Whether this kernel has the family or not: it was asked.
    asked = run_without(("seccomp",), native.calls, *tried)
    assert EPERM not in asked


def test_io_uring():
    """It opens, connects and sends without the filter seeing any of it."""
    def ring():
        import ctypes

        import native

        return [
            native.call("io_uring_setup", 4, ctypes.create_string_buffer(248)),
            native.call("io_uring_enter", -1, 0, 0, 0, 0, 0),
            native.call("io_uring_register", -1, 0, 0, 0),
        ]

    assert run_without((), ring) == [ENOSYS] * 3
    unfiltered = run_without(("seccomp",), ring)
    if unfiltered == [ENOSYS] * 3:
        pytest.skip("this kernel has no io_uring")
    assert unfiltered[1] == -errno.EBADF


def test_a_granted_network_is_tcp_and_udp_only(listener):
    address = inet_address(listener.getsockname()[1])

    def open_all():
        import native

        return native.calls(
            ("socket", 1, 1, 0), ("socket", 1, 2, 0), ("socket", 16, 3, 0), ("socket", 17, 3, 0x300), ("socket", 2, 3, 1),
            ("socket", 2, 2, 1), ("socket", 2, 1, 262), ("socket", 2, 5, 132), ("socket", 38, 5, 0), ("socket", 40, 1, 0),
        )  # fmt: skip

    assert run_without((), open_all, network=True) == [NO_FAMILY] * 10
    assert run_without(("seccomp",), open_all, network=True)[0] >= 0
    assert run_without((), lambda: reach(INET, STREAM, address), network=True) == 0


@pytest.mark.needs("landlock>=6")
def test_a_granted_network_does_not_reach_abstract_sockets():
    name = f"attack-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        tried = lambda: reach(UNIX, STREAM, abstract_address(name))  # noqa: E731
        assert run_without((), tried, network=True) == NO_FAMILY
        assert run_without(("seccomp",), tried, network=True) == EPERM
        assert run_without(("seccomp", "landlock"), tried, network=True) == 0


@pytest.mark.needs("tool:bash")
def test_a_program_has_no_network_either(listener):
    command = ["bash", "-c", f"exec 9<>/dev/tcp/127.0.0.1/{listener.getsockname()[1]} && echo reached"]
    for walls, options, expected in (
        ((), {}, ""),
        ((), HOST, ""),
        (("seccomp",), {}, ""),
        (("seccomp", "landlock"), HOST, "reached\n"),
    ):
        with open_without(walls, **options) as box:
            assert box.run(command, capture_output=True, text=True).stdout == expected
