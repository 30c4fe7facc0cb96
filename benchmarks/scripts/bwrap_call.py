"""One sandboxed call without isolate_fn, both processes: a script that starts bwrap with an interpreter that is sent the call.

Its arguments are the command of the sandbox and ``name`` or ``value``. What comes back is unpickled, which ours never does.
"""

import pickle
import subprocess
import sys

RECEIVE = (
    "import pickle, sys; call, number = pickle.load(sys.stdin.buffer); pickle.dump(call(number), sys.stdout.buffer)"
)


def add_here(number: int) -> int:
    return number + 1


def main() -> None:
    """Send the call in, read the answer."""
    *sandbox, way = sys.argv[1:]
    if way == "value":
        import cloudpickle

        sent = cloudpickle.dumps((add_here, 1))
    else:
        from measured import add

        sent = pickle.dumps((add, 1))
    done = subprocess.run([*sandbox, sys.executable, "-c", RECEIVE], input=sent, stdout=subprocess.PIPE, check=True)
    assert pickle.loads(done.stdout) == 2


main()
