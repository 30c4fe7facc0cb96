"""Host functions: only those that are exposed, with checked arguments, within their limits, and without leaks back."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import os
import pickle
import sys
import threading
import time
from typing import Any

import produce
import pytest

import isolate_fn
from isolate_fn import Host, Limits, Policy, isolated, ro, sandbox
from isolate_fn._api.prepare import prepare
from isolate_fn.errors import LimitExceeded, PolicyError, TimedOut

pytestmark = pytest.mark.needs("namespaces")


def echo(*args, **kwargs):
    return [*args, kwargs]


# --- calling -----------------------------------------------------------------------------------------------------------


def test_arguments_and_results(made):
    ask = made(produce.ask, expose={"echo": echo, "other": len})
    values = (1, "two", b"3", 4.5, None, [1, {2: (3,)}], {"a": {4}})
    assert ask("echo", *values, key=b"x") == [*values, {"key": b"x"}]
    assert ask("other", "four") == 4
    big = b"x" * (1 << 20)
    assert ask("echo", big, key=[big]) == [big, {"key": [big]}]


def test_runs_in_the_caller(made):
    where = made(produce.ask, expose={"where": lambda: (os.getpid(), threading.get_ident())})
    assert where("where") == (os.getpid(), threading.get_ident())


def test_what_there_is_inside(made):
    names, there, error = made(produce.what_is_there, expose={"lookup": echo, "b": echo})()
    assert names == ["b", "lookup"]
    assert there
    assert "exposed are lookup, b" in error
    names, there, error = made(produce.what_is_there)()
    assert (names, there) == ([], False)
    assert "nothing is exposed" in error


def test_outside_an_isolate():
    from isolate_fn import host

    assert dir(host) == []
    with pytest.raises(PolicyError, match="only inside an isolate"):
        host.lookup  # noqa: B018
    with pytest.raises(PolicyError, match="only inside an isolate"):
        from isolate_fn.host import lookup  # noqa: F401
    with pytest.raises(AttributeError):
        host._private  # noqa: B018


def test_in_a_sandbox():
    with sandbox(expose={"echo": echo}) as box:
        assert box.call(produce.ask, "echo", 1) == [1, {}]
        assert box.call(produce.ask, "echo", 2) == [2, {}]


def test_a_sandbox_is_not_used_by_its_own_host_functions():
    boxes = []

    def put(path):
        boxes[0].put(path, b"")

    with sandbox(expose={"put": put}) as box:
        boxes.append(box)
        kind, text = box.call(produce.fate, "put", "x")
        assert kind == "RuntimeError"
        assert "wait for itself" in text
        box.put("x", b"1")
        assert box.get("x") == b"1"


def test_workers_that_serve_on(made):
    ask = made(produce.ask, expose={"echo": Host(echo, calls=1)}, reuse=True)
    assert [ask("echo", number) for number in range(3)] == [[number, {}] for number in range(3)]


def test_threads_inside(made):
    ask = made(produce.ask_in_threads, expose={"twice": lambda number: 2 * number})
    assert ask("twice", 4, 10) == [2 * number for number in range(40)]


def test_it_may_make_isolated_calls_itself(made):
    inner = made(produce.total)
    ask = made(produce.ask, expose={"total": inner, "items": lambda: list(made(produce.numbers)(3))})
    assert ask("total", [1, 2, 3]) == 6
    assert ask("items") == [0, 1, 2]


def test_from_streams(made):
    asks = made(produce.marking, expose={"mark": lambda value: None})
    assert list(asks(3)) == [0, 1, 2]


# --- what goes in and out ------------------------------------------------------------------------------------------------


def test_what_cannot_leave_is_told_inside(made):
    called = []
    text = made(produce.give_opaque, expose={"echo": called.append})("echo")
    assert "Opaque" in text
    assert called == []


def test_classes_that_an_annotation_names_may_arrive(made):
    def take(point: produce.Point) -> int:
        assert type(point) is produce.Point
        return point.x + point.y

    assert made(produce.give_point, expose={"take": take})("take") == 3
    with pytest.raises(isolate_fn.errors.ResultRejected, match="Point"):
        made(produce.give_point, expose={"take": lambda point: 1})("take")


def test_an_object_does_not_go_in(made):
    class Secretive:
        def __init__(self):
            self.secret = "s3cret"

    ask = made(produce.fate, expose={"get": Secretive, "lock": threading.Lock})
    for name in ("get", "lock"):
        kind, text = ask(name)
        assert kind == "TypeError"
        assert "does not go into an isolate" in text
        assert "s3cret" not in text


@dataclasses.dataclass
class Local:
    """Cannot be imported where the isolate looks."""

    value: int


def point() -> produce.Point:
    made = produce.Point(1)
    made.secret = "s3cret"  # no field
    return made


def points() -> dict[str, list[produce.Point | produce.Pair | produce.Colour]]:
    return {"all": [point(), produce.Pair(point(), 2), produce.Colour.RED]}


def conf() -> dict[str, Any]:
    return {"nested": [produce.Point("s3cret")]}


def test_results_of_classes_that_the_annotation_names_arrive_by_their_fields(made):
    expose = {"get": point, "all": points}
    assert made(produce.fate, expose=expose)("get") == ("returned", "Point(x=1, y=0)")
    shown = "{'all': [Point(x=1, y=0), Pair(left=Point(x=1, y=0), right=2), <Colour.RED: 1>]}"
    assert made(produce.fate, expose=expose)("all") == ("returned", shown)
    assert made(produce.attributes, expose=expose)("get") == ["x", "y"]


@pytest.mark.parametrize(
    "get",
    [
        conf,
        lambda: produce.Point("s3cret"),
        lambda: [produce.Pair("s3cret", 0)],
        lambda: produce.Colour.RED,
        lambda: ro("/etc/s3cret"),
        lambda: ValueError("s3cret"),
        lambda: {"port": Local("s3cret")},
    ],
)
def test_results_of_classes_that_nobody_named_do_not_go_in(made, get):
    kind, text = made(produce.fate, expose={"get": get})("get")
    assert kind == "TypeError"
    assert "host.get() returned what does not go into an isolate: " in text
    assert "s3cret" not in text


def test_the_refusal_of_a_class_says_what_to_write(made):
    _, text = made(produce.fate, expose={"get": conf})("get")
    assert "produce:Point; name it in the return annotation, as '-> Point'" in text


def test_a_result_of_a_class_of_the_main_program(script):
    printed = script(
        """
        import dataclasses

        from isolate_fn import isolated
        from produce import fate

        @dataclasses.dataclass
        class Conf:
            password: str

        def conf() -> Conf:
            return Conf("s3cret")

        if __name__ == "__main__":
            print(*isolated(expose={"conf": conf})(fate)("conf"))
        """
    )
    assert printed.startswith("TypeError host.conf() returned what does not go into an isolate: __main__:Conf; define it in")


def test_a_result_of_a_class_that_is_not_in_the_isolate(made):
    """The caller has changed the module since, for example."""
    kind = dataclasses.dataclass(type("Late", (), {"__annotations__": {"x": int}, "__module__": "produce"}))

    def late():
        return kind(1)

    late.__annotations__["return"] = kind
    produce.Late = kind
    try:
        told = made(produce.fate, expose={"late": late})("late")
    finally:
        del produce.Late
    assert told[0] == "TypeError"
    assert "what host.late() returned is of a class that is not here" in told[1]


# --- exceptions ------------------------------------------------------------------------------------------------------------


class Hidden(Exception):
    """An exception of the caller's."""


HIDDEN = [
    (KeyError("name"), "KeyError", "'name'"),
    (ValueError("bad"), "ValueError", "bad"),
    (ZeroDivisionError(), "ZeroDivisionError", ""),
    (Hidden("why"), "RuntimeError", "Hidden: why"),
    (TimedOut(3), "RuntimeError", "TimedOut: "),
    (StopIteration(3), "RuntimeError", "StopIteration: 3"),
    (UnicodeDecodeError("utf-8", b"x", 0, 1, "no"), "RuntimeError", "UnicodeDecodeError: "),
    (ExceptionGroup("group", [ValueError()]), "RuntimeError", "ExceptionGroup: group (1 sub-exception)"),
    (FileNotFoundError(2, "No such file", "/home/me/secret"), "FileNotFoundError", "[Errno 2] No such file"),
    (ValueError("cannot read '/home/me/secret.txt': no"), "ValueError", "cannot read '<path>': no"),
    (Hidden("see https://example.org/a/b and /etc/x"), "RuntimeError", "Hidden: see https://example.org/a/b and <path>"),
]


@pytest.mark.parametrize(("error", "kind", "text"), HIDDEN, ids=lambda each: repr(each)[:40])
def test_an_exception_arrives_by_its_name_and_text(made, error, kind, text):
    def fails():
        raise error

    found = made(produce.fate, expose={"fails": fails})("fails")
    assert found[0] == kind
    assert found[1].startswith(text) if text.endswith(": ") else found[1] == text


def test_nothing_of_the_caller_s_traceback_arrives(made):
    def fails():
        secret_local = "s3cret"
        raise Hidden("x" * 10_000 + secret_local)

    _, text = made(produce.fate, expose={"fails": fails})("fails")
    assert len(text) < 2000
    assert "s3cret" not in text
    assert __file__ not in text


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_what_ends_the_caller_is_not_for_the_isolate(made, error):
    def interrupts():
        raise error

    ask = made(produce.fate, expose={"interrupts": interrupts}, reuse=True)
    with pytest.raises(type(error)) as caught:
        ask("interrupts")
    assert caught.value is error


# --- limits ----------------------------------------------------------------------------------------------------------------


def test_calls_are_counted_for_each_isolated_call(made):
    called = []
    expose = {"mark": Host(called.append, calls=3), "other": called.append}
    ask = made(produce.ask_often, expose=expose, reuse=True)
    assert ask("mark", 3) == [None] * 3
    assert ask("mark", 3) == [None] * 3
    with pytest.raises(LimitExceeded, match="expose") as caught:
        ask("mark", 4)
    assert (caught.value.limit, caught.value.allowed, caught.value.used) == ("expose['mark'].calls", 3, 4)
    assert "Host(" in caught.value.remedy
    assert caught.value.report is not None
    assert len(called) == 9
    assert pickle.loads(pickle.dumps(caught.value)).limit == caught.value.limit
    assert ask("other", 20) == [None] * 20


def test_seconds_of_a_plain_function(made):
    pause = [0.0]
    ask = made(produce.ask_often, expose={"slow": Host(lambda _: time.sleep(pause[0]), seconds=0.3)})
    assert ask("slow", 1) == [None]
    pause[0] = 0.2
    with pytest.raises(LimitExceeded) as caught:
        ask("slow", 5)
    assert caught.value.limit == "expose['slow'].seconds"


def test_one_that_blocks_longer_than_the_call_may_take(made):
    with pytest.raises(TimedOut):
        made(produce.ask, expose={"slow": lambda: time.sleep(1.2)}, timeout=1)("slow")


def test_arguments_have_the_limit_of_a_result(made):
    ask = made(produce.ask, expose={"size": len}, limits=Limits(result="1M"))
    assert ask("size", b"x" * 900_000) == 900_000
    with pytest.raises(LimitExceeded) as caught:
        ask("size", b"x" * (2 << 20))
    assert caught.value.limit == "result"


async def a_moment():
    await asyncio.sleep(600)


def used_until(error):
    """Check that a report tells what was used, and of the call."""
    assert error.limit.startswith("expose[")
    assert error.report.peak_memory > 50 << 20
    assert error.report.cpu_seconds > 0.2
    assert error.report.stages["call"] > 0.2


def test_a_limit_is_told_with_what_was_used_until_then(made):
    with pytest.raises(LimitExceeded) as caught:
        made(produce.take_and_ask, expose={"once": Host(bool, calls=1)})("once")
    used_until(caught.value)


def test_a_limit_in_a_sandbox_is_told_with_what_was_used_until_then():
    with sandbox(expose={"once": Host(bool, calls=1)}) as box, pytest.raises(LimitExceeded) as caught:
        box.call(produce.take_and_ask, "once")
    used_until(caught.value)


def test_a_limit_of_an_awaited_one_is_told_with_what_was_used_until_then(made):
    with pytest.raises(LimitExceeded) as caught:
        asyncio.run(made(produce.take_and_ask, expose={"slow": Host(a_moment, seconds=0.1)}).call_async("slow"))
    used_until(caught.value)


# --- awaited ---------------------------------------------------------------------------------------------------------------


async def lookup(number=0):
    await asyncio.sleep(0)
    return number + 1


def test_coroutine_functions_are_awaited_where_the_call_is(made):
    async def main():
        task = asyncio.current_task()

        async def whose():
            return asyncio.current_task() is task

        ask = made(produce.ask, expose={"lookup": lookup, "whose": whose, "plain": len, "made": lambda: lookup(5)})
        assert await ask.call_async("lookup", 3) == 4
        assert await ask.call_async("whose") is True
        assert await ask.call_async("plain", "abc") == 3
        assert await ask.call_async("made") == 6

    asyncio.run(main())


def test_a_coroutine_function_in_a_call_that_is_not_awaited(made):
    with pytest.raises(PolicyError, match="not awaited") as caught:
        made(produce.ask, expose={"lookup": lookup})("lookup")
    assert not caught.value.ran
    with pytest.raises(PolicyError, match="not awaited"):
        made(produce.ask, expose={"lookup": lambda: lookup()})("lookup")
    with sandbox(expose={"lookup": lookup}) as box:
        with pytest.raises(PolicyError, match="not awaited"):
            box.call(produce.ask, "lookup")
        box.put("x", b"")  # it goes on


def test_coroutine_functions_of_coroutine_functions(made):
    async def main():
        assert await made(produce.async_ask, expose={"lookup": lookup})("lookup", 3) == 4
        async with sandbox(expose={"lookup": lookup}) as box:
            assert await box.call_async(produce.ask, "lookup", 1) == 2
            assert await box.call_async(produce.first, iter([5]), 1) == [5]

    asyncio.run(main())


def test_a_sandbox_is_not_awaited_by_its_own_host_functions():
    async def main():
        async def again():
            return await boxes[0].call_async(produce.kinds)

        boxes = []
        async with sandbox(expose={"again": again}) as box:
            boxes.append(box)
            kind, text = await box.call_async(produce.fate, "again")
            assert kind == "RuntimeError"
            assert "wait for itself" in text

    asyncio.run(main())


def test_seconds_of_a_coroutine_function(made):
    cancelled = []

    async def slow():
        try:
            await asyncio.sleep(600)
        finally:
            cancelled.append(True)

    async def main():
        with pytest.raises(LimitExceeded) as caught:
            await made(produce.ask, expose={"slow": Host(slow, seconds=0.2)}).call_async("slow")
        assert caught.value.limit == "expose['slow'].seconds"
        with pytest.raises(TimedOut):
            await made(produce.ask, expose={"slow": slow}, timeout=1).call_async("slow")

    asyncio.run(main())
    assert cancelled == [True, True]


def test_cancelling_while_a_host_function_is_awaited(made):
    entered = asyncio.Event()

    async def slow():
        entered.set()
        await asyncio.sleep(600)

    async def main():
        task = asyncio.ensure_future(made(produce.ask, expose={"slow": slow}).call_async("slow"))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_its_own_timeout_error_is_for_the_isolate(made):
    async def main():
        async def fails():
            raise TimeoutError("of its own")

        ask = made(produce.fate, expose={"fails": fails}, timeout=60)
        assert await ask.call_async("fails") == ("TimeoutError", "of its own")

    asyncio.run(main())


# --- the policy is a value --------------------------------------------------------------------------------------------------


class Equal:
    """Equal to any other of its kind, and still another function."""

    def __init__(self, value):
        self.value = value

    def __call__(self):
        return self.value

    def __eq__(self, other):
        return isinstance(other, Equal)

    __hash__ = None


def test_policies_compare_functions_by_identity():
    box = [1]
    assert Policy(expose={"a": echo}) == Policy(expose={"a": echo})
    assert hash(Policy(expose={"a": echo})) == hash(Policy(expose={"a": echo}))
    assert Policy(expose={"a": echo}) != Policy(expose={"b": echo})
    assert Policy(expose={"a": echo}) != Policy(expose={"a": lookup})
    assert Policy(expose={"a": box.append}) != Policy(expose={"a": [1].append})
    assert Policy(expose={"a": Equal(1)}) != Policy(expose={"a": Equal(1)})
    assert Policy(expose={"a": Host(echo, calls=1)}) == Policy(expose={"a": Host(echo, calls=1)})
    assert Policy(expose={"a": Host(echo, calls=1)}) != Policy(expose={"a": Host(echo, calls=2)})
    assert pickle.loads(pickle.dumps(Policy(expose={"a": Host(echo, calls=1)}))) == Policy(expose={"a": Host(echo, calls=1)})
    assert repr(Host(len, calls=3)) == "Host(<built-in function len>, calls=3)"
    assert Host(len, calls=3).calls == 3


@pytest.mark.parametrize(
    ("options", "text"),
    [({"calls": 0}, "calls"), ({"calls": 1.5}, "calls"), ({"seconds": -1}, "seconds"), ({"calls": True}, "calls"),
     ({"second": 1}, "did you mean seconds")],
)  # fmt: skip
def test_wrong_limits(options, text):
    with pytest.raises(PolicyError, match=text):
        Host(echo, **options)
    with pytest.raises(PolicyError, match="not callable"):
        Host(3)
    with pytest.raises(PolicyError, match="not callable"):
        Host(Host(echo))


def test_policies_with_other_functions_do_not_share_isolates():
    one, two = Equal("one"), Equal("two")
    asks = [isolated(expose={"who": who}, prewarm=1, reuse=True)(produce.ask) for who in (one, two)]
    assert [ask("who") for ask in asks * 2] == ["one", "two"] * 2
    prepared = [prepare(ask.policy) for ask in asks]
    assert prepared[0].plan is not prepared[1].plan
    for ask in asks:
        ask.close()


def test_partials_and_methods(made):
    values = {"a": 1}
    ask = made(produce.ask, expose={"get": values.get, "three": functools.partial(sum, [1, 2])})
    assert ask("get", "a") == 1
    assert ask("three") == 3


def test_the_function_itself_does_not_travel(script):
    assert script("""
        import isolate_fn
        from isolate_fn import host, isolated

        secret = "s3cret"

        def lookup():
            return len(secret)

        @isolated(expose={"lookup": lookup})
        def peek():
            import gc
            found = any(value == "s3" + "cret" for each in gc.get_objects() if isinstance(each, dict) for value in each.values())
            return host.lookup(), found

        print(peek())
    """) == "(6, False)\n"


def test_nothing_is_kept_after_the_call(made):
    class Kept:
        def __call__(self):
            return 1

    kept = Kept()
    ask = made(produce.ask, expose={"kept": kept}, reuse=True)
    ask("kept")
    before = sys.getrefcount(kept)
    for _ in range(3):
        ask("kept")
    assert sys.getrefcount(kept) == before
