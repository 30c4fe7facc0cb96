"""The engine without namespaces, and learn, on other kernels: run in a virtual machine by ``nox -s kernels``.

That there are no namespaces is pretended. What Landlock must hold depends on its ABI, and so do these checks.
"""

from __future__ import annotations

import errno
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable

os.environ["ISOLATE_FN_PRETEND"] = "userns=0,privileged=0"

import smoke

from isolate_fn import Limits, isolated, learn, ro, rw, sandbox
from isolate_fn._sys.features import probe
from isolate_fn.errors import Crashed, LimitExceeded, TimedOut, Unsupported

SCOPES = 6  # ABI of Landlock that knows signals


def fork() -> None:
    os.fork()


def signals(caller: int) -> list[int]:
    """Return what signalling the caller, and whoever is PID 1, says."""
    return [smoke.errno_of(os.kill, number, 0) for number in (caller, 1)]


def fill() -> None:
    for number in range(64):
        with open(f"file{number}", "wb") as file:
            file.write(bytes(1 << 20))
    time.sleep(30)  # a limit that is watched is met by the next look, not by each write


def keep() -> str:
    with open("kept", "w", encoding="utf-8") as file:
        file.write("x")
    return os.getcwd()


def truncate(path: str) -> None:
    os.truncate(path, 0)


def from_within() -> list[int]:
    return [smoke.connect(), smoke.unshare(), smoke.errno_of(fork)]


def common(directory: str) -> dict[str, Callable[[], object]]:
    """Return what holds wherever there is Landlock."""
    secret, granted = f"{directory}/secret", f"{directory}/granted"
    os.mkdir(granted)
    os.chmod(granted, 0o777)
    for path in (secret, f"{granted}/file"):
        with open(path, "w", encoding="utf-8") as file:
            file.write("outside")
        os.chmod(path, 0o666)

    def unchanged() -> bool:
        codes = [isolated(mounts=[ro(granted)])(smoke.errno_of)(act, f"{granted}/file") for act in (smoke.write, truncate)]
        return all(code in (errno.EACCES, errno.EPERM) for code in codes) and smoke.read(f"{granted}/file") == "outside"

    def written() -> bool:
        isolated(mounts=[rw(granted)])(smoke.write)(f"{granted}/file")
        return smoke.read(f"{granted}/file") == "inside"

    small = isolated(limits=Limits(rootfs_size="16M"), timeout=60)(fill)
    return {
        "the engine": lambda: isolated(smoke.add)(1) == 2 and isolated(smoke.add).enforcement().engine == "landlock",
        "a reused worker": lambda: [isolated(reuse=True)(smoke.add)(n) for n in range(3)] == [1, 2, 3],
        "an exception": lambda: smoke.raised(KeyError, isolated(smoke.fail), 7).args == (7,),
        "a host file is denied": lambda: isolated(smoke.errno_of)(smoke.read, secret) == errno.EACCES,
        "a granted file": lambda: isolated(mounts=[ro(granted)])(smoke.read)(f"{granted}/file") == "outside",
        "read-only": unchanged,
        "writable": written,
        "no socket, no namespace, no process": lambda: isolated(from_within)() == [errno.EPERM] * 3,
        "nobody is signalled": lambda: isolated(signals)(os.getpid()) == [errno.EPERM] * 2,
        "nothing is left": lambda: not os.path.exists(isolated(keep)()),
        "abort": lambda: getattr(smoke.raised(Crashed, isolated(smoke.abort)), "signal", 0) == signal.SIGABRT,
        "timeout": lambda: smoke.raised(TimedOut, isolated(timeout=1)(smoke.sleep)),
        "memory": lambda: _limit_of(isolated(limits=Limits(memory="128M"), timeout=60)(smoke.eat)) == "memory",
        "disk": lambda: _limit_of(small) == "rootfs_size",
    }


def _limit_of(function: Callable[[], object]) -> str:
    return getattr(smoke.raised(LimitExceeded, function), "limit", "")


def programs(abi: int) -> bool:
    """Programs run where signals are held; elsewhere a block is refused, unless it does without that promise."""

    def ran(**options: object) -> bool:
        with sandbox(**options) as box:  # type: ignore[arg-type]
            box.put("x", b"data")
            return box.run(["cat", "x"], capture_output=True).stdout == b"data"

    if abi >= SCOPES:
        return ran()
    refused = smoke.raised(Unsupported, ran)
    return "Landlock ABI 6" in str(refused) and ran(require=("filesystem", "network", "syscalls"))


def learned(directory: str) -> bool:
    """With namespaces, which are there: what was read is granted, and what is secret is not."""
    path = f"{directory}/read-this"
    for name, text in ((path, "text"), (f"{directory}/.env", "TOKEN=1")):
        with open(name, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(name, 0o644)
    pretended = os.environ.pop("ISOLATE_FN_PRETEND")
    try:
        with learn() as seen:
            held = seen.call(smoke.read, path) == "text"
            held &= seen.call(smoke.errno_of, smoke.read, f"{directory}/.env") == errno.EACCES
        return held and seen.policy.mounts == (ro(path),) and [flag.kind for flag in seen.flags] == ["secret"]
    finally:
        os.environ["ISOLATE_FN_PRETEND"] = pretended


def without_landlock() -> dict[str, Callable[[], object]]:
    """Return what is said where a kernel has none: nothing runs."""

    def learning() -> object:
        os.environ.pop("ISOLATE_FN_PRETEND")
        with learn() as seen:
            seen.call(smoke.add, 1)
        return None

    return {
        "refused by name": lambda: "Landlock" in str(smoke.raised(Unsupported, isolated(smoke.add), 1)),
        "learn is refused": lambda: "5.13" in str(smoke.raised(Unsupported, learning)),
    }


def main() -> int:
    """Run every check; return 1 if one failed."""
    abi = probe().landlock
    print(platform.release(), platform.machine(), "uid", os.geteuid(), "Landlock ABI", abi)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        os.chmod(directory, 0o755)
        checks = without_landlock()
        if abi:
            checks = {**common(directory), "programs": lambda: programs(abi), "learn": lambda: learned(directory)}
        passed, failed = smoke.run(checks)
    print(f"{passed} passed, {failed} failed")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
