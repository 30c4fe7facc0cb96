"""A sandbox in an event loop: `async with`, calls of tasks that take turns, also with those of threads."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[..., str]

pytestmark = pytest.mark.needs("namespaces")


def test_calls_of_all_kinds(run_loop: Run) -> None:
    run_loop("""
    async def main():
        async with sandbox(output="capture") as box:
            assert isinstance(box, type(sandbox()))
            assert await box.call_async(tools.add, 1, b=2) == box.call(tools.add, 1, b=2) == 3
            assert await box.call_async(tools.double, 4) == box.call(tools.double, 4) == 8
            assert await box.call_async(lambda: 5) == 5
            async def mine(number):
                await asyncio.sleep(0)
                return number + extra
            extra = 1
            assert await box.call_async(mine, 1) == box.call(mine, 1) == 2
            assert await box.call_async(os.getpid) == box.call(os.getpid)
            assert isinstance(await caught(box.call_async(lambda: 1 / 0)), ZeroDivisionError)
            assert isinstance(await caught(box.call_async(len, threading.Lock())), CallRejected)
            assert isinstance(await caught(box.call_async(lambda: object())), ResultRejected)
            await box.call_async(print, "said")
            assert len(await box.call_async(tools.text, 30_000_000)) == 30_000_000
            assert box.run(["echo", "x"], capture_output=True).stdout == b"x\\n"
            box.put("f", b"1")
            assert box.get("f") == b"1"
        assert box.report().stdout == b"said\\n"
        assert not inside()
        assert isinstance(await caught(box.call_async(tools.add, 1)), PolicyError)
        assert isinstance(await caught(box.__aenter__()), PolicyError)
        with sandbox() as plain:
            assert await plain.call_async(tools.add, 1) == 2
        assert isinstance(await caught(sandbox().call_async(tools.add, 1)), PolicyError)
    """)


def test_tasks_and_threads_take_turns_in_order(run_loop: Run) -> None:
    run_loop("""
    async def main():
        async with sandbox() as box:
            order = await asyncio.gather(*(box.call_async(tools.count) for _ in range(50)))
            assert order == list(range(1, 51))
            threads_before = threading.active_count()
            loop, mine, theirs = asyncio.get_running_loop(), [], []
            def work():
                for _ in range(30):
                    theirs.append(box.call(tools.count))
            threads = [threading.Thread(target=work) for _ in range(3)]
            for thread in threads:
                thread.start()
            async def task():
                for _ in range(30):
                    mine.append(await box.call_async(tools.count))
            await asyncio.gather(*(task() for _ in range(3)))
            assert threading.active_count() <= threads_before + 3
            while any(thread.is_alive() for thread in threads):
                await asyncio.sleep(0.01)
            assert sorted(mine + theirs) == list(range(51, 231))
            assert mine == sorted(mine)
        assert not inside()
    """, tools="""
    calls = 0
    def count():
        global calls
        calls += 1
        return calls
    """)  # fmt: skip


def test_a_turn_that_nobody_wants_any_more_is_passed_on(run_loop: Run) -> None:
    run_loop("""
    async def main():
        async with sandbox() as box:
            first = asyncio.ensure_future(box.call_async(tools.sleep, 0.3))
            await asyncio.sleep(0.05)
            waiting = [asyncio.ensure_future(box.call_async(tools.add, n)) for n in range(6)]
            thread = asyncio.to_thread(box.call, tools.add, 100)
            thread = asyncio.ensure_future(thread)
            await asyncio.sleep(0.05)
            for task in waiting[::2]:
                task.cancel()
            done = await asyncio.gather(*waiting, return_exceptions=True)
            assert [isinstance(each, asyncio.CancelledError) for each in done] == [True, False] * 3
            assert done[1::2] == [2, 4, 6] and await first == "slept" and await thread == 101
            # Cancelled at the very moment at which it gets its turn.
            hand_over = box._lock._hand_over
            def and_cancel():
                hand_over()
                second.cancel()
            box._lock._hand_over = and_cancel
            first = asyncio.ensure_future(box.call_async(tools.add, 0))
            second = asyncio.ensure_future(box.call_async(tools.add, 1))
            third = asyncio.ensure_future(box.call_async(tools.add, 2))
            assert (await first, await third) == (1, 3)
            assert second.cancelled()
    """)


def test_cancelling_a_call_ends_the_sandbox(run_loop: Run) -> None:
    run_loop("""
    async def main():
        for function in (tools.sleep, tools.nap):
            async with sandbox() as box:
                following = None
                try:
                    async with asyncio.timeout(0.3):
                        await box.call_async(function, 60)
                except TimeoutError:
                    assert not inside()
                error = await caught(box.call_async(tools.add, 1))
                assert isinstance(error, Crashed) and "cancelled" in str(error), error
                assert isinstance(await caught(asyncio.to_thread(box.call, tools.add, 1)), Crashed)
            async with sandbox() as box:
                assert await box.call_async(tools.add, 1) == 2
    """)


def test_waiting_in_the_thread_of_the_loop_is_refused(run_loop: Run) -> None:
    run_loop("""
    async def main():
        async with sandbox() as box:
            task = asyncio.ensure_future(box.call_async(tools.sleep, 0.3))
            await asyncio.sleep(0.05)
            try:
                box.call(tools.add, 1)
            except PolicyError as error:
                assert "call_async" in error.remedy
            else:
                raise AssertionError("it would have waited for ever")
            assert await task == "slept"
            assert box.call(tools.add, 1) == 2
    """)


def test_the_end_of_the_block(run_loop: Run) -> None:
    run_loop("""
    async def main():
        async with sandbox() as box:
            tasks = [asyncio.ensure_future(box.call_async(tools.sleep, 60)) for _ in range(3)]
            while not tools_busy(box):
                await asyncio.sleep(0.01)
        assert not inside()
        errors = [await caught(task) for task in tasks]
        assert all(isinstance(error, (Crashed, PolicyError)) for error in errors), errors
        try:
            async with sandbox() as box:
                assert await box.call_async(tools.add, 1) == 2
                raise KeyError("mine")
        except KeyError:
            assert not inside()
        async def entered():
            async with sandbox() as box:
                await box.call_async(tools.sleep, 60)
        for turns in (0, 1, 2, 5, 20, 100, 1000, 5000):
            task = asyncio.ensure_future(entered())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            assert isinstance(await caught(task, asyncio.CancelledError), asyncio.CancelledError)
            assert not inside(), turns
        # Cancelled while it leaves: it has left all the same.
        async def left():
            async with sandbox() as box:
                await box.call_async(tools.add, 1)
                asyncio.current_task().cancel()
        assert isinstance(await caught(asyncio.ensure_future(left()), asyncio.CancelledError), asyncio.CancelledError)
        assert not inside()
    def tools_busy(box):
        return box._isolate.calls
    """)


def test_many_sandboxes_at_once(run_loop: Run) -> None:
    run_loop("""
    async def main():
        async def one(n):
            async with sandbox() as box:
                return await box.call_async(tools.double, await box.call_async(tools.add, n))
        await one(1)
        before = state()
        assert await asyncio.gather(*map(one, range(20))) == [2 * (n + 1) for n in range(20)]
        assert not inside()
        assert state()["descriptors"] == before["descriptors"]
    """)


def test_limits_end_the_sandbox_as_without_a_loop(run_loop: Run) -> None:
    run_loop("""
    async def main():
        async with sandbox(timeout=0.3) as box:
            assert isinstance(await caught(box.call_async(tools.sleep, 60)), TimedOut)
            assert isinstance(await caught(box.call_async(tools.add, 1)), TimedOut)
        async with sandbox() as box:
            assert (await caught(box.call_async(tools.end, 3))).exit_code == 3
        async with sandbox(limits=Limits(output="1K"), output="discard") as box:
            assert isinstance(await caught(box.call_async(print, "x" * 5000)), LimitExceeded)
        assert not inside()
    """)
