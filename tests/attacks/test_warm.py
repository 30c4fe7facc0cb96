"""Promise 5 on the short way: a worker that serves more than one call is taken over, and speaks for itself.

Each attack is the second call of a worker or later, which takes the short way: what it answers there, or between two calls,
is told by the error that names it, reaches no other call, and the next one is answered by a new worker.
"""

from __future__ import annotations

import contextlib
from typing import Any

import hostile
import pytest
from caller import Health, wait_for
from hostile import ARENA, EXCEPTION, REJECTED, RESULT, frame, header
from support import IDLE_TIMEOUT

from isolate_fn import isolated
from isolate_fn._runtime import call, pool
from isolate_fn._transport.codec_encode import encode
from isolate_fn.errors import CallRejected, Crashed, LimitExceeded, ResultRejected, TimedOut, TransportError
from isolate_fn.policy import Limits

pytestmark = pytest.mark.needs("namespaces")

HUGE = 1 << 60
HONEST = frame(RESULT, b'"honest"')
FORGED = frame(RESULT, b'"forged"')


def forget(health: Health | None = None) -> None:
    """End what waits; then the caller is as it was."""
    state = pool._pool()
    for waiting in list(state.waiting.values()):
        waiting.end()
    state.waiting.clear()
    if health is not None:
        health.check()


def waiting() -> list[Any]:
    return [isolate for each in pool._pool().waiting.values() for isolate in each.isolates]


@pytest.fixture(scope="module", autouse=True)
def spawner() -> Any:
    """Start what all share, and load what errors need, before anything is counted."""
    function = isolated(reuse=True, idle_timeout=IDLE_TIMEOUT)(hostile.one_of_two)
    with pytest.raises(TransportError):
        function("say", b"x")
    forget()


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls that the long way was asked for: wholly, or for the answer of one that was sent the short way."""
    taken: list[str] = []
    for name in ("run", "go_on"):
        plain = getattr(call, name)
        monkeypatch.setattr(call, name, lambda *given, name=name, plain=plain: taken.append(name) or plain(*given))
    return taken


class Reused:
    """A function whose calls share a worker, once two were answered: the one that loads it, and one by the short way."""

    def __init__(self, ways: list[str], **options: Any) -> None:
        self.ways = ways
        self.function = isolated(reuse=True, idle_timeout=IDLE_TIMEOUT, **options)(hostile.one_of_two)
        for size in (1, 2):
            assert self.function("return_bytes", size) == b"x" * size
        (self.worker,) = waiting()
        ways.clear()

    def attack(self, name: str, *arguments: Any, sent: tuple[str, ...] = ("go_on",)) -> Exception:
        """Make a call that must fail, by the short way, and return how; then calls are honest, in another worker."""
        try:
            value = self.function(name, *arguments)
        except Exception as error:
            assert self.ways == list(sent), self.ways
            self.recovered()
            return error
        pytest.fail(f"it returned {value!r:.200}")

    def recovered(self) -> None:
        """Check that the worker is gone, and that the next calls are answered."""
        assert self.worker.channel.fileno() == -1
        assert self.worker not in waiting()
        assert self.function("return_bytes", 3) == b"xxx"
        self.ways.clear()
        assert self.function("return_bytes", 4) == b"xxxx"
        assert self.ways == []


@pytest.fixture
def reused(ways: list[str]) -> Any:
    """Return how to make such a function; the caller is the same before and after."""
    health = Health()
    yield lambda **options: Reused(ways, **options)
    forget(health)


# --- between two calls -----------------------------------------------------------------------------------------------


def test_what_is_said_between_two_calls_is_nobodys_answer(reused: Any) -> None:
    made = reused()
    assert made.function("leave_thread", FORGED, "at once") == "first"
    wait_for(made.worker._readable, "the forged answer")
    made.ways.clear()
    assert made.function("return_bytes", 6) == b"x" * 6
    assert made.ways == ["run"]  # nothing was sent before it was seen
    made.recovered()


@pytest.mark.parametrize(
    "data",
    [b"x", HONEST[:5], header(RESULT, HUGE), frame(hostile.SETUP_FAILED)],
    ids=["a byte", "half", "huge", "failure"],
)
def test_nor_is_anything_else(reused: Any, data: bytes) -> None:
    made = reused()
    assert made.function("leave_thread", data, "at once") == "first"
    wait_for(made.worker._readable, "what it says unasked")
    assert made.function("return_bytes", 6) == b"x" * 6
    made.recovered()


@pytest.mark.parametrize("way", ["shutdown", "exit_group"])
def test_one_that_goes_away_between_two_calls_is_not_asked(reused: Any, way: str) -> None:
    made = reused()
    assert made.function("leave_and_go", way) == "first"
    wait_for(made.worker._readable, "the end")
    assert made.function("return_bytes", 6) == b"x" * 6
    made.recovered()


# --- more than was asked ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more", [HONEST, HONEST[:1], b"x", FORGED * 200, header(RESULT, HUGE), b"\0" * 15_000, frame(EXCEPTION, b"null")],
    ids=["two answers", "a byte", "garbage", "many", "huge", "zeros", "another kind"],
)  # fmt: skip
def test_an_answer_with_more_behind_it_is_none(reused: Any, more: bytes) -> None:
    error = reused().attack("say", HONEST + more)
    assert isinstance(error, TransportError)
    assert "more than one answer" in str(error)


def test_an_answer_before_the_functions_own(reused: Any) -> None:
    """The first is taken for this call, by whichever way it is read; the second never for the next one."""
    made = reused()
    with contextlib.suppress(TransportError):  # both came at once
        assert made.function("say", FORGED, "return") == "forged"
        wait_for(made.worker._readable, "the function's own answer")
    assert made.function("return_bytes", 7) == b"x" * 7
    made.recovered()


# --- less, or something else -----------------------------------------------------------------------------------------

PARTS = [0, 1, 4, 27, 28, 29, len(HONEST) - 1]


@pytest.mark.parametrize("size", PARTS)
def test_half_an_answer_and_silence(reused: Any, size: int) -> None:
    error = reused(timeout=0.5).attack("say", HONEST[:size])
    assert isinstance(error, TimedOut)
    assert error.timeout == 0.5


@pytest.mark.parametrize("size", PARTS)
def test_half_an_answer_and_the_end(reused: Any, size: int) -> None:
    error = reused().attack("say", HONEST[:size], "exit")
    assert isinstance(error, Crashed)
    assert error.exit_code == 0


@pytest.mark.parametrize("how", ["close_channel", "close_all"])
def test_a_channel_that_is_closed(reused: Any, how: str) -> None:
    error = reused().attack(how)
    assert isinstance(error, Crashed)
    assert "closed its channel" in str(error)


def test_an_answer_in_pieces_is_one(reused: Any) -> None:
    made = reused()
    assert made.function("say_in_pieces", HONEST, 1) == "honest"
    assert made.ways in ([], ["go_on"])  # they may all have come before the first look


NO_ANSWER = {
    **{f"kind {kind}": frame(kind, b'"honest"') for kind in range(15) if kind not in (RESULT, EXCEPTION, REJECTED)},
    "kind 255": frame(255, b'"honest"'),
    "exception of a text": frame(EXCEPTION, b'"honest"'),
    "magic": b"IFN2" + HONEST[4:],
    "flag": header(RESULT, 8, flags=2) + b'"honest"',
    "shared memory": header(RESULT, 8, flags=1) + b'"honest"',
    "shared memory with buffers": header(RESULT, 8, 0, 1, flags=1) + (64).to_bytes(8, "little") + b'"honest"',
    "reserved": header(RESULT, 8, reserved=1) + b'"honest"',
    "one byte longer": header(RESULT, 7) + b'"honest"',
    "buffers that are not there": header(RESULT, 8, 0, 1) + (8).to_bytes(8, "little") + b'"honest"',
    "lengths wrap around": header(RESULT, 4, 8, 2) + (2**64 - 1).to_bytes(8, "little") + (9).to_bytes(8, "little") + b"null",
    "asks for shared memory": frame(ARENA, b'{"size": "1"}'),
    "no text": frame(RESULT, b""),
    "no json": frame(RESULT, b"{"),
    "two values": frame(RESULT, b"1 2"),
    "a space": frame(RESULT, b" 1"),
    "python": frame(RESULT, b"None"),
    "no unicode": frame(RESULT, b'"\xff"'),
    "cut in a character": frame(RESULT, b'"\xe2\x82"'),
    "deep": frame(RESULT, b"[" * 15_000),
    "deep and closed": frame(RESULT, b"[" * 2000 + b"]" * 2000),
    "number of digits": frame(RESULT, b"9" * 15_000),
    "unknown tag": frame(RESULT, b'{"$":"os.system"}'),
    "tag of nothing": frame(RESULT, b'{"$":[]}'),
    "tag and more": frame(RESULT, b'{"$":"tuple","a":1}'),
    "buffer of nothing": frame(RESULT, encode(b"x" * 100_000).json),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_ANSWER)
def test_what_is_no_answer_is_an_error(reused: Any, name: str, ways: list[str]) -> None:
    made = reused()
    # A frame as it should be, whose text is none, is found by the decoder, on either way.
    sent = () if read_by_the_short_way(NO_ANSWER[name]) else ("go_on",)
    error = made.attack("say", NO_ANSWER[name], sent=sent)
    assert isinstance(error, TransportError), error
    assert not isinstance(error, (CallRejected, ResultRejected))
    assert error.ran
    assert error.remedy


def read_by_the_short_way(data: bytes) -> bool:
    return len(data) > 28 and data[:28] == header(RESULT, len(data) - 28) and len(data) <= 1 << 15


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "hostile.Stubborn", "hostile.Unregistered"])
def test_a_class_that_nobody_named_is_not_built(reused: Any, name: str) -> None:
    module, _, attribute = name.rpartition(".")
    text = encode(hostile.Unregistered(7)).json
    assert b"Unregistered" in text
    forged = text.replace(b"hostile", module.encode()).replace(b"Unregistered", attribute.encode())
    error = reused().attack("say", frame(RESULT, forged), sent=())
    assert isinstance(error, ResultRejected)
    named = isolated(reuse=True, returns=(hostile.Unregistered,), idle_timeout=IDLE_TIMEOUT)(hostile.one_of_two)
    assert [named("return_it", "Unregistered", n) for n in (1, 2)] == [hostile.Unregistered(1), hostile.Unregistered(2)]


@pytest.mark.parametrize(
    "data",
    [header(RESULT, HUGE), header(RESULT, 4, HUGE), header(RESULT, 4, 0, 0xFFFFFFFF), frame(ARENA, b'{"size": %d}' % HUGE),
     frame(RESULT, b'"' + b"x" * 5000 + b'"'), header(RESULT, 4001)],
    ids=["text", "buffers", "number of buffers", "shared memory", "text that is there", "one more"],
)  # fmt: skip
def test_more_than_the_limit_is_refused(reused: Any, data: bytes) -> None:
    error = reused(limits=Limits(result=4000)).attack("say", data)
    assert isinstance(error, LimitExceeded)
    assert error.limit == "result"
    assert error.allowed == 4000


def test_a_forged_rejection_is_only_text(reused: Any) -> None:
    for parts in ({"what": "x", "problem": "y", "remedy": "z"}, {"type_name": "\x1b[2J" * 100, "where": [1]}, [], None):
        error = reused().attack("say", frame(REJECTED, encode(parts).json))
        assert isinstance(error, (CallRejected, ResultRejected))
        assert "\x1b" not in str(error)
        forget()
