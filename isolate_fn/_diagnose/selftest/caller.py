"""Callers that are thrown away: some are killed, some lack something that walls need. Run as a module it is one.

``wait WORD`` makes a call that never returns, and says when it runs under that name; ``wait-plain WORD`` starts a
plain process instead. ``attempt`` reads a list of what shall be missing from stdin, makes one call for each and prints how
it ended.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import struct
import subprocess
import sys
import threading
import time
from typing import Any

from isolate_fn._api.decorator import isolated
from isolate_fn._diagnose.selftest import native
from isolate_fn._diagnose.selftest.survivors import deaf, named
from isolate_fn._runtime import lifetime
from isolate_fn.errors import IsolationError
from isolate_fn.policy.mounts import ro, rw

_SECCOMP_ERRNO, _SECCOMP_ALLOW = 0x50000, 0x7FFF0000
_NEWNS, _MS_REC, _MS_PRIVATE = 0x20000, 0x4000, 1 << 18


def main() -> None:
    """Be the caller."""
    what, *words = sys.argv[1:]
    if what == "wait":
        _wait(words[0])
    elif what == "wait-plain":
        _wait_plain(words[0])
    else:
        _attempts(json.loads(sys.stdin.read()))


def _wait(name: str) -> None:
    threading.Thread(target=isolated(prewarm=0)(deaf), args=(name,), daemon=True).start()
    deadline = time.monotonic() + 20
    while not (found := named(name)) and time.monotonic() < deadline:
        time.sleep(0.01)
    sys.stdout.write(f"{found}\n")
    sys.stdout.flush()
    time.sleep(60)


def _wait_plain(name: str) -> None:
    code = "import ctypes, sys, time; ctypes.CDLL(None).prctl(15, sys.argv[1].encode()); print(1, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", code, name], start_new_session=True):
        time.sleep(60)


def _attempts(words: list[dict[str, Any]]) -> None:
    """Make each attempt in a fork, with a spawner of its own: what it takes from itself is taken from no other."""
    for each in words:
        pid = os.fork()
        if pid == 0:
            try:
                sys.stdout.write(json.dumps(_attempt(each)) + "\n")
                sys.stdout.flush()
                lifetime._at_exit()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)


def _attempt(words: dict[str, Any]) -> dict[str, Any]:
    unable = _prepare(words)
    if unable:
        return {"unable": unable}
    marker = words["marker"]
    if words.get("plain"):
        return {"found": native.write(words["write"], b"attack", os.O_WRONLY | os.O_CREAT)}
    place = os.path.dirname(marker)
    mounts = [rw(place), *(ro(path, "/shared") for path in words.get("shared", ()))]
    function = isolated(prewarm=0, mounts=mounts, output="discard", timeout=30)(act)
    result: dict[str, Any] = {"error": "", "ran": True, "remedy": "", "text": "", "found": None, "dropped": [],
                              "engine": ""}
    try:
        result["found"] = function(marker, words.get("write", ""))
        enforcement = function.enforcement()
        result |= {"dropped": list(enforcement.dropped), "engine": enforcement.engine}
    except IsolationError as error:
        result |= {"error": type(error).__name__, "ran": error.ran, "remedy": error.remedy, "text": str(error)}
    result["marker"] = os.path.exists(marker)
    if result["marker"]:
        os.unlink(marker)
    return result


def act(marker: str, write: str) -> int:
    """Show that the function runs; then write to a file, where one is named."""
    os.close(os.open(marker, os.O_WRONLY | os.O_CREAT, 0o600))
    return native.write(write, b"attack", os.O_WRONLY | os.O_CREAT) if write else 0


def _prepare(words: dict[str, Any]) -> str:
    """Take something away from this process; return why that is impossible here."""
    if words.get("mount"):
        return _mount_below(words["mount"])
    if words.get("files"):
        resource.setrlimit(resource.RLIMIT_NOFILE, (words["files"], words["files"]))
    if words.get("deny"):
        return deny(*words["deny"])
    return ""


def _mount_below(path: str) -> str:
    """Mount a file system below a directory, in a mount namespace of this process's own."""
    user, group = os.geteuid(), os.getegid()
    flags = _NEWNS | (0 if user == 0 else native.CLONE_NEWUSER)
    failed = native.call("unshare", flags)
    if failed < 0:
        return f"unshare(2): {os.strerror(-failed)}"
    if user:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            native.write(f"/proc/self/{name}", text.encode())
    native.call("mount", 0, "/", 0, _MS_REC | _MS_PRIVATE, 0)
    failed = native.call("mount", "selftest", path, "tmpfs", 0, b"mode=777,size=1m")
    return f"mount(2): {os.strerror(-failed)}" if failed < 0 else ""


def deny(name: str, code: int, first: int) -> str:
    """Put this process, and all it starts, under a filter that answers one system call with an errno.

    Args:
        name: of the call.
        code: the errno.
        first: value of the call's first argument for which this counts; -1 for any.

    Returns:
        Why it could not be done, or "".
    """
    from isolate_fn._sys.numbers import table

    def test(value: int, skip: int) -> bytes:
        return struct.pack("=HBBI", 0x15, 0, skip, value & 0xFFFFFFFF)

    def load(offset: int) -> bytes:
        return struct.pack("=HBBI", 0x20, 0, 0, offset)

    number = table(os.uname().machine)[name]
    program = load(0) + test(number, 1 if first < 0 else 3)
    program += b"" if first < 0 else load(16) + test(first, 1)
    program += struct.pack("=HBBI", 6, 0, 0, _SECCOMP_ERRNO | code) + struct.pack("=HBBI", 6, 0, 0, _SECCOMP_ALLOW)
    memory = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", len(program) // 8, ctypes.addressof(memory)))
    native.call("prctl", 38, 1, 0, 0, 0)
    failed = native.call("prctl", 22, 2, header, 0, 0)
    return f"prctl(PR_SET_SECCOMP): {os.strerror(-failed)}" if failed < 0 else ""


if __name__ == "__main__":
    main()
