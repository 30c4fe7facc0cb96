"""What a policy comes to on this machine, in words: what the code can read, write, reach, run and use, and which walls stand.

Answered from the plan that isolates would get; nothing is run.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

from isolate_fn._diagnose.scene import Scene
from isolate_fn._diagnose.tree import Branch, tree_of
from isolate_fn._plan.orders import MountOrder
from isolate_fn._sys import constants as k
from isolate_fn.policy import checks
from isolate_fn.policy.network import Network
from isolate_fn.policy.rule_sets.base import RuleSet

_THREAD = 0x00010000 | 0x00000800 | 0x00000100  # CLONE_THREAD | CLONE_SIGHAND | CLONE_VM of <linux/sched.h>


class Line(NamedTuple):
    """One statement, and where it comes from."""

    text: str
    origin: str = ""


class Channel(NamedTuple):
    """One way through the walls, for the picture.

    Attributes:
        title: what passes.
        stopped: name of the wall at which it ends; empty where it passes.
        text: what passes, or why not.
        host: it changes something of the host's, or reaches beyond it.
        outward: it goes from the inside out.
    """

    title: str
    stopped: str
    text: str
    host: bool = False
    outward: bool = False


class Effective(NamedTuple):
    """A policy in words.

    Attributes:
        name: of the policy or function.
        about: ``"function"`` or ``"program"``.
        sections: title -> statements.
        channels: for the picture.
        walls: names of those that stand.
        tree: the file tree.
    """

    name: str
    about: str
    sections: dict[str, tuple[Line, ...]]
    channels: tuple[Channel, ...]
    walls: tuple[str, ...]
    tree: Branch

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as builtin types, for JSON."""
        return {
            "name": self.name,
            "about": self.about,
            "sections": {title: [line._asdict() for line in lines] for title, lines in self.sections.items()},
            "channels": [channel._asdict() for channel in self.channels],
            "walls": list(self.walls),
            "tree": self.tree.as_dict(),
        }


#: wall -> what it keeps out, in the order in which they are put up.
WALLS = {
    "user namespace": "no privilege outside, whatever the code becomes inside",
    "mount namespace": "a file tree of its own: what is not in it does not exist",
    "pid namespace": "no process outside is seen, signalled or traced, and none inside outlives the call",
    "ipc namespace": "no shared memory, semaphores or message queues of others",
    "uts namespace": "a host name of its own",
    "cgroup namespace": "no view of the host's control groups",
    "network namespace": "a network of its own, with nothing in it but itself",
    "capabilities": "none, and no way to gain any",
    "scratch directory": "private, watched, and removed with all that is in it",
    "own user id": "an id that nobody has, and so no file or process of anybody's",
    "no_new_privs": "no set-user-ID program gives any right",
    "rlimits": "processes, files, sizes of files, processor time",
    "landlock": "a second wall around files, ports, abstract sockets and signals",
    "rules": "the policy's own list of system calls, on top of the base filter",
    "seccomp": "a filter that denies every system call it does not know to be needed",
}


def effective(scene: Scene) -> Effective:
    """Return a policy in words."""
    sections = {
        "Can read": tuple(_reads(scene)),
        "Can write": tuple(_writes(scene)),
        "Can reach": tuple(_reaches(scene)),
        "Can run": tuple(_runs(scene)),
        "Can use": tuple(_uses(scene)),
        "Is told": tuple(_told(scene)),
        "Can give back": tuple(_gives(scene)),
        "Walls that stand": tuple(_walls(scene)),
        "Weaker than it could be": tuple(_weakened(scene)) or (Line("nothing was given up"),),
    }
    name = scene.policy.name or "the policy"
    about = "program" if scene.program else "function"
    walls = scene.prepared.enforcement.layers
    return Effective(name, about, sections, tuple(_channels(scene)), walls, tree_of(scene.plan))


def _walls(scene: Scene) -> Iterator[Line]:
    for wall in scene.prepared.enforcement.layers:
        words = WALLS.get(wall, "")
        if wall == "landlock" and scene.confined:
            words = "the wall around the content of files; also around ports, abstract sockets and signals, as its ABI allows"
        yield Line(f"{wall}: {words}")


def _granted(scene: Scene) -> list[MountOrder]:
    return [order for order in scene.plan.mounts if order.granted and order.kind != "symlink"]


def _reads(scene: Scene) -> Iterator[Line]:
    for order in _granted(scene):
        if order.kind != "tmpfs":
            what = {"file": "a file made of the policy's text", "device": "a device"}.get(order.kind, "the host's")
            moved = f", {order.source} on the host" if order.source not in ("", order.destination) else ""
            yield Line(f"{order.destination} ({what}{moved})", order.origin)
    runtime = [order for order in scene.plan.mounts if not order.granted and order.kind in ("bind", "copy")]
    kinds = dict.fromkeys(order.origin.removeprefix("runtime: ") for order in runtime)
    yield Line(f"the Python runtime, read-only: {', '.join(kinds)}", f"{len(runtime)} places; see the tree")
    if scene.confined:
        yield Line("no content of any other file of the host, nor of /proc", "landlock")
        yield Line("of every file that the host's permissions let it find: that it exists, its size, times and owner", "the host")
        return
    yield Line("a small /etc that names nothing of the host", "runtime")
    yield Line("/proc, with the isolate's own processes and nothing else", "every isolate")
    yield Line("no other file of the host: it does not exist inside", "mount namespace")


def _writes(scene: Scene) -> Iterator[Line]:
    for order in _granted(scene):
        if order.kind == "bind" and not order.read_only:
            yield Line(f"{order.destination}: the host's own files, for good", order.origin)
        if order.kind == "tmpfs":
            yield Line(f"{order.destination}: {checks.show_size(order.size)} in memory, gone afterwards", order.origin)
    limits = scene.policy.limits
    places = ", ".join(scene.inside.scratch)
    size = f"{checks.show_size(limits.rootfs_size)} and {limits.rootfs_inodes} files"
    where = f"in {scene.plan.scratch}, watched" if scene.confined else "in memory"
    yield Line(
        f"{places}: together {size}, {where}, gone afterwards; nothing there can be executed", "limits.rootfs_size"
    )


def _reaches(scene: Scene) -> Iterator[Line]:
    policy = scene.policy
    if policy.network is True:
        yield Line("the host's whole network, and through it whatever the host can reach", "network=True")
    elif isinstance(policy.network, Network) and policy.network.reaches_something:
        yield Line(f"{', '.join(policy.network.connect)}", "network=Network(...)")
    else:
        yield Line("no network: sockets cannot even be made", "network=False")
    for name, host in (scene.prepared.terms.expose or {}).items():
        bounds = [f"{host.calls} calls" if host.calls else "", f"{host.seconds:g} seconds" if host.seconds else ""]
        most = f", at most {' and '.join(filter(None, bounds))} for each call" if any(bounds) else ""
        yield Line(f"the host function {name}(){most}", "expose=")
    for warning in scene.prepared.enforcement.warnings:
        yield Line(warning, "a socket in a mount")
    walls = "filter, landlock" if scene.confined else "namespaces, filter"
    if scene.confined and "processes" not in scene.prepared.enforcement.properties:
        yield Line("other processes of this user, by signals", "this machine's Landlock, which has no signal scope")
        yield Line("no unix socket, keyring or terminal outside", walls)
        return
    yield Line("no process, unix socket, keyring or terminal outside", walls)


def _runs(scene: Scene) -> Iterator[Line]:
    if scene.ask_filters("", "clone", _THREAD) is None:
        yield Line("threads", "filter")
    fork = scene.ask_filters("", "clone", signal.SIGCHLD) is None
    yield Line("child processes of its own" if fork else "no child process", "filter")
    execute = fork and scene.ask_filters("", "execve") is None
    yield Line(
        "programs that its file tree holds, outside the writable directories" if execute else "no program", "filter"
    )
    for entry in scene.policy.rules or ():
        shown = entry.name if isinstance(entry, RuleSet) and type(entry).__repr__ is object.__repr__ else repr(entry)
        yield Line(f"the system call {entry}" if isinstance(entry, str) else f"system calls of {shown}", "rules=")


def _uses(scene: Scene) -> Iterator[Line]:
    policy, limits = scene.policy, scene.policy.limits
    seconds = "no end" if policy.timeout is None else f"{policy.timeout:g} seconds"
    yield Line(f"wall clock: {seconds}", "timeout")
    how = {"cgroup": "held by a control group", "watched": "watched"}.get(scene.prepared.enforcement.memory, "")
    memory = "no limit of its own" if limits.memory is None else f"{checks.show_size(limits.memory)}, {how}"
    yield Line(f"memory: {memory}", "limits.memory")
    yield Line(
        f"processor: {'no limit' if limits.cpu_time is None else f'{limits.cpu_time:g} seconds'}", "limits.cpu_time"
    )
    yield Line(f"{limits.processes} processes and threads, {limits.open_files} open files each", "limits")
    if limits.file_size is not None:
        yield Line(f"files of at most {checks.show_size(limits.file_size)}", "limits.file_size")
    if limits.address_space is not None:
        yield Line(f"address space: {checks.show_size(limits.address_space)}", "limits.address_space")
    output, result = checks.show_size(limits.output), checks.show_size(limits.result)
    yield Line(f"{output} of output, results of {result}", "limits.output, limits.result")


def _told(scene: Scene) -> Iterator[Line]:
    names = ", ".join(scene.policy.env)
    every = "those that every isolate has: PATH, HOME, TMPDIR, PWD, language and time zone"
    yield Line(f"environment variables: {names}, and {every}" if names else f"no environment variable but {every}", "env")
    if scene.confined:
        user = "an unused one" if not scene.plan.processes else "the caller's"
        yield Line(f"a private working directory, the host's own name, user id: {user}", "every isolate without namespaces")
        return
    yield Line(
        f"working directory {scene.plan.cwd}, host name {scene.plan.hostname}, user {scene.plan.inner_id}",
        "every isolate",
    )


def _gives(scene: Scene) -> Iterator[Line]:
    policy = scene.policy
    if scene.prepared.terms.trust_result:
        yield Line("anything, unpickled here: code of its choice then runs in this process", "accept=(TrustResult,)")
    else:
        yield Line("builtin values and registered types, by a format that executes nothing", "every isolate")
    for title, classes in (("objects of", policy.returns), ("exceptions of", policy.raises)):
        names = ", ".join(
            getattr(each[0] if isinstance(each, tuple) else each, "__qualname__", "?") for each in classes
        )
        if names:
            yield Line(f"{title} {names}", "returns=" if title == "objects of" else "raises=")
    output = policy.output if isinstance(policy.output, str) else "a function"
    yield Line(f"output: {output}", "output")


def _weakened(scene: Scene) -> Iterator[Line]:
    for token in scene.policy.accept:
        doc = " ".join((token.__doc__ or "").partition("What goes:")[2].split())
        yield Line(f"{token.__name__}: {doc}", "accept=")
    if scene.policy.network is True:
        yield Line("the host's network namespace is shared", "network=True")
    for mount in scene.policy.mounts:
        if mount.allow_code:
            yield Line(f"{mount!r} lets the isolate write what may be run outside", "allow_code=True")
    if scene.policy.require is not None:
        left = sorted({"filesystem", "network", "processes", "syscalls"} - scene.policy.require)
        if left:
            yield Line(f"need not hold: {', '.join(left)}", "require=")
    if scene.policy.reuse is not False:
        yield Line("calls share a worker, and so one domain of trust", "reuse=")
    enforcement = scene.prepared.enforcement
    yield from (Line(sentence, "this machine") for sentence in (*enforcement.dropped, *enforcement.differences))


def _channels(scene: Scene) -> Iterator[Channel]:
    granted = _granted(scene)
    reads = [order.destination for order in granted if order.kind in ("bind", "device")]
    writes = [order.destination for order in granted if order.kind == "bind" and not order.read_only]
    wall = "landlock" if scene.confined else "mounts"
    yield Channel("files it reads", "" if reads else wall, _listed(reads) or "none of the host's but the runtime")
    yield Channel(
        "files it writes", "" if writes else wall, _listed(writes) or "none of the host's", bool(writes), True
    )
    own = bool(scene.plan.namespaces & k.CLONE_NEWNET)
    sockets = scene.ask_filters("", "socket", socket.AF_INET, socket.SOCK_STREAM, 0) is None
    shared = sockets and not own
    stopped = "" if shared else "namespaces" if sockets and not scene.confined else "filter"
    yield Channel("network", stopped, "the host's" if shared else "none", shared, True)
    execute = scene.ask_filters("", "execve") is None
    yield Channel("programs", "" if execute else "filter", "those in its tree" if execute else "none")
    expose = list(scene.prepared.terms.expose or {})
    yield Channel("host functions", "" if expose else "filter", _listed(expose) or "none", bool(expose), True)
    trust = scene.prepared.terms.trust_result
    yield Channel("results", "", "pickles, unpickled here" if trust else "values only", trust, True)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
