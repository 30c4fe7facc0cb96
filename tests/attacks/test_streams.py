"""Promise 5 where the isolate asks: items of generators, items of the caller's iterators, calls of host functions.

The worker is taken over and speaks for itself. It may ask what its honest self could ask, as often as the limits allow;
anything else ends the call, runs nothing in the caller, and is not heard by the next call.
"""

from __future__ import annotations

import functools
import itertools
import json
import pickle
import time

import hostile
import pytest
from caller import wait_for
from hostile import EXCEPTION, HOST_CALL, HOST_REPLY, ITEM, NEXT, NOTICE, RESULT, frame, header
from support import run_without

from isolate_fn import Host, isolated
from isolate_fn._runtime import pool
from isolate_fn._transport.codec_encode import encode
from isolate_fn._transport.failures_describe import describe
from isolate_fn.errors import LimitExceeded, RemoteError, ResultRejected, TimedOut, TransportError
from isolate_fn.policy import Limits

pytestmark = [pytest.mark.needs("namespaces"), pytest.mark.usefixtures("unharmed")]

HONEST = frame(RESULT, b'"honest"')
HUGE = 1 << 60


@pytest.fixture(scope="module", autouse=True)
def spawner():
    """Start what all calls share before anything is counted; after all attacks a call is still answered honestly."""
    run_without((), hostile.nothing)
    isolated(prewarm=0, idle_timeout=900)(hostile.nothing)()
    yield
    assert run_without((), hostile.return_bytes, 3) == b"xxx"


class Called(list):
    """A host function that notes its arguments."""

    def __call__(self, *args, **kwargs):
        self.append((args, kwargs))
        return "answer"


def attack(function, *args, **options):
    """Make a call that must fail; return how."""
    try:
        value = run_without((), function, *args, **options)
    except Exception as error:
        return error
    pytest.fail(f"it returned {value!r:.200}")


def question(*parts):
    return frame(HOST_CALL, json.dumps(parts).encode())


# --- host functions ----------------------------------------------------------------------------------------------------

NOT_EXPOSED = ["system", "", "__class__", "__call__", "lookup.__globals__", "Lookup", "lookup\x00", "x" * 100_000, "\x1b[2J"]


@pytest.mark.parametrize("name", NOT_EXPOSED, ids=lambda name: repr(name)[:20])
def test_what_is_not_exposed_is_not_called(name):
    called = Called()
    error = attack(hostile.say, question(name, [1], {}), expose={"lookup": called})
    assert isinstance(error, TransportError)
    assert "not exposed" in str(error)
    assert not set(str(error)) & {"\x1b", "\x00"}
    assert len(str(error)) < 1000
    assert called == []


def test_nothing_is_called_where_nothing_is_exposed():
    assert "none is exposed" in str(attack(hostile.say, question("lookup", [1], {})))


NO_QUESTION = {
    "number": b"1", "text": b'"lookup"', "mapping": b'{"lookup": []}', "empty": b"[]", "name only": b'["lookup"]',
    "no mapping": b'["lookup", [], []]', "no list": b'["lookup", {}, {}]', "number as a name": b"[1, [], {}]",
    "list as a name": b'[["lookup"], [], {}]', "four": b'["lookup", [], {}, 1]', "nothing": b"", "no json": b'["lookup",',
    "keys that are no text": b'["lookup", [], {"$": "d", "k": [1], "v": [2]}]', "unknown tag": b'["lookup", [{"$": "zz"}], {}]',
    "deep": b'["lookup", [' + b"[" * 100_000 + b"]" * 100_000 + b"], {}]",
    "long number": b'["lookup", [' + b"9" * 1_000_000 + b"], {}]",
    "a buffer that is not there": b'["lookup", [{"$": "b", "v": 0}], {}]', "names, and a buffer": b"null ",
}  # fmt: skip


@pytest.mark.parametrize("name", NO_QUESTION)
def test_what_is_no_question_is_not_answered(name):
    called = Called()
    assert isinstance(attack(hostile.say, frame(HOST_CALL, NO_QUESTION[name]), expose={"lookup": called}), TransportError)
    assert called == []


@pytest.mark.parametrize(
    "data",
    [
        header(HOST_CALL, HUGE),
        header(HOST_CALL, 4, HUGE),
        header(HOST_CALL, 4, 2 << 20, 1) + (2 << 20).to_bytes(8, "little") + b"null",
        header(HOST_CALL, 4, 0, 1, flags=1) + (1 << 20).to_bytes(8, "little") + b"null",
    ],
    ids=["text", "buffers", "over the limit", "shared memory that was not given"],
)
def test_arguments_are_bounded(data):
    called = Called()
    error = attack(hostile.say, data, expose={"lookup": called}, limits=Limits(result="1M"))
    assert isinstance(error, (LimitExceeded, TransportError))
    assert called == []


def test_arguments_are_not_executed_nor_built():
    called = Called()
    pickled = pickle.dumps(print)
    run = functools.partial(attack, hostile.say, expose={"lookup": called})
    assert isinstance(run(frame(HOST_CALL, b'["lookup", [], {}]', pickled)), (TransportError, TimedOut))
    unnamed = encode(["lookup", [hostile.Unregistered(7)], {}])
    assert isinstance(run(frame(HOST_CALL, unnamed.json)), ResultRejected)
    assert called == []


def test_a_question_after_the_answer_is_not_heard():
    called = Called()
    error = attack(hostile.say, HONEST + question("lookup", [1], {}), expose={"lookup": called})
    assert isinstance(error, TransportError)
    assert called == []


@pytest.mark.parametrize("data", [question("lookup", [1], {}), frame(NEXT, b"0"), frame(ITEM, b"1"), frame(HOST_CALL, b"null")])
def test_what_is_asked_between_two_calls_is_not_answered(data):
    called = Called()
    reused = functools.partial(run_without, (), hostile.one_of_two, reuse=True, expose={"lookup": called})
    before = set(map(id, _waiting()))
    assert reused("leave_thread", data, "at once") == "first"
    (isolate,) = [each for each in _waiting() if id(each) not in before]
    wait_for(isolate._readable, "the question")
    assert reused("return_bytes", 2) == b"xx"
    assert isolate not in _waiting()
    assert called == []
    for each in _waiting():
        each.end()
    for waiting in pool._pool().waiting.values():
        waiting.isolates.clear()


def _waiting():
    return [isolate for waiting in pool._pool().waiting.values() for isolate in waiting.isolates]


def test_questions_without_end_end_at_the_limit():
    called = Called()
    data = question("lookup", [1], {}) * 1000
    error = attack(hostile.pour_over, data, expose={"lookup": Host(called, calls=50)})
    assert isinstance(error, LimitExceeded)
    assert error.limit == "expose['lookup'].calls"
    assert len(called) == 50


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_questions_whose_answers_nobody_reads(size):
    """The caller does not pile up answers: it waits, as long as the call may take, and hears nothing else."""
    calls = itertools.count()

    def lookup(*_):
        next(calls)
        return b"x" * size

    error = attack(hostile.pour_over, question("lookup", [1], {}) * 1000, expose={"lookup": lookup}, timeout=1)
    assert isinstance(error, TimedOut)
    assert next(calls) * size < 64 << 20


@pytest.mark.parametrize("kind", [HOST_REPLY, NEXT, ITEM, NOTICE])
def test_an_answer_to_itself_is_no_answer(kind):
    called = Called()
    error = attack(hostile.say, frame(kind, b'"value"', pickle.dumps(1)), expose={"lookup": called}, timeout=1)
    assert isinstance(error, (TransportError, TimedOut))
    assert called == []


# --- items of the caller's iterators -------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [b"", b"-1", b"x", b"1e3", b" 0", b"[0]", b"9" * 19, b'"0"', b"null", "\u0663".encode()])
def test_an_odd_request_for_an_item(text):
    read = []
    items = (read.append(number) or number for number in itertools.count())
    assert isinstance(attack(hostile.say_with, items, frame(NEXT, text)), TransportError)
    assert read == []


def test_iterators_of_nobody_and_of_others():
    """Numbers are of the whole process; but a call reads its own iterators only."""
    read = []
    items = (read.append(number) or number for number in itertools.count())
    data = b"".join(frame(NEXT, b"%d" % number) for number in (10**6, 10**17)) + HONEST
    assert run_without((), hostile.say_with, iter([]), data) == "honest"
    assert run_without((), hostile.say_with, [], data) == "honest"
    assert next(items) == 0
    assert read == [0]


def test_requests_for_items_whose_answers_nobody_reads():
    read = []

    def items():
        while True:
            read.append(1)
            yield b"x" * (1 << 20)

    error = attack(hostile.ask_for_items, items(), 1000, timeout=1)
    assert isinstance(error, TimedOut)
    assert len(read) < 64


def test_items_asked_for_after_the_answer():
    read = []

    def items():
        while True:
            read.append(1)
            yield 1

    error = attack(hostile.ask_after_answer, items(), HONEST)
    assert isinstance(error, TransportError)
    assert read == []


# --- items of generators -------------------------------------------------------------------------------------------------


@pytest.fixture
def stream():
    """Give a maker of generators in isolates."""
    functions = []

    def make(function, *args, **options):
        functions.append(isolated(prewarm=0, idle_timeout=900, **options)(function))
        return functions[-1](*args)

    yield make
    for function in functions:
        function.close()


def test_a_second_item_that_nobody_asked_for(stream):
    generator = stream(hostile.yield_after, frame(ITEM, b'"forged"') + frame(ITEM, b'"second"'))
    assert next(generator) == "forged"
    with pytest.raises(TransportError, match="more than it was asked"):
        next(generator)
    assert list(generator) == []


def test_an_item_beside_the_own_one(stream):
    generator = stream(hostile.yield_after, frame(ITEM, b'"forged"'))
    assert next(generator) == "forged"
    wait_for(lambda: not generator._isolate.silent(), "the second item")
    with pytest.raises(TransportError, match="more than it was asked"):
        next(generator)


def test_items_of_another_thread(stream):
    generator = stream(hostile.yield_and_leave_thread, frame(ITEM, b'"forged"'))
    assert next(generator) == "own"
    wait_for(lambda: not generator._isolate.silent(), "the other thread's item")
    with pytest.raises(TransportError, match="more than it was asked"):
        next(generator)


def test_a_result_where_an_item_is_due_is_the_end(stream):
    generator = stream(hostile.say_instead, frame(RESULT, b'"over"'))
    with pytest.raises(StopIteration) as end:
        next(generator)
    assert end.value.value == "over"
    assert list(generator) == []


def test_an_item_after_the_end(stream):
    with pytest.raises(TransportError, match="more than one answer"):
        list(stream(hostile.yield_after, HONEST + frame(ITEM, b"1")))


@pytest.mark.parametrize("name", ["StopIteration", "StopAsyncIteration", "GeneratorExit"])
def test_the_end_is_not_forged_by_an_exception(stream, name):
    text = encode(describe(KeyError("forged"))).json.replace(b"KeyError", name.encode())
    with pytest.raises((RemoteError, TransportError)):
        list(stream(hostile.yield_after, frame(EXCEPTION, text)))


@pytest.mark.parametrize(
    "data",
    [
        frame(ITEM, b"{"), frame(ITEM, b"[" * 200_000), frame(ITEM, b'{"$": "zz"}'), header(ITEM, HUGE),
        header(ITEM, 4, 0, 1, flags=1) + (1 << 20).to_bytes(8, "little") + b"null", frame(ITEM, b""),
        frame(ITEM, encode(hostile.Unregistered(7)).json), frame(HOST_CALL, b'["x", [], {}]'), frame(HOST_REPLY, b"1"),
    ],
    ids=["no json", "deep", "tag", "length", "shared memory", "nothing", "class", "question", "reply"],
)  # fmt: skip
def test_what_is_no_item(stream, data):
    generator = stream(hostile.yield_after, data)
    with pytest.raises((TransportError, LimitExceeded)):
        next(generator)
    assert generator._isolate is None
    assert list(generator) == []


def test_items_without_end_do_not_pile_up(stream):
    generator = stream(hostile.pour_items, frame(ITEM, b'"' + b"x" * 1000 + b'"') * 1000)
    assert len(next(generator)) == 1000
    isolate = generator._isolate
    time.sleep(0.3)  # it goes on pouring, into what nobody reads
    assert isolate.reader.pending < 1 << 20
    with pytest.raises(TransportError, match="more than it was asked"):
        next(generator)


def test_closing_one_that_answers_with_items(stream):
    generator = stream(hostile.pour_items, frame(ITEM, b"1"), reuse=True)
    assert next(generator) == 1
    isolate = generator._isolate
    wait_for(lambda: not isolate.silent(), "items that nobody asked for")
    with pytest.raises(TransportError):
        generator.close()
    assert isolate.channel.fileno() < 0
    assert isolate not in _waiting()


def test_a_worker_that_said_too_much_at_its_end_is_not_used_again(stream):
    reused = isolated(prewarm=0, idle_timeout=900, reuse=True)(hostile.yield_and_leave)
    try:
        assert list(reused(frame(ITEM, b'"forged"'), "later")) == ["own"]
        (isolate,) = _waiting()
        wait_for(isolate._readable, "the item after the end")
        assert list(reused(b"", "")) == ["own"]
        assert isolate not in _waiting()
    finally:
        reused.close()
