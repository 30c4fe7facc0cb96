"""Forged exceptions: nothing of theirs runs, none of them steers the caller, and all are bounded."""

from __future__ import annotations

import asyncio
import builtins
import concurrent.futures
import sys
import time
import traceback
import tracemalloc

import pytest
import transport_errors as errors

from isolate_fn._transport.codec import decode, encode
from isolate_fn._transport.failures import ExceptionTable, describe, rebuild
from isolate_fn._transport.failures_describe import EXCEPTIONS
from isolate_fn.errors import RemoteError, TransportError

TABLE = ExceptionTable.for_function(errors.function)


def carried(exc, table=TABLE):
    """Raise, describe, encode, decode, rebuild: the whole way."""
    try:
        raise exc
    except BaseException as caught:
        encoded = encode(describe(caught))
    buffers = [memoryview(bytes(buffer)) for buffer in encoded.buffers]
    return rebuild(decode(encoded.json, buffers), table)


def described(name="builtins:ValueError", **parts):
    return {"type": name, "text": "text", "args": [], "state": {}, "fields": {}, "notes": [], "frames": [], **parts}


def part(value):
    encoded = encode(value)
    return [encoded.json.decode(), [bytes(buffer) for buffer in encoded.buffers], repr(value)]


STEERING = [
    *(SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(5), StopAsyncIteration(), BaseException("b")),
    *(asyncio.CancelledError(), concurrent.futures.CancelledError(), errors.Stopping(), errors.CancelledError()),
    *(errors.Hidden("h"), BaseExceptionGroup("g", [KeyboardInterrupt()])),
]


@pytest.mark.parametrize("exc", STEERING, ids=lambda exc: type(exc).__qualname__)
def test_what_steers_the_program_arrives_as_remote_error(exc):
    back = carried(exc)
    assert type(back) is RemoteError
    assert type(exc).__qualname__ in back.type_name
    assert str(exc) in back.message


@pytest.mark.parametrize(
    "name",
    [
        *("builtins:SystemExit", "builtins:KeyboardInterrupt", "builtins:GeneratorExit", "builtins:BaseException"),
        *("builtins:StopIteration", "builtins:StopAsyncIteration", "builtins:BaseExceptionGroup", "builtins:eval"),
        *("asyncio.exceptions:CancelledError", "asyncio:CancelledError", "concurrent.futures._base:CancelledError"),
        *(
            "isolate_fn.errors:Crashed",
            "isolate_fn.errors:TimedOut",
            "transport_errors:Crashed",
            "transport_errors:Forged",
        ),
        *(
            "transport_errors:NotAnException",
            "transport_errors:function",
            "transport_errors:proxy",
            "transport_errors:LOG",
        ),
        *(
            "transport_errors:Simple.__class__",
            "transport_errors:Simple.__base__",
            "transport_errors:",
            ":",
            "",
            ":Simple",
        ),
        *("os:error", "os:system", "json:JSONDecodeError", "transport_errors:json.decoder.JSONDecodeError"),
        *("pickle:PicklingError", "antigravity:X", "\x1b[31m:\x1b[0m", "a" * 100_000),
    ],
)
def test_forged_names_arrive_as_remote_error(name):
    errors.LOG.clear()
    back = rebuild(described(name), TABLE)
    assert type(back) is RemoteError
    assert len(back.type_name) < 1100
    assert "\x1b" not in str(back)
    assert not errors.LOG
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("name", [None, 5, ["builtins:ValueError"], {}, b"builtins:ValueError"])
def test_a_name_that_is_no_text_is_no_class(name):
    assert type(rebuild(described(name), TABLE)) is RemoteError


def test_nothing_of_the_class_runs():
    errors.LOG.clear()
    inner = described("transport_errors:Watched")
    back = rebuild(
        described(
            "transport_errors:Watched",
            args=[part(1)],
            state={"detail": part("d"), "plain": part(2)},
            notes=["n"],
            cause=inner,
            context=inner,
        ),
        TABLE,
    )
    assert errors.LOG == []
    assert type(back) is errors.Watched
    assert BaseException.__getattribute__(back, "args") == (1,)
    assert object.__getattribute__(back, "__dict__")["plain"] == 2


def test_attributes_cannot_replace_what_every_exception_has():
    names = [
        "__class__",
        "__notes__",
        "__cause__",
        "__traceback__",
        "__dict__",
        "__str__",
        "add_note",
        "with_traceback",
        "args",
    ]
    back = rebuild(described(state={name: part("x") for name in names}, notes=["n"]))
    assert type(back) is ValueError
    assert vars(back) == {"__notes__": ["n"]}
    back.add_note("works")


def test_attributes_that_make_printing_import_or_inspect_are_not_set():
    fields = {"name": part("json"), "name_from": part("x"), "obj": part([1])}
    back = rebuild(described("builtins:ImportError", fields=fields, state={"name_from": part("x")}))
    assert back.name == "json"
    assert getattr(back, "name_from", None) is None
    back = rebuild(described("builtins:AttributeError", fields=fields))
    assert back.obj is None


BAD_UNICODE = {"encoding": "utf-8", "object": b"abc", "start": 0, "end": 1, "reason": "r"}


@pytest.mark.parametrize(
    "change",
    [
        *({"start": -1}, {"start": 3, "end": 4}, {"end": 2**62}, {"start": 2, "end": 1}, {"start": -(2**62)}),
        *({"object": "abc"}, {"object": None}, {"reason": 5}, {"encoding": 5}, {"start": True}, {"end": 1.0}),
    ],
    ids=str,
)
def test_unicode_errors_are_checked_before_they_are_made(change):
    fields = {name: part(value) for name, value in {**BAD_UNICODE, **change}.items()}
    assert type(rebuild(described("builtins:UnicodeDecodeError", fields=fields))) is RemoteError


def test_syntax_errors_cannot_draw_endless_carets():
    fields = {
        "text": "a",
        "offset": 1,
        "end_offset": 2**40,
        "lineno": 2**40,
        "end_lineno": 1,
        "filename": "/etc/passwd",
        "msg": "m",
    }
    back = rebuild(described("builtins:SyntaxError", fields={name: part(value) for name, value in fields.items()}))
    assert type(back) is SyntaxError
    printed = "".join(traceback.format_exception(back))
    assert len(printed) < 2000
    assert "root:" not in printed


ESCAPES = "\x1b[2J\x1b]0;title\x07\x9b31m\r\x00\u202egnp.exe\u2028\ud800"


def test_control_characters_are_made_visible():
    exc = OSError(5, ESCAPES, ESCAPES)
    exc.add_note(ESCAPES)
    exc.extra = ESCAPES
    for each in (exc, ValueError(ESCAPES), SystemExit(ESCAPES), ExceptionGroup(ESCAPES, [ValueError(ESCAPES)])):
        back = carried(each)
        printed = "".join(traceback.format_exception(back)) + str(back) + repr(vars(back))
        printed.encode()
        assert not set(printed) & (set(ESCAPES) - set("[2J]0;title31mgnp.exe"))
    kept = carried(ValueError("a\n\tb"))
    assert kept.args == ("a\n\tb",)


def test_a_traceback_line_cannot_be_forged_with_newlines():
    frame = ['x.py"\nFile', 1, "f\nFile", 'line\n  File "/etc/passwd", line 1']
    text = str(rebuild(described(frames=[frame])).__cause__)
    assert text.count("\n  File") == 1


@pytest.mark.parametrize(
    "frames",
    [
        *(None, 5, "abc", [None], [[]], [["a"]], [[1, 2, 3, 4]], [["f", -1, "n", "l"]], [["f", 2**70, "n", "l"]]),
        *([["f", True, "n", "l"]], [2**70], [-5], [["f" * 10**6, 1, "n" * 10**6, "l" * 10**6]] * 1000),
    ],
)
def test_frames_are_bounded_whatever_they_are(frames):
    back = rebuild(described(frames=frames))
    assert type(back) is ValueError
    assert len(str(back.__cause__)) < 300_000


def test_no_file_named_by_the_isolate_is_read(monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("read a file")

    back = rebuild(described(frames=[["/etc/passwd", 1, "f", "sent"]]))
    monkeypatch.setattr(builtins, "open", forbidden)
    monkeypatch.setattr("linecache.getline", forbidden)
    assert "sent" in str(back.__cause__)
    assert "root:" not in str(back.__cause__)


def chain(length):
    exc = ValueError(0)
    for number in range(1, length):
        outer = ValueError(number)
        outer.__cause__, exc = exc, outer
    return exc


def bombs():
    deep = ValueError("deep")
    for _ in range(50):
        deep = ExceptionGroup("g", [deep, deep])
    cyclic = ValueError("cyclic")
    other = KeyError("other")
    cyclic.__context__, other.__context__ = other, cyclic
    noted = ValueError("noted")
    for _ in range(1000):
        noted.add_note("n" * 100_000)
    wide = ValueError(*range(100_000))
    wide.__dict__.update({f"a{i}": i for i in range(10_000)})
    huge = ValueError("m" * 10_000_000, ["x" * 10_000_000], 10**100_000)
    return {"chain": chain(10_000), "deep": deep, "cyclic": cyclic, "noted": noted, "wide": wide, "huge": huge}


@pytest.mark.parametrize("name", ["chain", "deep", "cyclic", "noted", "wide", "huge"])
def test_exception_bombs_are_cut_inside(name):
    exc = bombs()[name]
    encoded = encode(describe(exc))
    assert len(encoded.json) + sum(map(len, encoded.buffers)) < 2_000_000
    back = rebuild(decode(encoded.json, encoded.buffers))
    assert type(back) is type(exc)
    assert len("".join(traceback.format_exception(back))) < 1_000_000
    # A test's own teardown must not recurse through the chain either.
    while exc.__cause__ is not None:
        exc.__cause__, exc = None, exc.__cause__


def test_wide_groups_are_cut_inside():
    wide = ExceptionGroup("a", [ExceptionGroup("b", [ValueError(i) for i in range(30)]) for _ in range(30)])
    assert encode(describe(wide)).json.count(b"builtins:") <= EXCEPTIONS


def test_hostile_descriptions_are_bounded_too():
    nest = described()
    for _ in range(60):
        nest = described(cause=nest, context=nest, text="t" * 20_000, notes=["n" * 20_000] * 100)
    wide = described("builtins:ExceptionGroup", group=[nest] * 1000, message="m" * 100_000)
    for bomb in (nest, wide):
        tracemalloc.start()
        began = time.process_time()
        back = rebuild(bomb)
        assert time.process_time() - began < 2
        assert tracemalloc.get_traced_memory()[0] < 30 << 20
        tracemalloc.stop()
        assert len("".join(traceback.format_exception(back))) < 20_000_000
    assert EXCEPTIONS == 64


@pytest.mark.parametrize(
    "bad",
    [
        *(
            None,
            5,
            "text",
            [],
            {},
            {"type": "builtins:ValueError", "args": 5},
            {"type": "builtins:ValueError", "args": [5]},
        ),
        *(described(args=[[5, [], ""]]), described(args=[["1", 5, ""]]), described(args=[["1", [10**12], ""]])),
        *(described(args=[["[" * 100_000, [], "shown"]]), described(args=[[None, [], 5]]), described(state=[1])),
        *(described(state={"a": 5}), described(fields=5), described(notes=5), described(notes=[5]), described(cause=5)),
        *(
            described(cause=[]),
            described("builtins:ExceptionGroup", group=5),
            described("builtins:ExceptionGroup", group=[5]),
        ),
        *(
            described("builtins:ExceptionGroup"),
            described(suppress="yes"),
            described(text=5),
            described(group={"a": 1}),
        ),
    ],
    ids=lambda bad: repr(bad)[-60:],
)
def test_descriptions_that_make_no_sense_are_still_exceptions(bad):
    back = rebuild(bad, TABLE)
    assert type(back) in (TransportError, RemoteError, ValueError)
    str(back)


def test_nests_of_exceptions_in_arguments_end():
    inner = part(ValueError(ValueError(1)))
    back = rebuild(described(args=[inner]))
    assert type(back) is ValueError
    assert isinstance(back.args[0], str)
