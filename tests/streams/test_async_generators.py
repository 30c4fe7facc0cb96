"""Async generator functions: the same, awaited."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import traceback
from collections.abc import AsyncGenerator

import produce
import pytest

from isolate_fn import Limits
from isolate_fn._runtime import streams
from isolate_fn.errors import LimitExceeded, TimedOut

pytestmark = pytest.mark.needs("namespaces")


def run(function):
    """Run one coroutine function in an event loop of its own."""
    return asyncio.run(function())


def gone(isolate):
    return isolate.channel.fileno() < 0 and isolate.pidfd < 0


async def collected(generator):
    return [item async for item in generator]


def test_items(made):
    ticks = made(produce.ticks)
    assert inspect.isasyncgenfunction(ticks)
    assert not inspect.isgeneratorfunction(ticks)
    assert isinstance(ticks(1), AsyncGenerator)
    assert run(lambda: collected(ticks(4))) == [0, 1, 2, 3]
    with pytest.raises(TypeError, match="ticks"):
        ticks()


def test_send_and_throw(made):
    async def main():
        generator = made(produce.async_echo)()
        with pytest.raises(TypeError, match="just-started"):
            await generator.asend(1)
        assert await anext(generator) == "begun"
        assert await generator.asend([1, 2]) == [1, 2]
        assert await generator.athrow(produce.OwnError("once")) == "caught once"
        with pytest.raises(KeyError, match="nobody"):
            await generator.athrow(KeyError("nobody"))
        assert await collected(generator) == []
        fresh = made(produce.async_echo)()
        with pytest.raises(KeyError):
            await fresh.athrow(KeyError("early"))
        await fresh.aclose()

    run(main)


def test_several_at_once_in_one_loop(made):
    async def main():
        return await asyncio.gather(*(collected(made(produce.ticks)(count)) for count in range(5)))

    assert run(main) == [list(range(count)) for count in range(5)]


def test_the_loop_inside_goes_on_between_two_items(made):
    found = run(lambda: collected(made(produce.with_background)(3)))
    assert found == sorted(found)
    assert found[0] < found[2]


def test_an_exception_in_the_middle(made):
    async def main():
        generator = made(produce.async_fail)(2)
        assert [await anext(generator), await anext(generator)] == [0, 1]
        with pytest.raises(produce.OwnError, match="in the middle") as caught:
            await anext(generator)
        shown = "".join(traceback.format_exception(caught.value))
        assert "async_fail" in shown
        assert "runners.py" not in shown.partition("isolate")[0]
        assert await collected(generator) == []

    run(main)


def test_limits_of_items(made):
    async def main():
        generator = made(produce.ticks, timeout=1)(3, 600)
        with pytest.raises(TimedOut):
            await anext(generator)
        generator = made(produce.async_echo, limits=Limits(result="1M"))()
        await anext(generator)
        with pytest.raises(LimitExceeded):
            await generator.asend(b"x" * (2 << 20))

    run(main)


@pytest.mark.parametrize("reuse", [False, True])
def test_cancelling_kills(made, reuse):
    async def main():
        generator = made(produce.ticks, reuse=reuse)(3, 600)
        task = asyncio.ensure_future(anext(generator))
        while generator._isolate is None or not generator._isolate.calls:
            await asyncio.sleep(0.01)
        isolate = generator._isolate
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert gone(isolate)
        assert await collected(generator) == []

    run(main)


def test_a_timeout_of_the_loop_s(made):
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await collected(made(produce.ticks)(3, 600))

    run(main)


def test_closing_kills_a_fresh_isolate_and_frees_one_that_serves_on(made):
    async def main():
        generator = made(produce.async_remembering)()
        assert await anext(generator) is False
        isolate = generator._isolate
        await generator.aclose()
        assert gone(isolate)
        remembering = made(produce.async_remembering, reuse=True)
        async with contextlib.aclosing(remembering()) as generator:
            assert await anext(generator) is False
            isolate = generator._isolate
        assert not gone(isolate)
        async with contextlib.aclosing(remembering()) as generator:
            assert await anext(generator) is True
            assert generator._isolate is isolate

    run(main)


@pytest.mark.parametrize("reuse", [False, True])
def test_dropping_it_kills(made, reuse):
    async def main():
        generator = made(produce.async_remembering, reuse=reuse)()
        await anext(generator)
        isolate = generator._isolate
        del generator
        gc.collect()
        assert gone(isolate)

    run(main)


def test_one_that_takes_too_long_to_close_is_killed(made, monkeypatch):
    monkeypatch.setattr(streams, "CLOSE_SECONDS", 0.3)

    async def main():
        generator = made(_slow_to_close, reuse=True)()
        await anext(generator)
        isolate = generator._isolate
        await generator.aclose()
        assert gone(isolate)

    run(main)


async def _slow_to_close():
    try:
        yield 1
    finally:
        await asyncio.sleep(600)


def test_two_tasks_at_once_are_refused(made):
    async def main():
        generator = made(produce.ticks, timeout=60)(3, 600)
        task = asyncio.ensure_future(anext(generator))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="already running"):
            await anext(generator)
        with pytest.raises(RuntimeError, match="already running"):
            await generator.aclose()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


def test_an_iterator_of_the_caller_s(made):
    async def source():
        for number in range(4):
            await asyncio.sleep(0)
            yield number

    async def main():
        assert await collected(made(produce.async_total)(source())) == [0, 1, 3, 6]
        assert await collected(made(produce.async_total)(made(produce.ticks)(4))) == [0, 1, 3, 6]

    run(main)


def test_host_functions_are_awaited_in_the_caller_s_loop(made):
    async def main():
        loop = asyncio.get_running_loop()
        called = []

        async def lookup(number):
            assert asyncio.get_running_loop() is loop
            await asyncio.sleep(0)
            called.append(number)
            return number * 10

        asks = made(produce.async_asks, expose={"lookup": lookup, "plain": lambda number: -number})
        assert await collected(asks("lookup", 3)) == [0, 10, 20]
        assert called == [0, 1, 2]
        assert await collected(asks("plain", 3)) == [0, -1, -2]

    run(main)
