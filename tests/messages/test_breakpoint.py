"""breakpoint() of isolated code is answered from the caller's terminal, where that was asked for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[..., str]
pytestmark = pytest.mark.needs("namespaces")

STOPS = """
def f(number):
    doubled = number * 2
    breakpoint()
    return doubled
"""


@pytest.mark.parametrize("reuse", [False, True])
def test_a_dialogue_with_the_debugger(reuse: bool, run: Run) -> None:
    printed = run(
        f"print(isolated(reuse={reuse})(work.f)(21))",
        STOPS,
        stdin="p doubled + 1\np '\\x1b[2J'\ndoubled = 7\nc\n",
        env={"ISOLATE_FN_BREAKPOINT": "1"},
    )
    assert "work.py(4)f()" in printed or "work.py(5)f()" in printed  # from 3.13 on it stops at the call itself
    assert "(Pdb) 43" in printed
    assert "\x1b" not in printed
    assert printed.endswith("7\n")


def test_the_end_of_input_ends_the_debugger(run: Run) -> None:
    printed = run(
        "print(type(caught(isolated(work.f), 1)).__name__)", STOPS, env={"ISOLATE_FN_BREAKPOINT": "1"}
    )
    assert printed.endswith(("BdbQuit\n", "RemoteError\n"))


@pytest.mark.parametrize("env", [{}, {"ISOLATE_FN_BREAKPOINT": "1", "PYTHONBREAKPOINT": "0"}])
def test_without_being_asked_for_nobody_reads_the_terminal(env: dict[str, str], run: Run) -> None:
    printed = run(
        """
        error = caught(isolated(work.f), 1)
        print(type(error).__name__, "ISOLATE_FN_BREAKPOINT=1" in str(error), repr(sys.stdin.read()))
        """,
        STOPS,
        stdin="secret\n",
        env=env,
    )
    assert printed == "RuntimeError True 'secret\\n'\n"


def test_a_worker_that_asks_by_itself_reads_nothing(run: Run) -> None:
    printed = run(
        "print(isolated(work.f)(), repr(sys.stdin.read()))",
        """
        import os, struct
        def f():
            data = b'{"what": "line"}'
            os.write(3, struct.pack("<4sBBHIQQ", b"IFN1", 13, 0, 0, 0, len(data), 0) + data)
            return os.read(3, 1000)[28:]
        """,
        stdin="secret\n",
    )
    assert printed == "b'' 'secret\\n'\n"
