"""Arguments: what travels, where its bytes are, and how a refusal names the one at fault."""

from __future__ import annotations

import functools
import io
import pickle
import sqlite3
import sys
import textwrap
import threading
import types
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from isolate_fn._transport import calls, received
from isolate_fn.errors import CallRejected

MIB = 1024 * 1024


def target(path: Any = None, /, first: Any = None, *rest: Any, option: Any = None, **others: Any) -> None:
    """Something whose parameters have names."""


REFERENCE = calls.function_reference(target)


def through(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any], calls.EncodedCall]:
    encoded = calls.encode_call(REFERENCE, args, kwargs)
    got, keywords = received.load_arguments(encoded.arguments, [bytearray(buffer) for buffer in encoded.buffers])
    return got, keywords, encoded


PLAIN = [
    (),
    (None, True, -(2**80), 1.5, 2j, "text", b"bytes"),
    ([1, (2, {3: {4}})], frozenset({5}), bytearray(b"six")),
    (b"x" * MIB, bytearray(b"y" * MIB)),
    (int, len, types.SimpleNamespace(a=1), range(3), Ellipsis),
]


@pytest.mark.parametrize("args", PLAIN)
def test_equal_on_the_other_side(args: tuple[Any, ...]) -> None:
    got, keywords, _ = through(*args, option=args)
    assert got == args
    assert keywords == {"option": args}
    assert [type(value) for value in got] == [type(value) for value in args]


ATOMS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.complex_numbers(), st.binary(max_size=100),
    st.text(st.characters(), max_size=100),
)  # fmt: skip


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.lists(ATOMS, max_size=6))
@example([-(2**31), 2**31, 2**64, -0.0, float("nan"), "\ud800", "\0", 1 << 20000])
def test_plain_arguments_arrive_to_the_bit(values: list[Any]) -> None:
    got, keywords, encoded = through(*values)
    assert encoded.arguments == calls.plain(tuple(values))  # that way, and no other
    assert encoded.arguments[:1] != calls.dump(tuple(values), b"")[:1]  # which is how the other side tells them apart
    assert not keywords
    assert list(map(pickle.dumps, got)) == list(map(pickle.dumps, values))


def test_what_is_too_long_to_be_counted_is_pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(args: tuple[Any, ...]) -> bytes:
        raise ValueError("unmarshallable object")

    monkeypatch.setattr(calls, "plain", refuse)
    got, _, encoded = through("text", 1)
    assert got == ("text", 1)
    assert encoded.arguments[0] == 0x80


def test_shared_and_circular_structure_survives() -> None:
    loop: list[Any] = []
    loop.append(loop)
    (first, second, again), _, _ = through(loop, shared := {"a": 1}, shared)
    assert first[0] is first
    assert second is again


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_big_bytes_stay_outside_and_are_not_copied(kind: Any) -> None:
    value = kind(b"z" * MIB)
    _, _, encoded = through(value, option=value)
    assert len(encoded.arguments) < 1000
    assert [buffer.nbytes for buffer in encoded.buffers] == [MIB, MIB]
    assert encoded.buffers[0].obj is value


def test_small_bytes_stay_inside() -> None:
    assert through(b"z" * 1000)[2].buffers == []


def test_memoryviews_travel_with_their_form() -> None:
    words = memoryview(bytearray(range(24))).cast("I", (2, 3))
    strided = memoryview(bytes(range(10)))[::2]
    (got_words, got_strided, empty), _, encoded = through(words, strided, memoryview(b""))
    assert (got_words.format, got_words.shape, got_words.tolist()) == ("I", (2, 3), words.tolist())
    assert got_strided.tolist() == strided.tolist()
    assert bytes(empty) == b""
    assert encoded.buffers == []


def test_arrays_stay_outside_and_are_writable_inside() -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(MIB, dtype="f8").reshape(1024, 1024)
    (got, inside), keywords, encoded = through(array, {"deep": [array[::2]]}, option=numpy.arange(3))
    assert len(encoded.buffers) == 1, "the big array; the strided view has no bytes of its own to point at"
    assert encoded.buffers[0].nbytes == array.nbytes
    assert numpy.shares_memory(numpy.frombuffer(encoded.buffers[0]), array)
    assert (got == array).all()
    assert (inside["deep"][0] == array[::2]).all()
    got += 1
    keywords["option"] += 1
    assert array[0, 0] == 0


def test_frames_stay_outside() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": range(100_000), "b": 1.5})
    (got,), _, encoded = through(frame)
    assert got.equals(frame)
    assert len(encoded.arguments) < 5000


def test_buffers_of_a_thrown_away_attempt_are_not_counted() -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.zeros(MIB)
    (got, function), _, encoded = through(array, lambda: 7)
    assert len(encoded.buffers) == 1
    assert function() == 7
    assert got.shape == array.shape


def test_threshold_is_the_callers() -> None:
    encoded = calls.encode_call(REFERENCE, (b"12345678",), {}, out_of_band_from=8)
    assert [bytes(buffer) for buffer in encoded.buffers] == [b"12345678"]


class Stubborn:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def generator() -> Any:
    yield 1


class Holder:
    def __init__(self, **fields: Any) -> None:
        vars(self).update(fields)


REFUSED = [  # arguments, keywords, what, found in the problem, found in the remedy
    ((threading.Lock(),), {}, "argument 'path'", "_thread.lock", "inside the function"),
    ((1, threading.Lock()), {}, "argument 'first'", "_thread.lock", "inside the function"),
    ((1, 2, 3, threading.RLock()), {}, "argument 'rest[1]'", "RLock", "inside the function"),
    ((), {"option": [generator()]}, "argument 'option'", "generator", "a list"),
    ((), {"extra": threading.Lock()}, "argument 'extra'", "_thread.lock", "inside"),
    (({"a": [1, {"lock": threading.Lock()}]},), {}, "argument 'path'", "its part ['a'][1]['lock']", "inside"),
    ((Holder(inner=Holder(lock=threading.Lock())),), {}, "argument 'path'", "its part .inner.lock", "inside"),
    ((sys._getframe(),), {}, "argument 'path'", "frame", "text"),
    ((sqlite3.connect(":memory:"),), {}, "argument 'path'", "sqlite3.Connection", "grant"),
    (
        (io.BytesIO().getbuffer().__class__,),
        {"option": Stubborn(ValueError("no"))},
        "argument 'option'",
        "(no)",
        "plain data",
    ),
    ((Stubborn(RecursionError("round and round")),), {}, "argument 'path'", "nested too deeply", "flat"),
    ((nested(200_000),), {}, "argument 'path'", "nested too deeply", "flat"),
    ((Stubborn(MemoryError()),), {}, "argument 'path'", "MemoryError", "plain data"),
]


@pytest.mark.parametrize(("args", "kwargs", "what", "problem", "remedy"), REFUSED)
def test_refusal_names_the_parameter(args: Any, kwargs: Any, what: str, problem: str, remedy: str) -> None:
    with pytest.raises(CallRejected) as caught:
        through(*args, **kwargs)
    assert caught.value.what == what
    assert problem in caught.value.problem
    assert remedy in caught.value.remedy
    assert caught.value.ran is False
    assert caught.value.__cause__ is not None


def test_files_are_refused_with_the_way_to_do_it(tmp_path: Any) -> None:
    with (tmp_path / "data").open("wb") as file, pytest.raises(CallRejected, match="as an argument of its own"):
        through(file)


def test_without_a_signature_the_position_is_named() -> None:
    reference = calls.function_reference(functools.partial(len).func)
    with pytest.raises(CallRejected) as caught:
        calls.encode_call(reference, (1, threading.Lock(), 3), {"x": 1})
    assert caught.value.what == "argument 2"


def test_interrupts_are_not_refusals() -> None:
    with pytest.raises(KeyboardInterrupt):
        through(Stubborn(KeyboardInterrupt()))


def test_cloudpickle_is_not_imported_for_plain_calls(project: Any) -> None:
    program = """
        import sys, textwrap
        from harness import send
        from isolate_fn._transport import received
        send(textwrap.dedent, " a")
        send(textwrap.dedent, text=" b")
        print(sorted({"cloudpickle", "inspect", "dataclasses", "logging"} & set(sys.modules)))
    """
    assert project.call(program) == "[]"


def test_worker_side_is_light(project: Any) -> None:
    root = received.__file__.removesuffix("/isolate_fn/_transport/received.py")
    program = f"""
        import sys
        sys.path.append({root!r})
        before = set(sys.modules)
        import isolate_fn._transport.received
        heavy = {{"inspect", "dataclasses", "logging", "ctypes", "asyncio", "threading", "importlib.util"}}
        print(sorted(heavy & (set(sys.modules) - before)))
    """
    assert project.call(["-I", "-S", "-c", textwrap.dedent(program)]) == "[]"
