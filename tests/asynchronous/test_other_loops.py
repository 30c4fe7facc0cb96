"""Event loops that are not asyncio's own, and libraries that bring theirs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[..., str]

pytestmark = pytest.mark.needs("namespaces")


@pytest.mark.needs("module:uvloop")
def test_uvloop(run_loop: Run) -> None:
    run_loop("""
    import uvloop
    async def main():
        assert type(asyncio.get_running_loop()).__module__ == "uvloop"
        add, double, sleep = alone(tools.add), alone(tools.double), alone(tools.sleep)
        assert await asyncio.gather(*(add.call_async(n) for n in range(30))) == list(range(1, 31))
        assert await double(2) == 4
        assert type(await caught(alone(tools.sleep, timeout=0.3).call_async(60))) is TimedOut
        nothing_inside()
        for _ in range(3):
            try:
                async with asyncio.timeout(0.2):
                    await sleep.call_async(60)
            except TimeoutError:
                assert not inside()
        reused = isolated(reuse=True)(tools.double)
        assert [await reused(n) for n in range(20)] == [n * 2 for n in range(20)]
        assert len(await alone(tools.text).call_async(5_000_000)) == 5_000_000
        flood = asyncio.ensure_future(alone(tools.flood, output="discard", limits=Limits(output="1000G")).call_async())
        assert await add.call_async(1) == 2
        flood.cancel()
        assert isinstance(await caught(flood, asyncio.CancelledError), asyncio.CancelledError)
        async with sandbox() as box:
            assert await asyncio.gather(*(box.call_async(tools.double, n) for n in range(5))) == [0, 2, 4, 6, 8]
        reused.close()
        nothing_inside()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    raise SystemExit
    """, tools="""
    def flood():
        while True:
            os.write(1, b"x" * 65536)
    """)  # fmt: skip


@pytest.mark.needs("module:anyio")
def test_anyio_on_asyncio(run_loop: Run) -> None:
    """Awaited directly; anyio cancels at every turn of the loop until the task has ended."""
    run_loop("""
    import anyio
    async def main():
        sleep, add = alone(tools.sleep), alone(tools.add)
        with anyio.move_on_after(0.3) as scope:
            await sleep.call_async(60)
        assert scope.cancelled_caught and not inside()
        with anyio.move_on_after(0.3) as scope:
            await alone(tools.nap)(60)
        assert scope.cancelled_caught and not inside()
        values = []
        async def one(n):
            values.append(await add.call_async(n))
        async with anyio.create_task_group() as tasks:
            for n in range(5):
                tasks.start_soon(one, n)
        assert sorted(values) == [1, 2, 3, 4, 5]
        nothing_inside()
        async with sandbox() as box:
            with anyio.move_on_after(0.3):
                await box.call_async(tools.sleep, 60)
            assert not inside()
            assert isinstance(await caught(box.call_async(tools.add, 1)), Crashed)
    anyio.run(main)
    raise SystemExit
    """)


@pytest.mark.needs("module:anyio", "module:trio")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_threads_of_anyio(backend: str, run_loop: Run) -> None:
    run_loop(f"""
    import anyio
    async def use():
        add, sleep = alone(tools.add), alone(tools.sleep)
        values = []
        async def one(n):
            values.append(await anyio.to_thread.run_sync(add, n))
        async with anyio.create_task_group() as tasks:
            for n in range(10):
                tasks.start_soon(one, n)
        assert sorted(values) == list(range(1, 11))
        # Cancelling waits for the thread, which the call's own timeout ends ...
        limited = alone(tools.sleep, timeout=0.5)
        with anyio.move_on_after(0.1) as scope:
            try:
                await anyio.to_thread.run_sync(limited, 60)
            except TimedOut:
                nothing_inside()
            else:
                raise AssertionError
        # ... or leaves it behind, and the call with it.
        with anyio.move_on_after(0.1) as scope:
            await anyio.to_thread.run_sync(sleep, 1, abandon_on_cancel=True)
        assert scope.cancelled_caught
        nothing_inside()
    anyio.run(use, backend={backend!r})
    """)


@pytest.mark.needs("module:trio")
def test_threads_of_trio(run_loop: Run) -> None:
    run_loop("""
    import trio
    async def use():
        add = alone(tools.add)
        values = []
        async def one(n):
            values.append(await trio.to_thread.run_sync(add, n))
        async with trio.open_nursery() as nursery:
            for n in range(10):
                nursery.start_soon(one, n)
        assert sorted(values) == list(range(1, 11))
        with trio.move_on_after(0.1) as scope:
            await trio.to_thread.run_sync(alone(tools.sleep), 1, abandon_on_cancel=True)
        assert scope.cancelled_caught
        nothing_inside()
        # Its loop is not asyncio's: told, and nothing is started.
        error = await caught(add.call_async(1), RuntimeError)
        assert "to_thread" in str(error), error
    trio.run(use)
    """)
