"""The file that a spawner's interpreter is started with: close everything, wall off the executable, become the spawner.

Two stages. The first enters a mount namespace in which the interpreter's own file is bound read-only onto itself (and,
without privileges, the user namespace that allows this), and executes it again from there: from then on
``/proc/self/exe`` of every isolate leads to a read-only mount (CVE-2019-5736 and its relatives chmod, utime, setxattr).
It does so in a child that is PID 1 of a pid namespace: whatever ends the spawner, SIGKILL included, ends its isolates,
and the caller has no child of its own to reap. It also leaves the namespaces that isolates will leave: without privileges
there is no way back into the host's. The second stage is the spawner. (A third starts a worker
with ``fresh_exec``.)

Run as ``python -I -S launcher.py 1 MODE NAMESPACES``; what else it needs to know comes over the control socket first, so
the argument vector tells nothing. A cold start waits for both stages, and Python compiles the file that it is started
with each time: hence a short file, modules of their own for the stages, and few imports in those.
"""

import gc
import posix
import sys

_CONTROL = 3


def _stage(number: str) -> None:
    """Carry out a stage; none of them returns."""
    if number == "1":
        from isolate_fn._runtime import first_stage

        first_stage.run(sys.argv[2], int(sys.argv[3]), __file__)
    elif number == "2":
        from isolate_fn._runtime import second_stage

        second_stage.run(sys.argv[2])
    else:  # the worker of an isolate with fresh_exec, executed anew behind its walls
        from isolate_fn._runtime import worker

        worker.resume()


def _report(failure: BaseException) -> None:
    """Tell the caller why there will be no spawner: one line on the control socket."""
    code = getattr(failure, "errno", None) or 0
    call = getattr(failure, "filename", None) or ""
    filtered = "F" if getattr(failure, "filtered", False) else ""
    text = f"!{code}{filtered}\t{call}\t{type(failure).__name__}: {failure}\n"
    try:
        posix.write(_CONTROL, text.encode("utf-8", "replace"))
    except OSError:
        pass


def _start() -> None:
    gc.disable()  # what is imported now stays
    sys.path.append(__file__.rsplit("/", 3)[0])  # the caller gives an absolute path
    try:
        _stage(sys.argv[1])
    except BaseException as failure:
        _report(failure)
    posix._exit(1)


if __name__ == "__main__":
    _start()
