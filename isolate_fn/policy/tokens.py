"""The weakenings: empty classes, so that review and grep find each use; public in isolate_fn.dangerous."""

from __future__ import annotations


class Danger:
    """Base of the weakenings; each is passed as the class itself: ``accept=(TrustResult,)``."""


class TrustResult(Danger):
    """Unpickle what comes back.

    What goes: promise that nothing that comes back executes in the parent. Results, and the items of generators, are
    plain pickle in both directions, so whoever takes over the isolate runs code of their own choice in *this* process,
    with all its rights. The walls around the function stand as before, and exceptions come back as they do without it.
    For code that is trusted, when only its use of resources is to be limited.
    """

    __module__ = "isolate_fn.dangerous"


class HostNetwork(Danger):
    """Stay in the host's network namespace instead of getting an own one.

    What goes: the network namespace, and nothing else. The system call filter and Landlock alone then keep the isolate
    from the host's interfaces, its services on 127.0.0.1 and its abstract unix sockets. ``network=False`` is
    still denied, by the filter; ``network=True`` uses the host's network with or without this.
    """

    __module__ = "isolate_fn.dangerous"


class NoSeccomp(Danger):
    """Run without the system call filter.

    What goes: the filter, with its default of denying. The isolate can make every system call of the kernel, so that a
    defect in any of them is within reach, and ``rules=`` has no effect. Namespaces, mounts, Landlock,
    capabilities and limits stand as before.
    """

    __module__ = "isolate_fn.dangerous"


class NoLandlock(Danger):
    """Run without Landlock.

    What goes: the second wall around files, TCP ports, abstract unix sockets and signals. The mount namespace is then
    the only wall around files. Namespaces, filter, capabilities and limits stand as before.
    """

    __module__ = "isolate_fn.dangerous"
