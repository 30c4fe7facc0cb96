"""A worker imports the module of the function that it is meant for, before there is a call."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[..., str]
pytestmark = pytest.mark.needs("namespaces")

TALKATIVE = """
import os
inside = os.path.isdir("/work") and os.getpid() < 20
if inside:
    with open("/proc/thread-self/status") as file:
        walls = {line.split()[0]: line.split()[1] for line in file if line.startswith(("Seccomp:", "NoNewPrivs:"))}
    print("imported", *walls.values(), flush=True)

def f():
    print("called")
    return 1
"""


def test_an_isolate_that_waits_has_imported_the_functions_module_behind_its_walls(run: Run) -> None:
    printed = run(
        """
        import work
        f = isolated(prewarm=0)(work.f)
        f.warm_up(2)
        for isolate in waiting(f):
            until(lambda: sum(map(waiting_in, isolate.pipes)) == len("imported 1 2\\n"))
            assert isolate.calls == 0 and isolate.ready is None
        print("no call yet", len(waiting(f)))
        print([f(), f()], len(waiting(f)))
        print(f())  # one that was not there before imports as well, once
        """,
        work=TALKATIVE,
    )
    assert printed == "no call yet 2\n" + "imported 1 2\ncalled\n" * 2 + "[1, 1] 0\nimported 1 2\ncalled\n1\n"


def test_isolates_that_wait_for_one_function_are_not_given_to_another(run: Run) -> None:
    printed = run(
        """
        import work
        policy = Policy(name="same", prewarm=0)
        f, g, by_value = isolated(policy=policy)(work.f), isolated(policy=policy)(work.g), isolated(policy=policy)(lambda: 3)
        f.warm_up(1)
        assert f._prepared() is g._prepared() and len(waiting(f)) == 1 and not waiting(g)
        assert g() == 2 and by_value() == 3 and len(waiting(f)) == 1
        g.warm_up(1)
        first, = waiting(f)
        second, = waiting(g)
        assert f() == 1 and waiting(g) == [second] and not waiting(f) and first.channel.fileno() == -1
        assert g() == 2 and not waiting(g)
        f.warm_up(1)
        g.warm_up(1)
        g.close()  # of the policy, which is both's
        print(waiting(f), waiting(g))
        """,
        work="def f():\n    return 1\ndef g():\n    return 2\n",
    )
    assert printed == "[] []\n"


@pytest.mark.parametrize("when", ["waiting", "fresh"])
@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("raise ImportError('not here')", "CallRejected: False ImportError: not here"),
        ("import no_such_module_anywhere", "CallRejected: False no module named 'no_such_module_anywhere' there"),
        ("sys.exit(3)", "CallRejected: False SystemExit: 3"),
        ("raise KeyboardInterrupt", "CallRejected: False KeyboardInterrupt: "),
        ("del f", "CallRejected: False has no attribute 'f'"),
        ("os._exit(3)", "Crashed: True 3"),
        ("os.kill(os.getpid(), 9)", "Crashed: True 9"),
    ],
    ids=lambda text: text.partition("(")[0] if not text.startswith("C") else "",
)
def test_an_import_that_fails_is_told_by_the_call(when: str, statement: str, told: str, run: Run) -> None:
    printed = run(
        f"""
        import work
        heard = []
        f = isolated(prewarm=0, output=lambda stream, data: heard.append(data))(work.f)
        if {when!r} == "waiting":
            f.warm_up(1)
            isolate, = waiting(f)
            until(lambda: sum(map(waiting_in, isolate.pipes)))
        else:
            ready = call.make_ready
            def make_ready(isolate, prepared):  # the import goes on while the caller looks at the report; here it is over
                yield from ready(isolate, prepared)
                until(lambda: heard or sum(map(waiting_in, isolate.pipes)))
                {"until(isolate._readable)" if told.startswith("Crashed") else ""}
            call.make_ready = make_ready
        for _ in range(2):
            heard.clear()
            error = caught(f)
            assert b"".join(heard) == b"begun\\n", heard  # once
            problem = getattr(error, "problem", None) or str(error.exit_code or error.signal)
            print(f"{{type(error).__name__}}: {{error.ran}} {{problem}}")
        """,
        work=f"""
        import os, sys
        def f():
            return 1
        if os.path.isdir("/work") and os.getpid() < 20:
            print("begun", flush=True)
            {statement}
        """,
    )
    kind, _, text = told.partition(" ")
    for line in printed.splitlines():
        assert line.startswith(kind)
        assert line.endswith(text.partition(" ")[2]), printed
    assert len(printed.splitlines()) == 2


def test_a_worker_that_nobody_calls_rehearses_and_its_call_does_not_notice(run: Run) -> None:
    """A call of nothing: nobody is sent an answer, and nothing of it is there when a call comes."""
    printed = run(
        """
        import work
        f = isolated(prewarm=0)(work.f)
        f.warm_up(1)
        isolate, = waiting(f)
        until(lambda: sum(map(waiting_in, isolate.pipes)) == len("rehearsed (0, '', [None])\\n"))
        assert isolate.calls == 0 and isolate.ready is None
        print(f([7], key="value"))
        """,
        work="""
        import os
        if os.path.isdir("/work") and os.getpid() < 20:
            from isolate_fn._runtime import rehearsal
            rehearsal.nothing = lambda *given: print("rehearsed", given)

        def f(*args, **kwargs):
            from isolate_fn._runtime import rehearsal, serve
            return args, kwargs, rehearsal.PART in serve._expected, serve._current[0].__name__, len(serve._functions)
        """,
    )
    assert printed == "rehearsed (0, '', [None])\n(([7],), {'key': 'value'}, False, 'f', 1)\n"
