"""The floor of a cold script under exec-first: three interpreters that import nothing of ours, and nothing in between.

The script's own starts a first one, which executes a second one, as the read-only executable demands; that one answers the
call itself. No namespaces, no file tree, no isolate, no plan, no check, and each starts the next before it does anything
else. With the argument ``value`` the last one and the script import cloudpickle, both at the same time.
"""

import os
import sys

STARTED = "import os, sys; os.execv(sys.executable, [sys.executable, '-I', '-S', '-c', sys.argv[1], *sys.argv[2:]])"
ANSWER = (
    "import sys, os; way, library = sys.argv[1:]; sys.path.append(library)\n"
    "if way == 'value': import cloudpickle\n"
    "os.write(1, b'%d' % (int(os.read(0, 99)) + 1))"
)


def main() -> None:
    """Start, ask, read."""
    way = sys.argv[1]
    there, question = os.pipe()
    answer, back = os.pipe()
    executable = os.path.realpath(sys.executable)
    library = next((path for path in sys.path if path.endswith("site-packages")), "")
    os.posix_spawn(
        executable,
        [executable, "-I", "-S", "-c", STARTED, ANSWER, way, library],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, there, 0), (os.POSIX_SPAWN_DUP2, back, 1)],
    )
    if way == "value":
        import cloudpickle

        cloudpickle.dumps(lambda number: number + 1)
    os.write(question, b"1")
    assert os.read(answer, 99) == b"2"


main()
