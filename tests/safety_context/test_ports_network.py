"""The network tests of the Rust crate extrasafe, ported: each has the name that it has there, and port 0."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

BEFORE = """
import socket
INET, INET6, UNIX, STREAM, DGRAM, RAW = (getattr(socket, name) for name in
    ("AF_INET", "AF_INET6", "AF_UNIX", "SOCK_STREAM", "SOCK_DGRAM", "SOCK_RAW"))
def bound(family, kind, address=None):
    made = socket.socket(family, kind)
    made.bind(address or (("::1" if family == INET6 else "127.0.0.1"), 0))
    made.close()
    return True
def has_ipv6():
    try:
        return bound(INET6, STREAM)
    except OSError:
        return False
FAMILIES = (INET, INET6) if has_ipv6() else (INET,)
"""


def under(sets: str, rest: str) -> str:
    return f"SafetyContext().enable({sets}).apply_to_current_thread()\n{textwrap.dedent(rest)}"


def test_udp(holds: Any) -> None:
    before = BEFORE + textwrap.dedent("""
    server = socket.socket(INET, DGRAM); server.bind(("127.0.0.1", 0))
    client = socket.socket(INET, DGRAM); client.connect(server.getsockname())
    """)
    holds(before, under("Networking().allow_running_udp_sockets(), Threads().allow_create()", """
    seen = []
    def serve():
        data, peer = server.recvfrom(64)
        seen.append(len(data))
        server.sendto(data, peer)
    thread = threading.Thread(target=serve); thread.start()
    client.send(b"0123456789")
    assert client.recv(64) == b"0123456789"
    thread.join()
    assert seen == [10]
    denied(lambda: bound(INET, DGRAM))
    """))  # fmt: skip


def test_tcp(holds: Any) -> None:
    before = BEFORE + textwrap.dedent("""
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    accepted, _ = server.accept()
    """)
    holds(before, under("Networking().allow_running_tcp_clients(), Threads().allow_create()", """
    seen = []
    def serve():
        seen.append(len(accepted.recv(64)))
        accepted.sendall(b"back")
    thread = threading.Thread(target=serve); thread.start()
    client.sendall(b"0123456789")
    assert client.recv(64) == b"back"
    thread.join()
    assert seen == [10]
    denied(lambda: bound(INET, STREAM))
    client.close()                         # which the seed's set does not permit
    denied(lambda: socket.create_connection(("127.0.0.1", 1)))
    """))  # fmt: skip


def test_start_tcp(holds: Any) -> None:
    holds(BEFORE, under("Networking().allow_start_tcp_servers()", """
    for family in FAMILIES:
        bound(family, STREAM)
        denied(lambda: bound(family, DGRAM))
    """))  # fmt: skip


def test_start_udp(holds: Any) -> None:
    holds(BEFORE, under("Networking().allow_start_udp_servers()", """
    for family in FAMILIES:
        bound(family, DGRAM)
        denied(lambda: bound(family, STREAM))
    """))  # fmt: skip


def test_start_unix(holds: Any) -> None:
    holds(BEFORE, under("Networking().allow_start_unix_servers()", """
    bound(UNIX, STREAM, "stream"), bound(UNIX, DGRAM, "dgram")
    denied(lambda: bound(INET, DGRAM))
    denied(lambda: bound(INET6, STREAM))
    """))  # fmt: skip


@pytest.mark.parametrize(
    "method",
    ["allow_start_tcp_servers", "allow_start_tcp_clients", "allow_start_udp_servers", "allow_start_unix_servers"],
)
def test_families_and_types_are_no_flags(holds: Any, method: str) -> None:
    """The seed compares AF_* and SOCK_* as bits: raw and packet sockets and kernel cryptography pass."""
    holds(BEFORE, under(f"Networking().{method}()", """
    for family in (INET, INET6):
        for kind in (RAW, socket.SOCK_SEQPACKET, RAW | socket.SOCK_CLOEXEC):
            assert native("socket", family, kind, 0) == errno.EPERM, (family, kind)
    for family in (3, 11, 16, 17, 29, 31, 38, 40, 43):
        for kind in (STREAM, DGRAM, RAW, socket.SOCK_SEQPACKET):
            assert native("socket", family, kind, 0) == errno.EPERM, (family, kind)
    """))  # fmt: skip
