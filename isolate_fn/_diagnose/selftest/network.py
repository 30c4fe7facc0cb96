"""Promise 2: attacks that look for a way to talk to anybody. Nothing leaves the machine: all listeners are on loopback."""

from __future__ import annotations

import ctypes
import sys

from isolate_fn._diagnose.selftest.attack import Facts, Found, Promise
from isolate_fn._diagnose.selftest.native import (
    ALG,
    DATAGRAM,
    HIGH,
    INET,
    INET6,
    NETLINK,
    PACKET,
    RAW,
    SEQPACKET,
    STREAM,
    UNIX,
    VSOCK,
    abstract_address,
    asked,
    call,
    inet6_address,
    inet_address,
    opened,
    reach,
    unix_address,
)
from isolate_fn._diagnose.selftest.world import World, contacted

NETWORK = Promise(
    2,
    "network",
    "No network unless granted; abstract unix sockets, netlink, vsock, packet and crypto sockets included.",
)

REFUSED = "no such socket can be made, and nothing arrives"


@NETWORK.attack("tcp", "connect to a server of the host's loopback interface", held=REFUSED, check=contacted)
def tcp(facts: Facts) -> Found:
    """Over IPv4."""
    return {"connected": reach(INET, STREAM, inet_address(facts.tcp))}


@NETWORK.attack(
    "tcp6", "connect to such a server over IPv6", held=REFUSED, check=contacted,
    needs=lambda world: "" if world.tcp6_port else "the loopback interface has no IPv6 address",
)  # fmt: skip
def tcp6(facts: Facts) -> Found:
    """Another family, another rule."""
    return {"connected": reach(INET6, STREAM, inet6_address(facts.tcp6))}


@NETWORK.attack("udp", "send a datagram to the host", held=REFUSED, check=contacted)
def udp(facts: Facts) -> Found:
    """As a name lookup would, which is how data leaves where TCP is closed."""
    return {"sent": reach(INET, DATAGRAM, inet_address(facts.udp))}


@NETWORK.attack(
    "names", "have a name looked up", held="no name server is asked, and nobody waits for it",
    untried="it would ask a name server outside",
)  # fmt: skip
def names(facts: Facts) -> Found:
    """By the C library, with whatever it is configured to ask."""
    import socket

    try:
        return {"resolved": str(socket.getaddrinfo(f"{facts.argument}.example.org", 53))}
    except OSError:
        return {"resolved": -1}


@NETWORK.attack("listen", "offer a service on the loopback interface", held=REFUSED)
def listen(facts: Facts) -> Found:
    """For a program of the host that expects somebody else there."""
    descriptor = call("socket", INET, STREAM, 0)
    if descriptor < 0:
        return {"socket": descriptor}
    address = inet_address(0)
    return {"bound": call("bind", descriptor, address, len(address)), "listens": call("listen", descriptor, 1)}


@NETWORK.attack("abstract", "connect to an abstract unix socket of the host", held=REFUSED, check=contacted)
def abstract(facts: Facts) -> Found:
    """They are in no file system: a session bus, containerd, X11."""
    return {"connected": reach(UNIX, STREAM, abstract_address(facts.abstract))}


@NETWORK.attack(
    "unix-stream", "connect to a unix socket that lies in a read-only mount", held=REFUSED, check=contacted,
    known="docker.sock, ssh-agent",
)  # fmt: skip
def unix_stream(facts: Facts) -> Found:
    """A read-only mount does not stop connect(2)."""
    return {"connected": reach(UNIX, STREAM, unix_address(f"{facts.shared}/stream"))}


@NETWORK.attack(
    "unix-datagram", "send to a unix socket in a read-only mount without making a socket for it",
    held="no pair of sockets takes an address", check=contacted,
)  # fmt: skip
def unix_datagram(facts: Facts) -> Found:
    """socketpair(2) gives one where socket(2) is refused; sendto(2) takes any address."""
    address = unix_address(f"{facts.shared}/datagrams")
    found: Found = {"socket": reach(UNIX, DATAGRAM, address)}
    for kind in (DATAGRAM, DATAGRAM | HIGH, SEQPACKET, STREAM):
        pair = (ctypes.c_int * 2)()
        made = call("socketpair", UNIX, kind, 0, pair)
        sent = made if made < 0 else call("sendto", pair[0], b"attack", 6, 0, address, len(address))
        found[f"pair of kind {kind:#x}"] = sent
        if made == 0:
            call("close", pair[0])
            call("close", pair[1])
    return found


@NETWORK.attack("netlink", "ask the kernel by netlink", held=REFUSED, known="CVE-2023-32233 (nftables)")
def netlink(facts: Facts) -> Found:
    """Routing, audit, packet filter, generic."""
    return {f"protocol {number}": call("socket", NETLINK, RAW, number) for number in (0, 9, 12, 16)}


@NETWORK.attack("packet", "read and write raw packets", held=REFUSED, known="CVE-2017-7308, CVE-2020-14386")
def packet(facts: Facts) -> Found:
    """By packet sockets, raw IP and ICMP."""
    return {
        "packet": call("socket", PACKET, RAW, 0x300),
        "raw": call("socket", INET, RAW, 1),
        "icmp": call("socket", INET, DATAGRAM, 1),
    }


@NETWORK.attack(
    "crypto", "use the kernel's crypto interface (AF_ALG)", held=REFUSED, known="CVE-2019-8912, CVE-2026-31431"
)
def crypto(facts: Facts) -> Found:
    """In no namespace at all."""
    return {name: asked("socket", ALG | extra, SEQPACKET, 0) for name, extra in (("plain", 0), ("high bits", HIGH))}


@NETWORK.attack("vsock", "call the hypervisor (AF_VSOCK)", held=REFUSED)
def vsock(facts: Facts) -> Found:
    """A network namespace does not keep it."""
    return {name: asked("socket", VSOCK | extra, STREAM, 0) for name, extra in (("plain", 0), ("high bits", HIGH))}


@NETWORK.attack("families", "make a socket of every family and kind", held="none can be made")
def families(facts: Facts) -> Found:
    """Also with bits that the kernel does not look at, and a filter may."""
    found: Found = {}
    for extra in (0, HIGH):
        for family in range(47):
            for kind in (STREAM, DATAGRAM, RAW, SEQPACKET):
                descriptor = call("socket", family | extra, kind | extra, 0)
                found[f"family {family} kind {kind}{' high' if extra else ''}"] = descriptor
                if descriptor >= 0:
                    call("close", descriptor)
    return found


@NETWORK.attack("io-uring", "open and connect by io_uring, which no filter sees", held="there is no io_uring inside")
def io_uring(facts: Facts) -> Found:
    """Its rings do what their caller may not."""
    return {
        "setup": call("io_uring_setup", 4, ctypes.create_string_buffer(248)),
        "enter": asked("io_uring_enter", -1, 0, 0, 0, 0, 0),
        "register": asked("io_uring_register", -1, 0, 0, 0),
    }


@NETWORK.attack("traffic", "read who talks to whom, in /proc/net", held="it is not there")
def traffic(facts: Facts) -> Found:
    """Addresses, sockets, interfaces."""
    names = ("tcp", "udp", "unix", "dev", "arp", "route")
    return {name: opened(f"/proc/net/{name}") for name in names}


@NETWORK.attack(
    "granted-families", "make other sockets than TCP's and UDP's where the network is granted",
    held="only those two can be made", options={"network": True},
)  # fmt: skip
def granted_families(facts: Facts) -> Found:
    """Everything else of the kernel's network code stays out of reach."""
    kinds = {
        "unix stream": (UNIX, STREAM, 0), "unix datagram": (UNIX, DATAGRAM, 0), "netlink": (NETLINK, RAW, 0),
        "packet": (PACKET, RAW, 0x300), "raw": (INET, RAW, 1), "icmp": (INET, DATAGRAM, 1), "mptcp": (INET, STREAM, 262),
        "sctp": (INET, SEQPACKET, 132), "crypto": (ALG, SEQPACKET, 0), "vsock": (VSOCK, STREAM, 0),
    }  # fmt: skip
    return {name: call("socket", *kind) for name, kind in kinds.items()}


@NETWORK.attack(
    "granted-abstract", "reach the host's unix sockets where the network is granted", held=REFUSED,
    options={"network": True}, check=lambda world: world.contacted(),
)  # fmt: skip
def granted_abstract(facts: Facts) -> Found:
    """The host's network namespace holds the names of its abstract sockets."""
    return {
        "abstract": reach(UNIX, STREAM, abstract_address(facts.abstract)),
        "path": reach(UNIX, STREAM, unix_address(f"{facts.shared}/stream")),
    }


_CONNECT = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5); print('connected')"


@NETWORK.led(
    "program", "connect from a program that `box.run` starts", held="it has no network either", check=contacted,
    control=lambda world: _by_program(world, outside=True),
)  # fmt: skip
def program(world: World) -> Found:
    """Programs run under a filter that lets them do more than functions."""
    return _by_program(world, outside=False)


def _by_program(world: World, *, outside: bool) -> Found:
    import subprocess

    from isolate_fn._api.context import sandbox

    argv = [sys.executable, "-I", "-S", "-c", _CONNECT, str(world.tcp.getsockname()[1])]
    if outside:
        done = subprocess.run(argv, capture_output=True, check=False, timeout=60)
        contacted(world)  # it was us
    else:
        with sandbox(**world.options()) as box:
            done = box.run(argv, capture_output=True, timeout=60)
    answered = b"connected" in done.stdout
    told = answered or b"Error" in done.stderr
    return {"connected": 0 if answered else -1} if told else {"it did not run": done.stderr[-80:]}


@NETWORK.attack("legacy-call", "make sockets by another way than socket(2)", held="there is none")
def legacy_call(facts: Facts) -> Found:
    """Duplicating a descriptor of another process is one; accepting on the channel another."""
    return {
        "pidfd_getfd": asked("pidfd_getfd", 3, 0, 0),
        "accept": call("accept4", 3, 0, 0, 0),
        "opened a socket file": opened(f"{facts.shared}/stream"),
        "opened the hypervisor's device": opened("/dev/vsock"),
    }
