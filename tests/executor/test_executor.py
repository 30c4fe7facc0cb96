"""What `IsolatedExecutor` has beyond other executors: tasks that die alone, policies, initializers, a real cancel."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Future
from pathlib import Path
from typing import Any

import executor_tasks as tasks
import pytest

from isolate_fn import IsolatedExecutor, Limits, Policy, isolated, ro, rw
from isolate_fn._runtime import lifetime
from isolate_fn.errors import CallRejected, Crashed, LimitExceeded, PolicyError, TimedOut, Unsupported
from isolate_fn.rules import BasicCapabilities, ForkAndExec, SystemIO

FOR_EVER = 600


def running(future: Future[Any]) -> Future[Any]:
    while not future.running():
        assert not future.done(), future
        time.sleep(0.001)
    return future


def inits() -> list[int]:
    """Return handles of the first process of every isolate there is."""
    return [os.dup(held.pidfd) for held in list(lifetime._held) if getattr(held, "pidfd", -1) >= 0]


@pytest.fixture(params=[False, True], ids=["fresh", "reused"])
def reuse(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


# --- tasks that die ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["abort", "exit", "kill", "close"])
def test_a_task_that_dies_fails_alone(how: str, reuse: bool) -> None:
    with IsolatedExecutor(2, reuse=reuse) as executor:
        executor.submit(int).result()
        other = running(executor.submit(time.sleep, FOR_EVER))
        dead = executor.submit(tasks.end, how)
        error = dead.exception()
        assert other.running()
        assert executor.submit(tasks.mul, 6, 7).result() == 42
        other.cancel()
    assert isinstance(error, Crashed)
    assert error.ran


def test_every_task_of_many_dies(reuse: bool) -> None:
    with IsolatedExecutor(3, reuse=reuse) as executor:
        futures = [executor.submit(tasks.end, "kill") for _ in range(20)]
        assert {type(future.exception()) for future in futures} == {Crashed}
        assert list(executor.map(abs, range(-5, 0))) == [5, 4, 3, 2, 1]


def test_the_first_process_of_an_isolate_cannot_be_killed_from_inside() -> None:
    with IsolatedExecutor(1) as executor:
        assert executor.submit(tasks.attack_init).result() == "alive"


def test_a_limit_fails_the_task_by_its_name() -> None:
    with IsolatedExecutor(1, limits=Limits(output=100), output="discard") as executor:
        with pytest.raises(LimitExceeded) as caught:
            executor.submit(tasks.say, "x" * 1000).result()
        assert caught.value.limit == "output"
        executor.submit(tasks.say, "x").result()


def test_the_timeout_is_each_tasks_own() -> None:
    with IsolatedExecutor(1, timeout=3) as executor:
        futures = [executor.submit(time.sleep, FOR_EVER), executor.submit(tasks.mul, 2, 3)]
        assert isinstance(futures[0].exception(), TimedOut)
        assert futures[1].result() == 6


# --- cancelling --------------------------------------------------------------------------------------------------------


def test_cancelling_a_running_task_kills_its_tree(tmp_path: Path, reuse: bool) -> None:
    with IsolatedExecutor(2, mounts=[rw(tmp_path, "/out")], reuse=reuse) as executor:
        future = executor.submit(tasks.grow, "/out/file")
        files = [tmp_path / "file", tmp_path / "file.thread"]
        while not all(file.exists() and file.stat().st_size > 3 for file in files):
            assert not future.done(), future.exception()
            time.sleep(0.001)
        handles = inits()
        assert future.cancel()
        assert future.cancelled()
        with pytest.raises(CancelledError):
            future.result()
        assert concurrent.futures.wait([future]).done == {future}
        sizes = [file.stat().st_size for file in files]
        assert select.select(handles, (), (), 0)[0]
        for handle in handles:
            os.close(handle)
        assert list(executor.map(abs, range(10))) == list(range(10))  # some writes' time later
        assert [file.stat().st_size for file in files] == sizes


def test_cancelling_kills_children_that_left_their_session(tmp_path: Path) -> None:
    rules = [BasicCapabilities(), SystemIO.everything(), ForkAndExec(), "setsid", "clock_nanosleep"]
    with IsolatedExecutor(1, mounts=[rw(tmp_path, "/out")], rules=rules) as executor:
        future = executor.submit(tasks.grow_with_child, "/out/file")
        files = [tmp_path / "file", tmp_path / "file.child"]
        while not all(file.exists() and file.stat().st_size > 3 for file in files):
            assert not future.done(), future.exception()
            time.sleep(0.001)
        assert future.cancel()
        assert concurrent.futures.wait([future]).done == {future}
        sizes = [file.stat().st_size for file in files]
        assert executor.submit(tasks.mul, 2, 3).result() == 6
        assert [file.stat().st_size for file in files] == sizes


def test_cancelling_what_waits_and_what_is_over(tmp_path: Path) -> None:
    with IsolatedExecutor(1, mounts=[rw(tmp_path, "/out")]) as executor:
        first = running(executor.submit(time.sleep, FOR_EVER))
        waiting = executor.submit(tasks.grow, "/out/file")
        assert waiting.cancel()
        assert waiting.cancel()
        assert first.cancel()
        last = executor.submit(tasks.mul, 2, 3)
        assert last.result() == 6
        assert not last.cancel()
        assert last.result() == 6
        assert concurrent.futures.wait([first, waiting]).not_done == set()
    assert not list(tmp_path.iterdir())


def test_cancelling_from_many_threads_calls_back_once() -> None:
    with IsolatedExecutor(4) as executor:
        called: list[Future[None]] = []
        futures = [executor.submit(time.sleep, FOR_EVER) for _ in range(24)]
        for future in futures:
            future.add_done_callback(called.append)
        start = threading.Barrier(8)
        answers: list[bool] = []

        def cancel() -> None:
            start.wait()
            answers.extend([future.cancel() for future in futures])

        threads = [threading.Thread(target=cancel) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [True] * 8 * len(futures)
        assert concurrent.futures.wait(futures).not_done == set()
        assert sorted(map(id, called)) == sorted(map(id, futures))
        assert executor.submit(tasks.mul, 2, 3).result() == 6


@pytest.mark.parametrize("pause", [0, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016])
def test_cancelling_at_any_moment_ends_the_future(pause: float, reuse: bool) -> None:
    with IsolatedExecutor(2, reuse=reuse) as executor:
        for _ in range(6):
            future = executor.submit(tasks.mul, 2, 3)
            time.sleep(pause)
            if future.cancel():
                assert future.cancelled()
                assert concurrent.futures.wait([future]).done
            else:
                assert future.result() == 6
        assert executor.submit(tasks.mul, 2, 3).result() == 6


def test_an_exception_in_a_callback_does_not_stop_the_work() -> None:
    with IsolatedExecutor(1) as executor:

        def leave(future: Future[Any]) -> None:
            raise SystemExit(3)

        first = running(executor.submit(time.sleep, 0.2))
        first.add_done_callback(leave)
        assert [executor.submit(tasks.mul, n, n) for n in range(3)][-1].result() == 4


def test_a_result_set_by_somebody_else_does_not_stop_the_work() -> None:
    with IsolatedExecutor(1) as executor:
        first = running(executor.submit(time.sleep, 0.2))
        waiting: Future[Any] = executor.submit(tasks.mul, 2, 3)
        waiting.set_result("mine")
        first.set_result("mine")
        assert executor.submit(tasks.mul, 2, 4).result() == 8
        assert (first.result(), waiting.result()) == ("mine", "mine")


# --- the initializer ---------------------------------------------------------------------------------------------------


def test_the_initializer_runs_once_in_each_isolate() -> None:
    with IsolatedExecutor(1, initializer=tasks.start_with_files, initargs=("x",), reuse=2) as executor:
        read = [executor.submit(tasks.read, "initialized").result() for _ in range(4)]
        names = [executor.submit(tasks.name_of_isolate).result() for _ in range(4)]
    assert read == ["x"] * 4
    assert names[0] == names[1] != names[2] == names[3]  # the initializer is none of the two calls
    with IsolatedExecutor(1, initializer=tasks.start_with_files, initargs=("y",)) as executor:
        assert [executor.submit(tasks.read, "initialized").result() for _ in range(3)] == ["y"] * 3


def test_an_initializer_of_any_kind() -> None:
    keep = {"key": "closure"}

    def here(value: str) -> None:
        tasks.INITIALIZER_STATUS = value + keep["key"]

    for initializer in (here, functools.partial(here), isolated(here)):
        with IsolatedExecutor(1, initializer=initializer, initargs=["a "]) as executor:
            assert executor.submit(tasks.get_init_status).result() == "a closure"


@pytest.mark.parametrize(
    ("initializer", "arguments", "options", "cause"),
    [
        (tasks.init_fail, (), {}, ValueError),
        (tasks.end, ("kill",), {}, Crashed),
        (tasks.leave, (), {}, Exception),
        (time.sleep, (FOR_EVER,), {"timeout": 0.2}, TimedOut),
        (tasks.init, (threading.Lock(),), {}, CallRejected),
        (tasks.say, ("x" * 1000,), {"limits": Limits(output=100), "output": "discard"}, LimitExceeded),
    ],
    ids=["raises", "dies", "exits", "takes too long", "cannot be sent", "breaks a limit"],
)
def test_a_failing_initializer_breaks_the_executor(
    initializer: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any], cause: type[Exception]
) -> None:
    with IsolatedExecutor(1, initializer=initializer, initargs=arguments, **options) as executor:
        futures = [executor.submit(tasks.mul, 2, 3) for _ in range(3)]
        assert {type(future.exception()) for future in futures} == {BrokenExecutor}
        for future in futures:
            error = future.exception()
            assert error is not None
            assert isinstance(error.__cause__, cause)
        with pytest.raises(BrokenExecutor) as refused:
            executor.submit(tasks.mul, 2, 3)
        assert isinstance(refused.value.__cause__, cause)


def test_cancelling_while_the_initializer_runs_breaks_nothing(tmp_path: Path) -> None:
    def begin() -> None:
        if not os.path.exists("/out/begun"):
            with open("/out/begun", "w"):
                time.sleep(FOR_EVER)

    with IsolatedExecutor(1, initializer=begin, mounts=[rw(tmp_path, "/out")]) as executor:
        future = executor.submit(tasks.mul, 2, 3)
        while not (tmp_path / "begun").exists():
            assert not future.done(), future.exception()
            time.sleep(0.001)
        assert future.cancel()
        assert executor.submit(tasks.mul, 2, 3).result() == 6


def test_a_failing_task_is_no_failing_initializer() -> None:
    with IsolatedExecutor(1, initializer=tasks.init, initargs=("ok",), reuse=True) as executor:
        assert isinstance(executor.submit(tasks.init_fail).exception(), ValueError)
        assert isinstance(executor.submit(tasks.end, "exit").exception(), Crashed)
        assert executor.submit(tasks.get_init_status).result() == "ok"


def test_what_is_no_initializer_and_no_option() -> None:
    with pytest.raises(TypeError):
        IsolatedExecutor(initializer=3)  # type: ignore[arg-type]
    with pytest.raises(PolicyError, match="mounts"):
        IsolatedExecutor(mount=["/data"])
    with pytest.raises(TypeError):
        IsolatedExecutor(1, tasks.init)  # type: ignore[misc]


# --- policies ----------------------------------------------------------------------------------------------------------


def test_each_executor_has_its_policy(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("granted")
    base = Policy(mounts=[ro(tmp_path, "/in")])
    with IsolatedExecutor(1, policy=base) as may, IsolatedExecutor(1) as may_not:
        assert may.submit(tasks.read, "/in/text").result() == "granted"
        with pytest.raises(FileNotFoundError):
            may_not.submit(tasks.read, "/in/text").result()
    with IsolatedExecutor(1, policy=base, mounts=()) as overridden, pytest.raises(FileNotFoundError):
        overridden.submit(tasks.read, "/in/text").result()


def test_a_decorated_function_runs_under_the_executors_policy(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("granted")
    decorated = isolated(mounts=[ro(tmp_path, "/in")])(tasks.read)
    assert decorated("/in/text") == "granted"
    with IsolatedExecutor(1) as executor, pytest.raises(FileNotFoundError):
        executor.submit(decorated, "/in/text").result()


def test_executors_of_one_policy_share_no_isolate() -> None:
    name = isolated(reuse=True)(tasks.name_of_isolate)
    with IsolatedExecutor(1, reuse=True) as one, IsolatedExecutor(1, reuse=True) as other:
        names = [executor.submit(tasks.name_of_isolate).result() for executor in (one, other, one, other)]
        assert names[:2] == names[2:]
        assert len({*names, name()}) == 3
    name.close()


def test_one_call_per_isolate_is_not_until_it_dies() -> None:
    assert Policy(reuse=1) == Policy(reuse=False) != Policy(reuse=True)
    for options in ({"reuse": True}, {"reuse": 1}, {"reuse": True}):
        with IsolatedExecutor(1, **options) as executor:  # type: ignore[arg-type]
            names = {executor.submit(tasks.name_of_isolate).result() for _ in range(3)}
        assert len(names) == (1 if options["reuse"] is True else 3)


def test_many_functions_do_not_make_isolates_pile_up() -> None:
    functions = [abs, len, str, repr, bool, tasks.mul, tasks.capture, tasks.say, ascii, hash, id, list, set, tuple, dict]
    with IsolatedExecutor(1, output="discard") as executor:
        before = len(lifetime._held)
        for function in functions:
            executor.submit(function, *((1, 2) if function is tasks.mul else ("",))).exception()
        assert len(executor._workers._known) <= 8
        assert len(lifetime._held) - before <= 8 + 8 * 2


def test_what_cannot_be_a_task() -> None:
    with IsolatedExecutor(1) as executor:
        assert isinstance(executor.submit(3).exception(), TypeError)  # type: ignore[arg-type]
        assert isinstance(executor.submit(tasks.generate).exception(), Unsupported)


@pytest.mark.parametrize("chunksize", [1, 3])
def test_map_takes_any_function(chunksize: int, reuse: bool) -> None:
    factor = 3

    @isolated
    def fibonacci(n: int) -> int:
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    with IsolatedExecutor(2, reuse=reuse) as executor:
        each = functools.partial(executor.map, chunksize=chunksize)
        assert list(each(lambda n: n * factor, range(7))) == [0, 3, 6, 9, 12, 15, 18]
        assert list(each(functools.partial(tasks.mul, y=5), range(4))) == [0, 5, 10, 15]
        assert list(each("a-b".split, ["-", "b"])) == [["a", "b"], ["a-", ""]]
        assert list(each(fibonacci, [5, 6, 7])) == [5, 8, 13]
        assert list(each(tasks.make_dummy_object, [1, 2])) == [tasks.Dummy(1), tasks.Dummy(2)]
        assert list(each(abs, [])) == []


def test_a_reused_isolate_is_sent_what_a_function_is_now() -> None:
    state = [1]
    with IsolatedExecutor(1, reuse=True) as executor:
        seen = [executor.submit(lambda: state[0]).result()]
        state[0] = 2
        seen.append(executor.submit(lambda: state[0]).result())
    assert seen == [1, 2]


# --- with others -------------------------------------------------------------------------------------------------------


def test_in_an_event_loop() -> None:
    async def main(executor: IsolatedExecutor) -> None:
        loop = asyncio.get_running_loop()
        made = [loop.run_in_executor(executor, tasks.mul, n, n) for n in range(6)]
        assert await asyncio.gather(*made) == [n * n for n in range(6)]
        with pytest.raises(Crashed):
            await loop.run_in_executor(executor, tasks.end, "kill")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await loop.run_in_executor(executor, time.sleep, FOR_EVER)
        assert await loop.run_in_executor(executor, tasks.mul, 6, 7) == 42

    with IsolatedExecutor(1) as executor:  # one: the task after the cancelled one shows that it was killed
        asyncio.run(main(executor))


def test_as_completed_has_a_cancelled_task_when_its_tree_is_gone() -> None:
    with IsolatedExecutor(3) as executor:
        long = [running(executor.submit(time.sleep, FOR_EVER)) for _ in range(2)]
        short = executor.submit(tasks.mul, 2, 3)
        order = concurrent.futures.as_completed([*long, short])
        assert next(order) is short
        for future in long:
            future.cancel()
        assert set(order) == set(long)


@pytest.fixture
def short_rest() -> Iterator[IsolatedExecutor]:
    with IsolatedExecutor(2, idle_timeout=1) as executor:
        yield executor


def test_threads_and_isolates_leave_when_there_is_no_work(short_rest: IsolatedExecutor) -> None:
    for _ in range(2):
        assert short_rest.submit(tasks.mul, 2, 3).result() == 6
        handles = inits()
        threads = set(short_rest._crew.threads)
        assert threads
        for thread in threads:
            thread.join()
        assert not short_rest._crew.threads
        own = short_rest._workers._own
        assert not [held for held in lifetime._held if getattr(held, "plan", None) is own.plan]
        for handle in handles:
            os.close(handle)


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"max_worker": 2}, "did you mean max_workers=?"),
        ({"initialiser": print}, "did you mean initializer=?"),
        ({"time": 2}, "did you mean timeout=?"),
        ({"memory": "1G"}, "it is a limit: write limits=Limits(memory=...)"),
    ],
    ids=str,
)
def test_options_that_do_not_exist(options: dict[str, Any], remedy: str) -> None:
    with pytest.raises(PolicyError) as caught:
        IsolatedExecutor(**options)
    assert caught.value.remedy == remedy
    with pytest.raises(PolicyError, match="the options are max_workers, initializer, initargs, policy, mounts, "):
        IsolatedExecutor(xyz=1)
