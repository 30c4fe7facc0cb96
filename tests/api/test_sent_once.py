"""Functions that travel by value are sent to a worker once, and again when they, or what they use, are not what they were."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[..., str]

# What is sent of the function with each call: one byte where the worker has it.
SENT = """
from isolate_fn._runtime import conversation
_function_for, _parts = conversation._function_for, []
def _noted(*given):
    _parts.append(_function_for(*given))
    return _parts[-1]
conversation._function_for = _noted

def sent():
    "Tell which numbers were used since the last question, and whether the function came along."
    found = [(part[0], len(part) > 1) for part in _parts]
    _parts.clear()
    return found
"""
ONCE = [(0, True), (0, False), (0, False)]


def test_a_function_of_a_script_is_sent_once(run_warm: Run) -> None:
    printed = run_warm(
        SENT
        + """
def double(number):
    return number * factor
factor = 2
doubled = isolated(reuse=True)(double)
print([doubled(n) for n in range(3)], sent(), way())
(isolate,) = waiting()
((number, part),) = isolate.functions.values()
print(number, part[:1], len(part) > 100)
"""
    )
    assert printed == f"[0, 2, 4] {ONCE} long\n0 b'V' True\n"


@pytest.mark.parametrize("where", ["isolated", "sandbox"])
def test_what_it_uses_has_changed(where: str, run_warm: Run) -> None:
    """Globals, what functions that it uses use, enclosed variables, defaults, attributes: new ones, and changed ones."""
    printed = run_warm(
        SENT
        + f"""
import contextlib
def closing(start):
    def inner(more, *, by=1):
        return start, more, by, tuple(kept), helper()
    def change(value):
        nonlocal start
        start = value
    return inner, change
def helper():
    return factor
kept, factor = ["a"], 2
inner, change = closing(10)
with contextlib.ExitStack() as stack:
    if {where!r} == "sandbox":
        box = stack.enter_context(sandbox())
        call = lambda number: box.call(inner, number)
    else:
        call = isolated(reuse=True)(inner)
    assert call(1) == call(1) == (10, 1, 1, ("a",), 2)
    changes = ["factor = 3", "kept.append('b')", "change(11)", "inner.__kwdefaults__['by'] = 5", "factor = 4; kept = []"]
    expected = [(10, 1, 1, ("a",), 3), (10, 1, 1, ("a", "b"), 3), (11, 1, 1, ("a", "b"), 3), (11, 1, 5, ("a", "b"), 3),
                (11, 1, 5, (), 4)]
    assert sent() == [(0, True), (0, False)]
    for line, value in zip(changes, expected):
        exec(line)
        assert call(1) == call(1) == value, line
        assert sent() == [(0, True), (0, False)], line
    unused = object()
    other = 5
    assert call(1) == value and sent() == [(0, False)]
print("as it is at each call")
"""
    )
    assert printed == "as it is at each call\n"


def test_what_it_changed_inside_stays_until_it_is_sent_again(run_warm: Run) -> None:
    printed = run_warm(
        SENT
        + """
total = 0
def add(number):
    global total
    total += number
    return total
added = isolated(reuse=True)(add)
print([added(1), added(1), added(1)], total, sent())
total = 10
print([added(1), added(1)], sent())
"""
    )
    assert printed == f"[1, 2, 3] 0 {ONCE}\n[11, 12] [(0, True), (0, False)]\n"


def test_functions_that_take_turns_are_each_sent_once(run_warm: Run) -> None:
    printed = run_warm(
        SENT
        + """
with sandbox() as box:
    one, two = (lambda n: n + 1), (lambda n: n + 2)
    print([(box.call(one, n), box.call(two, n), box.call(tools.echo, n)) for n in range(3)], sent())
    (isolate,) = [box._isolate]
    print(sorted(number for number, _ in isolate.functions.values()), isolate.numbered)
    print(box.call(lambda n: n + 3, 1), sent())
# Equal names, equal policies: one worker, two functions.
one, two = isolated(reuse=True, name="n")(one), isolated(reuse=True, name="n")(two)
print([(one(n), two(n)) for n in range(3)], sent(), len(waiting()))
"""
    )
    numbers = [(0, True), (1, True), (2, True), *[(0, False), (1, False), (2, False)] * 2]
    both = [(0, True), (1, True), *[(0, False), (1, False)] * 2]
    assert printed.splitlines() == [
        f"[(1, 2, 0), (2, 3, 1), (3, 4, 2)] {numbers}",
        "[0, 1, 2] 3",
        "4 [(3, True)]",
        f"[(1, 2), (2, 3), (3, 4)] {both} 1",
    ]


def test_more_functions_than_a_byte_can_count(run_warm: Run) -> None:
    printed = run_warm(
        SENT
        + """
def make(number):
    return lambda more: (number, more)
made = [make(number) for number in range(300)]
with sandbox() as box:
    for again in range(3):
        assert [box.call(function, again) for function in made] == [(number, again) for number in range(300)]
        found = sent()
        assert [number for number, _ in found] == [*range(255), *[255] * 45]
        assert [whole for _, whole in found] == [again == 0] * 255 + [True] * 45, again
    isolate = box._isolate
    print(len(isolate.functions), isolate.numbered >= 255)
    assert box.call(made[-1], "last") == (299, "last") and box.call(made[0], "first") == (0, "first")
print(sent())
"""
    )
    assert printed == "255 True\n[(255, True), (0, False)]\n"


@pytest.mark.parametrize("error", ["ImportError('not here')", "SystemExit(3)", "KeyboardInterrupt()", "MemoryError()"])
@pytest.mark.parametrize("where", ["isolated", "sandbox"])
def test_a_function_that_cannot_be_loaded_inside(where: str, error: str, run_warm: Run) -> None:
    """It uses a module whose import fails inside, in each of the ways that one can, and not outside."""
    printed = run_warm(
        SENT
        + f"""
import contextlib, pathlib
module = pathlib.Path(__file__).with_name("only_outside.py")
module.write_text("import os\\nif os.path.isdir('/work') and os.getpid() < 20:\\n    raise {error}\\nvalue = 5\\n")
import only_outside
used = only_outside
def use(number):
    return used.value if number else len(dir(used)) > 0
with contextlib.ExitStack() as stack:
    if {where!r} == "sandbox":
        box = stack.enter_context(sandbox())
        box.call(tools.count)
        call = lambda number: box.call(use, number)
    else:
        call = isolated(reuse=True)(use)
    for _ in range(2):
        error = caught(call, 1)
        assert type(error) is CallRejected and error.ran is False, repr(error)
        assert {error.partition("(")[0]!r} in error.problem, error.problem
    class Stand:
        value = 6
    used = Stand
    print(call(1), call(0))
    if {where!r} == "sandbox":
        print(box.call(tools.count))  # it went on
print([whole for _, whole in sent()][-2:])
"""
    )
    goes_on = "2\n" if where == "sandbox" else ""
    last = "[False, False]" if where == "sandbox" else "[True, False]"
    assert printed == f"6 True\n{goes_on}{last}\n"


def test_a_sandbox_whose_worker_is_gone_tells_the_same_cause_again(run_warm: Run) -> None:
    printed = run_warm(
        """
def same(first, again):
    return str(first).splitlines()[0] == str(again).splitlines()[0] and (first.ran, again.ran) == (True, False)

with sandbox() as box:
    errors = [caught(box.call, tools.end, "exit"), caught(box.call, tools.count)]
print(*(f"{type(error).__name__} {error.exit_code}" for error in errors), same(*errors))
with sandbox(limits=Limits(result=100)) as box:
    errors = [caught(box.call, tools.text, 200), caught(box.call, tools.count)]
print(*(f"{type(error).__name__} {error.used}" for error in errors), same(*errors))
with sandbox() as box:
    errors = [caught(box.call, tools.answer_twice), caught(box.call, tools.count)]
print(*(f"{type(error).__name__} {error.remedy}" for error in errors), same(*errors))
""",
        tools="""
        def answer_twice():
            os.write(3, (b"IFN1\\2\\0\\0\\0" + bytes(4) + b"\\4" + bytes(15) + b"null") * 2)
            time.sleep(1000)
        """,
    )
    twice = "TransportError its worker is not used again " * 2
    assert printed == f"Crashed 7 Crashed 7 True\nLimitExceeded 202 LimitExceeded 202 True\n{twice}True\n"


@pytest.mark.needs("landlock")
def test_rules_that_cannot_be_enforced_stay_due(run_warm: Run) -> None:
    """A worker that could not take the rules takes no call without them, although the sandbox goes on."""
    printed = run_warm(
        """
        from isolate_fn.rules import SystemIO
        with sandbox(rules=[SystemIO.nothing().allow_read_path("/not/there")]) as box:
            for _ in range(3):
                error = caught(box.call, tools.count)
                print(type(error).__name__, error.what)
        """
    )
    assert printed == "CallRejected rules=\n" * 3
