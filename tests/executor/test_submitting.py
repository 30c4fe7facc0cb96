"""`Isolated.submit`, `Isolated.map` and `Sandbox.submit`."""

from __future__ import annotations

import contextlib
import gc
import itertools
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, wait
from pathlib import Path
from typing import Any

import executor_tasks as tasks
import pytest
from test_executor import FOR_EVER, running

from isolate_fn import isolated, rw, sandbox
from isolate_fn._api import submitting
from isolate_fn.errors import CallRejected, Crashed, PolicyError, TimedOut

mul = isolated(tasks.mul)
sleep = isolated(time.sleep)


def test_submit() -> None:
    assert mul.submit(6, y=7).result() == 42
    with pytest.raises(CallRejected):
        mul.submit(threading.Lock(), 3).result()
    with pytest.raises(Crashed):
        isolated(tasks.end).submit("abort").result()
    with pytest.raises(TimedOut):
        sleep.options(timeout=0.2).submit(FOR_EVER).result()


def test_several_at_once_and_a_real_cancel(tmp_path: Path) -> None:
    grow = isolated(mounts=[rw(tmp_path, "/out")])(tasks.grow)
    futures = [grow.submit(f"/out/{n}") for n in range(3)]
    files = [tmp_path / name for n in range(3) for name in (f"{n}", f"{n}.thread")]
    while not all(file.exists() for file in files):
        assert not any(future.done() for future in futures)
        time.sleep(0.001)
    assert all(future.cancel() for future in futures)
    assert wait(futures).not_done == set()
    sizes = [file.stat().st_size for file in files]
    assert mul(2, 3) == 6
    assert [file.stat().st_size for file in files] == sizes


class Tool:
    base = 5

    @isolated
    def method(self, number: int) -> int:
        return self.base + number


def test_submit_of_a_method() -> None:
    assert Tool.method.submit(Tool(), 2).result() == 7


def test_the_thread_of_a_forgotten_function_ends() -> None:
    made = isolated(lambda: 3)
    future = made.submit()
    crew = submitting._crews[made]
    gone = weakref.ref(made)
    del made
    assert future.result() == 3
    for thread in set(crew.threads):
        thread.join()
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("chunksize", [1, 4])
def test_map(chunksize: int) -> None:
    assert list(mul.map(range(10), itertools.count(1), chunksize=chunksize)) == [n * (n + 1) for n in range(10)]
    assert list(isolated(tasks.make_dummy_object).map([1, 2], chunksize=chunksize)) == [tasks.Dummy(1), tasks.Dummy(2)]
    assert list(mul.map([], [], chunksize=chunksize)) == []


def test_map_reads_no_further_than_it_must() -> None:
    read = 0

    def endless() -> Iterator[int]:
        nonlocal read
        while True:
            read += 1
            yield read

    most = 2 * submitting.at_once()
    values = mul.map(endless(), itertools.repeat(2))
    for n in range(1, 6):
        assert next(values) == 2 * n
        assert read <= most + n
    values.close()  # type: ignore[attr-defined]
    assert list(values) == []


def test_map_goes_on_to_the_value_that_fails() -> None:
    values = isolated(tasks.fail_at).map(range(100), itertools.repeat(3))
    assert [next(values) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(LookupError):
        next(values)
    assert list(values) == []


def test_map_tells_what_its_input_raises_after_the_values_before() -> None:
    def numbers() -> Iterator[int]:
        yield from (1, 2)
        raise LookupError("input")

    values = mul.map(numbers(), itertools.repeat(5))
    assert [next(values), next(values)] == [5, 10]
    with pytest.raises(LookupError, match="input"):
        next(values)
    assert list(values) == []


def test_map_kills_what_runs_when_the_time_is_over_or_nobody_listens() -> None:
    def calls() -> list[Future[Any]]:
        return [work.future for work in submitting._crews[sleep]._under_way]

    with pytest.raises(TimeoutError):
        list(sleep.map([FOR_EVER] * 3, timeout=0.3))
    values = sleep.map([FOR_EVER] * 3)
    futures = calls()
    assert futures
    del values
    gc.collect()
    assert all(future.cancelled() for future in futures)
    assert wait(futures).not_done == set()


def test_map_refuses_a_wrong_chunksize() -> None:
    with pytest.raises(ValueError, match="chunksize"):
        mul.map([1], [2], chunksize=0)


@isolated
def submits() -> str:
    try:
        mul.submit(1, 2)
    except PolicyError as error:
        return str(error)
    return "it was submitted"


def test_isolates_submit_no_calls() -> None:
    assert "isolated itself" in submits() or "cannot start another" in submits()


# --- sandboxes ---------------------------------------------------------------------------------------------------------


def test_calls_of_a_sandbox_run_in_order() -> None:
    order: list[int] = []
    with sandbox() as box:
        box.submit(tasks.start_with_files, "").result()
        futures = [box.submit(tasks.start_with_files, f"{n} ") for n in range(10)]
        for n, future in enumerate(futures):
            future.add_done_callback(lambda _, n=n: order.append(n))  # type: ignore[misc]
        assert box.submit(tasks.read, "initialized").result() == "".join(f"{n} " for n in range(10))
        assert order == list(range(10))
        assert box.call(tasks.mul, 2, 3) == 6


def test_leaving_a_sandbox_waits_for_what_was_submitted() -> None:
    with sandbox() as box:
        futures = [box.submit(time.sleep, 0.05), box.submit(tasks.mul, 2, 3)]
    assert futures[1].result() == 6
    with pytest.raises(PolicyError):
        box.submit(tasks.mul, 2, 3)


def test_leaving_a_sandbox_by_an_exception_cancels() -> None:
    with contextlib.suppress(LookupError), sandbox() as box:
        futures = [running(box.submit(time.sleep, FOR_EVER)), box.submit(tasks.mul, 2, 3)]
        raise LookupError
    assert [future.cancelled() for future in futures] == [True, True]
    assert box.report().peak_memory >= 0


def test_cancelling_a_call_that_waits_leaves_the_sandbox() -> None:
    with sandbox() as box:
        first = running(box.submit(time.sleep, 0.3))
        second, third = box.submit(time.sleep, FOR_EVER), box.submit(tasks.mul, 2, 3)
        assert second.cancel()
        assert third.result() == 6
        assert first.result() is None


def test_cancelling_a_call_that_waits_for_another_threads_turn_leaves_the_sandbox() -> None:
    with sandbox() as box:
        thread = threading.Thread(target=box.call, args=(time.sleep, 0.3))
        thread.start()
        while box._lock._holder is None:  # of whose turn it is
            time.sleep(0.001)
        future = running(box.submit(time.sleep, FOR_EVER))
        assert future.cancel()
        thread.join()
        assert box.call(tasks.mul, 2, 3) == 6


def test_cancelling_a_call_that_runs_kills_the_sandbox(tmp_path: Path) -> None:
    with sandbox(mounts=[rw(tmp_path, "/out")]) as box:
        future = box.submit(tasks.grow, "/out/file")
        after = box.submit(tasks.mul, 2, 3)
        while not ((tmp_path / "file").exists() and (tmp_path / "file.thread").exists()):
            assert not future.done(), future.exception()
            time.sleep(0.001)
        assert future.cancel()
        with pytest.raises(CancelledError):
            future.result()
        with pytest.raises(Crashed, match="was cancelled") as caught:
            after.result()
        assert "another sandbox" in caught.value.remedy
        with pytest.raises(Crashed, match="was cancelled"):
            box.call(tasks.mul, 2, 3)
        size = (tmp_path / "file").stat().st_size
        assert mul(2, 3) == 6
        assert (tmp_path / "file").stat().st_size == size
    assert box.report().peak_memory >= 0
