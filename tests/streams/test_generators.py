"""Generator functions: item by item, nothing ahead, and as generators behave in every other way."""

from __future__ import annotations

import contextlib
import functools
import gc
import inspect
import threading
import time
import traceback
from collections.abc import Generator

import produce
import pytest

from isolate_fn import IsolatedExecutor, Limits
from isolate_fn._runtime import streams
from isolate_fn.dangerous import TrustResult
from isolate_fn.errors import Crashed, LimitExceeded, PolicyError, RemoteError, ResultRejected, TimedOut, Unsupported
from isolate_fn.rules import Interpreter, SystemIO

pytestmark = pytest.mark.needs("namespaces")


def gone(isolate):
    return isolate.channel.fileno() < 0 and isolate.pidfd < 0


# --- the protocol of generators -----------------------------------------------------------------------------------------


def test_items_and_the_value_at_the_end(made):
    generator = made(produce.numbers)(4)
    assert [next(generator) for _ in range(4)] == [0, 1, 2, 3]
    isolate = generator._isolate
    with pytest.raises(StopIteration) as end:
        next(generator)
    assert end.value.value == 6
    assert gone(isolate)
    with pytest.raises(StopIteration) as again:
        next(generator)
    assert again.value.value is None
    generator.close()


def test_yield_from_returns_the_value(made):
    numbers = made(produce.numbers)

    def around():
        return (yield from numbers(3))

    outer = around()
    assert list(outer) == [0, 1, 2]


def test_nothing_runs_ahead(made):
    marks = []
    generator = made(produce.marking, expose={"mark": marks.append})(3)
    assert marks == []
    assert next(generator) == 0
    assert marks == [0]
    assert next(generator) == 1
    assert marks == [0, 1]
    assert list(generator) == [2]
    assert marks == [0, 1, 2, "closed"]


def test_making_one_starts_nothing_and_checks_the_arguments(made, monkeypatch):
    monkeypatch.setattr("isolate_fn._runtime.pool.take", lambda *_: pytest.fail("an isolate was started"))
    numbers = made(produce.numbers)
    generator = numbers(3)
    generator.close()
    assert list(generator) == []
    for wrong in (lambda: numbers(), lambda: numbers(1, 2, 3), lambda: numbers(1, other=2)):
        with pytest.raises(TypeError, match="numbers"):
            wrong()


def test_send(made):
    generator = made(produce.echo)()
    with pytest.raises(TypeError, match="just-started"):
        generator.send(1)
    assert generator.send(None) == "begun"
    sent = {"a": [1, (2, 3)], "b": b"x" * 300_000}
    assert generator.send(sent) == sent
    assert next(generator) is None
    with pytest.raises(StopIteration):
        generator.send("stop")


def test_what_cannot_be_sent_leaves_the_generator_as_it_is(made):
    generator = made(produce.echo)()
    next(generator)
    with pytest.raises(Exception, match="cannot be sent into the isolate"):
        generator.send(threading.Lock())
    assert generator.send(1) == 1
    generator.close()


def test_throw(made):
    generator = made(produce.echo)()
    next(generator)
    assert generator.throw(produce.OwnError("once")) == "caught once"
    assert generator.throw(produce.OwnError) == "caught "
    assert generator.throw(produce.OwnError, "twice") == "caught twice"
    with pytest.raises(KeyError, match="nobody"):
        generator.throw(KeyError("nobody"))
    assert list(generator) == []


def test_throw_before_the_first_item(made):
    generator = made(produce.echo)()
    with pytest.raises(KeyError):
        generator.throw(KeyError("early"))
    assert list(generator) == []
    with pytest.raises(TypeError, match="deriving from BaseException"):
        generator.throw(str)


def test_throwing_its_exit_closes_it(made):
    generator = made(produce.echo)()
    next(generator)
    isolate = generator._isolate
    with pytest.raises(GeneratorExit):
        generator.throw(GeneratorExit())
    assert gone(isolate)


def test_it_looks_like_a_generator_function(made):
    numbers = made(produce.numbers)
    assert inspect.isgeneratorfunction(numbers)
    assert not inspect.isasyncgenfunction(numbers)
    assert not inspect.iscoroutinefunction(numbers)
    assert inspect.signature(numbers) == inspect.signature(produce.numbers)
    assert isinstance(numbers(1), Generator)
    assert "numbers" in repr(numbers(1))
    assert type(numbers.options(timeout=3)) is type(numbers)
    assert not inspect.isgeneratorfunction(made(produce.kinds))


def test_there_is_no_one_value_to_wait_for(made):
    with pytest.raises(Unsupported, match="iterate over its call"):
        made(produce.numbers).call_async(3)
    with IsolatedExecutor(1) as pool, pytest.raises(Unsupported, match="iterate over its call"):
        pool.submit(produce.numbers, 3).result()


@pytest.mark.parametrize("function", [produce.numbers, produce.ticks], ids=["plain", "async"])
def test_there_is_no_one_value_to_submit(made, function):
    isolated = made(function)
    with pytest.raises(Unsupported, match="iterate over its call"):
        isolated.submit(3)
    for options in ({}, {"chunksize": 2}):
        with pytest.raises(Unsupported, match="iterate over its call"):
            isolated.map([1, 2, 3], **options)


def test_there_is_no_one_value_of_a_method_to_submit():
    for method in (produce.Tool(10).above, produce.Tool.named, produce.Tool.static):
        with pytest.raises(Unsupported, match="iterate over its call"):
            method.submit(3)
        with pytest.raises(Unsupported, match="iterate over its call"):
            method.map([1, 2, 3])


def test_a_function_that_returns_a_generator_is_told_to_return_a_list(made):
    with pytest.raises(ResultRejected, match="generator"):
        made(_returns_one)()


def _returns_one():
    return produce.numbers(3)


# --- who may write one ---------------------------------------------------------------------------------------------------


def test_methods():
    assert list(produce.Tool(10).above(3)) == [10, 11, 12]
    assert list(produce.Tool.above(produce.Tool(5), 2)) == [5, 6]
    assert list(produce.Tool.named()) == ["Tool"]
    assert list(produce.Tool.static(2)) == [0, 1]


def test_partials_and_bound_methods(made):
    numbers = made(functools.partial(produce.numbers, start=2))
    assert list(numbers(4)) == [2, 3]
    made_of_method = made(_Source(3).up)
    assert list(made_of_method()) == [0, 1, 2]
    assert inspect.isgeneratorfunction(made_of_method)
    assert list(made(staticmethod(produce.numbers))(2)) == [0, 1]


class _Source:
    def __init__(self, count):
        self.count = count

    def up(self):
        yield from range(self.count)


def test_it_may_call_itself():
    assert list(produce.countdown(3)) == [3, 2, 1, 0]


def test_functions_by_value(script):
    assert script("""
        from isolate_fn import isolated
        offset = 10

        @isolated
        def tree(depth):
            yield depth + offset
            if depth:
                yield from tree(depth - 1)

        def maker(step):
            @isolated
            def steps(count):
                for number in range(count):
                    yield number * step
            return steps

        print(list(tree(2)), list(maker(3)(3)), list(isolated(lambda: (yield 1))()))
    """) == "[12, 11, 10] [0, 3, 6] [1]\n"


def test_under_rules_that_deny_opening_files(made):
    numbers = made(produce.numbers, rules=[Interpreter()])
    assert list(numbers(3)) == [0, 1, 2]
    speaking = made(produce.talkative, rules=[Interpreter(), SystemIO().allow_stdout()], output="discard")
    assert list(speaking(2)) == [0, 1]
    assert made(produce.total, rules=[Interpreter()])(number for number in range(4)) == 6


# --- what comes out ------------------------------------------------------------------------------------------------------


def test_items_of_classes_that_the_annotation_names(made):
    assert list(made(produce.points)(2)) == [produce.Point(0, 0), produce.Point(1, -1)]


def test_big_items_go_through_shared_memory(made):
    sizes = [10, 1 << 20, 300_000, 3 << 20]
    assert [len(item) for item in made(produce.sized)(*sizes)] == sizes


def test_an_item_that_cannot_leave_ends_the_stream(made):
    generator = made(produce.opaque)()
    assert next(generator) == 1
    with pytest.raises(ResultRejected, match="Opaque"):
        next(generator)
    assert list(generator) == []


def test_items_of_trusted_functions_are_pickled(made):
    found = list(made(produce.opaque, accept=(TrustResult,))())
    assert found[0] == 1
    assert type(found[1]) is produce.Opaque


def test_what_was_printed_comes_before_the_item(made):
    heard = []
    generator = made(produce.talkative, output=lambda stream, data: heard.append(data))(2)
    next(generator)
    assert b"".join(heard) == b"before 0\n"
    next(generator)
    assert b"".join(heard) == b"before 0\nbefore 1\n"
    generator.close()


# --- limits, and ends in the middle ----------------------------------------------------------------------------------------


def test_each_item_has_the_limit_of_a_result(made):
    sized = made(produce.sized, limits=Limits(result="1M"))
    assert sum(map(len, sized(*[700_000] * 4))) == 2_800_000
    generator = sized(700_000, 2 << 20, 5)
    assert len(next(generator)) == 700_000
    isolate = generator._isolate
    with pytest.raises(LimitExceeded) as caught:
        next(generator)
    assert caught.value.limit == "result"
    assert gone(isolate)
    assert list(generator) == []


def test_the_timeout_is_that_of_each_item(made):
    generator = made(produce.fail_after, timeout=2)(2, "sleep")
    assert next(generator) == 0
    time.sleep(2.2)  # the caller's own time does not count
    assert next(generator) == 1
    isolate = generator._isolate
    with pytest.raises(TimedOut) as caught:
        next(generator)
    assert caught.value.timeout == 2
    assert gone(isolate)


def test_an_exception_in_the_middle(made):
    generator = made(produce.fail_after)(2, "raise")
    assert [next(generator), next(generator)] == [0, 1]
    with pytest.raises(produce.OwnError, match="in the middle") as caught:
        next(generator)
    shown = "".join(traceback.format_exception(caught.value))
    assert "fail_after" in shown
    assert "generating.py" not in shown
    assert list(generator) == []


@pytest.mark.parametrize("how", ["exit", "abort"])
def test_a_crash_in_the_middle(made, how):
    generator = made(produce.fail_after)(1, how)
    assert next(generator) == 0
    with pytest.raises(Crashed):
        next(generator)
    assert list(generator) == []


def test_leaving_by_system_exit_is_no_end_of_this_process(made):
    with pytest.raises(RemoteError, match="SystemExit"):
        list(made(produce.fail_after)(1, "system exit"))


def test_an_isolate_that_died_between_two_items(made):
    generator = made(produce.numbers)(3)
    next(generator)
    generator._isolate.kill()
    with pytest.raises(Crashed):
        list(generator)


# --- closing -------------------------------------------------------------------------------------------------------------


def close_it(generator):
    generator.close()


def drop_it(generator):
    del generator
    gc.collect()


def break_out(generator):
    for _ in generator:
        break


def fail_in_loop(generator):
    with contextlib.suppress(LookupError):
        _fail_in_loop(generator)


def _fail_in_loop(generator):
    for _ in generator:
        raise LookupError


WAYS = [close_it, drop_it, break_out, fail_in_loop]


@pytest.mark.parametrize("way", WAYS)
def test_closing_early_kills_a_fresh_isolate(made, way):
    generators = [made(produce.processes)()]
    assert next(generators[0]) > 0
    isolate = generators[0]._isolate
    assert not gone(isolate)
    way(generators.pop())
    assert gone(isolate)


@pytest.mark.parametrize("way", WAYS)
def test_closing_early_frees_a_worker_that_serves_on(made, way):
    remembering = made(produce.remembering, reuse=True)
    generators = [remembering()]
    assert next(generators[0]) is False
    isolate = generators[0]._isolate
    way(generators.pop())
    assert not gone(isolate)
    again = remembering()
    assert next(again) == "closed before"
    assert again._isolate is isolate
    again.close()


@pytest.mark.parametrize(("how", "error"), [("raise", produce.OwnError), ("yield", RuntimeError), ("sleep", None)])
def test_one_that_does_not_let_itself_be_closed(made, monkeypatch, how, error):
    monkeypatch.setattr(streams, "CLOSE_SECONDS", 0.3)
    generator = made(produce.stubborn, reuse=True)(how)
    assert next(generator) == 1
    isolate = generator._isolate
    with pytest.raises(error) if error else contextlib.nullcontext():
        generator.close()
    assert list(generator) == []
    assert gone(isolate) == (how == "sleep")


def test_reuse_of_a_number_of_calls(made):
    processes = made(produce.processes, reuse=2)
    numbers = [list(processes(3)) for _ in range(4)]
    assert all(len(set(each)) == 1 for each in numbers)
    isolates = []
    for _ in range(4):
        generator = processes(1)
        next(generator)
        isolates.append(generator._isolate)
        assert list(generator) == []
    assert isolates[0] is isolates[1]
    assert isolates[2] is isolates[3]
    assert isolates[0] is not isolates[2]
    assert gone(isolates[0])


# --- several at once, threads, forks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reuse", [False, True])
def test_two_of_one_function_are_two_isolates(made, reuse):
    numbers = made(produce.numbers, reuse=reuse)
    one, two = numbers(3), numbers(13, 10)
    assert list(zip(one, two, strict=True)) == [(0, 10), (1, 11), (2, 12)]
    one, two = numbers(3), numbers(3)
    assert next(one) == next(two) == 0
    assert one._isolate is not two._isolate
    one.close()
    assert list(two) == [1, 2]


def test_another_thread_may_go_on(made):
    generator = made(produce.numbers)(3)
    assert next(generator) == 0
    found = []
    thread = threading.Thread(target=lambda: found.extend(generator))
    thread.start()
    thread.join()
    assert found == [1, 2]


def test_two_threads_at_once_are_refused(made):
    entered, go_on = threading.Event(), threading.Event()

    def mark(value):
        entered.set()
        go_on.wait(30)

    generator = made(produce.marking, expose={"mark": mark})(2)
    thread = threading.Thread(target=next, args=(generator,))
    thread.start()
    assert entered.wait(30)
    with pytest.raises(ValueError, match="already executing"):
        next(generator)
    with pytest.raises(ValueError, match="already executing"):
        generator.close()
    go_on.set()
    thread.join()
    assert next(generator) == 1


def test_a_fork_of_the_caller(script):
    assert script("""
        import os
        from isolate_fn import isolated
        from isolate_fn.errors import PolicyError
        import produce

        numbers = isolated(produce.numbers)
        generator, unused = numbers(3), numbers(2)
        assert next(generator) == 0
        if not (child := os.fork()):
            try:
                next(generator)
            except PolicyError as error:
                assert "fork" in str(error)
                del generator
                assert list(unused) == [0, 1]  # one that was not started
                os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        print(list(generator), list(unused))
    """) == "[1, 2] [0, 1]\n"


def test_one_that_is_left_at_exit(script):
    assert script("""
        from isolate_fn import isolated
        import produce

        generator = isolated(produce.processes)()
        other = isolated(reuse=True)(produce.processes)()
        next(generator), next(other)
        print("left")
    """) == "left\n"


def test_a_call_inside_an_isolate_is_refused(made):
    with pytest.raises(PolicyError, match="isolated"):
        made(_calls_another)()


def _calls_another():
    return list(produce.countdown(1))


def test_many_items(made):
    assert sum(made(produce.numbers, reuse=True)(2000)) == sum(range(2000))
