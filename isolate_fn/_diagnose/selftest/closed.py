"""Promise 7: what was asked is in force, or the call raises before the function runs.

Kernels, containers and callers that lack something are made: by a filter that refuses one system call to a throwaway caller
and to all it starts, and by ``ISOLATE_FN_PRETEND``. Whether the function ran is seen by a file that it makes.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from isolate_fn._diagnose.selftest.attack import Found, NotHere, Promise
from isolate_fn._diagnose.selftest.native import read
from isolate_fn._diagnose.selftest.world import World, no_proc

CLOSED = Promise(7, "closed", "What was asked is in force, or the call raises before the function runs.")

REFUSED = "the call raises, says what to do, and the function does not run"
OTHERWISE = "the call raises, or is isolated without namespaces, and the report says so"
_RAISES = ("SetupError", "Unsupported", "InternalError")


def _refusal(ended: dict[str, Any]) -> int | str:
    """Judge one attempt: -1 where it was refused as it should."""
    if ended["marker"] and ended["engine"] == "landlock":
        return -1  # isolated without namespaces, which the report says
    if ended["marker"]:
        return "the function ran"
    if ended["ran"] or ended["error"] not in _RAISES:
        return f"it ended in {ended['error'] or 'a value'}: {ended['text']}"
    return -1 if ended["remedy"] else "the error has no remedy"


def _whole(world: World) -> Found:
    """The same call where nothing is missing; once for all that are compared with it."""
    if world.whole is None:
        (world.whole,) = world.attempts([{}])
    ended = world.whole
    return {"the function ran": 0 if ended["marker"] and not ended["error"] else -1}


def _pretended(world: World, features: str) -> dict[str, Any]:
    (ended,) = world.attempts([{}], features)
    return ended


def _denied(world: World, *calls: tuple[str, int, int]) -> Found:
    found = world.attempts([{"deny": each} for each in calls])
    names = [f"{name}{f' {first}' if first >= 0 else ''} {errno.errorcode[code]}" for name, code, first in calls]
    return {name: _refusal(ended) for name, ended in zip(names, found, strict=True)}


def _not_confined(world: World) -> str:
    return "isolates have no namespaces here: nothing is mounted or unshared for them" if world.confined else ""


@CLOSED.led("no-seccomp", "have a function run on a kernel without seccomp", held=REFUSED, control=_whole)
def no_seccomp(world: World) -> Found:
    """The kernel is pretended to have none."""
    return {"call": _refusal(_pretended(world, "seccomp=0"))}


@CLOSED.led(
    "no-namespaces", "have a function run where no namespaces can be made", held=OTHERWISE, needs=_not_confined,
    control=_whole,
)  # fmt: skip
def no_namespaces(world: World) -> Found:
    """Neither by privilege nor by a user namespace."""
    return {"call": _refusal(_pretended(world, "userns=0,privileged=0"))}


@CLOSED.led(
    "no-landlock", "have Landlock dropped in silence", held="the report says that it is missing", control=_whole
)
def no_landlock(world: World) -> Found:
    """The other walls stand; what goes is told."""
    ended = _pretended(world, "landlock=0")
    if ended["error"]:
        return {"call": _refusal(ended)}
    told = any("landlock" in sentence.lower() for sentence in ended["dropped"])
    return {"dropped": -1 if told else "nothing is said of it"}


@CLOSED.led(
    "old-kernel", "write to a read-only mount where the kernel lacks mount_setattr(2)", held="it is read-only all the same",
    untried="a file in a directory that is not read-only can be written, as everybody knows", needs=_not_confined,
)  # fmt: skip
def old_kernel(world: World) -> Found:
    """Then each mount is made read-only by itself."""
    words = {"shared": [str(world.inside.shared)], "write": "/shared/made"}
    (ended,) = world.attempts([words], "mount_setattr=0")
    return {"wrote": _refusal(ended) if ended["error"] else ended["found"]}


EPERM, ENOSYS = errno.EPERM, errno.ENOSYS


@CLOSED.led(
    "refused-namespaces", "have a function run where the kernel refuses its namespaces", held=OTHERWISE, control=_whole,
    needs=_not_confined,
)
def refused_namespaces(world: World) -> Found:
    """As a container's filter does."""
    return _denied(world, ("unshare", EPERM, -1), ("sethostname", EPERM, -1))


@CLOSED.led(
    "refused-mounts", "have a function run where the kernel refuses its mounts", held=OTHERWISE, control=_whole,
    needs=_not_confined,
)  # fmt: skip
def refused_mounts(world: World) -> Found:
    """Without them the host's files would be there."""
    return _denied(
        world, ("mount", EPERM, -1), ("mount", ENOSYS, -1), ("pivot_root", EPERM, -1), ("umount2", EPERM, -1)
    )


@CLOSED.led(
    "refused-privileges",
    "have a function run that keeps privileges, because dropping them fails",
    held=REFUSED,
    control=_whole,
)
def refused_privileges(world: World) -> Found:
    """Capabilities, their bounding set, no_new_privs, dumpability."""
    return _denied(world, ("capset", EPERM, -1), ("prctl", EPERM, 24), ("prctl", EPERM, 38), ("prctl", EPERM, 4))


@CLOSED.led(
    "refused-filters",
    "have a function run without its filters, because installing them fails",
    held=REFUSED,
    control=_whole,
)
def refused_filters(world: World) -> Found:
    """Seccomp, and Landlock where there is one."""
    calls: tuple[tuple[str, int, int], ...] = (("seccomp", EPERM, 1), ("seccomp", ENOSYS, 1))
    if world.enforcement is not None and world.enforcement.landlock_abi:
        calls += (("landlock_restrict_self", EPERM, -1), ("landlock_add_rule", EPERM, -1))
    return _denied(world, *calls)


@CLOSED.led(
    "no-descriptors",
    "have a function run half built, because descriptors run out",
    held="it runs whole, or not at all",
    control=_whole,
)
def no_descriptors(world: World) -> Found:
    """A limit that is reached at one step or another."""
    counts = (12, 18, 26)
    found: Found = {}
    for count, ended in zip(counts, world.attempts([{"files": count} for count in counts]), strict=True):
        found[f"{count}"] = -1 if not ended["error"] and ended["marker"] else _refusal(ended)
    return found


@CLOSED.led(
    "options", "have options misunderstood or ignored", held="PolicyError before anything is started",
    untried="there are no options without walls",
)  # fmt: skip
def options(world: World) -> Found:
    """Misspelt, of another type, out of range, in the wrong place."""
    from isolate_fn._api.decorator import isolated
    from isolate_fn.errors import PolicyError
    from isolate_fn.policy.limits import Limits

    wrong: dict[str, Any] = {
        "mount": {"mount": ["/tmp"]}, "relative mount": {"mounts": ["data"]}, "network as text": {"network": "no"},
        "negative timeout": {"timeout": -1}, "weakening as text": {"accept": ("NoSeccomp",)},
        "unknown property": {"require": {"files"}},
        "rules as a number": {"rules": 7}, "unknown call": {"rules": ["opennat"]}, "environment as a list": {"env": ["A=1"]},
    }  # fmt: skip
    found: Found = {}
    for name, given in wrong.items():
        found[name] = _raises(lambda given=given: isolated(**given)(nothing)(), (PolicyError, TypeError))
    for size in ("lots", "-1M", True):
        found[f"memory {size}"] = _raises(lambda size=size: Limits(memory=size), (PolicyError, TypeError))
    return found


def _raises(act: Any, errors: tuple[type[Exception], ...]) -> int | str:
    try:
        act()
    except errors:
        return -1
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "accepted"


def nothing() -> None:
    """Do nothing."""


@CLOSED.led(
    "missing-mount",
    "have a mount left out because its source is missing",
    held=REFUSED,
    untried="there are no mounts without walls",
)
def missing_mount(world: World) -> Found:
    """A typing error in a path must not give a function less, or something else, than it was promised."""
    from isolate_fn.policy.mounts import ro

    ended = world.call(nothing, mounts=[ro(f"{world.directory}/missing", "/data")])
    told = ended.error is not None and not getattr(ended.error, "ran", True) and "missing" in str(ended.error)
    return {"call": -1 if told else f"{ended.error or 'it ran'}"}


@CLOSED.led(
    "report",
    "have the report claim walls that do not stand",
    held="the kernel says the same",
    untried="there is no report without walls",
    needs=no_proc,
)
def report(world: World) -> Found:
    """What the kernel says of a process inside, against what is said to be in force."""
    if world.enforcement is None:
        raise NotHere("no isolate could be made")
    inside = world.call(look)
    if inside.error:
        return {"the call": f"{inside.error}"}
    claimed, seen = set(world.enforcement.layers), inside.value
    found: Found = {}
    for name, file in (
        ("user", "user"),
        ("mount", "mnt"),
        ("pid", "pid"),
        ("ipc", "ipc"),
        ("uts", "uts"),
        ("cgroup", "cgroup"),
        ("network", "net"),
    ):
        if f"{name} namespace" in claimed:
            found[name] = (
                -1 if seen[file] and seen[file] != os.readlink(f"/proc/self/ns/{file}") else "it is the caller's"
            )
    if "seccomp" in claimed:
        found["seccomp"] = -1 if seen["Seccomp"] == "2" else "no filter"
    if "no_new_privs" in claimed:
        found["no_new_privs"] = -1 if seen["NoNewPrivs"] == "1" else "not set"
    if "capabilities" in claimed:
        found["capabilities"] = -1 if not int(seen["CapEff"], 16) | int(seen["CapBnd"], 16) else seen["CapBnd"]
    return found or {"layers": "none is claimed"}


def look() -> dict[str, str]:
    """Return what the kernel says of this process."""
    found = {
        name: os.readlink(f"/proc/self/ns/{name}") for name in ("user", "mnt", "pid", "ipc", "uts", "cgroup", "net")
    }
    with open("/proc/self/status", encoding="utf-8") as text:
        found |= dict(line.rstrip("\n").split(":\t", 1) for line in text if ":\t" in line)
    return found


class _Eager:
    """Reads a file where it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return read, (self.path,)


@CLOSED.led(
    "arguments", "read a host file while the arguments are unpickled, before the function runs", held="the walls stand by then",
    control=lambda world: {"read": read(str(world.outside.secret))},
)  # fmt: skip
def arguments(world: World) -> Found:
    """The object reads when it is rebuilt, and is what it read."""
    ended = world.call(give_back, _Eager(str(world.inside.secret)))
    return {"read": ended.value if ended.error is None else f"{ended.error}"}


def give_back(value: Any) -> Any:
    """Return what was passed."""
    return value
