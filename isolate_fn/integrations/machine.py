"""What this machine has, and what of it is missing, asked of the kernel and never of an isolate of ours."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable, Mapping

_TRY_NAMESPACES = """
import ctypes, sys
raise_from_errno = ctypes.pythonapi.PyErr_SetFromErrno
raise_from_errno.restype = ctypes.py_object
if ctypes.PyDLL(None).unshare(int(sys.argv[1])) != 0:  # flags of clone(2)
    try:
        raise_from_errno(ctypes.py_object(OSError))
    except OSError as error:
        sys.exit(f"unshare: {error.strerror}")
"""
_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWPID = 0x00020000, 0x10000000, 0x20000000
_NOBODY = 65534
_LANDLOCK_CREATE_RULESET = 444  # on every architecture; flag 1 asks for the version (Linux 5.13)


def _namespaces() -> str:
    flags = _CLONE_NEWNS | _CLONE_NEWPID | (0 if os.geteuid() == 0 else _CLONE_NEWUSER)
    # By the kernel, not by an isolate of ours: a defect of this package shall fail tests, not skip them.
    command = [sys.executable, "-I", "-S", "-c", _TRY_NAMESPACES, str(flags)]
    try:
        tried = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except OSError as error:  # inside an isolate, which imports a test's module
        return f"cannot be tried: {error}"
    return f"no namespaces for this user: {tried.stderr.strip()}" if tried.returncode else ""


def _interpreter() -> str:
    if os.geteuid() != 0:
        return ""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    command = [sys.executable, "-I", "-S", "-c", "import sys; sys.path.append(sys.argv[1]); import isolate_fn", package]
    try:
        tried = subprocess.run(
            command, user=_NOBODY, group=_NOBODY, extra_groups=(), cwd="/", capture_output=True, text=True, timeout=60
        )
    except OSError as error:
        return f"root's isolates run under an unused id, which may not run {sys.executable}: {error.strerror}"
    if not tried.returncode:
        return ""
    last = (tried.stderr.strip().splitlines() or [f"status {tried.returncode}"])[-1]
    return f"root's isolates run under an unused id, for which {sys.executable} cannot import isolate_fn: {last}"


def _landlock_abi() -> int:
    import ctypes

    return max(0, int(ctypes.CDLL(None).syscall(_LANDLOCK_CREATE_RULESET, None, 0, 1)))


def _cgroup() -> str:
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        own = next((line[3:].strip() for line in file if line.startswith("0::")), None)
    if own is None:
        return "no cgroup v2"
    group = os.path.join("/sys/fs/cgroup", own.lstrip("/")).rstrip("/")
    if not os.access(f"{group}/cgroup.procs", os.W_OK):
        return f"{group} is not delegated to this user"
    with open(f"{group}/cgroup.controllers", encoding="utf-8") as file:
        return "" if "memory" in file.read().split() else "no memory controller"


def _linux(version: str) -> str:
    release = os.uname().release
    found = tuple(int(part) for part in release.split("-")[0].split(".")[:2])
    return "" if found >= tuple(map(int, version.split("."))) else f"needs Linux {version}, this is {release}"


def _module(name: str) -> str:
    import importlib.util

    try:
        found = importlib.util.find_spec(name)
    except ModuleNotFoundError:  # of the package that it is in
        found = None
    return "" if found else f"{name} is not installed"


# Where a program comes from, where its package has another name.
_PACKAGES = {"soffice": "libreoffice-writer-nogui", "identify": "imagemagick"}


def _tool(name: str) -> str:
    import shutil

    return "" if shutil.which(name) else f"{name} is not in PATH; package {_PACKAGES.get(name, name)}"


_CHECKS: Mapping[str, Callable[[], str]] = {
    "namespaces": _namespaces,
    "root": lambda: "" if os.geteuid() == 0 else "run as an ordinary user",
    "user": lambda: "" if os.geteuid() != 0 else "run as root",
    "cgroup": _cgroup,
    "interpreter": _interpreter,
}


@functools.cache
def missing(feature: str) -> str:
    """Say what keeps this machine from having a feature; empty where it has it.

    Args:
        feature: ``"namespaces"``, ``"root"``, ``"user"`` (not root), ``"landlock"`` or ``"landlock>=N"`` (an ABI),
            ``"linux>=X.Y"``, ``"cgroup"`` (a delegated one with memory), ``"x86_64"``, ``"aarch64"``,
            ``"interpreter"`` (Python and this package where a root caller's isolates may read them without mounts, as
            engine 'landlock' needs), ``"tool:NAME"`` (a program in PATH), ``"module:NAME"`` (an importable module).

    Raises:
        ValueError: there is no such feature.
    """
    kind, _, name = feature.partition(":")
    base, _, version = feature.partition(">=")
    if kind == "tool" and name:
        return _tool(name)
    if kind == "module" and name:
        return _module(name)
    if base == "linux" and version:
        return _linux(version)
    if base == "landlock":
        needed, abi = int(version or 1), _landlock_abi()
        return "" if abi >= needed else f"needs Landlock ABI {needed}, this kernel has {abi or 'none'}"
    if feature in ("x86_64", "aarch64"):
        return "" if os.uname().machine == feature else f"this is {os.uname().machine}"
    if feature not in _CHECKS:
        raise ValueError(f"unknown feature {feature!r}; see isolate_fn.testing.missing")
    return _CHECKS[feature]()


__all__ = ["missing"]
