"""`would`: whether a policy permits something, answered without running anything."""

from __future__ import annotations

import errno
import ipaddress
import signal
import socket
from collections.abc import Callable
from typing import Any

from isolate_fn._diagnose import would_files as files
from isolate_fn._diagnose.answers import Answer
from isolate_fn._diagnose.scene import Scene, scene_of, shown
from isolate_fn._sys import constants as k
from isolate_fn._sys import numbers
from isolate_fn._sys.landlock_constants import AccessNet
from isolate_fn.errors import PolicyError
from isolate_fn.policy.toml.place import nearest

_VFORK = 0x4000 | 0x100  # CLONE_VFORK | CLONE_VM of <linux/sched.h>


def would(subject: Any, action: str, /, *arguments: Any, program: bool = False) -> Answer:
    """Tell whether a policy permits something, with the reason and, where it does not, the fix. Runs nothing.

        would(thumbnail, "open", "/etc/passwd")              would(policy, "connect", "example.org", 443)
        would(thumbnail, "open", "/tmp/x", "w")              would(policy, "run", "ffmpeg", program=True)
        would(thumbnail, "list", "/data")                    would(policy, "syscall", "ptrace", 16, 1)

    Answered from the plan that isolates would get, from the host's files as they are now, and from the filter by an
    emulator. What the code does first is not known: files that it makes in /tmp are not there yet.

    Args:
        subject: a `Policy`, the name of one, a function decorated with `isolated`, or a `sandbox` block.
        action: ``"open"`` (path, mode), ``"list"``, ``"stat"``, ``"exec"`` or ``"run"`` (path; the latter in a child process,
            with ``program=True`` by `box.run`),
            ``"connect"`` (host, port; or the path of a unix socket), ``"syscall"`` (name, numbers).
        *arguments: of the action.
        program: ask for a program that a `sandbox` block runs, and not for a function.

    Returns:
        An `Answer`, true where it would be permitted.

    Raises:
        PolicyError: there is no such action, or its arguments are wrong. Unsupported: this machine cannot isolate so.
    """
    if action not in _ACTIONS:
        raise PolicyError("action", f"{action!r} is not one that can be asked for", nearest(action, _ACTIONS))
    scene = scene_of(subject, program=program)
    try:
        return _ACTIONS[action](scene, *arguments)
    except TypeError as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
            raise
        raise PolicyError(
            "arguments", f"{action}({shown(arguments)}): {error}", "see the docstring of would()"
        ) from None


def _open(scene: Scene, path: Any, mode: str = "r") -> Answer:
    return files.would_open(scene, _path(path), mode)


def _list(scene: Scene, path: Any = ".") -> Answer:
    return files.would_list(scene, _path(path))


def _stat(scene: Scene, path: Any) -> Answer:
    return files.would_stat(scene, _path(path))


def _exec(scene: Scene, path: Any) -> Answer:
    return files.would_exec(scene, _path(path))


def _run(scene: Scene, path: Any) -> Answer:
    question = f"run {path!r}"
    # What starts a sandbox block's programs is under the base filter only; a program takes rules= on its way to execve(2).
    starter = tuple(each for each in scene.filters if each[0] != "rules") if scene.program else scene.filters
    ways = (("vfork",), ("clone", _VFORK | signal.SIGCHLD), ("clone", signal.SIGCHLD))
    denials = [scene.ask_filters(question, name, *arguments, filters=starter) for name, *arguments in ways]
    if all(denial is not None for denial in denials):
        return denials[-1]  # type: ignore[return-value]
    return files.would_exec(scene, _path(path))


def _connect(scene: Scene, host: Any, port: Any = None) -> Answer:
    if port is None:
        return _connect_unix(scene, _path(host))
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
        raise PolicyError("port", f"{port!r} is not a port", "use 1 to 65535")
    question = f"connect to {host}:{port}"
    family = socket.AF_INET6 if _version(host) == 6 else socket.AF_INET
    calls = (("socket", family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC, 0), ("connect", 4, 0, 16))
    for name, *arguments in calls:
        denial = scene.ask_filters(question, name, *arguments)
        if denial is not None:
            return denial
    by = scene.ask_ports(port, int(AccessNet.CONNECT_TCP))
    if by:
        fix = "network=True" if by == "base" else f"add Networking().allow_connect_ports({port}) to rules="
        reason = f"Landlock permits no TCP connection to port {port}"
        return Answer(permitted=False, question=question, reason=reason, wall="landlock", errno=errno.EACCES, fix=fix)
    if scene.plan.namespaces & k.CLONE_NEWNET:
        reason = "the isolate has a network of its own, in which nothing is but itself"
        return Answer(
            permitted=False,
            question=question,
            reason=reason,
            wall="network",
            errno=errno.ENETUNREACH,
            fix="network=True",
        )
    reason = "the network is the host's; whether somebody answers there is another question"
    return Answer(permitted=True, question=question, reason=reason)


def _connect_unix(scene: Scene, path: str) -> Answer:
    question = f"connect to the unix socket {path!r}"
    for name, *arguments in (
        ("socket", socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC, 0),
        ("connect", 4, 0, 110),
    ):
        denial = scene.ask_filters(question, name, *arguments)
        if denial is not None:
            fix = "expose= a host function that asks the service, or pass the open connection as an argument"
            return Answer(**{**denial.as_dict(), "fix": denial.fix if denial.reason.startswith("rules=") else fix})
    spot = scene.inside.find(path)
    if spot.kind == "socket":
        return Answer(
            permitted=True, question=question, reason=f"{spot.order.origin if spot.order else spot.path} shows it"
        )
    return Answer(permitted=False, question=question, reason="no mount shows it", wall="mounts", errno=errno.ENOENT)


def _syscall(scene: Scene, name: str, *arguments: int) -> Answer:
    if not isinstance(name, str) or not numbers.is_known(name):
        raise PolicyError("syscall", f"no system call is named {name!r}", numbers.hint(str(name)))
    if len(arguments) > 6 or not all(isinstance(each, int) for each in arguments):
        raise PolicyError("syscall", f"{name}({shown(arguments)})", "pass up to six numbers")
    question = f"{name}({shown(arguments)})"
    denial = scene.ask_filters(question, name, *arguments)
    if denial is not None:  # which is false itself
        return denial
    return Answer(permitted=True, question=question, reason="the filter lets it through to the kernel")


def _path(path: Any) -> str:
    import os

    text = os.fspath(path)
    if not isinstance(text, str) or not text or "\0" in text:
        raise PolicyError("path", f"{path!r} is not a path", "pass a str or a pathlib.Path")
    return text


def _version(host: Any) -> int:
    try:
        return ipaddress.ip_address(str(host).strip("[]")).version
    except ValueError:
        return 4


_ACTIONS: dict[str, Callable[..., Answer]] = {
    "open": _open,
    "list": _list,
    "stat": _stat,
    "exec": _exec,
    "run": _run,
    "connect": _connect,
    "syscall": _syscall,
}
