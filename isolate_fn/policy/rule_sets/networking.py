"""Sockets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from isolate_fn.errors import PolicyError
from isolate_fn.policy.conditions import Arg
from isolate_fn.policy.landlock_words import PortRule

from .base import Rule
from .builtin import Builtin, Permission, rules
from .groups import DESCRIPTOR_FLAGS, READ_OPENED, READING, SEND, SOCKETPAIR, WAIT, WRITE_OPENED, WRITING
from .kernel_words import SOCK_TYPE_MASK, Family, Protocol, SockType

#: What a socket that is there already needs, of whatever kind.
RUNNING = f"{WAIT} recvfrom recvmsg recvmmsg shutdown close getsockopt setsockopt getpeername getsockname"
SERVING = "listen accept accept4"

_SENDFILE = rules("sendfile", Arg(0, 32) >= 3, reason="to descriptors from 3 up", gives_way_to=f"{READING} {WRITING}")
#: read(2) and write(2) work on sockets, but on files as well: so they give way, and sockets still have sendto(2).
RUNNING_RULES = (*SEND, *DESCRIPTOR_FLAGS, *READ_OPENED, *WRITE_OPENED, *_SENDFILE)

# AF_*, SOCK_* and IPPROTO_* are enumerations: whole values are compared, after SOCK_CLOEXEC and SOCK_NONBLOCK are
# masked away. Compared as bits, AF_INET also admits AF_ALG, and SOCK_STREAM also SOCK_RAW.
_INTERNET = Arg(0, 32).one_of(Family.INET, Family.INET6)
_TCP = rules(
    "socket",
    _INTERNET,
    Arg(1, 32).one_of(SockType.STREAM, mask=SOCK_TYPE_MASK),
    Arg(2, 32).one_of(Protocol.DEFAULT, Protocol.TCP),
    reason="TCP over IPv4 or IPv6",
)
_UDP = rules(
    "socket",
    _INTERNET,
    Arg(1, 32).one_of(SockType.DGRAM, mask=SOCK_TYPE_MASK),
    Arg(2, 32).one_of(Protocol.DEFAULT, Protocol.UDP),
    reason="UDP over IPv4 or IPv6",
)
_UNIX = rules(
    "socket",
    Arg(0, 32).one_of(Family.UNIX),
    Arg(1, 32).one_of(SockType.STREAM, SockType.DGRAM, mask=SOCK_TYPE_MASK),
    reason="AF_UNIX, SOCK_STREAM or SOCK_DGRAM",
)
_OPENED = "descriptors from 3 up"
_TLS = rules("read readv write writev", Arg(0, 32) >= 3, reason=_OPENED, need=True)


def _running(method: str, more: tuple[Rule, ...] = (), calls: str = "") -> Permission:
    """Return the permission for sockets of some kind: what they all need, and this on top."""
    return Permission(f"{method}()", f"{RUNNING} {calls}", (*RUNNING_RULES, *more))


_RUNNING_TCP_CLIENTS = _running("allow_running_tcp_clients")
_RUNNING_TCP_SERVERS = _running("allow_running_tcp_servers", calls=SERVING)
_RUNNING_UDP_SOCKETS = _running("allow_running_udp_sockets")
_RUNNING_UNIX_CLIENTS = _running("allow_running_unix_clients")
_RUNNING_UNIX_SERVERS = _running("allow_running_unix_servers", calls=SERVING)
_START_TCP_CLIENTS = _running("allow_start_tcp_clients", _TCP, "connect")
_START_TCP_SERVERS = _running("allow_start_tcp_servers", _TCP, f"bind {SERVING}")
_START_UDP_CLIENTS = _running("allow_start_udp_clients", _UDP, "connect")
_START_UDP_SERVERS = _running("allow_start_udp_servers", _UDP, "bind")
_START_UNIX_CLIENTS = _running("allow_start_unix_clients", _UNIX, "connect")
_START_UNIX_SERVERS = _running("allow_start_unix_servers", _UNIX, f"bind {SERVING}")
_CONNECT = Permission("allow_connect()", "connect")
_PAIRS = _running("allow_socketpair", SOCKETPAIR)
_ALLOW_TLS = Permission("allow_tls()", "", _TLS)
_KEEP_INSIDE = Permission("keep_abstract_sockets_inside()", scopes=("abstract_unix_socket",))


@dataclass(frozen=True, init=False, repr=False)
class Networking(Builtin):
    """Sockets that are there already, and new ones.

    ``Networking()`` permits nothing; choose with its methods, or ``Networking.everything()``. Addresses lie behind
    pointers, where no filter sees them: connect() and sendto() reach every address that the kind of socket can. TCP
    ports are held by Landlock, see allow_connect_ports().

    read() and write() work on sockets, and on files as well. So these sets permit them on descriptors from 3 up only,
    never on the standard streams, and give way where another set restricts reading or writing: beside
    ``SystemIO().allow_stdout()``, write() reaches standard output and nothing else, while send(), recv() and their
    relatives, which work on sockets only, go on working. TLS is the one thing that needs read() and write() on a
    socket (OpenSSL uses nothing else); ``allow_tls()`` permits that for good, for files from 3 up as well.
    """

    _EVERYTHING = (
        _RUNNING_TCP_CLIENTS,
        _RUNNING_TCP_SERVERS,
        _RUNNING_UDP_SOCKETS,
        _RUNNING_UNIX_CLIENTS,
        _RUNNING_UNIX_SERVERS,
        _START_TCP_CLIENTS,
        _START_TCP_SERVERS,
        _START_UDP_CLIENTS,
        _START_UDP_SERVERS,
        _START_UNIX_CLIENTS,
        _START_UNIX_SERVERS,
        _CONNECT,
        _PAIRS,
        _ALLOW_TLS,
    )

    def allow_running_tcp_clients(self) -> Self:
        """Permit to go on with TCP connections that are open, and to wait for them; no new socket.

        Permits:
            epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 select pselect6 poll ppoll
            eventfd eventfd2
            recvfrom recvmsg recvmmsg shutdown close
            getsockopt setsockopt getpeername getsockname
            sendto sendmsg sendmmsg: without MSG_FASTOPEN
            ioctl: TCGETS TCGETS2 TIOCGWINSZ FIONREAD FIONBIO FIOCLEX FIONCLEX
            fcntl: F_DUPFD F_DUPFD_CLOEXEC F_DUPFD_QUERY F_GETFD F_SETFD F_GETFL F_SETFL
            read readv: descriptors from 3 up (gives way)
            write writev: descriptors from 3 up (gives way)
            sendfile: to descriptors from 3 up (gives way)
        """
        return self._with(_RUNNING_TCP_CLIENTS)

    def allow_running_tcp_servers(self) -> Self:
        """Permit to go on with a TCP socket that is bound, and to accept connections; no new socket, no bind.

        Permits:
            as allow_running_tcp_clients
            listen accept accept4
        """
        return self._with(_RUNNING_TCP_SERVERS)

    def allow_running_udp_sockets(self) -> Self:
        """Permit to go on with UDP sockets that are open; an unconnected one sends to any address.

        Permits:
            as allow_running_tcp_clients
        """
        return self._with(_RUNNING_UDP_SOCKETS)

    def allow_running_unix_clients(self) -> Self:
        """Permit to go on with unix sockets that are connected.

        Permits:
            as allow_running_tcp_clients
        """
        return self._with(_RUNNING_UNIX_CLIENTS)

    def allow_running_unix_servers(self) -> Self:
        """Permit to go on with a unix socket that is bound, and to accept connections.

        Permits:
            as allow_running_tcp_servers
        """
        return self._with(_RUNNING_UNIX_SERVERS)

    def allow_start_tcp_clients(self) -> Self:
        """Permit new TCP sockets that connect: no raw socket, no MPTCP, no SCTP, no other family; no bind.

        Permits:
            as allow_running_tcp_clients
            connect
            socket: TCP over IPv4 or IPv6
        """
        return self._with(_START_TCP_CLIENTS)

    def allow_start_tcp_servers(self) -> Self:
        """Permit new TCP sockets that are bound to any address and accept connections.

        Permits:
            as allow_running_tcp_servers
            bind
            socket: TCP over IPv4 or IPv6
        """
        return self._with(_START_TCP_SERVERS)

    def allow_start_udp_clients(self) -> Self:
        """Permit new UDP sockets that send and connect; also what getaddrinfo() asks name servers with.

        Permits:
            as allow_running_udp_sockets
            connect
            socket: UDP over IPv4 or IPv6
        """
        return self._with(_START_UDP_CLIENTS)

    def allow_start_udp_servers(self) -> Self:
        """Permit new UDP sockets that are bound to any address; no ICMP, no UDP-Lite.

        Permits:
            as allow_running_udp_sockets
            bind
            socket: UDP over IPv4 or IPv6
        """
        return self._with(_START_UDP_SERVERS)

    def allow_start_unix_clients(self) -> Self:
        """Permit new unix sockets that connect to any socket file or abstract name.

        Permits:
            as allow_running_unix_clients
            connect
            socket: AF_UNIX, SOCK_STREAM or SOCK_DGRAM
        """
        return self._with(_START_UNIX_CLIENTS)

    def allow_start_unix_servers(self) -> Self:
        """Permit new unix sockets that are bound; under Landlock also ``SystemIO().allow_create_socket_in_dir()``.

        Permits:
            as allow_running_unix_servers
            bind
            socket: AF_UNIX, SOCK_STREAM or SOCK_DGRAM
        """
        return self._with(_START_UNIX_SERVERS)

    def allow_connect(self) -> Self:
        """Permit to connect sockets that are there, of whatever kind, to any address.

        Permits:
            connect
        """
        return self._with(_CONNECT)

    def allow_socketpair(self) -> Self:
        """Permit pairs of connected unix sockets: socket.socketpair(), and asyncio's own.

        Permits:
            as allow_running_unix_clients
            socketpair: AF_UNIX, SOCK_STREAM
        """
        return self._with(_PAIRS)

    def allow_tls(self) -> Self:
        """Permit read() and write() from descriptor 3 up, whatever other sets restrict: ssl on blocking sockets.

        Permits:
            read readv write writev: descriptors from 3 up
        """
        return self._with(_ALLOW_TLS)

    def allow_connect_ports(self, *ports: int) -> Self:
        """Permit to connect to these TCP ports; Landlock denies all others (Linux 6.7).

        Permits:
            connect
            Landlock port: connect_tcp

        Args:
            *ports: 0 to 65535.

        Raises:
            PolicyError: no port, or one out of range.
        """
        return self._with(_on_ports("allow_connect_ports", "connect", "connect_tcp", ports))

    def allow_bind_ports(self, *ports: int) -> Self:
        """Permit to bind to these TCP ports; Landlock denies all others (Linux 6.7). 0 is any of the system's choice.

        Permits:
            bind
            Landlock port: bind_tcp

        Args:
            *ports: 0 to 65535.

        Raises:
            PolicyError: no port, or one out of range.
        """
        return self._with(_on_ports("allow_bind_ports", "bind", "bind_tcp", ports))

    def keep_abstract_sockets_inside(self) -> Self:
        """Let abstract unix sockets reach only processes under the same rules, by Landlock's scope (Linux 6.12).

        Permits:
            Landlock scope: abstract_unix_socket
        """
        return self._with(_KEEP_INSIDE)


def _on_ports(method: str, call: str, right: str, ports: tuple[int, ...]) -> Permission:
    if not ports:
        raise PolicyError(method, "no port at all", f"name them: {method}(443)")
    made = tuple(PortRule(port, {right}) for port in ports)
    return Permission(f"{method}({', '.join(str(port.port) for port in made)})", call, ports=made)
