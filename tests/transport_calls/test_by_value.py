"""What no other process can import: scripts, ``python -c``, lambdas, closures, modules made at run time."""

from __future__ import annotations

from typing import Any

import pytest

SCRIPT = """
from harness import Isolated, send
import enum, math

FACTOR = 2
UNUSED_SECRET = "a token that must not travel"

class Point:
    def __init__(self, x, y):
        self.x, self.y = x, y
    def length(self):
        return math.hypot(self.x, self.y)
    @Isolated
    def scaled(self, by):
        return helper(self.x) * by

class Colour(enum.Enum):
    RED = 1

def helper(a):
    return a * FACTOR

def adder(n):
    def add(a):
        return a + n
    return add

@Isolated
def work(point, colour=None):
    return helper(point.length()), colour

@Isolated
def factorial(n):
    return 1 if n < 2 else n * factorial(n - 1)

@Isolated
def other():
    return factorial(3)

@Isolated
def factorial_inside(n):
    return 1 if n < 2 else n * factorial_inside.__wrapped__(n - 1)

print(send({call})[0].by_value_because)
"""

CASES = [  # what is called, what the worker answers
    ("work, Point(3, 4)", "(10.0, None)"),
    ("work, Point(3, 4), colour=Colour.RED", "(10.0, <Colour.RED: 1>)"),
    ("Point(3, 4).length", "5.0"),
    ("Point(3, 4).scaled, 5", "30"),
    ("adder(5), 1", "6"),
    ("lambda a: a + FACTOR, 1", "3"),
    ("Point(3, 4).__class__(6, 8).length", "10.0"),
    ("factorial_inside, 5", "120"),
    # The decorated name inside of the very function that runs is plain recursion, as in a module.
    ("factorial, 5", "120"),
]


@pytest.mark.parametrize(("call", "answer"), CASES)
def test_from_a_script(project: Any, call: str, answer: str) -> None:
    # Point is defined in __main__: its instances as arguments are sent by value as well.
    assert "defined in __main__" in project.call(SCRIPT.replace("{call}", call))
    assert b"must not travel" not in project.calls.read_bytes()
    assert project.serve() == answer


def test_decorated_function_called_inside_refuses(project: Any) -> None:
    project.call(SCRIPT.replace("{call}", "other"))
    answer = project.serve()
    assert answer.startswith("PolicyError nested isolation: factorial()")
    assert "factorial.__wrapped__" in answer


def test_from_the_command_line(project: Any) -> None:
    program = "from harness import send\ndef work(a):\n    return a * 2\nsend(work, 21)"
    project.call(["-c", program])
    assert project.serve() == "42"


def test_from_a_main_module_of_a_package(project: Any) -> None:
    project.write("package/__init__.py", "NAME = 'package'")
    project.write("package/__main__.py", "from harness import send\nfrom . import NAME\nsend(lambda: NAME)")
    project.call(["-m", "package"])
    assert project.serve() == "'package'"


IN_MODULE = """
    from harness import Isolated

    SECRET = "a token that must not travel"

    @Isolated
    def decorated():
        return len(SECRET)

    def make(n):
        @Isolated
        def inner(a):
            return plain(a) + n, decorated.__wrapped__()
        return inner

    def plain(a):
        return a

    shout = lambda text: text.upper()
"""


@pytest.mark.parametrize(
    ("call", "reason", "answer"),
    [
        ("library.make(1), 5", "it is defined inside another function", "(6, 28)"),
        ("library.shout, 'a'", "it is a lambda", "'A'"),
    ],
)
def test_closure_of_a_module_takes_names_along_not_values(project: Any, call: str, reason: str, answer: str) -> None:
    project.write("library.py", IN_MODULE)
    assert project.call(f"import library\nfrom harness import send\nprint(send({call})[0].by_value_because)") == reason
    # What the closure uses of its module is found by name inside, even behind a decorator.
    assert b"must not travel" not in project.calls.read_bytes()
    assert project.serve() == answer


def test_module_made_at_run_time(project: Any) -> None:
    program = """
        import sys, types
        from harness import send
        module = types.ModuleType("made")
        sys.modules["made"] = module
        exec("class Thing:\\n    value = 7\\ndef helper(thing):\\n    return thing.value\\n"
             "def work(thing):\\n    return helper(thing)", vars(module))
        print(send(module.work, module.Thing())[0].by_value_because)
    """
    assert project.call(program) == "no other process can import its module 'made'"
    assert project.serve() == "7"


def test_state_of_a_known_function_lives_on(project: Any) -> None:
    program = """
        from harness import send
        COUNT = 0
        def work():
            global COUNT
            COUNT += 1
            return COUNT
        send(work); send(work); send(work)
    """
    assert project.both(program).split() == ["1", "2", "3"]


def test_callable_object(project: Any) -> None:
    program = """
        from harness import send
        class Multiply:
            def __init__(self, by):
                self.by = by
            def __call__(self, a):
                return a * self.by
        send(Multiply(3), 4)
        send([1, 2].index, 2)
        send(str.upper, "a")
    """
    assert project.both(program).split() == ["12", "1", "'A'"]


def test_a_main_class_inside_plain_data(project: Any) -> None:
    program = """
        from harness import send
        class Point:
            pass
        point = Point()
        point.x = 1
        send(lambda data: data["points"][0].x, {"points": [point]})
        send(lambda kind: kind.__name__, Point)
    """
    assert project.both(program).split() == ["1", "'Point'"]


def test_unpicklable_global_is_named(project: Any) -> None:
    program = """
        import threading
        from harness import send
        from isolate_fn.errors import CallRejected
        LOCK = threading.Lock()
        def helper():
            with LOCK:
                return 1
        def work():
            return helper()
        try:
            send(work)
        except CallRejected as error:
            print(error)
    """
    text = project.call(program)
    assert "function work" in text
    assert "global 'LOCK'" in text
    assert "_thread.lock" in text
    assert "did not run" in text
    assert "inside the function" in text.splitlines()[-1]


def test_unpicklable_enclosing_variable_is_named(project: Any) -> None:
    program = """
        from harness import send
        from isolate_fn.errors import CallRejected
        def make(source):
            return lambda: next(source)
        try:
            send(make(iter(i for i in range(3))))
        except CallRejected as error:
            print(error.what, "|", error.problem)
    """
    text = project.call(program)
    assert "function make.<locals>.<lambda>" in text
    assert "enclosing variable 'source'" in text
