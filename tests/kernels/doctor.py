"""What the doctor says about machines whose switches are really set so: run as root, in a virtual machine of its own.

Changes sysctls of the whole machine and sets them back. Prints a line for each check; the exit status is the number of
those that failed. With an argument it is one of its own patients.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

USER = 1000
_failed = 0


def examine(user: int, root: str = "") -> dict:
    """Return what the doctor says to a process of a user, on request in a chroot."""
    command = [sys.executable, os.path.abspath(__file__), str(user), root]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def be_a_patient(user: int, root: str) -> None:
    """Become that user, in that root, and print what the doctor says."""
    if root:
        os.chroot(root)
        os.chdir("/")
    if user:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    from isolate_fn import doctor

    print(json.dumps(doctor().as_dict()))


def sysctl(name: str) -> str:
    """Return the path of a sysctl."""
    return "/proc/sys/" + name.replace(".", "/")


@contextlib.contextmanager
def setting(name: str, value: object) -> Iterator[None]:
    """Set a sysctl for a while."""
    with open(sysctl(name)) as file:
        before = file.read()
    try:
        with open(sysctl(name), "w") as file:
            file.write(str(value))
        yield
    finally:
        with open(sysctl(name), "w") as file:
            file.write(before)


def check(title: str, document: dict, name: str, status: str, cause: str = "", fix: str = "", *, works: bool) -> None:
    """Compare one check of a diagnosis with what it should be."""
    global _failed
    found = next(entry for entry in document["checks"] if entry["name"].startswith(name))
    call = document["checks"][-1]
    good = found["status"] == status and cause in found["cause"] and fix in found["fix"] and document["works"] is works
    if status == "failed":
        good = good and found["fix"] in call["fix"] and call["status"] == "failed"
    _failed += not good
    print(f"{'ok  ' if good else 'FAIL'} {title}: {found['name']}: {found['cause'] or found['found']}", flush=True)
    if not good:
        print(json.dumps([found, call], indent=1), flush=True)


def switches() -> None:
    """Set each switch that this kernel has, and look what is said."""
    for user in (USER, 0):
        who = "user" if user else "root"
        check(f"as it is, {who}", examine(user), "user namespaces", "ok", works=True)
        with setting("user.max_user_namespaces", 0):
            words = ("user.max_user_namespaces is 0", "sysctl -w user.max_user_namespaces=10000")
            check(f"max_user_namespaces=0, {who}", examine(user), "user namespaces", "failed", *words, works=False)
    with setting("user.max_net_namespaces", 0):
        words = ("sysctl user.max_net_namespaces is 0", "sysctl -w user.max_net_namespaces=10000")
        check("max_net_namespaces=0", examine(USER), "network namespace", "failed", *words, works=False)
    if os.path.exists(sysctl("kernel.unprivileged_userns_clone")):
        with setting("kernel.unprivileged_userns_clone", 0):
            words = ("kernel.unprivileged_userns_clone is 0", "sysctl -w kernel.unprivileged_userns_clone=1")
            check("unprivileged_userns_clone=0", examine(USER), "user namespaces", "failed", *words, works=False)
            check("unprivileged_userns_clone=0, root", examine(0), "user namespaces", "ok", works=True)
    with setting("kernel.pid_max", 1000):
        check("pid_max=1000", examine(USER), "pids.max, kernel", "weaker", "so few process ids", "pid_max", works=True)
    if os.path.exists(sysctl("vm.memfd_noexec")):
        with setting("vm.memfd_noexec", 2):
            check("memfd_noexec=2", examine(USER), "sealed memory", "ok", works=True)


def landlock() -> None:
    """Look what is said of the Landlock that this kernel has, lacks, or was booted without."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    abi = libc.syscall(444, None, 0, 1)
    document = examine(USER)
    if abi > 0:
        check(f"Landlock ABI {abi}", document, "Landlock", "ok", works=True)
    elif ctypes.get_errno() == errno.EOPNOTSUPP:
        check("lsm= without landlock", document, "Landlock", "weaker", "switched off", "boot with lsm=landlock,", works=True)
    else:
        check("a kernel without Landlock", document, "Landlock", "weaker", "has no Landlock", "Linux 5.13", works=True)


def chroots() -> None:
    """Look what is said in a chroot that is made of bind mounts, as build tools make them."""
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        mounted = []
        try:
            for name in ("usr", "bin", "lib", "lib64", "etc", "proc", "dev", "tmp", "work"):
                if os.path.isdir(f"/{name}"):
                    os.mkdir(f"{root}/{name}")
                    subprocess.run(["mount", "--bind", f"/{name}", f"{root}/{name}"], check=True)
                    mounted.append(f"{root}/{name}")
            check("a chroot", examine(USER, root), "user namespaces", "failed", "in a chroot", "pivot_root", works=False)
        finally:
            for path in reversed(mounted):
                subprocess.run(["umount", "-l", path], check=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        be_a_patient(int(sys.argv[1]), sys.argv[2])
    else:
        switches()
        landlock()
        chroots()
        sys.exit(_failed)
