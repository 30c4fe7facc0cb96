"""Awaiting isolated functions: plain ones by `call_async`, those of ``async def`` by themselves, of every kind."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[..., str]

pytestmark = pytest.mark.needs("namespaces")

SHAPES = """
from isolate_fn import isolated

def through(function):
    return function

class Shape:
    def __init__(self, base):
        self.base = base

    @isolated
    def plain(self, number, *, factor=1):
        "What plain says."
        return self.base + number * factor

    @isolated
    async def method(self, number):
        await asyncio.sleep(0)
        return self.base + number

    @isolated
    @staticmethod
    async def static(number):
        return number - 1

    @staticmethod
    @isolated
    async def static_outside(number):
        return number - 2

    @isolated
    @classmethod
    async def maker(cls, number):
        return cls.__name__, number

    @classmethod
    @isolated
    async def maker_outside(cls, number):
        return cls.__name__, number

    @isolated
    @classmethod
    def plain_maker(cls, number):
        return cls.__name__, number

@isolated
async def countdown(number):
    return [number, *(await countdown(number - 1))] if number else []

@isolated
async def other(number):
    return await countdown(number)
"""


def test_plain_functions(run_loop: Run) -> None:
    run_loop("""
    add, len_ = alone(tools.add), alone(len)
    async def main():
        assert await add.call_async(1) == 2
        assert await add.call_async(1, b=5) == add(1, b=5) == 6
        assert await len_.call_async("abc") == 3
        assert await alone(lambda n: n + 1).call_async(1) == 2
        assert await alone(tools.add, reuse=True).call_async(1) == 2
        assert await alone(tools.add, fresh_exec=True).call_async(1) == 2
        assert isinstance(await caught(alone(lambda: 1 / 0).call_async()), ZeroDivisionError)
        assert isinstance(await caught(add.call_async(threading.Lock())), CallRejected)
        assert isinstance(await caught(add.call_async()), TypeError)
        assert (await caught(alone(tools.end).call_async(3))).exit_code == 3
        assert (await caught(alone(tools.sleep, timeout=0.3).call_async(60))).timeout == 0.3
    """)


def test_what_is_reused_serves_on(run_loop: Run) -> None:
    run_loop("""
    async def main():
        who = isolated(reuse=3)(os.getppid), isolated(reuse=True)(len)
        count = isolated(reuse=True)(tools.count)
        assert [await count.call_async() for _ in range(3)] == [1, 2, 3]
        assert count() == 4 and await count.call_async() == 5
        twice = isolated(reuse=2, prewarm=0)(tools.count)
        assert [await twice.call_async() for _ in range(4)] == [1, 2, 1, 2]
        napping = isolated(reuse=True)(tools.nap)
        assert [await napping(0) for _ in range(3)] == ["slept"] * 3
        assert (await asyncio.gather(*(napping(0.01) for _ in range(5)))) == ["slept"] * 5
    """, tools="""
    calls = 0
    def count():
        global calls
        calls += 1
        return calls
    """)  # fmt: skip


def test_methods_of_all_kinds(run_loop: Run) -> None:
    run_loop("""
    import pickle
    Shape = tools.Shape
    async def main():
        shape = Shape(10)
        assert shape.plain(2, factor=3) == await shape.plain.call_async(2, factor=3) == 16
        assert await Shape.plain.call_async(shape, 1) == 11
        assert await shape.plain.options(timeout=9).call_async(1) == 11
        assert shape.plain.options(timeout=9).policy.timeout == 9 and shape.plain.policy.timeout is None
        assert Shape.plain_maker(1) == await Shape.plain_maker.call_async(1) == ("Shape", 1)
        for pending in (shape.method(1), Shape.method(shape, 1), shape.method.call_async(1)):
            assert await pending == 11
        assert await Shape.static(5) == await shape.static(5) == await shape.static.call_async(5) == 4
        assert await Shape.static_outside(5) == await shape.static_outside(5) == 3
        assert await Shape.maker(1) == await shape.maker(1) == await shape.maker.call_async(1) == ("Shape", 1)
        assert await shape.maker_outside(1) == ("Shape", 1)
        bound = shape.plain
        assert bound == shape.plain and bound != Shape(10).plain and len({bound, shape.plain}) == 1
        assert bound.__self__ is shape and bound.__func__ is Shape.plain and bound.__name__ == "plain"
        assert (bound.__doc__, bound.__module__) == ("What plain says.", "tools")
        assert list(inspect.signature(bound).parameters) == ["number", "factor"]
        assert bound.__wrapped__(1) == 11
        again = pickle.loads(pickle.dumps(bound))
        assert again(1) == 11 and again.__self__.base == 10
        assert isolated(lambda method: method.__wrapped__(1))(bound) == 11
    """, tools=SHAPES)  # fmt: skip


def test_async_functions_are_coroutine_functions(run_loop: Run) -> None:
    run_loop("""
    import functools, warnings
    Shape = tools.Shape
    is_one = (inspect.iscoroutinefunction, asyncio.iscoroutinefunction) if sys.version_info < (3, 14) else (
        inspect.iscoroutinefunction,)
    for each in is_one:
        for function in (isolated(tools.double), Shape(1).method, Shape.method, Shape.static, Shape.maker,
                         isolated(timeout=3)(tools.double).options(timeout=4), isolated(functools.partial(tools.double, 1)),
                         isolated(Shape(1).method.__wrapped__)):
            assert each(function), function
        for function in (isolated(tools.add), Shape(1).plain, Shape.plain_maker):
            assert not each(function), function
    assert list(inspect.signature(isolated(tools.double)).parameters) == ["number"]

    async def main():
        double = alone(tools.double)
        pending = double(2)
        assert inspect.iscoroutine(pending) and pending.__qualname__ == "double"
        assert await pending == 4
        assert await double.call_async(3) == 6
        assert await alone(functools.partial(tools.double, 4))() == 8
        assert await alone(Shape(1).method.__wrapped__)(1) == 2
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            double(3)
        assert "coroutine 'double' was never awaited" in str(said[0].message)
    """, tools=SHAPES)  # fmt: skip


def test_async_functions_by_value(run_loop: Run) -> None:
    run_loop("""
    factor = 3
    @isolated
    async def times(number):
        await asyncio.sleep(0)
        return number * factor
    async def main():
        assert await times(2) == 6
        extra = 1
        async def closure(number):
            return number + extra
        assert await isolated(closure)(1) == 2
        assert await isolated(reuse=True)(closure)(1) == 2
        assert await isolated(fresh_exec=True)(closure)(1) == 2
    """)


@pytest.mark.parametrize("options", ["", "reuse=True", "fresh_exec=True", "prewarm=2", "on_denied='kill'", "network=True"])
def test_async_functions_under_options(options: str, run_loop: Run) -> None:
    run_loop(f"""
    async def main():
        double = isolated({options})(tools.double)
        assert [await double(n) for n in range(4)] == [0, 2, 4, 6]
        assert await isolated({options})(tools.thread)(5) == 5
    """, tools="""
    async def thread(value):
        return await asyncio.to_thread(lambda: value)
    """)  # fmt: skip


def test_rules_need_an_event_loop(run_loop: Run) -> None:
    run_loop("""
    from isolate_fn.rules import Asyncio, BasicCapabilities
    async def main():
        for options in ({}, {"fresh_exec": True}, {"reuse": True}):
            permitted = isolated(rules=[BasicCapabilities(), Asyncio()], **options)(tools.nap)
            assert [await permitted(0.01), await permitted(0)] == ["slept"] * 2
            refused = await caught(isolated(rules=[BasicCapabilities()], **options)(tools.nap)(0))
            assert isinstance(refused, PermissionError) and "Asyncio()" in refused.__notes__[0]
    """)


def test_what_async_functions_raise(run_loop: Run) -> None:
    run_loop("""
    import traceback
    async def main():
        error = await caught(alone(tools.fail)("text"))
        assert type(error) is tools.AppError and str(error) == "text"
        text = "".join(traceback.format_exception(error.__cause__))
        assert "in fail" in text and "raise AppError(text)" in text and "asyncio" not in text, text
        group = await caught(alone(tools.fail_in_a_group)())
        assert isinstance(group, ExceptionGroup) and isinstance(group.exceptions[0], tools.AppError)
        assert type(await caught(alone(tools.too_slow)())) is TimeoutError
        # A caller must not take it for its own cancellation.
        inside = await caught(alone(tools.cancels_itself)())
        assert isinstance(inside, RemoteError) and inside.type_name.endswith("CancelledError")
        assert isinstance(await caught(alone(tools.leave)()), RemoteError)
        assert isinstance(await caught(alone(tools.no_result)()), ResultRejected)
        assert isinstance(await caught(alone(tools.program)()), PermissionError)
        assert isinstance(await caught(alone(tools.connect)()), OSError)
        assert await alone(tools.leaves_a_task)() == "cancelled with the loop"
    """, tools="""
    class AppError(Exception):
        pass
    async def fail(text):
        await asyncio.sleep(0)
        raise AppError(text)
    async def fail_in_a_group():
        async with asyncio.TaskGroup() as group:
            group.create_task(fail("one"))
    async def too_slow():
        async with asyncio.timeout(0.01):
            await asyncio.sleep(60)
    async def cancels_itself():
        asyncio.current_task().cancel()
        await asyncio.sleep(60)
    async def leave():
        sys.exit(3)
    async def no_result():
        return object()
    async def program():
        await asyncio.create_subprocess_exec("true")
    async def connect():
        await asyncio.open_connection("192.0.2.1", 80)
    async def leaves_a_task():
        asyncio.get_running_loop().create_task(asyncio.sleep(60))
        return "cancelled with the loop"
    """)  # fmt: skip


def test_recursion_and_nesting(run_loop: Run) -> None:
    run_loop("""
    @isolated
    async def mine(number):
        return [number, *(await mine(number - 1))] if number else []
    async def main():
        assert await tools.countdown(3) == [3, 2, 1]
        assert await mine(2) == [2, 1]
        assert isinstance(await caught(tools.other(1)), PolicyError)
    """, tools=SHAPES)  # fmt: skip


def test_marked_functions(run_loop: Run) -> None:
    run_loop("""
    if sys.version_info >= (3, 12):
        tools.marked = inspect.markcoroutinefunction(tools.marked)
    async def main():
        if sys.version_info >= (3, 12):
            marked = alone(tools.marked)
            assert inspect.iscoroutinefunction(marked)
            assert await marked(1) == 2
    """, tools="""
    def marked(number):
        assert asyncio.get_running_loop()
        return double(number)
    """)  # fmt: skip


def test_a_plain_function_has_no_asyncio(run_loop: Run) -> None:
    """Only the spawner of async functions loads it, and a program that awaits nothing does not load it either."""
    run_loop("""
    async def main():
        assert not await alone(lambda: "asyncio" in sys.modules).call_async()
        assert await alone(tools.nap)(0) == "slept"
    """)
    assert run_loop("""
    del sys.modules["asyncio"], asyncio  # the prelude's
    with sandbox() as box:
        assert box.call(tools.add, 1) == 2
    print(alone(tools.add)(1), "asyncio" in sys.modules)
    """).endswith("2 False\n")


def test_without_a_loop(run_loop: Run) -> None:
    run_loop("""
    pending = alone(tools.double)(1)
    try:
        pending.send(None)
    except RuntimeError as error:
        assert "no running event loop" in str(error), error
    else:
        raise AssertionError
    assert asyncio.run(alone(tools.double)(2)) == 4
    assert [asyncio.run(alone(tools.add).call_async(n)) for n in range(3)] == [1, 2, 3]
    results = []
    def in_thread(n):
        results.append(asyncio.run(double(n)))
    double = alone(tools.double)
    threads = [threading.Thread(target=in_thread, args=(n,)) for n in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert sorted(results) == [0, 2, 4, 6]
    """)
