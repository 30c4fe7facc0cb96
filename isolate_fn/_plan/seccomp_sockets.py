"""Sockets: what a worker does with those it holds, and which it can make where the network is granted.

`AF_*` and `SOCK_*` are enumerations: whole values are compared, never bits. Addresses lie behind pointers and cannot
be filtered, so what matters is which sockets can come into being at all.
"""

from __future__ import annotations

import errno

from isolate_fn._plan.seccomp import fail_with
from isolate_fn._plan.seccomp_grants import Checked
from isolate_fn._sys.seccomp_constants import (
    SOCK_TYPE_MASK,
    SOL_SOCKET,
    Family,
    MessageFlag,
    NetfilterOption,
    Protocol,
    SocketOption,
    SockType,
    TcpOption,
)
from isolate_fn.policy.conditions import Arg

_NO_OOB = "no out-of-band data: unix sockets get it wrong (CVE-2025-38236)"

#: The peer of the channel is the caller: a descriptor of that process (SO_PEERPIDFD), its groups and its
#: label stay outside.
_PEER = (SocketOption.PEERSEC, SocketOption.PEERGROUPS, SocketOption.PEERPIDFD)

PAIRS_CHECKED = (
    Checked(
        "state of its pairs, nothing of who is at the other end",
        "getsockopt",
        (
            Arg(1, 32).eq(SOL_SOCKET),
            Arg(2, 32).none_of(*_PEER),
        ),
    ),
    Checked(_NO_OOB, "sendto recvfrom", (Arg(3, 32).has_none(MessageFlag.OOB),)),
    Checked(_NO_OOB, "sendmsg recvmsg", (Arg(2, 32).has_none(MessageFlag.OOB),)),
    Checked(
        "buffers and timeouts of pairs; no packet filter can be attached",
        "setsockopt",
        (
            Arg(1, 32).eq(SOL_SOCKET),
            Arg(2, 32).one_of(
                SocketOption.REUSEADDR,
                SocketOption.SNDBUF,
                SocketOption.RCVBUF,
                SocketOption.KEEPALIVE,
                SocketOption.LINGER,
                SocketOption.RCVLOWAT,
                SocketOption.RCVTIMEO,
                SocketOption.SNDTIMEO,
                SocketOption.RCVTIMEO_NEW,
                SocketOption.SNDTIMEO_NEW,
                SocketOption.PEEK_OFF,
            ),
        ),
    ),
)

#: EAFNOSUPPORT is what a kernel without the family says: getaddrinfo(3) and others go on without it.
_NO_FAMILY = fail_with(errno.EAFNOSUPPORT)
_INET = Arg(0, 32).one_of(Family.INET, Family.INET6)

NETWORK_CHECKED = (
    Checked(
        "TCP; no MPTCP, no SCTP",
        "socket",
        (
            _INET,
            Arg(1, 32).one_of(SockType.STREAM, mask=SOCK_TYPE_MASK),
            Arg(2, 32).one_of(Protocol.DEFAULT, Protocol.TCP),
        ),
        _NO_FAMILY,
    ),
    Checked(
        "UDP; no ICMP, no UDP-Lite",
        "socket",
        (
            _INET,
            Arg(1, 32).one_of(SockType.DGRAM, mask=SOCK_TYPE_MASK),
            Arg(2, 32).one_of(Protocol.DEFAULT, Protocol.UDP),
        ),
    ),
    Checked(
        "state of its sockets, nothing of who is at the other end of the channel",
        "getsockopt",
        (
            Arg(1, 32).eq(SOL_SOCKET),
            Arg(2, 32).none_of(*_PEER),
        ),
    ),
    Checked("state of its connections", "getsockopt", (Arg(1, 32).ne(SOL_SOCKET),)),
    Checked(
        "no packet filters (cBPF, eBPF), no descriptors of senders",
        "setsockopt",
        (
            Arg(1, 32).eq(SOL_SOCKET),
            Arg(2, 32).none_of(
                SocketOption.PASSPIDFD,
                SocketOption.PASSSEC,
                SocketOption.ATTACH_FILTER,
                SocketOption.ATTACH_BPF,
                SocketOption.ATTACH_REUSEPORT_CBPF,
                SocketOption.ATTACH_REUSEPORT_EBPF,
            ),
        ),
    ),
    Checked(
        "no upper-layer protocols (kernel TLS), no TCP keys, no repair",
        "setsockopt",
        (
            Arg(1, 32).one_of(Protocol.TCP),
            Arg(2, 32).none_of(
                TcpOption.ULP,
                TcpOption.MD5SIG,
                TcpOption.REPAIR,
                TcpOption.AO_ADD_KEY,
                TcpOption.AO_DEL_KEY,
                TcpOption.AO_INFO,
                TcpOption.AO_REPAIR,
            ),
        ),
    ),
    Checked(
        "no netfilter tables",
        "setsockopt",
        (
            Arg(1, 32).one_of(Protocol.DEFAULT, Protocol.IPV6, Protocol.UDP),
            Arg(2, 32).none_of(*NetfilterOption),
        ),
    ),
)
