"""What must hold on every supported kernel, checked without pytest: run in a virtual machine by ``nox -s kernels``."""

from __future__ import annotations

import errno
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable

from isolate_fn import Limits, isolated, ro, rw, sandbox
from isolate_fn._sys.features import probe
from isolate_fn.errors import Crashed, LimitExceeded, TimedOut


def add(number: int) -> int:
    return number + 1


def fail(number: int) -> None:
    raise KeyError(number)


def read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def write(path: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write("inside")


def errno_of(function: Callable[..., object], *args: object) -> int:
    try:
        function(*args)
    except OSError as failure:
        return failure.errno or 0
    return 0


def connect() -> int:
    import socket

    return errno_of(socket.socket)


def unshare() -> int:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    return 0 if libc.unshare(0x10000000) == 0 else ctypes.get_errno()


def status() -> dict[str, str]:
    with open("/proc/self/status", encoding="utf-8") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def eat() -> int:
    kept = [bytearray(1 << 20) for _ in range(1000)]
    return len(kept)


def abort() -> None:
    os.abort()


def sleep() -> None:
    time.sleep(1000)


def change_interpreter() -> list[int]:
    exe = "/proc/self/exe"
    return [errno_of(os.chmod, exe, 0o777), errno_of(os.utime, exe), errno_of(os.setxattr, exe, "user.x", b"y")]


def raised(kind: type[BaseException], function: Callable[..., object], *args: object) -> BaseException | None:
    try:
        function(*args)
    except kind as error:
        return error
    return None


def checks(directory: str) -> dict[str, Callable[[], object]]:
    """Return what is checked, by name; a check that returns something false has failed."""
    secret = os.path.join(directory, "secret")
    granted = os.path.join(directory, "granted")
    os.mkdir(granted)
    for path in (secret, os.path.join(granted, "file")):
        with open(path, "w", encoding="utf-8") as file:
            file.write("outside")
    os.chmod(os.path.join(granted, "file"), 0o600)
    writable = isolated(mounts=[rw(granted)], prewarm=0)

    def box() -> bool:
        with sandbox() as inside:
            inside.put("x", b"data")
            ran = inside.run(["cat", "x"], capture_output=True)
            return (ran.stdout, ran.returncode, inside.get("x"), inside.call(add, 1)) == (b"data", 0, b"data", 2)

    def written() -> bool:
        writable(write)(f"{granted}/new")
        return os.stat(f"{granted}/new").st_uid == os.geteuid()

    def told() -> bool:
        with sandbox() as inside:
            inside.call(connect)
            inside.call(unshare)
            found = {denial.syscall: denial for denial in inside.report().denied}
        asked = found["socket"]
        return asked.fix == "network=True" and "smoke.py" in (asked.location or "") and "unshare" in found

    return {
        "a call returns": lambda: isolated(add)(1) == 2,
        "a reused worker": lambda: [isolated(reuse=True)(add)(n) for n in range(3)] == [1, 2, 3],
        "fresh_exec": lambda: isolated(fresh_exec=True)(add)(1) == 2,
        "an exception": lambda: raised(KeyError, isolated(fail), 7).args == (7,),
        "a host file is not there": lambda: raised(FileNotFoundError, isolated(read), secret),
        "a granted file of mode 0600": lambda: isolated(mounts=[ro(granted)])(read)(f"{granted}/file") == "outside",
        "read-only": lambda: isolated(mounts=[ro(granted)])(errno_of)(write, f"{granted}/new") == errno.EROFS,
        "writable, and ours outside": written,
        "no socket": lambda: isolated(connect)() in (errno.EPERM, errno.EAFNOSUPPORT),
        "no namespace": lambda: isolated(unshare)() in (errno.EPERM, errno.ENOSPC),
        "no capability": lambda: int(isolated(status)()["CapBnd"], 16) == 0,
        "filter": lambda: isolated(status)()["Seccomp"].strip() == "2",
        "interpreter": lambda: all(isolated(change_interpreter)()),
        "abort": lambda: getattr(raised(Crashed, isolated(abort)), "signal", 0) == 6,
        "timeout": lambda: raised(TimedOut, isolated(timeout=0.5)(sleep)),
        "memory": lambda: (
            getattr(raised(LimitExceeded, isolated(limits=Limits(memory="128M"))(eat)), "limit", "") == "memory"
        ),
        "sandbox": box,
        "what was denied, and where": told,
    }


NEED_ID_MAPPING = ("a granted file of mode 0600", "writable, and ours outside")


def run(checks: dict[str, Callable[[], object]]) -> tuple[int, int]:
    """Make checks, tell which fail, and return how many passed and failed."""
    passed = failed = 0
    for name, check in checks.items():
        try:
            held = check()
        except Exception as error:
            held = False
            print(f"  {name}: {type(error).__name__}: {error}")
        passed, failed = passed + bool(held), failed + (not held)
        if not held:
            print("  FAILED:", name)
    return passed, failed


def main() -> int:
    """Run every check; return 1 if one failed."""
    features = probe()
    print(platform.release(), platform.machine(), "python", platform.python_version(), "uid", os.geteuid(), features)
    wrong = 0
    if "--cgroup" in sys.argv:
        kept = isolated(limits=Limits(memory="256M"))(add).enforcement().memory
        print("memory is limited by:", kept)
        wrong += kept != "cgroup"
    # Not /tmp, which may be a tmpfs: those take an id mapping only since Linux 6.3.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        os.chmod(directory, 0o755)
        found = checks(directory)
        if features.privileged and not features.mount_setattr:
            for name in NEED_ID_MAPPING:
                print(f"  skipped: {name}: a root caller's files need id-mapped mounts (Linux 5.12)")
                del found[name]
        passed, failed = run(found)
    print(f"dropped: {isolated(add).enforcement().dropped}")
    print(f"{passed} passed, {failed + wrong} failed")
    return int(bool(failed + wrong))


if __name__ == "__main__":
    sys.exit(main())
