"""What isolates do never holds up the loop, takes a thread for each of them, or leaves anything in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[..., str]

pytestmark = pytest.mark.needs("namespaces")

# Calls last until the other tasks of the loop have had so many turns: a loop that is held up does not get there.
HEARTBEAT = """
turns = 0

async def heart():
    global turns
    while True:
        await asyncio.sleep(0.001)
        turns += 1

async def beats(count):
    "Wait until the heart has beaten so often from now on."
    goal = turns + count
    while turns < goal:
        await asyncio.sleep(0.001)
"""

HOSTILE = """
from isolate_fn._enforce.limits import CHANNEL
from isolate_fn._transport.frames import Kind, pack

def half_a_frame():
    "Begin an answer, and never end it."
    frame = b"".join(bytes(piece) for piece in pack(Kind.RESULT, b"[1, 2, 3]"))
    os.write(CHANNEL, frame[: len(frame) // 2])
    time.sleep(60)

def byte_by_byte():
    frame = b"".join(bytes(piece) for piece in pack(Kind.RESULT, b"x" * 100_000))
    for position in range(len(frame) - 1):
        os.write(CHANNEL, frame[position : position + 1])
    time.sleep(60)

def flood():
    "Write as fast as it can, for ever."
    block = b"x" * 65536
    while True:
        os.write(1, block)

def floods_both():
    os.write(1, b"begun")
    import threading
    block = b"x" * 65536
    def write(stream):
        while True:
            os.write(stream, block)
    threading.Thread(target=write, args=(2,)).start()
    write(1)

def spins():
    while True:
        pass

def closes():
    os.close(CHANNEL)
    time.sleep(60)

def many():
    return list(range(1_000_000))
"""


@pytest.mark.parametrize("how", ["half_a_frame", "byte_by_byte", "flood", "floods_both", "spins"])
def test_a_hostile_isolate_does_not_hold_up_the_loop(how: str, run_loop: Run) -> None:
    printed = run_loop(f"""{HEARTBEAT}
async def main():
    alive = asyncio.ensure_future(heart())
    hostile = alone(tools.{how}, output="discard", limits=Limits(output="1000G"))
    tasks = [asyncio.ensure_future(hostile.call_async()) for _ in range(3)]
    while len(inside()) < 6:
        await asyncio.sleep(0.01)
    await beats(100)
    print("beaten")
    assert await alone(tools.add).call_async(1) == 2 and await alone(tools.double)(1) == 2
    print("others answered")
    for task in tasks:
        assert not task.done()
        task.cancel()
    for task in tasks:
        assert isinstance(await caught(task, asyncio.CancelledError), asyncio.CancelledError)
    nothing_inside()
    alive.cancel()
""", tools=HOSTILE)  # fmt: skip
    assert printed == "beaten\nothers answered\n"


def test_a_long_answer_is_read_beside_the_loop(run_loop: Run) -> None:
    run_loop("""
    from isolate_fn._runtime import outcome
    where, judge = [], outcome.judge
    outcome.judge = lambda *given: where.append(threading.current_thread() is threading.main_thread()) or judge(*given)
    async def main():
        assert len(await alone(tools.many).call_async()) == 1_000_000
        assert await alone(tools.add).call_async(1) == 2
        assert where == [False, True]
    """, tools=HOSTILE)  # fmt: skip


def test_limits_and_ends_as_without_a_loop(run_loop: Run) -> None:
    run_loop("""
    async def main():
        error = await caught(alone(tools.flood, output="discard", limits=Limits(output="1M")).call_async())
        assert isinstance(error, LimitExceeded) and error.limit == "output", error
        error = await caught(alone(tools.half_a_frame, timeout=0.3).call_async())
        assert isinstance(error, TimedOut), error
        error = await caught(alone(tools.closes).call_async())
        assert isinstance(error, Crashed), error
        error = await caught(alone(tools.many, limits=Limits(result="1M")).call_async())
        assert isinstance(error, LimitExceeded) and error.limit == "result", error
        assert not inside()
    """, tools=HOSTILE)  # fmt: skip


def test_an_output_callback_that_raises(run_loop: Run) -> None:
    run_loop("""
    def refuse(stream, data):
        raise KeyError(data)
    async def main():
        before = None
        for _ in range(3):
            error = await caught(alone(tools.say_and_sleep, output=refuse).call_async(60))
            assert isinstance(error, KeyError) and error.args == (b"running\\n",), error
            assert not inside()
            before = before or state()
        assert state() == before
    """)


def test_hundreds_of_calls_need_no_threads_and_leave_nothing(run_loop: Run) -> None:
    run_loop("""
    async def main():
        function, coroutine = alone(tools.add), alone(tools.double)
        async def round():
            most = 0
            async def watch():
                nonlocal most
                while True:
                    most = max(most, threading.active_count())
                    await asyncio.sleep(0.001)
            watching = asyncio.ensure_future(watch())
            values = await asyncio.gather(*(function.call_async(n) for n in range(100)), *map(coroutine, range(50)))
            assert values == [n + 1 for n in range(100)] + [n * 2 for n in range(50)]
            watching.cancel()
            return most
        assert await round() <= 1 + min(32, os.cpu_count() + 4)  # those of the loop, at most: they start the spawners
        nothing_inside()
        before = state()
        # From here on nothing starts a thread.
        executor = asyncio.get_running_loop()._default_executor
        threads = threading.active_count()
        assert await round() == threads
        nothing_inside()
        assert state() == before, (state(), before)
    """)


def test_as_many_at_a_time_as_are_wanted(run_loop: Run) -> None:
    """Forty that wait for each other are alive at once, though few are in the making at a time."""
    run_loop("""
    async def main():
        function = alone(tools.say_and_sleep, output=lambda *_: said.append(1))
        said, tasks = [], [asyncio.ensure_future(function.call_async(60)) for _ in range(40)]
        while len(said) < 40:
            await asyncio.sleep(0.01)
        assert len(inside()) == 80 > asynchronous.IN_THE_MAKING  # each an init and a worker
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not inside()
    """)


def test_descriptors_run_out(run_loop: Run) -> None:
    """It is told, names the limit, and nothing is lost by it."""
    run_loop("""
    import resource
    async def main():
        function, later = alone(tools.sleep), alone(tools.add)
        assert await later.call_async(1) == 2 and await function.call_async(0) == "slept"
        nothing_inside()
        before = state()
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (before["descriptors"] + 60, hard))
        tasks = [asyncio.ensure_future(function.call_async(60)) for _ in range(30)]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        errors = [await caught(task) for task in done]
        assert all(isinstance(error, (SetupError, OSError)) for error in errors), errors
        assert any(isinstance(error, SetupError) and "ulimit -n" in str(error) for error in errors), errors
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        assert await later.call_async(1) == 2
        nothing_inside()
        assert state() == before, (state(), before)
    """)


def test_a_spawner_that_has_ended_is_started_again(run_loop: Run) -> None:
    run_loop("""
    async def main():
        function = alone(tools.add)
        assert await function.call_async(1) == 2
        spawner, = pool._pool().spawners.values()
        for process in descendants()[0]:
            os.kill(process, signal.SIGKILL)
        while spawner.alive():
            await asyncio.sleep(0.01)
        assert await function.call_async(2) == 3
        spawner, = pool._pool().spawners.values()
        assert spawner.alive()
        spawner.end()
        assert not spawner.alive()
        assert await function.call_async(3) == 4
    """)


def test_a_loop_that_can_watch_no_descriptor(run_loop: Run) -> None:
    run_loop("""
    class Loop(asyncio.SelectorEventLoop):
        def add_reader(self, *given):
            if given[0] is self._ssock or given[0] == self._ssock.fileno():
                return super().add_reader(*given)
            raise NotImplementedError
    async def use():
        for _ in range(2):
            assert isinstance(await caught(alone(tools.add).call_async(1)), NotImplementedError)
            nothing_inside()
        assert not [name for name in os.listdir("/proc/self/fd") if "eventpoll" in link(name)][1:]
    def link(name):
        try:
            return os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            return ""
    loop = Loop()
    loop.run_until_complete(use())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    """)


def test_calls_of_threads_beside_those_of_a_loop(run_loop: Run) -> None:
    run_loop("""
    async def main():
        function, reused = alone(tools.add), isolated(reuse=True)(tools.add)
        def work(n):
            return [each(n) for each in (function, reused) for _ in range(3)]
        values = await asyncio.gather(
            *(asyncio.to_thread(work, n) for n in range(4)),
            *(each.call_async(n) for each in (function, reused) for n in range(20)),
        )
        assert values == [[n + 1] * 6 for n in range(4)] + [n + 1 for n in range(20)] * 2
    """)
