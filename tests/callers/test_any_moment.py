"""Exceptions and calls of signal handlers at every line of a call: raised once, and nothing is left."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[..., str]
pytestmark = pytest.mark.needs("namespaces")

# One call for every line that such a call passes in these files: there, the signal comes.
EVERYWHERE = """
import isolate_fn
from isolate_fn import isolated
from isolate_fn._runtime import pool

HOME = os.path.dirname(isolate_fn.__file__)
# Where descriptors and processes are owned; anything else only passes such an exception on.
WHERE = tuple(f"/_runtime/{name}.py" for name in (
    "call", "ends", "isolate", "lifetime", "listening", "pool", "talk"))
EVENT = "line"
seen, reached, met = set(), None, []

def trace(frame, event, arg):
    global reached
    name = frame.f_code.co_filename
    if not name.startswith(HOME):
        return None
    place = (name[len(HOME):], frame.f_lineno, event)
    if reached is None and event == EVENT and place not in seen and name.endswith(WHERE):
        seen.add(place)
        reached = place
        signal.raise_signal(signal.SIGINT)
    return trace

def meet(number, frame):
    met.append(reached)
    sys.settrace(None)
    handle()

signal.signal(signal.SIGINT, meet)

def visit(operation):
    "Do it as often as it has a place where no signal came yet."
    global reached
    for turn in range(3000):
        reached = None
        sys.settrace(trace)
        value = None
        try:
            value = operation()
        except KeyboardInterrupt as error:
            assert error.args == ("here",), (error.args, reached)
        finally:
            sys.settrace(None)
        yield value
        if reached is None:
            return
    raise AssertionError("it comes to no end")
"""


@pytest.mark.timeout(400)
def test_an_interrupt_at_any_moment_of_a_call(run: Run, inside: str) -> None:
    printed = run(
        inside
        + EVERYWHERE
        + """
def handle():
    raise KeyboardInterrupt("here")
f = isolated(prewarm=0, output="discard")(lambda n: print("out") or n + 1)
f(1), f(1)
before = descriptors()
for value in visit(lambda: f(1)):
    assert (value == 2) == (reached is None), (value, reached)
    nothing_left(before, reached)
assert f(2) == 3 and len(met) == len(seen)
print(len(seen) > 100, {f"/_runtime/{name}.py" for name in ("call", "ends", "isolate")} <= {place[0] for place in seen})
""",
        patience=350,
    )
    assert printed == "True True\n"


@pytest.mark.timeout(400)
def test_an_interrupt_at_any_moment_of_starting_what_makes_isolates(run: Run, inside: str) -> None:
    printed = run(
        inside
        + EVERYWHERE
        + """
WHERE = ("/launch.py", "/spawner_client.py")
def handle():
    raise KeyboardInterrupt("here")
f = isolated(prewarm=0, output="discard")(lambda n: n + 1)
f(1), f(1)
pool.close_all()
before = descriptors()
def cold():
    try:
        return f(1)
    finally:
        sys.settrace(None)
        pool.close_all()
for value in visit(cold):
    assert (value == 2) == (reached is None), (value, reached)
    nothing_left(before, reached)
assert len(met) == len(seen)
print({place[0][9:] for place in seen} == set(WHERE), f(2))
""",
        patience=350,
    )
    assert printed == "True 3\n"


@pytest.mark.timeout(400)
def test_a_handler_that_makes_calls_itself_at_any_moment(run: Run, inside: str) -> None:
    printed = run(
        inside
        + EVERYWHERE
        + """
f = isolated(prewarm=0, output="discard")(lambda n: n + 1)
warm = isolated(reuse=True)(os.path.basename)
values = []
def handle():
    values.append((f(10), warm("a/b")))
f(1), warm("x")
before = descriptors()
WHERE = ("/lifetime.py", "/pool.py", "/spawner_client.py")  # where locks are held, and what calls have in common
for value in visit(lambda: f(1)):
    assert value == 2, reached
    nothing_left(before, reached)
assert len(values) > 40
WHERE = "/warm.py"
for value in visit(lambda: warm("c/d")):
    assert value == "d", reached
pool.close_all()
WHERE, EVENT = "/launch.py", "call"  # while a spawner is started, another one is
def cold():
    try:
        return f(1)
    finally:
        pool.close_all()
seen.clear()
count = len(values)
for value in visit(cold):
    assert value == 2, reached
print(count > 60, len(values) > count + 3, set(values))
""",
        patience=350,
    )
    assert printed == "True True {(11, 'b')}\n"


def test_interrupts_that_come_when_they_come(run: Run, inside: str) -> None:
    printed = run(
        inside
        + """
from isolate_fn import isolated
def handler(number, frame):
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, handler)
f = isolated(prewarm=0)(lambda data: data * 2)
data = b"x" * 200_000
f(data)
before = descriptors()
ways = set()
for step in range(100):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.00001 + step * 0.0001)
        f(data)
        signal.setitimer(signal.ITIMER_REAL, 0)
        ways.add("returned")
    except KeyboardInterrupt:
        ways.add("interrupted")
    nothing_left(before)
print("interrupted" in ways, f(b"a"))
"""
    )
    assert printed == "True b'aa'\n"
