"""Questions about files: may a path be opened, listed, looked at, executed?

The order of the checks is the kernel's (fs/namei.c, fs/open.c), so that the errno is the one that would be seen: the way to
the file, then the permission bits, then whether its mount may be written, then Landlock.
"""

from __future__ import annotations

import errno
import os
from typing import NamedTuple

from isolate_fn._diagnose.answers import Answer
from isolate_fn._diagnose.inside import EXECUTE, READ, WRITE, Spot
from isolate_fn._diagnose.scene import Scene
from isolate_fn._plan.mounts import writable_instead
from isolate_fn._sys.landlock_constants import AccessFS
from isolate_fn.errors import PolicyError

_FLAGS = {"r": os.O_RDONLY, "w": os.O_CREAT | os.O_TRUNC, "a": os.O_CREAT | os.O_APPEND, "x": os.O_CREAT | os.O_EXCL}
_AT_FDCWD = -100
_SEARCHED = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin")


class _Denied(NamedTuple):
    """Why not."""

    wall: str
    errno: int
    reason: str
    fix: str = ""


def would_open(scene: Scene, path: str, mode: str = "r") -> Answer:
    """Answer ``open(path, mode)``."""
    question, flags = f"open {path!r} with mode {mode!r}", _flags(mode)
    denial = scene.ask_filters(question, "openat", _AT_FDCWD, 0, flags | os.O_CLOEXEC, 0o666)
    if denial is not None:
        return denial
    creates = bool(flags & os.O_CREAT)
    slashed = creates and path.endswith("/")
    follow = not flags & os.O_EXCL  # with which a symbolic link is there already, wherever it leads
    spot = scene.inside.find((path.rstrip("/") or "/") if slashed else path, follow=follow)
    found = _missing(scene, path, spot, creates=creates)
    if found is None and slashed:
        found = _Denied("", errno.EISDIR, "a file cannot be made by a name that ends with a slash")
    found = found or (
        _created(scene, path, spot, flags) if spot.kind == "missing" else _opened(scene, path, spot, flags)
    )
    return _answer(question, spot, found)


def would_list(scene: Scene, path: str) -> Answer:
    """Answer ``os.listdir(path)``."""
    question = f"list {path!r}"
    denial = scene.ask_filters(question, "openat", _AT_FDCWD, 0, os.O_DIRECTORY | os.O_CLOEXEC, 0)
    if denial is not None:
        return denial
    spot = scene.inside.find(path)
    found = _missing(scene, path, spot)
    if found is None and spot.kind != "directory":
        found = _Denied("", errno.ENOTDIR, f"{spot.path} is no directory")
    if found is None and not spot.mode & READ:
        found = _by_bits(scene, spot, "read")
    found = found or _by_landlock(scene, spot.path, AccessFS.READ_DIR)
    denial = scene.ask_filters(question, "getdents64", 4) if found is None else None
    return _answer(question, spot, found) if denial is None else denial


def would_stat(scene: Scene, path: str) -> Answer:
    """Answer ``os.stat(path)``: whether it can be seen at all."""
    question = f"stat {path!r}"
    names = ("newfstatat", "stat", "statx", "fstatat64")
    denials = [scene.ask_filters(question, name, _AT_FDCWD, 0, 0, 0) for name in names]
    if all(denial is not None for denial in denials):
        return denials[0]  # type: ignore[return-value]
    spot = scene.inside.find(path)
    return _answer(question, spot, _missing(scene, path, spot))


def would_exec(scene: Scene, path: str) -> Answer:
    """Answer ``os.execv(path, ...)``; a name without a slash is looked up where programs are."""
    question = f"execute {path!r}"
    denial = scene.ask_filters(question, "execve")
    if denial is not None:
        return denial
    if "/" not in path:
        places = [f"{place}/{path}" for place in _SEARCHED]
        path = next((place for place in places if scene.inside.find(place).kind == "file"), places[1])
    spot = scene.inside.find(path)
    found = _missing(scene, path, spot)
    if found is None and (spot.kind != "file" or spot.noexec):
        why = "its mount is noexec" if spot.kind == "file" else f"it is a {spot.kind}"
        found = _Denied(
            "mounts",
            errno.EACCES,
            f"{spot.path}: {why}",
            "ro(...) of the program, without noexec" if spot.noexec else "",
        )
    if found is None and not spot.mode & EXECUTE:
        found = _by_bits(scene, spot, "execute")
    return _answer(question, spot, found or _by_landlock(scene, spot.path, AccessFS.EXECUTE))


def _flags(mode: str) -> int:
    words = set(mode)
    kinds = words & set("rwax")
    if len(words) != len(mode) or len(kinds) != 1 or words - set("rwax+bt"):
        raise PolicyError("mode", f"{mode!r} is not a mode of open()", 'use "r", "w", "a", "x", with "+", "b" or "t"')
    kind = kinds.pop()
    access = os.O_RDWR if "+" in words else os.O_RDONLY if kind == "r" else os.O_WRONLY
    return _FLAGS[kind] | access


def _missing(scene: Scene, path: str, spot: Spot, *, creates: bool = False) -> _Denied | None:
    """Say why nothing is found at a path, None where something is, or where it may be made."""
    if spot.kind == "closed":
        return _by_bits(scene, spot, "enter")
    if spot.kind == "loop":
        return _Denied("", errno.ELOOP, f"{spot.path} is a circle of symbolic links")
    if spot.kind != "missing":
        return None
    above = scene.inside.find(os.path.dirname(spot.path) or "/")
    if creates and above.kind == "directory" and spot.home != "proc":  # which knows all names, and says no to others first
        return None
    code = errno.ENOTDIR if above.kind not in ("directory", "missing", "closed") else errno.ENOENT
    if spot.home == "private":
        return _Denied("", code, "it lies in the isolate's private directory, which is empty at first", "write it before")
    if spot.home == "scratch":
        reason = f"{spot.path} lies in the isolate's own, which is empty at first"
        there = path.startswith("/") and os.path.lexists(path)
        return _Denied("mounts", code, reason, f"add mounts=[ro({path!r})]" if there else "write it before")
    if spot.home == "proc":
        return _Denied("mounts", code, "/proc shows the isolate's own processes and nothing else")
    if spot.home == "host":
        return _Denied("", code, "there is no such file on the host, whose tree the isolate sees")
    if spot.order is not None:
        return _Denied(
            "", code, f"{spot.order.origin} has no {spot.path!r}" + (f" ({spot.source})" if spot.source else "")
        )
    if not os.path.lexists(path) or not path.startswith("/"):
        return _Denied("", code, "no mount shows it, and there is no such file on the host either")
    return _Denied("mounts", code, "no mount shows it", f"add mounts=[{'rw' if creates else 'ro'}({path!r})]")


def _created(scene: Scene, path: str, spot: Spot, flags: int) -> _Denied | None:
    """Say why a file cannot be made in a directory that is there."""
    above = scene.inside.find(os.path.dirname(spot.path) or "/")
    if not above.writable:
        other = "write to /tmp, or mount a directory there: rw(...)"
        fix = _writable_fix(above) if above.order is not None or scene.confined else other
        return _Denied("mounts", errno.EROFS, f"{above.path} is read-only: {_home(above)}", fix)
    if above.mode & (WRITE | EXECUTE) != WRITE | EXECUTE:
        return _by_bits(scene, above, "write to")
    return _by_landlock(scene, above.path, AccessFS.MAKE_REG) or _by_landlock(scene, spot.path, _rights(flags))


def _rights(flags: int) -> AccessFS:
    access = flags & os.O_ACCMODE
    rights = AccessFS(0) if access == os.O_RDONLY else AccessFS.WRITE_FILE
    return rights if access == os.O_WRONLY else rights | AccessFS.READ_FILE


def _opened(scene: Scene, path: str, spot: Spot, flags: int) -> _Denied | None:
    """Say why a file that is there cannot be opened so."""
    access = flags & os.O_ACCMODE
    writes, reads = access != os.O_RDONLY, access != os.O_WRONLY
    if flags & os.O_EXCL:
        return _Denied("", errno.EEXIST, f"{spot.path} is there already")
    if spot.kind == "directory":
        refused = None if writes else _by_bits(scene, spot, "read") if not spot.mode & READ else None
        refused = refused or (None if writes else _by_landlock(scene, spot.path, AccessFS.READ_DIR))
        return refused or _Denied("", errno.EISDIR, f"{spot.path} is a directory")
    read_only = (
        writes and not spot.writable and spot.kind not in ("fifo", "socket")
    )  # whose data lies in no file system
    frozen = _Denied("mounts", errno.EROFS, f"{spot.path} is read-only: {_home(spot)}", _writable_fix(spot))
    if read_only and flags & os.O_TRUNC and spot.kind == "file":
        return frozen
    wanted = (WRITE if writes else 0) | (READ if reads else 0)
    if wanted & ~spot.mode:
        if not (writes and spot.order is not None and spot.order.kind in ("file", "copy")):
            return _by_bits(scene, spot, "write" if writes and not spot.mode & WRITE else "read")
        return _Denied("permissions", errno.EACCES, f"{spot.path} is a file of the isolate's that nobody may write")
    if read_only:
        return frozen
    rights = _rights(flags)
    if flags & os.O_TRUNC and spot.kind == "file":
        rights |= AccessFS.TRUNCATE
    socket = _Denied("", errno.ENXIO, f"{spot.path} is a socket, which is not opened but connected to")
    return _by_landlock(scene, spot.path, rights) or (socket if spot.kind == "socket" else None)


def _by_bits(scene: Scene, spot: Spot, verb: str) -> _Denied:
    if spot.home == "proc":
        return _Denied("permissions", errno.EACCES, f"{spot.path} is not for the isolate's user")
    own = "an id of its own, to which only granted files belong" if scene.features.privileged else ""
    if scene.confined and not scene.plan.processes:
        own = "an id of its own, to which nothing belongs"
    who = own or f"user {os.geteuid()}"
    what = f"{spot.source or spot.path}"
    reason = f"the permission bits of {what} do not let the isolate {verb} it: it runs as {who}"
    bits = {"write": "o+w", "write to": "o+wx", "enter": "o+x", "execute": "o+x"}.get(verb, "o+r")
    return _Denied("permissions", errno.EACCES, reason, f"chmod {bits} {what}" if spot.source else "")


def _by_landlock(scene: Scene, path: str, right: AccessFS) -> _Denied | None:
    by = scene.ask_landlock(path, int(right))
    if not by:
        return None
    words = " and ".join(str(each.name).lower() for each in AccessFS if each & right)
    if by == "base":
        return _Denied("landlock", errno.EACCES, f"Landlock permits no {words} of {path}", _base_mount(scene, path, right))
    method = {
        AccessFS.EXECUTE: "allow_execute_path",
        AccessFS.READ_DIR: "allow_list_dir",
        AccessFS.MAKE_REG: "allow_create_in_dir",
    }
    name = method.get(right, "allow_write_file" if right & AccessFS.WRITE_FILE else "allow_read_path")
    reason = f"rules= name paths, and none of them gives {words} of {path}"
    return _Denied("landlock", errno.EACCES, reason, f"add SystemIO().{name}({path!r}) to rules=")


def _base_mount(scene: Scene, path: str, right: AccessFS) -> str:
    """Return the mount that would permit a right."""
    if not scene.confined:
        return f"a mount of {path!r}"
    if path == "/" or path.startswith("/proc/") or path == "/proc":
        return ""
    changes = right & ~(AccessFS.READ_FILE | AccessFS.READ_DIR | AccessFS.EXECUTE)
    target = os.path.dirname(path) if right & AccessFS.MAKE_REG and not os.path.isdir(path) else path
    return f"add mounts=[{'rw' if changes else 'ro'}({target!r})]"


def _writable_fix(spot: Spot) -> str:
    if spot.home == "host":
        return "write to the working directory or tempfile.gettempdir()"
    if spot.order is None or not spot.order.granted or spot.order.kind != "bind":
        return "write to /tmp or the working directory: the runtime is never writable"
    return writable_instead(spot.order)


def _home(spot: Spot) -> str:
    if spot.home == "host" and spot.order is None:
        return "the host's tree, of which names and sizes are seen and content is not"
    if spot.order is not None:
        return spot.order.origin or spot.order.kind
    return {
        "scratch": "the isolate's own, in memory, gone when it ends",
        "private": "the isolate's private directory, gone when it ends",
        "proc": "the isolate's own /proc",
        "device": "a harmless device that every isolate has",
    }.get(spot.home, "the isolate's own root, which holds nothing but mounts")


def _answer(question: str, spot: Spot, denied: _Denied | None) -> Answer:
    if denied is not None:
        return Answer(
            permitted=False,
            question=question,
            reason=denied.reason,
            wall=denied.wall,
            errno=denied.errno,
            fix=denied.fix,
        )
    outside = f", {spot.source} on the host" if spot.source and spot.source != spot.path else ""
    return Answer(permitted=True, question=question, reason=f"{_home(spot)}{outside}")
