"""Sockets as arguments: a connection talks to its peer and to nobody else, and brings in no descriptors."""

from __future__ import annotations

import errno
import os
import socket
import threading

import pytest

from isolate_fn import isolated, sandbox
from isolate_fn._api import lendable
from isolate_fn._runtime.ends import SO_PASSRIGHTS
from isolate_fn.errors import CallRejected, PolicyError

pytestmark = pytest.mark.needs("namespaces")

MSG_FASTOPEN = 0x20000000


@isolated
def echo(connection):
    data = connection.recv(100)
    connection.sendall(data.upper())
    return type(connection).__name__, connection.family.name, connection.type.name, connection.gettimeout(), data


@isolated(prewarm=0)
def touch(connection):
    return connection.fileno() >= 0


def attempt(function, *args):
    try:
        function(*args)
    except OSError as error:
        return error.errno
    return 0


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def pair(listening):
    with socket.create_connection(listening.getsockname()) as ours, listening.accept()[0] as theirs:
        yield ours, theirs


@pytest.mark.parametrize("reuse", [False, True], ids=["fresh", "reused"])
def test_a_connection(pair, reuse):
    ours, theirs = pair
    theirs.settimeout(5)
    ours.sendall(b"hello")
    assert echo.options(reuse=reuse)(theirs) == ("socket", "AF_INET", "SOCK_STREAM", 5.0, b"hello")
    assert ours.recv(100) == b"HELLO"
    assert theirs.gettimeout() == 5
    theirs.sendall(b"still open")
    assert ours.recv(100) == b"still open"


def test_a_connection_in_a_sandbox_block(pair):
    ours, theirs = pair
    ours.sendall(b"hello")
    with sandbox() as box:
        assert box.call(echo.__wrapped__, connection=theirs)[4] == b"hello"


def test_blocking_is_put_back(pair):
    @isolated
    def block_not(connection):
        connection.setblocking(False)

    block_not(pair[1])
    assert os.get_blocking(pair[1].fileno())


def test_a_reused_worker_holds_nothing_of_it_afterwards(pair):
    @isolated(reuse=True)
    def count(connection=None):
        reader = connection.makefile("rb") if connection else None
        return len(os.listdir("/proc/self/fd")), reader is not None

    before, _ = count()
    assert count(pair[0]) == (before + 1, True)
    assert count()[0] == before


def test_closed_derived_and_nested_sockets(pair):
    import ssl

    closed = socket.socket()
    closed.close()
    with pytest.raises(PolicyError, match="closed") as caught:
        touch(closed)
    assert caught.value.field == "argument 'connection'"
    with pytest.raises(CallRejected, match="argument of its own"):
        touch([pair[0]])
    context = ssl.create_default_context()
    wrapped = context.wrap_socket(pair[0], server_hostname="x", do_handshake_on_connect=False)
    with wrapped, pytest.raises(CallRejected):
        touch(wrapped)


# --- other destinations ---------------------------------------------------------------------------------------------------


def reach(connection, address):
    """Try to reach another destination through a socket; return the errno of each way, 0 where it worked."""
    return [
        attempt(connection.connect, address),
        attempt(connection.bind, ("127.0.0.1", 0)),
        attempt(connection.sendto, b"out", MSG_FASTOPEN, address),
        attempt(connection.sendmsg, [b"out"], [], MSG_FASTOPEN, address),
        attempt(connection.sendmsg, [b"out"], [], 0, address),
    ]


def nobody_came(server):
    server.settimeout(0)
    return attempt(server.accept) in (errno.EAGAIN, errno.EWOULDBLOCK)


def test_a_connection_reaches_nobody_but_its_peer(pair, give_and_run):
    def attack(connection, address):
        found = reach(connection, address)
        connection.shutdown(socket.SHUT_RDWR)
        return found[:4] + reach(connection, address)[:4]

    with socket.create_server(("127.0.0.1", 0)) as other:
        found = give_and_run((), attack, pair[1], other.getsockname())
        assert found[0] == found[1] == errno.EPERM
        assert 0 not in found
        assert nobody_came(other)


def test_a_socket_that_is_not_connected_could_reach_everybody(give_and_run, monkeypatch):
    """Refused, because a message can connect it where connect(2) is denied."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        with socket.socket() as fresh, pytest.raises(PolicyError, match="not connected"):
            touch(fresh)
        assert nobody_came(other)
        monkeypatch.setattr(lendable, "_check_connected", lambda asked, kind: None)
        with socket.socket() as fresh:
            found = give_and_run((), reach, fresh, other.getsockname())
        assert found[0] == errno.EPERM
        other.settimeout(5)
        assert found[2] in (0, errno.EINPROGRESS)
        other.accept()[0].close()


def test_a_listening_socket_could_become_such_a_one(listening, give_and_run, monkeypatch):
    with pytest.raises(PolicyError, match="listening"):
        touch(listening)

    def attack(server, address):
        denied = attempt(server.accept)
        server.shutdown(socket.SHUT_RDWR)
        return denied, attempt(server.sendto, b"out", MSG_FASTOPEN, address)

    monkeypatch.setattr(lendable, "_check_connected", lambda asked, kind: None)
    with socket.create_server(("127.0.0.1", 0)) as other:
        denied, sent = give_and_run((), attack, listening, other.getsockname())
        assert denied == errno.EPERM
        assert sent in (0, errno.EINPROGRESS)
        other.settimeout(5)
        other.accept()[0].close()


def test_a_datagram_socket_reaches_everybody(give_and_run, monkeypatch):
    with socket.socket(type=socket.SOCK_DGRAM) as peer, socket.socket(type=socket.SOCK_DGRAM) as other:
        peer.bind(("127.0.0.1", 0)), other.bind(("127.0.0.1", 0))
        with socket.socket(type=socket.SOCK_DGRAM) as sender:
            sender.connect(peer.getsockname())
            with pytest.raises(PolicyError, match="datagram"):
                touch(sender)
            monkeypatch.setattr(lendable, "_check_connected", lambda asked, kind: None)

            def send(connection, address):
                connection.sendto(b"out", address)

            give_and_run((), send, sender, other.getsockname())
        other.settimeout(5)
        assert other.recv(10) == b"out"


def test_with_the_network_granted_all_three_are_passed(listening):
    def accept(server):
        connection, _ = server.accept()
        return connection.recv(10)

    def send(sender, address):
        return sender.sendto(b"out", address)

    granted = isolated(network=True, prewarm=0)
    with socket.create_connection(listening.getsockname()) as client:
        client.sendall(b"hello")
        assert granted(accept)(listening) == b"hello"
    with socket.socket(type=socket.SOCK_DGRAM) as other, socket.socket(type=socket.SOCK_DGRAM) as sender:
        other.bind(("127.0.0.1", 0))
        assert granted(send)(sender, other.getsockname()) == 3


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        (socket.AF_UNIX, socket.SOCK_DGRAM),
        (socket.AF_UNIX, socket.SOCK_SEQPACKET),
        (socket.AF_NETLINK, socket.SOCK_RAW),
        (socket.AF_VSOCK, socket.SOCK_STREAM),
        (socket.AF_ALG, socket.SOCK_SEQPACKET),
    ],
)
def test_sockets_of_other_kinds(family, kind):
    if attempt(lambda: socket.socket(family, kind).close()) in (errno.EAFNOSUPPORT, errno.EPERM):
        return  # not in this kernel
    with socket.socket(family, kind) as made, pytest.raises(PolicyError, match="not lent"):
        touch(made)


# --- descriptors that come in ---------------------------------------------------------------------------------------------


def take_descriptors(connection):
    """Receive whatever comes along."""
    data, descriptors, _, _ = socket.recv_fds(connection, 10, 4)
    return data, [os.read(descriptor, 100) for descriptor in descriptors]


def test_a_unix_socket_could_bring_in_descriptors(picture, give_and_run, monkeypatch):
    ours, theirs = socket.socketpair()
    with ours, theirs, picture.open("rb") as file:
        with pytest.raises(PolicyError, match="descriptors could come in"):
            touch(theirs)
        monkeypatch.setattr(lendable, "_check_unix", lambda asked, network: None)
        socket.send_fds(ours, [b"x"], [file.fileno()])
        assert give_and_run((), take_descriptors, theirs) == (b"x", [b"picture"])


def test_a_unix_socket_that_refuses_descriptors_is_passed(picture):
    ours, theirs = socket.socketpair()
    with ours, theirs, picture.open("rb") as file:
        if attempt(theirs.setsockopt, socket.SOL_SOCKET, SO_PASSRIGHTS, 0) == errno.ENOPROTOOPT:
            return  # before Linux 6.16: refused like any other
        with pytest.raises(PolicyError, match="descriptors could come in"):
            touch.options(network=True)(theirs)

        @isolated(prewarm=0)
        def allow_again(connection):
            try:
                connection.setsockopt(socket.SOL_SOCKET, 83, 1)
            except OSError as error:
                connection.sendall(b"ready")
                return error.errno, connection.recv(10)
            return 0

        refusal = []

        def send():
            ours.recv(10)
            try:
                socket.send_fds(ours, [b"with"], [file.fileno()])
            except OSError as error:
                refusal.append(error.errno)
            ours.sendall(b"without")

        sender = threading.Thread(target=send)
        sender.start()
        assert allow_again(theirs) == (errno.EPERM, b"without")
        sender.join()
        assert refusal == [errno.EPERM]


def test_a_peer_s_process_is_not_told(give_and_run):
    def ask(connection):
        peer_pidfd = 77
        return attempt(connection.getsockopt, socket.SOL_SOCKET, peer_pidfd, 4)

    ours, theirs = socket.socketpair()
    with ours, theirs:
        if attempt(theirs.setsockopt, socket.SOL_SOCKET, SO_PASSRIGHTS, 0):
            return  # such a socket is not passed
        assert give_and_run((), ask, theirs) == errno.EPERM
        assert give_and_run(("seccomp",), ask, theirs) == 0
