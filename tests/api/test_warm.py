"""Calls of a reused worker: the short way gives what the long way gives, and what is not for it takes the long way."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[..., str]

VALUES = r"""
import dataclasses, datetime, decimal, enum, fractions, uuid

class Colour(enum.Enum):
    RED = "red"

@dataclasses.dataclass
class Point:
    x: int
    y: object = None

VALUES = [
    None, True, False, 0, -1, 2**31, -(2**63), 2**63, 2**64, -(2**64) - 1, 10**20, 10**21, -(10**20), 10**400,
    0.0, -0.0, 1.5, 1e300, 5e-324, float("inf"), float("-inf"), float("nan"), 1j, complex(-0.0, float("nan")),
    "", "a", "$", '{"$": 1}', '"', "\\", "\n\0\x7f", "\u00e9\u20ac\U0001f600", "\ud800", "x\udcffy", "x" * 18, "x" * 19, "x" * 20,
    "9" * 25, "x" * 500, b"", b"a", b"$", bytes(range(256)), bytearray(b"abc"),
    [], (), {}, set(), frozenset(), [[]], [[[[[[[[[[]]]]]]]]]], [1, [2.0, ("3", None)], {"a": {"b": [True]}}],
    {"$": 1}, {"$": {"$": "$"}}, {1: "int", "1": "str", None: 2, (1, 2): 3}, {"a": b"x"}, [1, 1.0, True], {1, 2},
    frozenset({"a"}), ["x"] * 1000, list(range(5000)), {str(n): n for n in range(1000)}, range(3), slice(1, 2),
    decimal.Decimal("1.10"), fractions.Fraction(1, 3), uuid.UUID(int=5), datetime.date(2024, 2, 29),
    datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc), datetime.timedelta(days=-1), Colour.RED, Point(1, Point(2)),
]

def give(number: int) -> "Colour | Point | None":
    return VALUES[number]
"""

SAME = """
def same(one, other):
    "Equal in value and in every type: repr() tells nan, -0.0 and True from 1, and floats from ints."
    return type(one) is type(other) and repr(one) == repr(other)
"""


def test_values_are_those_of_the_long_way(run_warm: Run) -> None:
    printed = run_warm(
        SAME
        + """
give = reused(tools.give, 0)
ways = set()
for number, value in enumerate(tools.VALUES):
    short = give(number)
    ways.add(taken := way())
    long = give(number=number)
    assert way() == "long"
    assert same(short, long), (short, long)
    assert same(short, value) or value != value or type(value) in (set, frozenset) and short == value, (short, value)
    # Whatever is text without buffers is answered the short way.
    assert taken == "short" or isinstance(value, (bytes, bytearray, list)) and len(value) > 100, (value, taken)
print(sorted(ways), give(0), len(waiting()))
""",
        tools=VALUES,
    )
    assert printed.startswith("['")
    assert "'short'" in printed
    assert printed.endswith("None 1\n")


def test_arguments_are_those_of_the_long_way(run_warm: Run) -> None:
    printed = run_warm(
        SAME
        + r"""
echo = reused(tools.echo)
for value in [None, True, 0, -1, 2**64, 10**21, 10**4000, 0.0, -0.0, float("nan"), float("-inf"), 1j, "", "$", "\ud800",
              "x" * 16000, b"", bytes(range(256)), b"x" * 16000]:
    assert same(echo(value), value) and way() != "long", value
    assert same(echo(value=value), value) and way() == "long", value
    assert same(echo(value, value, value[:1] if isinstance(value, (str, bytes)) else 1), value)
    way()
print(echo(), way(), len(waiting()))
"""
    )
    assert printed == "None short 1\n"


def test_results_of_every_size_around_the_limits_of_the_short_way(run_warm: Run) -> None:
    printed = run_warm("""
text = reused(tools.text, 0)
# Text of up to 21 bytes is read at once; FIRST bytes are asked for first, the header of 28 and two quotes among them.
FIRST = 1 << 15
edges = {"short": FIRST - 28 - 2, "handed over": FIRST - 28 - 1}
for taken, length in edges.items():
    assert text(length) == "x" * length and way() == taken, (length, taken)
for middle in (0, 19, 20, 256, 4096, 1 << 14, FIRST - 30, FIRST, 1 << 16, 100_000):
    for length in range(max(0, middle - 3), middle + 4):
        assert text(length) == "x" * length and way() != "long", length
print(len(waiting()))
""")
    assert printed == "1\n"


def test_arguments_of_every_size_around_the_limits_of_the_short_way(run_warm: Run) -> None:
    printed = run_warm("""
from isolate_fn._transport.calls import plain
size = reused(tools.size, b"")
overhead = len(plain((b"x" * 1000,))) - 1000
edges = {"short": (1 << 14) - overhead, "long": (1 << 14) - overhead + 1}
for taken, length in edges.items():
    assert size(b"x" * length) == length and way() == taken, (length, taken)
for middle in (0, 1 << 14, 1 << 15, 1 << 16, 256 << 10, 1 << 20):
    for length in range(max(0, middle - 40), middle + 41, 8):
        assert size(b"x" * length) == length
print(len(waiting()))
""", tools="def size(data):\n    return len(data)\n")  # fmt: skip
    assert printed == "1\n"


def test_functions_of_one_worker_and_arguments_of_many_sizes_are_not_mixed_up(run_warm: Run) -> None:
    """A worker knows a call by its first bytes: which function, and how much comes after them."""
    printed = run_warm("""
from isolate_fn import sandbox
with sandbox() as box:
    for length in [*range(600), *range(20)]:  # more sizes than the worker keeps
        text = "x" * length
        assert box.call(tools.size, text) == length and box.call(tools.double, text) == text + text
        assert box.call(tools.double, data=text) == text + text
        assert str(caught(box.call, tools.fail, text)) == text
    assert [box.call(tools.double, value) for value in (b"x", 2.5, 2**70, None or [1])] == [b"xx", 5.0, 2**71, [1, 1]]
print("in order")
""", tools="""
def size(data):
    return len(data)
def double(data):
    return data * 2
def fail(data):
    raise ValueError(data)
""")  # fmt: skip
    assert printed == "in order\n"


@pytest.mark.needs("module:numpy")
def test_arrays_and_their_scalars(run_warm: Run) -> None:
    printed = run_warm(
        """
make = reused(tools.make, "float64", 1)
make("float64", 1), way()  # loads modules, whose number is one of the circumstances
for dtype in ("bool", "int8", "uint64", "float32", "float64", "complex128", ">i4", "datetime64[s]"):
    for count in (0, 1, 3, 1000, 100_000):
        array = make(dtype, count)
        assert way() == "handed over" if count >= 1000 else way() != "long", (dtype, count)
        long = make(dtype=dtype, count=count)
        assert way() == "long"
        assert array.dtype == long.dtype and array.dtype.kind == tools.np.dtype(dtype).kind, (array, dtype)
        assert array.shape == (count,) and (array == tools.make(dtype, count)).all()
scalar = make("float32", -1)
print(type(scalar).__name__, scalar, tools.total.__name__, isolated(reuse=True)(tools.total)(make("int64", 4)))
""",
        tools="""
        import numpy as np
        def make(dtype: str, count: int) -> np.ndarray:
            return np.float32(1.5) if count < 0 else np.arange(count).astype(dtype)
        def total(array):
            return int(array.sum())
        """,
    )
    assert printed == "float32 1.5 total 6\n"


def test_what_is_not_for_the_short_way_takes_the_long_one_in_the_same_worker(run_warm: Run) -> None:
    printed = run_warm("""
import array, pathlib
count = reused(tools.count)
class Own(str):
    pass
for number, (given, named) in enumerate([
    (([1],), {}), ((tools.Thing(),), {}), ((tools.Thing,), {}), ((pathlib.Path("/x"),), {}), ((array.array("i", [1]),), {}),
    ((Own("x"),), {}), ((), {"value": 1}), ((1,), {"value": tools.Thing()}), ((b"x" * 300_000,), {}), (("x" * 20_000,), {}),
], 2):
    assert count(*given, **named) == 2 * number - 2 and way() == "long", (given, named)
    assert count(1) == 2 * number - 1 and way() == "short"
print(len(waiting()))
""", tools="""
    class Thing:
        pass
    plain_count = count
    def count(*values, **named):
        return plain_count()
    """)  # fmt: skip
    assert printed == "1\n"


def test_exceptions_arrive_with_their_tracebacks_and_the_worker_goes_on(run_warm: Run) -> None:
    printed = run_warm("""
import traceback
fail = reused(tools.fail, "none")
cases = [("value", ValueError), ("key", KeyError), ("own", tools.Own), ("exit", RemoteError),
         ("chain", RuntimeError), ("signature", TypeError)]
for how, _ in cases:  # loads what telling and showing them needs: the number of modules is one of the circumstances
    traceback.format_exception(caught(fail, how))
before = fail("none")
way()
for number, (how, kind) in enumerate(cases, 1):
    error = caught(fail, how) if how != "signature" else caught(fail, how, "too many")
    assert way() == "handed over" and type(error) is kind, (how, error)
    shown = "".join(traceback.format_exception(error))
    if how in ("value", "key", "own", "chain"):
        assert "tools.py" in shown and "deeper(how)" in shown and "here(how)" in shown, shown
    if how == "chain":
        assert "ValueError: chain" in shown and "direct cause" in shown and error.__notes__ == ["noted"], shown
    assert fail("none") == before + 2 * number - (how == "signature") and way() == "short", how
print(error, len(waiting()))
assert type(caught(fail, "result")) is ResultRejected and way() == "handed over"
assert fail("none") == 1  # that ends a worker
""", tools="""
    class Own(Exception):
        pass
    def deeper(how):
        here(how)
    def here(how):
        if how == "chain":
            try:
                raise ValueError(how)
            except ValueError as error:
                outer = RuntimeError(how)
                outer.add_note("noted")
                raise outer from error
        raise {"value": ValueError, "key": KeyError, "own": Own, "exit": SystemExit}[how](how)
    def fail(how):
        number = count()
        if how == "result":
            return object()
        if how != "none":
            deeper(how)
        return number
    """)  # fmt: skip
    assert "positional argument" in printed
    assert printed.endswith(" 1\n")


SAY = """
    import sys
    def say(text, stream=1, how="print", then="return"):
        file = {1: sys.stdout, 2: sys.stderr}[stream]
        if how == "print":
            print(text, file=file)
        elif how == "unfinished":
            file.write(text)
        else:
            os.write(stream, text.encode())
        if then == "raise":
            raise ValueError(text)
        if then == "exit":
            os._exit(1)
        return len(text)
"""


def test_output_arrives_with_its_call(run_warm: Run) -> None:
    printed = run_warm("""
heard = []
say = reused(tools.say, "first\\n", output=lambda stream, data: heard.append((stream, data)))
assert b"".join(data for _, data in heard) == b"first\\n\\n"
calls = [(f"{n}{how}" * size, stream, how) for n in range(3) for how in ("print", "unfinished", "native")
         for stream in (1, 2) for size in (1, 1000)]
for text, stream, how in calls:
    heard.clear()
    assert say(text, stream, how) == len(text)
    # Taken up by the long way where what was written is seen; that it is seen is what this is about.
    assert (taken := way()) == "handed over", (taken, text[:20])
    assert {name for name, _ in heard} == {("stdout", "stderr")[stream - 1]}, heard
    assert b"".join(data for _, data in heard) == text.encode() + b"\\n" * (how == "print"), (text[:20], heard)
    heard.clear()
    assert say("", 1, "native") == 0 and way() == "short" and not heard
heard.clear()
assert isinstance(caught(say, "with an error", 1, "print", "raise"), ValueError)
assert b"".join(data for _, data in heard) == b"with an error\\n"
heard.clear()
assert say("y" * 300_000) == 300_000  # more than a pipe holds
print(sum(len(data) for _, data in heard), len(waiting()))
""", tools=SAY)  # fmt: skip
    assert printed == "300001 1\n"


def test_output_is_relayed_and_captured_call_by_call(run_warm: Run) -> None:
    printed = run_warm("""
say = reused(tools.say, "zero")
for number in range(20):
    say(str(number))
    print("after", number)
captured = reused(tools.say, "zero", output="capture")
captured("one")
captured("", 1, "native")
crash = caught(captured, "two", 1, "print", "exit")
print(type(crash).__name__, crash.report.stdout, crash.report.stdout_bytes)
captured("three")
print(caught(captured, "four", 2, "native", "exit").report.stderr)
""", tools=SAY)  # fmt: skip
    relayed = "".join(f"{number}\nafter {number}\n" for number in range(20))
    assert printed == f"zero\n{relayed}Crashed b'two\\n' 4\nb'four'\n"
