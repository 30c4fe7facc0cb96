"""Promise 5, continued: more answers than were asked for, none at all, descriptors, shared memory, exceptions, output."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import traceback
from collections.abc import Callable

from isolate_fn._diagnose.selftest import liar
from isolate_fn._diagnose.selftest.answers import ANSWERS, OWN_FORMAT, REFUSED, dies, lies, suffer
from isolate_fn._diagnose.selftest.attack import Facts, Found
from isolate_fn._diagnose.selftest.liar import HONEST, RESULT, Stubborn, frame, header
from isolate_fn._diagnose.selftest.world import Outcome, World
from isolate_fn.errors import IsolationError
from isolate_fn.policy.limits import Limits

_SILENCE = 0.3  # seconds: timeout of calls that are never answered


@ANSWERS.led(
    "twice",
    "answer twice, or more than the answer",
    held="an answer is followed by silence, or is refused",
    untried=OWN_FORMAT,
)
def twice(world: World) -> Found:
    """A second answer, half a one, two hundred."""
    payloads = {"byte": HONEST + b"x", "half": HONEST + HONEST[:10], "twice": HONEST * 2, "often": HONEST * 200}
    return lies(world, payloads)


@ANSWERS.led("endless", "answer without end", held="it is cut off at the limit", untried="it would never end")
def endless(world: World) -> Found:
    """With an honest header, with one that claims everything, with none."""
    limits = Limits(result="4M")
    heads = {"claimed": header(RESULT, 1 << 60), "within": header(RESULT, 1 << 20, 3 << 20), "no header": b""}

    def pour(head: bytes) -> Callable[[], Outcome]:
        return lambda: world.call(liar.pour, head, limits=limits)

    return suffer(world, [(name, pour(head)) for name, head in heads.items()])


def waits(facts: Facts) -> Found:
    """What a reader does that waits for the rest of a message."""
    here, there = os.pipe()
    os.write(there, HONEST[:-1])
    os.set_blocking(here, False)
    os.read(here, len(HONEST))
    try:
        os.read(here, 1)
    except BlockingIOError:
        return {"the reader": "would wait for ever"}
    return {"the reader": -1}


@ANSWERS.led("silence", "give half an answer and wait", held="the timeout ends it", plain=waits)
def silence(world: World) -> Found:
    """Nothing, one byte, all but one; and one byte after the other."""
    slow = header(RESULT, 4, 200 << 20, 1) + (200 << 20).to_bytes(8, "little")
    attacks = [
        (f"{size} bytes", lambda size=size: world.call(liar.say, HONEST[:size], timeout=_SILENCE))
        for size in (0, 1, len(HONEST) - 1)
    ]
    return suffer(world, [*attacks, ("trickle", lambda: world.call(liar.trickle, slow, timeout=_SILENCE))])


@ANSWERS.led("hang-up", "close the channel and live on, or end in the middle", held=REFUSED, untried=OWN_FORMAT)
def hang_up(world: World) -> Found:
    """Only the channel, all descriptors, and an exit after half an answer."""
    return suffer(
        world,
        [
            ("channel", lambda: world.call(liar.close, 3)),
            ("everything", lambda: world.call(liar.close, 0)),
            ("exit", lambda: world.call(liar.say, HONEST[:-1], "exit")),
        ],
    )


@ANSWERS.led("descriptors", "attach descriptors to an answer", held="none of them arrives", untried=OWN_FORMAT)
def descriptors(world: World) -> Found:
    """One, two, as many as a message takes; the caller's number of open ones is compared."""
    calls = [(f"{count}", lambda count=count: world.call(liar.attach, count)) for count in (1, 2, 253)]
    return suffer(world, calls, ("honest", -1))


@ANSWERS.led(
    "shared-memory",
    "have shared memory changed while the caller reads it",
    held="memory that could change is refused",
    untried=OWN_FORMAT,
)
def shared_memory(world: World) -> Found:
    """Kept mapped, sealed against sealing, smaller than claimed, resized."""
    from isolate_fn._transport.codec_encode import encode

    size = 1 << 20
    text = bytes(encode(b"a" * size).json)
    calls = [(how, lambda how=how: world.call(liar.misuse, how, text, size)) for how in ("mapped", "sealed", "bigger")]
    found = suffer(world, calls)
    resized = world.call(liar.misuse, "resized", text, size)
    return found | (resized.value or {"resized": f"{resized.error!r}"})


@ANSWERS.led("odd-requests", "ask the caller for odd amounts of shared memory", held=REFUSED, untried=OWN_FORMAT)
def odd_requests(world: World) -> Found:
    """None, negative, fractions, words, twice."""
    texts = (
        b"null",
        b"{",
        b'{"size": true}',
        b'{"size": -1}',
        b'{"size": 0}',
        b'{"size": 1.5}',
        b'{"size": NaN}',
        b"[" * 64,
    )
    calls = [(repr(text), lambda text=text: world.call(liar.ask, text)) for text in texts]
    return suffer(world, [*calls, ("twice", lambda: world.call(liar.ask, b'{"size": 4096}', 2))])


# --- exceptions ------------------------------------------------------------------------------------------------------

_CONTROL = ("SystemExit", "KeyboardInterrupt", "GeneratorExit", "StopIteration", "StopAsyncIteration", "CancelledError")


def raised(facts: Facts) -> Found:
    """What a caller does that raises the exception it unpickles, as pools of processes do."""

    def read() -> None:
        raise pickle.loads(b"cbuiltins\nSystemExit\n(S'forged'\ntR.")  # noqa: S301

    return dies(read)


@ANSWERS.led(
    "control-flow",
    "raise what steers the caller: SystemExit, KeyboardInterrupt and the like",
    held="it arrives as RemoteError",
    plain=raised,
)
def control_flow(world: World) -> Found:
    """Raised honestly, and forged on the channel."""
    from isolate_fn._transport.codec_encode import encode
    from isolate_fn._transport.failures_describe import describe

    text = bytes(encode(describe(KeyError("forged"))).json)
    forged = {
        f"{module}.{name}": frame(
            liar.EXCEPTION, text.replace(b"KeyError", name.encode()).replace(b"builtins", module.encode())
        )
        for name in _CONTROL
        for module in ("builtins", "asyncio.exceptions")
    }
    honest = [(name, lambda name=name: world.call(liar.raise_it, name, "text", 0)) for name in _CONTROL[:2]]
    return lies(world, forged) | suffer(world, honest)


def exploded(facts: Facts) -> Found:
    """What a caller does that unpickles exceptions."""
    mark = f"{facts.scratch}/executed-exception"
    pickle.loads(pickle.dumps(Stubborn(f": > {mark}")))  # noqa: S301 - that is the point
    return {"code": "ran" if os.path.exists(mark) else -1}


@ANSWERS.led(
    "exception-code",
    "raise an exception that runs code where it is rebuilt or shown",
    held="it arrives as text",
    plain=exploded,
)
def exception_code(world: World) -> Found:
    """By its reduction, and by asking it for its text."""
    mark = str(world.inside.directory / "executed")
    ended = world.call(liar.raise_it, "stubborn", f": > {mark}", 0)
    found: Found = {"code": "ran in the caller"} if os.path.exists(mark) else {}
    if not isinstance(
        ended.error, (IsolationError, RuntimeError)
    ):  # what could not even be described is a RuntimeError
        found["it arrived as"] = type(ended.error).__name__
    return found


@ANSWERS.led(
    "exception-bomb",
    "raise exceptions of megabytes, thousands of causes, in a circle",
    held="they are cut down",
    untried="only their size is at stake",
)
def exception_bomb(world: World) -> Found:
    """Text, chains, notes, groups, cycles: what the caller would print is measured."""
    bombs = (
        ("text", "x" * (10 << 20), 0),
        ("chain", "x", 5_000),
        ("notes", "x" * 10_000, 3_000),
        ("group", "x", 500),
        ("cycle", "x", 0),
    )
    found: Found = {}
    for kind, text, depth in bombs:
        error = world.call(liar.raise_it, kind, text, depth).error
        shown = "".join(traceback.format_exception(error)) if error else ""
        if not shown or len(shown) > 1 << 20:
            found[kind] = f"{len(shown)} letters arrived"
    return found


ESCAPES = "\x1b]0;title\x07\x1b[2J\x9b31m\r\x08\u202e"
_OBEYED = {"\x1b", "\x07", "\x08", "\x9b", "\r"}


def obeyed(facts: Facts) -> Found:
    """What a terminal would be sent without any care."""
    return {"escapes": "reach the terminal"} if set(str(ValueError(ESCAPES))) & _OBEYED else {"escapes": -1}


@ANSWERS.led(
    "escapes", "steer the terminal by exceptions and output", held="control characters are made visible", plain=obeyed
)
def escapes(world: World) -> Found:
    """In the text, the notes, a forged refusal, and in what is relayed."""
    from isolate_fn._transport.codec_encode import encode

    refusal = frame(liar.REJECTED, bytes(encode({"type_name": ESCAPES, "where": "x", "remedy": ESCAPES}).json))
    errors = {
        "text": world.call(liar.raise_it, "text", ESCAPES, 0).error,
        "notes": world.call(liar.raise_it, "notes", ESCAPES, 2).error,
        "refusal": world.call(liar.say, refusal).error,
    }
    shown = {name: "".join(traceback.format_exception(error)) for name, error in errors.items()}
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        world.call(liar.write_out, f"{ESCAPES}\n".encode(), output="relay")
    shown |= {"stdout": out.getvalue(), "stderr": err.getvalue()}
    found: Found = {name: "reached the terminal" for name, text in shown.items() if set(text) & _OBEYED}
    return found | {name: "got lost" for name, text in shown.items() if "title" not in text}


@ANSWERS.led(
    "next-call",
    "answer the next caller of a reused worker",
    held="a worker that speaks unasked is not used again",
    untried=OWN_FORMAT,
)
def next_call(world: World) -> Found:
    """One trust domain by choice; but an answer belongs to the call that asked."""
    import time

    from isolate_fn._api.decorator import isolated

    function = isolated(**{**world.options(), "reuse": True})(liar_of)
    try:
        first = function("speak_later", frame(RESULT, b'"forged"'))
        time.sleep(0.2)  # so that the forged answer is there; were it late, the next call would be refused
        try:
            second = function("honest")
        except IsolationError:
            second = "honest"
    finally:
        function.close()
    return {} if (first, second) == ("first", "honest") else {"answers": f"{first}, {second}"}


def liar_of(name: str, *words: bytes) -> str:
    """Call a function of the liar's: two calls of one function may share a worker."""
    return str(getattr(liar, name)(*words))
