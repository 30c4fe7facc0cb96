"""The file that a spawner's interpreter is started with: close everything, wall off the executable, become the spawner.

Two stages. The first enters a mount namespace in which the interpreter's own file is bound read-only onto itself (and,
without privileges, the user namespace that allows this), and executes it again from there: from then on
``/proc/self/exe`` of every isolate leads to a read-only mount (CVE-2019-5736 and its relatives chmod, utime, setxattr).
It does so in a child that is PID 1 of a pid namespace: whatever ends the spawner, SIGKILL included, ends its isolates,
and the caller has no child of its own to reap. It also leaves the namespaces that isolates will leave: without privileges
there is no way back into the host's. The second stage is the spawner. (A third starts a worker
with ``fresh_exec``.)

Run as ``python -I -S launcher.py 1 MODE NAMESPACES``; what else it needs to know comes over the control socket first, so
the argument vector tells nothing.
"""

import gc
import os
import signal
import sys

_CONTROL = 3
_BIND = "LD_BIND_NOW"


def _first_stage() -> None:
    from isolate_fn._sys import calls
    from isolate_fn._sys import constants as k

    calls.close_from(_CONTROL + 1)
    os.umask(0o022)  # the caller's could hide the file tree from the user that isolates run under
    uid, gid = os.geteuid(), os.getegid()
    executable = os.path.realpath(f"/proc/{os.getpid()}/exe")
    if sys.argv[2] == "own":
        calls.unshare(k.CLONE_NEWUSER | k.CLONE_NEWNS | k.CLONE_NEWPID | int(sys.argv[3]))
        # As 0, or the second exec would take the new capabilities away again (capabilities(7)); only our code runs so.
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as target:
                target.write(text)
    else:
        calls.unshare(k.CLONE_NEWNS | k.CLONE_NEWPID | int(sys.argv[3]))
    os.chdir("/")
    # Slave: what the host mounts later can still be granted; nothing mounted here reaches the host.
    calls.mount("", "/", flags=k.MS_REC | k.MS_SLAVE)
    calls.mount(executable, executable, flags=k.MS_BIND)
    flags = _locked_flags(executable)
    calls.mount("", executable, flags=k.MS_REMOUNT | k.MS_BIND | k.MS_RDONLY | flags)
    if os.fork():
        os._exit(0)
    # Every fork would bind each symbol that it uses by itself, in a copy of the page that holds it (ld.so(8)).
    whose = "theirs" if _BIND in os.environ else "ours"
    os.environ[_BIND] = os.environ.get(_BIND, "1")
    os.execv(executable, [sys.orig_argv[0], "-I", "-S", __file__, "2", whose])  # noqa: S606


def _locked_flags(path: str) -> int:
    """Return the mount flags that a less privileged mount namespace must repeat in a remount (mount_namespaces(7))."""
    from isolate_fn._sys import constants as k

    state = os.statvfs(path).f_flag
    flags = 0
    for bit, flag in ((2, k.MS_NOSUID), (4, k.MS_NODEV), (8, k.MS_NOEXEC), (1024, k.MS_NOATIME), (2048, k.MS_NODIRATIME)):
        flags |= flag if state & bit else 0
    return flags | (k.MS_RELATIME if state & 4096 else 0)


def _report(failure: BaseException) -> None:
    """Tell the caller why there will be no spawner: one line on the control socket."""
    code = getattr(failure, "errno", None) or 0
    call = getattr(failure, "filename", None) or ""
    text = f"!{code}\t{call}\t{type(failure).__name__}: {failure}\n"
    try:
        os.write(_CONTROL, text.encode("utf-8", "replace"))
    except OSError:
        pass


def _second_stage() -> None:
    if sys.argv[2] == "ours":
        del os.environ[_BIND]
    import pickle

    from isolate_fn._runtime import spawner

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        # Ctrl-C in a terminal is the caller's to handle; the end of the control socket is what ends us.
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    length = int.from_bytes(_exactly(4), "little")
    told = pickle.loads(_exactly(length))  # noqa: S301 - the caller is trusted
    sys.path[:] = told["sys_path"]
    for name in told["preload"]:
        __import__(name)
    if told["later"]:
        from isolate_fn._enforce import preload

        preload.load_what_comes_later()
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise RuntimeError(
            f"preload={told['preload']!r} started {threads - 1} threads; a spawner that forks must have one "
            "(set OPENBLAS_NUM_THREADS=1, OMP_NUM_THREADS=1 in env=..., or do not preload it)"
        )
    os.write(_CONTROL, b"+\n")
    spawner.main(_CONTROL, told["idle_timeout"], told["namespaces"])


def _inside() -> None:
    """The worker of an isolate with fresh_exec, executed anew behind its walls."""
    from isolate_fn._runtime import worker

    worker.resume()


def _exactly(count: int) -> bytes:
    parts = b""
    while len(parts) < count:
        part = os.read(_CONTROL, count - len(parts))
        if not part:
            os._exit(0)
        parts += part
    return parts


def _start() -> None:
    gc.disable()  # what is imported now stays
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    try:
        {"1": _first_stage, "2": _second_stage, "3": _inside}[sys.argv[1]]()
    except BaseException as failure:
        _report(failure)
    os._exit(1)


if __name__ == "__main__":
    _start()
