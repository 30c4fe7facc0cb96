"""A call that is cancelled is gone when its task hears of it: at every stage, with nothing left behind."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[..., str]

pytestmark = pytest.mark.needs("namespaces")

# `calling` runs a call as a task of its own; `cancel` cancels it. Then nothing of it may live, at once.
STAGES = """
current = None

def cancel(*_):
    current.cancel()

def at_first_step(owner, name):
    "Cancel when a part of the conversation begins, once; it takes effect where that part first waits."
    original = getattr(owner, name)
    def begun(*given, **named):
        setattr(owner, name, original)
        def talk():
            cancel()
            return (yield from original(*given, **named))
        return talk()
    setattr(owner, name, begun)

def after(owner, name, how=cancel):
    "Cancel when a function has returned, once."
    original = getattr(owner, name)
    def done(*given, **named):
        setattr(owner, name, original)
        result = original(*given, **named)
        how()
        return result
    setattr(owner, name, done)

def in_thread_of(owner, name, loop):
    "Cancel while a function runs in a thread, once."
    original = getattr(owner, name)
    def slow(*given, **named):
        assert threading.current_thread() is not threading.main_thread()
        setattr(owner, name, original)
        loop.call_soon_threadsafe(cancel)
        while not current.done():
            time.sleep(0.001)
        return original(*given, **named)
    setattr(owner, name, slow)

def on_output(stream, data):
    cancel()

over = False

async def cancelled(call):
    "Make a call that cancels itself; look what is left of it at the moment at which that is told."
    global current
    loop = asyncio.get_running_loop()
    current = asyncio.ensure_future(call)
    try:
        await current
    except asyncio.CancelledError:
        if over:
            nothing_inside()
        left = inside()
        assert not left, left
        assert current.cancelled()
        return
    raise AssertionError("it returned")
"""

CASES = {
    # a thread starts the spawner meanwhile, and goes on
    "spawner starting": "after(pool, 'start_spawner', lambda: loop.call_soon_threadsafe(cancel)); pool.close_all()",
    "ordered": "after(pool, 'start')",
    "building": "at_first_step(asynchronous, 'make_ready')",
    "arguments": "given = (bytes(40_000_000),); function = alone(len); at_first_step(Isolate, 'send')",
    "arguments, many pieces": (
        "given = ([bytes(60_000 + n) for n in range(400)],); function = alone(len); at_first_step(Isolate, 'send')"
    ),
    "running": "function, given = alone(tools.say_and_sleep, output=on_output), (60,)",
    "awaiting inside": "function, given = alone(tools.nap), (60,); loop.call_later(0.3, cancel)",
    "answer arriving": "function, given = alone(tools.text), (20_000_000,); after(FrameReader, 'feed')",
    "long answer": "function, given = alone(tools.many), (); in_thread_of(outcome, 'judge', loop); over = True",
    "ending": "function, given = alone(tools.text, mounts=[rw(target)]), (3,); at_first_step(Isolate, 'ending')",
}


@pytest.mark.parametrize("case", CASES)
def test_at_every_stage(case: str, run_loop: Run) -> None:
    run_loop(f"""{STAGES}
from isolate_fn import rw
from isolate_fn._runtime import outcome
from isolate_fn._transport.frames import FrameReader
import tempfile
target = tempfile.mkdtemp()

async def main():
    global over  # the isolate has answered, and was killed without waiting for that
    loop = asyncio.get_running_loop()
    for _ in range(3):
        function, given = alone(tools.say_and_sleep, output="discard"), (60,)
        nothing_inside()
        {CASES[case]}
        await cancelled(function.call_async(*given))
        assert await alone(tools.add).call_async(1) == 2  # the next call works
        await asyncio.sleep(0)
        now = state()["descriptors"]
        if _ == 1:
            before = now
    assert now <= before, (before, now)
    os.rmdir(target)
""", tools="""
    def many():
        return list(range(300_000))
    """)  # fmt: skip


@pytest.mark.parametrize("prewarm", [0, 1])
def test_after_any_number_of_turns_of_the_loop(prewarm: int, run_loop: Run) -> None:
    """Wherever it waits: nothing is left, and no call after it is disturbed."""
    run_loop(f"""
async def main():
    function, following = isolated(prewarm={prewarm})(tools.add), isolated(reuse=True)(tools.add)
    assert await function.call_async(0) == await following.call_async(0) == 1
    descriptors, outcomes = [], set()
    for turns in (*range(12), *range(12, 60, 7), 100, 1000, 5000, 20000):
        for each in (function, following):
            task = asyncio.ensure_future(each.call_async(turns))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            try:
                assert await task == turns + 1
                outcomes.add("returned")
            except asyncio.CancelledError:
                outcomes.add("cancelled")
            assert await each.call_async(1) == 2
        descriptors.append(state()["descriptors"])
    assert outcomes == {{"returned", "cancelled"}}
    assert len(set(descriptors[2:])) <= 3, descriptors  # an isolate more or less may wait
    function.close(), following.close()
    nothing_inside()
""")


def test_timeouts_of_asyncio(run_loop: Run) -> None:
    run_loop("""
    async def main():
        sleep, nap = alone(tools.sleep), alone(tools.nap)
        for call in (sleep.call_async, nap):
            try:
                async with asyncio.timeout(0.2):
                    await call(60)
            except TimeoutError:
                assert not inside()
            else:
                raise AssertionError
            try:
                await asyncio.wait_for(call(60), 0.2)
            except TimeoutError:
                assert not inside()
            else:
                raise AssertionError
            assert asyncio.current_task().cancelling() == 0
        failed = await caught(group(sleep), ExceptionGroup)
        assert isinstance(failed.exceptions[0], KeyError) and not inside()
    async def group(sleep):
        async with asyncio.TaskGroup() as tasks:
            for _ in range(5):
                tasks.create_task(sleep.call_async(60))
            await asyncio.sleep(0.2)
            raise KeyError("mine")
    """)


def test_cancelled_again_while_it_ends(run_loop: Run) -> None:
    """As anyio's scopes do: at every turn of the loop until the task has ended."""
    run_loop("""
    async def main():
        task = asyncio.ensure_future(alone(tools.sleep).call_async(60))
        while not inside():
            await asyncio.sleep(0.01)
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
        assert task.cancelled() and not inside()
    """)


def test_a_task_that_is_never_awaited_to_its_end(run_loop: Run) -> None:
    """The loop is closed under it: what it ran is killed when its coroutine goes."""
    run_loop("""
    async def begin():
        pending.append(asyncio.ensure_future(alone(tools.sleep).call_async(60)))
        while not inside():
            await asyncio.sleep(0.01)
    pending = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    before = len(os.listdir("/proc/self/fd"))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    assert inside()
    loop.set_exception_handler(lambda *_: None)  # of the task that was pending
    import logging
    logging.disable()
    del pending[:], loop
    gc.collect()
    assert not inside()
    assert asyncio.run(alone(tools.double)(2)) == 4
    """)


def test_cancelling_what_has_not_begun(run_loop: Run) -> None:
    run_loop("""
    async def main():
        function = alone(tools.add)
        tasks = [asyncio.ensure_future(function.call_async(n)) for n in range(100)]
        for task in tasks[1:]:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert done[0] == 1 and all(isinstance(each, asyncio.CancelledError) for each in done[1:])
        tasks = [asyncio.ensure_future(function.call_async(n)) for n in range(40)]
        await tasks[0]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        nothing_inside()
        assert await function.call_async(1) == 2
    """)


@pytest.mark.parametrize("times", [1, 2])
def test_control_c(times: int, run_loop: Run) -> None:
    """It kills what runs and is raised once; a second one does not leave anything behind either."""
    printed = run_loop(f"""
    async def one(n):
        try:
            await (nap(60) if n % 2 else sleep.call_async(60))
        except asyncio.CancelledError:
            print("cancelled")
            raise
    def interrupt():
        while len(inside()) < 8:
            time.sleep(0.01)
        for _ in range({times}):
            os.kill(os.getpid(), signal.SIGINT)
    async def main():
        threading.Thread(target=interrupt).start()
        async with asyncio.TaskGroup() as tasks:
            for n in range(4):
                tasks.create_task(one(n))
    sleep, nap = alone(tools.sleep), alone(tools.nap)
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        print("interrupted")
    print(inside())
    assert asyncio.run(nap(0)) == "slept"
    """)
    assert printed == "cancelled\n" * 4 + "interrupted\nset()\n"
