"""The process that becomes a spawner is started while the caller compiles, by nobody who may not need it, and once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., str]
pytestmark = pytest.mark.needs("namespaces")


def test_a_spawner_started_ahead_is_taken_by_the_first_client(run: Run) -> None:
    printed = run("""
        import work
        for timeout in (5, 6, 7):  # of the same kind
            with LaunchedAhead(Policy(timeout=timeout)):
                first, = launched
        assert launched == [first] and list(launch._ahead().waiting.values()) == [first]
        f = isolated(timeout=8)(work.f)
        assert f() == 1
        client, = pool._pool().spawners.values()
        assert client.control is first.control and client.first_stage == first.first_stage and not launch._ahead().waiting
        assert isolated(timeout=10)(work.f)() == 1 and launched == [first]
        with LaunchedAhead(Policy(env={"A": "B"})):
            pass
        print(len(launched), len(launch._ahead().waiting))
    """)
    assert printed == "2 1\n"


@pytest.mark.parametrize("children", ["SIG_DFL", "SIG_IGN"])
def test_where_there_will_be_no_plan_it_is_ended(children: str, run: Run) -> None:
    printed = run(f"""
        import signal, work
        from isolate_fn._api import prepare as preparing
        signal.signal(signal.SIGCHLD, signal.{children})
        plain, preparing.compile_plan = preparing.compile_plan, lambda *given, **named: 1 / 0
        f = isolated(work.f)
        print(type(caught(f)).__name__, len(launched), launch._ahead().waiting, launched[0].control.fileno())
        assert type(caught(os.waitpid, -1, os.WNOHANG)) is ChildProcessError  # no child is left, dead or alive
        until(lambda: not of_session(launched[0].first_stage))
        preparing.compile_plan = plain
        print(f(), len(launched))
    """)
    assert printed == "ZeroDivisionError 1 {} -1\n1 2\n"


def test_a_forked_child_leaves_it_to_its_parent(run: Run) -> None:
    printed = run("""
        import work
        with LaunchedAhead(Policy(timeout=5)):
            first, = launched
        f = isolated(timeout=5)(work.f)
        here, there = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(there)
            assert first.control.fileno() == -1 and not launch._ahead().waiting
            assert f() == 1 and len(launched) == 2
            print("child", flush=True)
            os.read(here, 1)
            sys.exit()
        until(lambda: of_session(first.first_stage))
        assert list(launch._ahead().waiting.values()) == [first]
        launch.drop(first.key)  # seen at the other end although the child lives
        until(lambda: not of_session(first.first_stage))
        print(f(), flush=True)
        os.close(there)
        assert os.waitpid(pid, 0)[1] == 0
    """)
    assert sorted(printed.split()) == ["1", "child"]


def test_what_functions_by_value_need_is_imported_ahead(run: Run) -> None:
    printed = run("""
        hint, hints = launch.hint, []
        launch.hint = lambda key, module: hints.append(module) or hint(key, module)
        import work
        first = isolated(lambda: "by value")
        print(first(), hints, len(launched))
        print(isolated(lambda: "again")(), isolated(work.f)(), hints)  # nothing is launched any more
    """)
    assert printed == "by value ['cloudpickle'] 1\nagain 1 ['cloudpickle']\n"


@pytest.mark.parametrize("module", ["no_such_module_anywhere", "fails"])
def test_a_hint_that_leads_nowhere_harms_nobody(module: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "fails.py").write_text("1 / 0")
    printed = run(f"""
        import work
        with LaunchedAhead(Policy()) as ahead:
            launch.hint(ahead.key, {module!r})
        launch.hint(ahead.key._replace(interpreter="/not/there"), {module!r})
        print(isolated(work.f)(), len(launched))
        launch.hint(ahead.key, {module!r})  # it is taken: too late, and nothing happens
        print(isolated(work.f)())
    """)
    assert printed == "1 1\n1\n"


REFUSED = """
        from isolate_fn.rules import SystemIO, Custom
        lock = threading.Lock()
        rules = [SystemIO.nothing().allow_stdout(), Custom("writing", "write")]"""


def test_a_first_call_that_is_refused_leaves_no_process(run: Run) -> None:
    printed = run(REFUSED + """
        import work
        for kind, function, given in [
            (PolicyError, isolated(mounts=[ro("/not/there")])(work.f), ()),
            (PolicyError, isolated(mounts=[rw("/etc", "/x")])(work.f), ()),
            (CallRejected, isolated(work.f), (lock,)),
            (CallRejected, isolated(lambda: lock), ()),
        ]:
            error = caught(function, *given)
            assert type(error) is kind and error.ran is False, repr(error)
            assert type(caught(os.waitpid, -1, os.WNOHANG)) is ChildProcessError
            until(lambda: not of_session(launched[-1].first_stage))
        print(len(launched), launch._ahead().waiting, isolated(work.f)())
    """)
    assert printed == "4 {} 1\n"


def test_what_makes_no_call_and_what_may_contradict_itself_starts_nothing_ahead(run: Run) -> None:
    printed = run(REFUSED + """
        import work
        def refuse(*given, **named):
            raise AssertionError("a process was started")
        os.posix_spawn = os.fork = refuse
        for kind, action in [
            (PolicyError, lambda: sandbox(mounts=[ro("/not/there")])),
            (PolicyError, lambda: isolated(mounts=[ro("/not/there")])(work.f).warm_up()),
            (ConflictingRules, lambda: isolated(rules=rules)(work.f)()),
        ]:
            error = caught(action)
            assert type(error) is kind and error.ran is False, repr(error)
        sandbox()
        isolated(work.f).close()
        print(launched)
        try:
            isolated(work.f)()
        except AssertionError as control:
            print(control)
    """)
    assert printed == "[]\na process was started\n"


# --- what the spawner is started with --------------------------------------------------------------------------------


def test_the_variable_that_binds_symbols_stays_outside(run: Run) -> None:
    printed = run(
        """
        import ctypes, work
        for options, found in (({}, None), ({"env": {"LD_BIND_NOW": "mine"}}, "mine"), ({"env": {"LD_BIND_NOW": ""}}, "")):
            for more in ({}, {"fresh_exec": True}):
                assert isolated(prewarm=0, **options, **more)(work.f)() == (found, found), (options, more)
            with sandbox(**options) as box:
                shown = box.run(["env"], capture_output=True, text=True).stdout.splitlines()
                assert [line for line in shown if "BIND" in line] == [f"LD_BIND_NOW={found}"] * (found is not None), shown
        print("as asked")
        """,
        work="""
        import ctypes, os
        def f():
            get = ctypes.CDLL(None).getenv
            get.restype = ctypes.c_char_p
            found = get(b"LD_BIND_NOW")
            return os.environ.get("LD_BIND_NOW"), None if found is None else found.decode()
        """,
        env={"LD_BIND_NOW": "1"},
    )
    assert printed == "as asked\n"


SPECULATION = {
    "Speculation_Store_Bypass": "thread force mitigated",
    "SpeculationIndirectBranch": "conditional force disabled",
}


@pytest.mark.parametrize("field", SPECULATION)
def test_speculation_is_switched_off_with_fresh_exec_alone(field: str, run: Run) -> None:
    with open("/proc/self/status", encoding="ascii") as file:
        outside = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line).get(field, "not reported")
    if not outside.startswith(("thread ", "conditional ")) or "force" in outside:
        pytest.skip(f"{field} is no choice of a task's here: {outside}")
    printed = run(
        "import work\nprint(isolated(work.f)(), isolated(fresh_exec=True)(work.f)(), sep='\\n')\n",
        work=f"""
        def f():
            with open("/proc/self/status") as file:
                return next(line.rstrip().split(":\\t")[1] for line in file if line.startswith("{field}:"))
        """,
    )
    assert printed.splitlines() == [outside, SPECULATION[field]]
