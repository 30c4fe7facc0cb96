"""Exceptions: the user's come through as themselves, with where they came from."""

from __future__ import annotations

import json
import traceback

import pytest
import transport_errors as errors

from isolate_fn._transport.codec import ClassTable, decode, encode
from isolate_fn._transport.exception_table import BUILTINS
from isolate_fn._transport.failures import ExceptionTable, IsolateTraceback, describe, rebuild
from isolate_fn._transport.failures_describe import FRAMES, LINKS, MEMBERS, TEXT
from isolate_fn.errors import IsolationError, PolicyError, RemoteError

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


SAME = [
    *(
        ValueError(),
        ValueError("a"),
        ValueError(1, "b", None),
        KeyError(("a", 1)),
        KeyError("a"),
        ZeroDivisionError("x"),
    ),
    *(FileNotFoundError(2, "No such file", "/a"), OSError(5, "x", "/a", None, "/b"), OSError("just text"), OSError()),
    *(
        PermissionError(13, "no", b"/a"),
        TimeoutError(),
        ConnectionResetError(104, "reset"),
        MemoryError(),
        RecursionError("d"),
    ),
    *(UnicodeDecodeError("utf-8", b"a\xff", 1, 2, "bad"), UnicodeEncodeError("ascii", "a\u1234", 1, 2, "no")),
    *(UnicodeTranslateError("a\u1234", 1, 2, "no"), UnicodeEncodeError("utf-8", "\ud800\ud801", 0, 2, "surrogates")),
    *(ImportError("no", name="n", path="p"), ModuleNotFoundError("no", name="n"), NameError("x", name="x")),
    *(AttributeError("x", name="x"), SyntaxError("bad", ("f.py", 3, 5, "a = = b\n")), IndentationError("unexpected")),
    *(
        AssertionError("a"),
        NotImplementedError(),
        LookupError({"a": [1]}),
        EOFError(),
        UserWarning("w"),
        Exception("e"),
    ),
    *(errors.Simple("s"), errors.Detailed(3, detail="d"), errors.FileTrouble(2, "No", "/x"), errors.Outer.Inner(1)),
    *(errors.Mixed("a", "b"), json.JSONDecodeError("bad", "doc", 2)),
]


@pytest.mark.parametrize("exc", SAME, ids=lambda exc: repr(exc)[:50])
def test_it_comes_back_as_itself(exc):
    back = carried(exc)
    assert type(back) is type(exc)
    assert back.args == exc.args
    assert str(back) == str(exc)
    assert {k: v for k, v in vars(back).items() if k != "__notes__"} == vars(exc)
    for name in (
        "errno",
        "strerror",
        "filename",
        "filename2",
        "name",
        "path",
        "lineno",
        "offset",
        "text",
        "object",
        "start",
    ):
        assert getattr(back, name, None) == getattr(exc, name, None)


def test_every_builtin_class_can_be_rebuilt():
    for name, kind in BUILTINS.items():
        back = rebuild(described(name, args=[part("a")], group=[described()], message="m"))
        if issubclass(kind, UnicodeError) and kind is not UnicodeError:
            assert type(back) is RemoteError  # nothing to fill it with
        else:
            assert type(back) is kind, name
        str(back), repr(back)


def test_classes_are_found_only_where_the_function_can_see_them():
    assert type(carried(errors.Simple("s"), ExceptionTable())) is RemoteError
    assert type(carried(errors.Simple("s"), ExceptionTable.for_function(len))) is RemoteError
    assert type(carried(errors.Simple("s"), ExceptionTable.for_function(len, (errors.Simple,)))) is errors.Simple
    assert type(rebuild(described("pickle:PicklingError"), TABLE)) is RemoteError
    import pickle

    seen = ExceptionTable({}, {"pickle": pickle}, "m")
    assert type(rebuild(described("_pickle:PicklingError"), seen)) is RemoteError
    assert type(rebuild(described("pickle:PickleError"), seen)) is RemoteError  # its module says _pickle
    assert isinstance(rebuild(described("json.decoder:JSONDecodeError"), TABLE), json.JSONDecodeError)


def test_a_class_of_main_is_found_in_the_functions_globals():
    space: dict = {"__name__": "__main__"}
    exec("class Mine(Exception): pass\ndef f(): pass", space)
    table = ExceptionTable.for_function(space["f"])
    assert type(rebuild(described("__main__:Mine"), table)) is space["Mine"]


@pytest.mark.parametrize(
    "kind", [SystemExit, KeyboardInterrupt, StopIteration, IsolationError, int, "ValueError", Exception()]
)
def test_raises_takes_only_what_may_come_out(kind):
    with pytest.raises(PolicyError, match="raises"):
        ExceptionTable.for_function(errors.function, (kind,))


def test_a_long_input_travels_as_an_excerpt():
    back = carried(UnicodeDecodeError("utf-8", bytes(10_000_000) + b"\xff" + bytes(100), 10_000_000, 10_000_001, "bad"))
    assert type(back) is UnicodeDecodeError
    assert back.object[back.start : back.end] == b"\xff"
    assert len(back.object) < 2 * TEXT


def test_the_isolates_traceback_prints_with_the_callers():
    def fails():
        raise errors.Simple("inside")

    try:
        fails()
    except errors.Simple as caught:
        back = rebuild(describe(caught), TABLE)
    try:
        raise back
    except errors.Simple as caught:
        printed = "".join(traceback.format_exception(caught))
    assert isinstance(back.__cause__, IsolateTraceback)
    assert 'raise errors.Simple("inside")' in printed
    assert printed.index("Traceback inside the isolate") < printed.index("Traceback (most recent call last)")
    assert "in test_the_isolates_traceback_prints_with_the_callers.<locals>.fails" in printed


def test_causes_and_contexts_are_rebuilt_and_printed():
    try:
        try:
            try:
                raise KeyError("first")
            except KeyError as first:
                raise errors.Simple("second") from first
        except errors.Simple:
            raise ValueError("third")  # noqa: B904
    except ValueError as third:
        back = rebuild(describe(third), TABLE)
    assert type(back.__context__) is errors.Simple
    assert type(back.__context__.__cause__) is KeyError
    text = str(back.__cause__)
    assert text.index("KeyError") < text.index("second") < text.index("third")
    assert "direct cause" in text
    assert "During handling" in text


def test_an_own_cause_stays_reachable():
    exc = ValueError("a")
    exc.__cause__ = KeyError("b")
    back = carried(exc)
    assert type(back.__cause__.cause) is KeyError
    assert type(back.__context__) is KeyError


def test_groups_keep_their_members():
    inner = [errors.Simple("a"), ExceptionGroup("i", [KeyError("k"), OSError(2, "x")])]
    back = carried(errors.Group("o", inner))
    assert type(back) is errors.Group
    assert back.message == "o"
    assert [type(each) for each in back.exceptions] == [errors.Simple, ExceptionGroup]
    assert back.exceptions[1].exceptions[1].errno == 2
    assert back.subgroup(KeyError) is not None
    mixed = carried(BaseExceptionGroup("g", [SystemExit(1), ValueError("v")]))
    assert type(mixed) is RemoteError
    many = carried(ExceptionGroup("g", [ValueError(i) for i in range(100)]))
    assert len(many.exceptions) == MEMBERS
    assert "68 more" in many.__notes__[0]


def test_notes_come_along():
    exc = ValueError("a")
    exc.add_note("one\ntwo")
    assert carried(exc).__notes__ == ["one\ntwo"]
    other = SystemExit("a")
    other.add_note("n")
    assert carried(other).notes == ("n",)


def chain(length):
    exc = ValueError(0)
    for number in range(1, length):
        outer = ValueError(number)
        outer.__cause__, exc = exc, outer
    return exc


def test_a_chain_keeps_its_newest_links():
    back = carried(chain(100))
    links = []
    while back is not None:
        links.append(back.args)
        back = back.__cause__.cause if isinstance(back.__cause__, IsolateTraceback) else back.__cause__
    assert links == [(number,) for number in range(99, 99 - LINKS, -1)]


def test_deep_recursion_keeps_both_ends():
    def recurse(number):
        return recurse(number - 1) if number else 1 / 0

    try:
        recurse(300)
    except ZeroDivisionError as exc:
        frames = describe(exc)["frames"]
    assert len(frames) == FRAMES + 1
    assert frames[FRAMES // 2] == 302 - FRAMES
    assert frames[-1][3].startswith("return recurse")


def test_an_argument_that_cannot_travel_arrives_as_its_repr():
    class Local:
        def __repr__(self):
            return "<Local>"

    back = carried(errors.Simple(Local(), 5, [Local()]))
    assert back.args == ("<Local>", 5, "[<Local>]")


def test_exceptions_that_fail_to_print_are_described():
    class Broken(Exception):
        def __str__(self):
            raise RuntimeError

        __repr__ = __str__

    back = carried(Broken(Broken()))
    assert type(back) is RemoteError
    assert "str() raised RuntimeError" in back.message


def test_results_may_hold_exceptions():
    value = {"ok": 1, "failed": [errors.Simple("a"), SystemExit(2)]}
    encoded = encode(value)
    back = decode(encoded.json, encoded.buffers, classes=ClassTable().with_classes([errors.Simple]))
    assert type(back["failed"][0]) is errors.Simple
    assert back["failed"][0].args == ("a",)
    assert type(back["failed"][1]) is RemoteError
    plain = decode(encoded.json, encoded.buffers)
    assert type(plain["failed"][0]) is RemoteError
    table = ClassTable().with_exceptions(TABLE)
    assert type(decode(encoded.json, encoded.buffers, classes=table)["failed"][0]) is errors.Simple
