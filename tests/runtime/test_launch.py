"""The process that becomes a spawner is started while the caller compiles, by nobody who may not need it, and once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[..., str]
pytestmark = pytest.mark.needs("namespaces")


def test_a_spawner_started_ahead_is_taken_by_the_first_client(run: Run) -> None:
    printed = run("""
        import work
        prepared = prepare(Policy(timeout=5), start=True)
        first, = launched
        for timeout in (6, 7):  # of the same kind
            prepare(Policy(timeout=timeout), start=True)
        assert launched == [first] and list(launch._ahead().waiting.values()) == [first]
        f = isolated(timeout=8)(work.f)
        assert f() == 1
        client, = pool._pool().spawners.values()
        assert client.control is first.control and client.first_stage == first.first_stage and not launch._ahead().waiting
        prepare(Policy(timeout=9), start=True)
        assert isolated(timeout=10)(work.f)() == 1 and launched == [first]
        prepare(Policy(env={"A": "B"}), start=True)
        print(len(launched), len(launch._ahead().waiting))
    """)
    assert printed == "2 1\n"


@pytest.mark.parametrize("children", ["SIG_DFL", "SIG_IGN"])
def test_where_there_will_be_no_plan_it_is_ended(children: str, run: Run) -> None:
    printed = run(f"""
        import signal, work
        from isolate_fn._plan import compile
        signal.signal(signal.SIGCHLD, signal.{children})
        plain, compile.compile_plan = compile.compile_plan, lambda *given, **named: 1 / 0
        f = isolated(work.f)
        print(type(caught(f)).__name__, len(launched), launch._ahead().waiting, launched[0].control.fileno())
        assert type(caught(os.waitpid, -1, os.WNOHANG)) is ChildProcessError  # no child is left, dead or alive
        until(lambda: not of_session(launched[0].first_stage))
        compile.compile_plan = plain
        print(f(), len(launched))
    """)
    assert printed == "ZeroDivisionError 1 {} -1\n1 2\n"


def test_a_forked_child_leaves_it_to_its_parent(run: Run) -> None:
    printed = run("""
        import work
        prepare(Policy(timeout=5), start=True)
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


def test_what_can_be_refused_without_a_process_starts_none(run: Run) -> None:
    printed = run("""
        import work
        from isolate_fn.rules import SystemIO, Custom
        def refuse(*given, **named):
            raise AssertionError("a process was started")
        os.posix_spawn = os.fork = refuse
        lock = threading.Lock()
        rules = [SystemIO.nothing().allow_stdout(), Custom("writing", "write")]
        for kind, action in [
            (PolicyError, lambda: isolated(mounts=[ro("/not/there")])(work.f)()),
            (PolicyError, lambda: isolated(mounts=[rw("/etc", "/x")])(work.f)()),
            (PolicyError, lambda: sandbox(mounts=[ro("/not/there")])),
            (PolicyError, lambda: isolated(mounts=[ro("/not/there")])(work.f).warm_up()),
            (CallRejected, lambda: isolated(work.f)(lock)),
            (CallRejected, lambda: isolated(lambda: lock)()),
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
