"""What only a try can tell, tried in throwaway processes: run as ``python -I -S tries.py own|host``, prints one JSON object.

A program of its own, because user namespaces are refused to processes with threads, and because nothing here may touch
the caller. Each try has a child of its own, so that what one leaves behind (a namespace, a filter) is gone with it.
"""

from __future__ import annotations

import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    Try = Callable[[], dict[str, Any] | None]


def _told(failure: BaseException) -> dict[str, Any]:
    """Describe a failure as data."""
    from isolate_fn._sys import answers

    call = str(getattr(failure, "filename", None) or "").rpartition("/")[2]
    told = {"ok": False, "call": call, "errno": getattr(failure, "errno", None) or 0, "text": str(failure)}
    return {**told, "filtered": answers.by_a_filter(call)}


def _apart(act: Try) -> dict[str, Any]:
    """Carry out a try in a child; return what it told, or how it ended."""
    here, there = os.pipe()
    pid = os.fork()
    if pid == 0:
        _be_child(act, there)
    os.close(there)
    with os.fdopen(here, "rb") as said:
        text = said.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if text:
        told: dict[str, Any] = json.loads(text)
        return told
    return {"ok": False, "call": "", "errno": 0, "signal": max(0, -code), "text": f"ended with code {code}"}


def _be_child(act: Try, there: int) -> NoReturn:
    try:
        try:
            told = {"ok": True, **(act() or {})}
        except Exception as failure:
            told = _told(failure)
        os.write(there, json.dumps(told).encode())
    finally:
        os._exit(0)


# --- namespaces ------------------------------------------------------------------------------------------------------


def _user() -> None:
    """Enter a user namespace and map one id, as a spawner and as a worker do."""
    from isolate_fn._sys import calls
    from isolate_fn._sys import constants as k

    uid, gid = os.geteuid(), os.getegid()
    calls.unshare(k.CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        try:
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        except OSError as failure:
            raise OSError(failure.errno, failure.strerror, name) from None


def _base(mode: str) -> None:
    """Have the privileges to build: those there are, or those over a user namespace of our own."""
    if mode == "own":
        _user()


def _namespace(mode: str, flag: int) -> Try:
    def act() -> None:
        from isolate_fn._sys import calls

        _base(mode)
        calls.unshare(flag)

    return act


def _mounts(mode: str) -> Try:
    """Do what the set-up does with mounts: propagation, tmpfs, bind, read-only, pivot_root, umount."""

    def act() -> None:
        from isolate_fn._sys import calls
        from isolate_fn._sys import constants as k

        _base(mode)
        calls.unshare(k.CLONE_NEWNS)
        calls.mount("", "/", flags=k.MS_REC | k.MS_PRIVATE)
        stage = next(path for path in ("/tmp", "/mnt", "/dev") if os.path.isdir(path))
        calls.mount("tmpfs", stage, "tmpfs", k.MS_NOSUID | k.MS_NODEV, "size=64k,mode=755")
        os.mkdir(f"{stage}/old")
        tree = calls.open_tree(k.AT_FDCWD, "/proc", k.OPEN_TREE_CLONE | k.OPEN_TREE_CLOEXEC | k.AT_RECURSIVE)
        os.mkdir(f"{stage}/proc")
        calls.move_mount(tree, k.AT_FDCWD, f"{stage}/proc")
        calls.pivot_root(stage, f"{stage}/old")
        calls.umount("/old", k.MNT_DETACH)

    return act


def _proc(mode: str) -> Try:
    """Make a fresh /proc in a pid namespace of our own, where only processes are shown."""

    def act() -> None:
        from isolate_fn._sys import calls
        from isolate_fn._sys import constants as k

        _base(mode)
        calls.unshare(k.CLONE_NEWPID | k.CLONE_NEWNS)
        told = _apart(lambda: _closed(calls.detached_mount("proc", (("subset", "pid"),), k.MOUNT_ATTR_RDONLY)))
        if not told["ok"]:
            raise OSError(told["errno"], told["text"], told["call"])

    return act


def _closed(descriptor: int) -> None:
    os.close(descriptor)


def _answers(mode: str) -> Try:
    """Ask who answers each call of the set-up, where possible with the privileges that the set-up has."""

    def act() -> dict[str, Any]:
        from isolate_fn._sys import answers, calls
        from isolate_fn._sys import constants as k

        try:
            _base(mode)
            calls.unshare(k.CLONE_NEWNS | k.CLONE_NEWUTS)
            asked = {**answers.WITHOUT_PRIVILEGE, **answers.WITH_PRIVILEGE}
        except OSError:
            asked = answers.WITHOUT_PRIVILEGE
        return {"answers": {name: answers.answer(name) for name in asked}}

    return act


def _id_mapped(paths: list[str]) -> Try:
    """Make an id-mapped mount of each path, as a privileged caller's isolates get them."""

    def act() -> dict[str, Any]:
        from types import SimpleNamespace

        from isolate_fn._enforce.idmap import mapping_namespace
        from isolate_fn._sys import calls
        from isolate_fn._sys import constants as k

        start = SimpleNamespace(idmap_from=os.geteuid(), outer_id=0x70000000, outer_group=0x70000000)
        proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
        scene: Any = SimpleNamespace(start=start, old_proc=proc)
        users = mapping_namespace(scene)
        calls.unshare(k.CLONE_NEWNS)
        refused = {}
        for path in paths:
            tree = calls.open_tree(k.AT_FDCWD, path, k.OPEN_TREE_CLONE | k.OPEN_TREE_CLOEXEC)
            try:
                calls.mount_setattr(tree, "", k.MOUNT_ATTR_IDMAP, recursive=False, userns=users)
            except OSError as failure:
                refused[path] = failure.errno
            finally:
                os.close(tree)
        return {"refused": refused}

    return act


# --- walls -----------------------------------------------------------------------------------------------------------


def _landlock() -> dict[str, Any]:
    """Put a child under Landlock, and see that a file can then not be read."""
    from isolate_fn._sys import calls
    from isolate_fn._sys import constants as k

    abi = calls.landlock_abi()
    calls.prctl(k.PR_SET_NO_NEW_PRIVS, 1)
    calls.landlock_restrict_self(calls.landlock_create_ruleset(1 << 2, 0, 0, size=8))  # reading files, with no rule
    try:
        with open("/proc/self/status"):
            return {"abi": abi, "holds": False}
    except OSError:
        return {"abi": abi, "holds": True}


def _seccomp() -> dict[str, Any]:
    """Put a child under a filter that answers getppid(2) with an errno, and see that it does."""
    import struct

    from isolate_fn._sys import calls, numbers, this_process_calls
    from isolate_fn._sys import constants as k

    code = this_process_calls.try_seccomp()
    if code:
        raise OSError(code, os.strerror(code), "seccomp")
    verdicts = {"kill_process": 0x80000000, "errno": 0x50000, "user_notif": 0x7FC00000, "log": 0x7FFC0000}
    known: dict[str, int] = {name: this_process_calls.knows_action(verdict) for name, verdict in verdicts.items()}
    calls.prctl(k.PR_SET_NO_NEW_PRIVS, 1)
    number = numbers.table(calls.MACHINE)["getppid"]
    steps = ((0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | 95), (0x06, 0, 0, 0x7FFF0000))
    program = b"".join(struct.pack("=HBBI", *step) for step in steps)
    if known["user_notif"]:
        try:
            allow = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)
            os.close(calls.install_filter(allow, this_process_calls.NEW_LISTENER))
        except OSError as failure:
            known["user_notif"] = failure.errno == 16  # EBUSY: somebody listens already, so it works
            known["listener"] = failure.errno or 0
    calls.seccomp_filter(program)
    # libc's getppid cannot fail, so -1 is what Python makes of it.
    return {"actions": known, "holds": os.getppid() < 0}


def _memory() -> None:
    """Make a memory file and seal it, as results of many bytes travel in one."""
    import fcntl

    try:
        file = os.memfd_create("isolate_fn", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | 8)  # MFD_NOEXEC_SEAL, Linux 6.3
    except OSError:
        file = os.memfd_create("isolate_fn", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(file, 4096)
    fcntl.fcntl(
        file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
    )


def _main(mode: str, paths: list[str]) -> None:
    from isolate_fn._sys import answers  # noqa: F401 - a try may have no file tree left to import it from
    from isolate_fn._sys import constants as k

    flags = {
        "mount": k.CLONE_NEWNS, "pid": k.CLONE_NEWPID, "network": k.CLONE_NEWNET, "ipc": k.CLONE_NEWIPC,
        "uts": k.CLONE_NEWUTS, "cgroup": k.CLONE_NEWCGROUP,
    }  # fmt: skip
    tries = {
        "user": _user,
        **{name: _namespace(mode, flag) for name, flag in flags.items()},
        "mounts": _mounts(mode),
        "proc": _proc(mode),
        "answers": _answers(mode),
        "landlock": _landlock,
        "seccomp": _seccomp,
        "memory": _memory,
        **({"id-mapped": _id_mapped(paths)} if mode == "host" else {}),
    }
    sys.stdout.write(json.dumps({name: _apart(act) for name, act in tries.items()}))


if __name__ == "__main__":
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    _main(sys.argv[1], sys.argv[2:])
