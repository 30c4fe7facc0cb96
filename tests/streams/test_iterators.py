"""Iterators as arguments: fed one by one, by the thread or task that calls, and never ahead."""

from __future__ import annotations

import asyncio
import itertools
import sys
import tempfile
import threading
import time

import produce
import pytest

from isolate_fn import sandbox
from isolate_fn._transport.fed import is_fed
from isolate_fn.errors import CallRejected, PolicyError, TimedOut

pytestmark = pytest.mark.needs("namespaces")


def test_items_arrive_one_by_one(made):
    assert made(produce.total)(number for number in range(5)) == 10
    assert made(produce.total)(iter([1, 2]), more=map(abs, [-3])) == 6
    assert made(produce.total)([1, 2], more=(3,)) == 6


def test_nothing_is_read_ahead(made):
    source = itertools.count(10)
    assert made(produce.first)(source, 3) == [10, 11, 12]
    assert next(source) == 13


def test_which_arguments_are_fed(made):
    assert made(produce.kinds)([1], (1,), "ab", {1: 2}, range(3)) == ["list", "tuple", "str", "dict", "range"]
    fed = (iter([1]), (x for x in ()), zip(), enumerate("a"), filter(None, ()))
    assert set(made(produce.kinds)(*fed)) == {"Fed"}


def test_an_open_file_is_none(tmp_path):
    with open(tmp_path / "file", "w+") as text, open(tmp_path / "file", "rb") as data:
        assert not is_fed(text)
        assert not is_fed(data)
    with tempfile.NamedTemporaryFile() as wrapped:
        assert not is_fed(wrapped)
    assert is_fed(iter([]))


def test_a_generator_inside_another_argument_is_refused_with_advice(made):
    with pytest.raises(CallRejected, match="argument of its own"):
        made(produce.kinds)({1: (y for y in ())})


def test_the_object_of_a_method_is_not_an_argument():
    assert produce.Counter().get() == 5


def test_runs_in_the_calling_thread(made):
    threads = []

    def source():
        for number in range(3):
            threads.append(threading.get_ident())
            yield number

    assert made(produce.total)(source()) == 3
    assert set(threads) == {threading.get_ident()}


def test_several_threads_inside(made):
    assert made(produce.in_threads)(iter(range(40)), 4) == list(range(40))


def test_the_end_stays_the_end(made):
    calls = []

    class Endless:
        def __iter__(self):
            return self

        def __next__(self):
            calls.append(1)
            if len(calls) % 3 == 0:
                raise StopIteration
            return len(calls)

    assert made(produce.exhaust_and_ask_again)(Endless()) == ([1, 2], [])
    assert len(calls) == 3


def test_a_stream_out_of_a_stream(made):
    numbers, twice = made(produce.numbers), made(produce.twice)
    assert list(twice(numbers(4))) == [0, 2, 4, 6]
    marks = []
    lazy = twice(marks.append(number) or number for number in range(5))
    assert marks == []
    assert next(lazy) == 0
    assert marks == [0]
    lazy.close()


def test_big_items(made):
    assert made(produce.first)(iter([b"x" * (1 << 20), [b"y" * 400_000]]), 2) == [b"x" * (1 << 20), [b"y" * 400_000]]


@pytest.mark.parametrize("error", [ValueError("own"), TimeoutError("own"), TimedOut(3), KeyboardInterrupt("own"), SystemExit(3)])
def test_what_it_raises_is_raised_here_as_itself(made, error):
    def source():
        yield 1
        raise error

    with pytest.raises(type(error)) as caught:
        made(produce.total)(source())
    assert caught.value is error


def test_what_it_raises_is_not_for_the_isolate(made):
    first = made(produce.keep, reuse=True)
    with pytest.raises(ZeroDivisionError):
        made(produce.first, reuse=True)((1 // 0 for _ in [0]), 1)
    first(iter([1]))


def test_an_item_that_cannot_be_sent(made):
    with pytest.raises(CallRejected, match="item of type lock") as caught:
        made(produce.first)(iter([1, threading.Lock()]), 2)
    assert caught.value.ran


def test_the_timeout_counts_the_iterator_s_time(made):
    def slow():
        yield 1
        time.sleep(1.2)
        yield 2

    with pytest.raises(TimedOut):
        made(produce.total, timeout=1)(slow())


def test_an_iterator_of_an_earlier_call(made):
    kept = made(_kept, reuse=True)
    kept("keep", iter([1, 2]))
    assert "is over" in kept("use")
    assert "is over" in kept("use", iter([3]))


def _kept(what, items=()):
    return produce.keep(items) if what == "keep" else produce.use_kept()


def test_in_a_sandbox():
    with sandbox() as box:
        source = itertools.count()
        assert box.call(produce.first, source, 2) == [0, 1]
        assert box.call(produce.first, source, 2) == [2, 3]

        def fails():
            yield box.call(produce.kinds)

        with pytest.raises(PolicyError, match="wait for itself"):
            box.call(produce.first, fails(), 1)


def test_nothing_is_kept_of_it_after_the_call(made):
    items = iter([1, 2, 3])
    total = made(produce.total, reuse=True)
    before = sys.getrefcount(items)
    total(items)
    assert sys.getrefcount(items) == before


def test_awaited_calls(made):
    async def source():
        for number in range(3):
            await asyncio.sleep(0)
            yield number

    async def fails():
        yield 1
        raise ZeroDivisionError

    async def main():
        total = made(produce.total)
        assert await total.call_async(iter([1, 2])) == 3
        assert await total.call_async(source()) == 3
        with pytest.raises(ZeroDivisionError):
            await total.call_async(fails())

    asyncio.run(main())
    with pytest.raises(PolicyError, match="not awaited") as caught:
        made(produce.total)(source())
    assert not caught.value.ran
