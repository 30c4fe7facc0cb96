"""Promise 5: nothing that comes back executes in the parent, or crashes it.

The worker is taken over: it speaks for itself on its channel, by system calls. Whatever it says, the caller gets an error
that tells what happened, or a plain value; it runs nothing, holds nothing, waits for nothing, and the next call is honest.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import pickle
import random
import time
import traceback

import hostile
import pytest
from caller import wait_for
from hostile import EXCEPTION, REJECTED, RESULT, frame, header
from support import python, run_without

from isolate_fn._runtime import pool
from isolate_fn._transport.codec_encode import encode
from isolate_fn._transport.failures_describe import describe
from isolate_fn.errors import (
    CallRejected,
    Crashed,
    LimitExceeded,
    RemoteError,
    ResultRejected,
    TimedOut,
    TransportError,
)
from isolate_fn.policy import Limits

pytestmark = [pytest.mark.needs("namespaces"), pytest.mark.usefixtures("unharmed")]

HUGE = 1 << 60
HONEST = frame(RESULT, b'"honest"')


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture(scope="module", autouse=True)
def spawner():
    """Start what all calls share before anything is counted; after all attacks a call is still answered honestly."""
    run_without((), hostile.nothing)
    yield
    assert run_without((), hostile.return_bytes, 3) == b"xxx"


def attack(function, *args, **options):
    """Make a call that must fail, and soon; return how."""
    began = time.monotonic()
    try:
        value = run_without((), function, *args, **options)
    except Exception as error:
        assert time.monotonic() - began < 15
        return error
    pytest.fail(f"it returned {value!r:.200}")


# --- code ------------------------------------------------------------------------------------------------------------

GADGETS = {
    "reduce": lambda mark: pickle.dumps(Evil(f"touch {mark}")),
    "global": lambda mark: b"cos\nsystem\n(S'touch " + os.fsencode(mark) + b"'\ntR.",
    "by name": lambda mark: b"cbuiltins\neval\n(S'open(" + repr(os.fspath(mark)).encode() + b", \"w\")'\ntR.",
}


@pytest.mark.parametrize("gadget", GADGETS)
@pytest.mark.parametrize("place", ["bare", "buffer", "text"])
def test_a_pickle_is_not_executed(tmp_path, gadget, place):
    mark = tmp_path / "executed"
    payload = GADGETS[gadget](mark)
    data = {
        "bare": payload,
        "buffer": frame(RESULT, b"true", payload),
        "text": frame(RESULT, json.dumps(payload.decode("latin-1")).encode()),
    }[place]
    try:
        run_without((), hostile.say, data)
    except TransportError:
        assert place != "text"
    assert not mark.exists()


@pytest.mark.parametrize("gadget", GADGETS)
def test_the_same_pickle_is_executed_where_results_are_trusted(tmp_path, gadget):
    """The control: without the decoder in between, the payload of the test above does run code."""
    mark = tmp_path / "executed"
    data = frame(RESULT, b"true", GADGETS[gadget](mark))
    script = f"""
        import sys
        sys.path[:0] = {[os.path.dirname(hostile.__file__)]!r}
        import hostile
        from isolate_fn import isolated
        from isolate_fn.dangerous import TrustResult
        try:
            isolated(accept=(TrustResult,))(hostile.say)({data!r})
        except Exception as error:
            print(error)
    """
    ended = python(script, cwd=tmp_path, env={"PYTHONPATH": os.pathsep.join(filter(None, (ROOT, os.environ.get("PYTHONPATH"))))})
    assert mark.exists(), ended


ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "subprocess.Popen", "hostile.Stubborn"])
def test_a_class_that_nobody_named_is_not_built(name):
    encoded = encode(hostile.Unregistered(7))
    text = encoded.json
    assert b"Unregistered" in text
    assert isinstance(attack(hostile.say, frame(RESULT, text)), ResultRejected)
    module, _, attribute = name.rpartition(".")
    forged = text.replace(b"hostile", module.encode()).replace(b"Unregistered", attribute.encode())
    assert isinstance(attack(hostile.say, frame(RESULT, forged)), ResultRejected)
    named = run_without((), hostile.say, frame(RESULT, text), returns=(hostile.Unregistered,))
    assert named == hostile.Unregistered(7)


# --- bytes that are no answer ------------------------------------------------------------------------------------------

_NOISE = random.Random(5).randbytes(4096)

NO_ANSWER = {
    "noise": _NOISE,
    "one byte": b"x",
    "text": b"HTTP/1.1 200 OK\r\n\r\n",
    "no magic": b"IFN2" + HONEST[4:],
    "kind 0": header(0, 4) + b"null",
    "kind 200": header(200, 4) + b"null",
    "unknown flag": header(RESULT, 4, flags=2) + b"null",
    "reserved": header(RESULT, 4, reserved=1) + b"null",
    "lengths too small": header(RESULT, 4, 100, 1) + (7).to_bytes(8, "little") + b"null" + b"x" * 100,
    "lengths wrap around": header(RESULT, 4, 8, 2) + (2**64 - 1).to_bytes(8, "little") + (9).to_bytes(8, "little") + b"null",
    "buffers nowhere": header(RESULT, 4, 0, 1, flags=1) + (1 << 20).to_bytes(8, "little") + b"null",
    "no text": frame(RESULT, b""),
    "no json": frame(RESULT, b"{"),
    "no unicode": frame(RESULT, b'"\xff\xfe"'),
    "deep": frame(RESULT, b"[" * 200_000),
    "deep and closed": frame(RESULT, b"[" * 100_000 + b"]" * 100_000),
    "number of a million digits": frame(RESULT, b"9" * 1_000_000),
    "trailing byte": HONEST + b"x",
    "trailing half": HONEST + HONEST[:10],
    "two answers": HONEST + HONEST,
    "two hundred answers": HONEST * 200,
    "exception of nothing": frame(EXCEPTION, b"null"),
    "exception of numbers": frame(EXCEPTION, b"[1, 2, 3]"),
    **{
        f"kind {kind}": frame(kind, b'{"step": "x", "errno": 1}')
        for kind in range(1, 14)
        if kind not in (RESULT, EXCEPTION, REJECTED)
    },
}


@pytest.mark.parametrize("name", NO_ANSWER)
def test_what_is_no_answer_is_an_error(name):
    error = attack(hostile.say, NO_ANSWER[name])
    assert isinstance(error, TransportError), error
    assert error.ran
    assert error.remedy


@pytest.mark.parametrize(
    "data",
    [
        header(RESULT, HUGE),
        header(RESULT, 4, HUGE),
        header(RESULT, 4, 0, 0xFFFFFFFF),
        header(RESULT, 4, 1 << 29, 1) + (1 << 29).to_bytes(8, "little"),
        header(RESULT, 4, 0, 1, flags=1) + (2**64 - 1).to_bytes(8, "little") + b"null",
        frame(hostile.ARENA, b'{"size": %d}' % HUGE),
    ],
    ids=["text", "buffers", "number of buffers", "over the limit", "shared memory", "asked for"],
)
def test_a_length_beyond_the_limit_is_refused_before_anything_is_kept_for_it(data):
    error = attack(hostile.say, data)
    assert isinstance(error, LimitExceeded)
    assert error.limit == "result"
    assert error.allowed == Limits().result
    assert error.report is not None


def test_half_an_answer_and_the_end():
    error = attack(hostile.say, HONEST[:-1], "exit")
    assert isinstance(error, Crashed)
    assert error.exit_code == 0


@pytest.mark.parametrize("size", [0, 1, 10, len(HONEST) - 1])
def test_half_an_answer_and_silence(size):
    error = attack(hostile.say, HONEST[:size], timeout=0.5)
    assert isinstance(error, TimedOut)
    assert error.timeout == 0.5


def test_an_answer_in_pieces_is_an_answer():
    assert run_without((), hostile.say_in_pieces, HONEST, 1) == "honest"


def test_an_endless_answer_ends_at_the_limit():
    limits = Limits(result="4M")
    error = attack(hostile.pour, header(RESULT, HUGE), limits=limits)
    assert isinstance(error, LimitExceeded)
    assert isinstance(attack(hostile.pour, header(RESULT, 1 << 20, 3 << 20), limits=limits), TransportError)
    assert isinstance(attack(hostile.pour), TransportError)


@pytest.mark.parametrize("descriptor", [3, 1, 2])
def test_a_trickle_does_not_stretch_the_deadline(descriptor):
    head = header(RESULT, 4, 200 << 20, 1) + (200 << 20).to_bytes(8, "little") if descriptor == 3 else b""
    began = time.monotonic()
    error = attack(hostile.trickle, descriptor, head, timeout=1, output="discard", limits=Limits(output="1G"))
    assert isinstance(error, TimedOut)
    assert time.monotonic() - began < 5


# --- more than was asked ---------------------------------------------------------------------------------------------


def test_an_answer_before_the_function_s_own_is_the_only_one():
    """Both are the isolate's word; but the second is never heard, except as an offence where it comes at once."""
    with contextlib.suppress(TransportError):
        assert run_without((), hostile.say, HONEST, "return") == "honest"


def test_a_fork_that_answers_again_is_not_heard():
    # The filter allows no fork; without it there is one, and it ends with the call. Whether its words are there when the
    # honest answer is read is a race of the two; then the answer is refused, and the forged one is never taken.
    try:
        found = run_without(("seccomp",), hostile.reply_from_fork, HONEST, frame(RESULT, b'"forged"'))
    except TransportError as refused:
        found = "honest" if "more than one answer" in str(refused) else refused
    assert found == "honest"
    assert run_without((), hostile.return_bytes, 1) == b"x"


@pytest.fixture
def reused(unharmed):
    """A function whose calls share one worker."""
    yield functools.partial(run_without, (), hostile.one_of_two, reuse=True)
    for isolate in _waiting():
        isolate.end()
    for waiting in pool._pool().waiting.values():
        waiting.isolates.clear()


def _waiting():
    return [isolate for waiting in pool._pool().waiting.values() for isolate in waiting.isolates]


def test_what_a_reused_worker_says_unasked_is_not_the_next_answer(reused):
    before = set(map(id, _waiting()))
    assert reused("leave_thread", frame(RESULT, b'"forged"'), "at once") == "first"
    (isolate,) = [each for each in _waiting() if id(each) not in before]
    wait_for(isolate._readable, "the forged answer")
    assert reused("return_bytes", 2) == b"xx"
    assert isolate not in _waiting()


def test_a_reused_worker_that_answers_twice_is_not_used_again(reused):
    """One worker is one trust domain: its thread may speak for the call that runs. But for no later one."""
    assert reused("leave_thread", frame(RESULT, b'"forged"'), "/tmp/gate") == "first"
    try:
        assert reused("touch_and_wait", "/tmp/gate", 0.3) in ("forged", "honest")
        (isolate,) = _waiting()[-1:]
        wait_for(isolate._readable, "the second answer")
    except TransportError:
        pass
    assert reused("return_bytes", 2) == b"xx"
    assert reused("return_bytes", 3) == b"xxx"


# --- descriptors and shared memory -----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 253])
def test_descriptors_that_are_attached_do_not_arrive(count):
    result = run_without((), hostile.attach_descriptors, count, HONEST)
    assert result in ("honest", -errno.EPERM)  # the kernel refuses them since Linux 6.16


@pytest.mark.parametrize(
    "text",
    [b"null", b"{", b'{"size": true}', b'{"size": -1}', b'{"size": 0}', b'{"size": 1.5}', b'{"size": "1"}', b"[1]",
     b'{"size": NaN}', b'{"size": [[[[]]]]}', b'{"siz": 1}', b"[" * 64, b" " * 65, b'{"size": ' + b"9" * 60 + b"}"],
)  # fmt: skip
def test_an_odd_request_for_shared_memory_is_refused(text):
    assert isinstance(attack(hostile.ask_for_arena, text), (TransportError, LimitExceeded))


def test_shared_memory_is_given_once():
    assert isinstance(attack(hostile.ask_for_arena, b'{"size": 4096}', 2), TransportError)


BIG = encode(b"a" * (1 << 20)).json


def test_shared_memory_that_was_used_as_meant_is_the_result():
    assert run_without((), hostile.misuse_arena, "honest", BIG) == b"a" * (1 << 20)


@pytest.mark.parametrize("how", ["mapped", "sealed", "bigger"])
def test_shared_memory_that_could_still_change_is_refused(how):
    assert isinstance(attack(hostile.misuse_arena, how, BIG), TransportError)


def test_shared_memory_cannot_be_resized_under_the_reader():
    assert set(run_without((), hostile.misuse_arena, "resized", BIG).values()) == {-errno.EPERM}


# --- exceptions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["SystemExit", "KeyboardInterrupt", "GeneratorExit", "StopIteration", "StopAsyncIteration", "CancelledError"]
)
@pytest.mark.parametrize("module", ["builtins", "asyncio.exceptions", "asyncio"])
def test_control_flow_is_not_steered_from_inside(name, module):
    text = encode(describe(KeyError("forged"))).json
    assert b"KeyError" in text
    forged = text.replace(b"KeyError", name.encode()).replace(b"builtins", module.encode())
    error = attack(hostile.say, frame(EXCEPTION, forged))
    assert isinstance(error, (RemoteError, TransportError))


@pytest.mark.parametrize("kind", ["SystemExit", "KeyboardInterrupt", "stubborn", "cycle"])
def test_awkward_exceptions_arrive_as_text(kind):
    error = attack(hostile.raise_it, kind, "text")
    assert isinstance(error, Exception)
    assert not isinstance(error, TransportError)
    traceback.format_exception(error)


@pytest.mark.parametrize(
    ("kind", "text", "depth"),
    [("ValueError", "x" * (10 << 20), 0), ("chain", "x", 10_000), ("notes", "x" * 10_000, 5_000), ("group", "x", 500)],
)
def test_exception_bombs_are_cut_down(kind, text, depth):
    error = attack(hostile.raise_it, kind, text, depth)
    assert len("".join(traceback.format_exception(error))) < 1 << 20


ESCAPES = "\x1b]0;title\x07\x1b[2J\x9b31m\r\x08\u202e"


def test_a_terminal_does_not_obey_an_exception():
    for kind in ("ValueError", "notes", "stubborn"):
        shown = "".join(traceback.format_exception(attack(hostile.raise_it, kind, ESCAPES, 1)))
        assert not set(shown) & {"\x1b", "\x07", "\x08", "\x9b", "\r"}, shown


def test_a_terminal_does_not_obey_output(capsys):
    run_without((), hostile.put, ESCAPES.encode(), 1, output="relay")
    run_without((), hostile.put, ESCAPES.encode("latin-1", "replace"), 2, output="relay")
    out, err = capsys.readouterr()
    assert "title" in out
    assert "title" in err
    assert not set(out + err) & {"\x1b", "\x07", "\x08", "\x9b", "\r"}


def test_a_forged_rejection_is_only_text():
    parts = {"type_name": ESCAPES * 1000, "where": ["x"], "remedy": {"a": 1}}
    error = attack(hostile.say, frame(REJECTED, encode(parts).json))
    assert isinstance(error, ResultRejected)
    assert not set(str(error)) & {"\x1b", "\x07"}
    assert len(str(error)) < 20_000
    for parts in ({"what": "x", "problem": "y", "remedy": "z"}, {}, [], None, {"what": {"a": 1}}):
        assert isinstance(attack(hostile.say, frame(REJECTED, encode(parts).json)), (CallRejected, ResultRejected))


# --- the other end ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [hostile.close_channel, hostile.close_all])
def test_a_channel_that_is_closed_ends_the_call(function):
    error = attack(function)
    assert isinstance(error, Crashed)
    assert "closed its channel" in str(error)


def test_closing_the_output_is_no_offence():
    assert run_without((), hostile.one_of_two, "put", b"", 1) == 0


def test_output_that_never_ends_does_not_hold_up_the_answer():
    """A thread that goes on writing after the answer is cut off with the call."""
    began = time.monotonic()
    assert run_without((), hostile.answer_and_pour, output="discard", limits=Limits(output="1G")) == "answer"
    assert time.monotonic() - began < 10
