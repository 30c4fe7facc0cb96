"""Functions of importable modules: sent as names, found again behind their decorators."""

from __future__ import annotations

from typing import Any

import pytest

LIBRARY = """
import functools
from harness import Isolated

SECRET = "a token that must not travel"
COUNT = 0

def logged(function):
    @functools.wraps(function)
    def around(*args, **kwargs):
        return "logged", function(*args, **kwargs)
    return around

def plain(a, b=2):
    return a + b

@Isolated
def decorated(a):
    global COUNT
    COUNT += 1
    return SECRET[:7], a, COUNT

@logged
@Isolated
def decorated_below(a):
    return a

@Isolated
@logged
def decorated_above(a):
    return a

class Tool:
    def __init__(self, size):
        self.size = size

    def method(self, factor):
        return self.size * factor

    @Isolated
    def isolated_method(self, factor):
        return self.size * factor

    @staticmethod
    def static(a):
        return a

    @staticmethod
    @Isolated
    def isolated_static(a):
        return a

    @classmethod
    def made(cls, size):
        return cls(size).size

    @classmethod
    @Isolated
    def isolated_made(cls, size):
        return cls.__name__, cls(size).size

    def __private(self, a):
        return self.size, a

    def send_private(self):
        from harness import send
        return send(self.__private, 1)

    class Nested:
        @Isolated
        def deep(self):
            return type(self).__qualname__

class Child(Tool):
    pass

async def waiting():
    return 1

@functools.lru_cache
def cached(a):
    return a
"""

CASES = [  # what is called, what the worker answers
    ("library.plain, 1", "3"),
    ("library.plain, 1, b=5", "6"),
    ("library.decorated, 5", "('a token', 5, 1)"),
    ("library.decorated.__wrapped__, 5", "('a token', 5, 1)"),
    # The decorator nearest to the function is inside of the isolate, the ones above it are outside.
    ("library.decorated_below.__wrapped__, 5", "5"),
    ("library.decorated_above, 5", "('logged', 5)"),
    ("library.Tool(3).method, 2", "6"),
    ("library.Tool(3).isolated_method, 2", "6"),
    ("library.Child(3).isolated_method, 2", "6"),
    ("library.Tool.method, library.Tool(4), 2", "8"),
    ("library.Tool.static, 7", "7"),
    ("library.Tool.isolated_static, 7", "7"),
    ("library.Tool.made, 7", "7"),
    ("library.Tool.isolated_made, 7", "('Tool', 7)"),
    ("library.Child.isolated_made, 7", "('Child', 7)"),
    ("library.Tool.Nested().deep", "'Tool.Nested'"),
    ("functools.partial(library.plain, 1, b=4)", "5"),
    ("functools.partial(library.Tool(3).isolated_method, 5)", "15"),
    ("library.cached, 5", "5"),
    ("library.cached.__wrapped__, 5", "5"),
    ("len, [1, 2]", "2"),
    ("math.sqrt, 9", "3.0"),
    ("os.path.join, 'a', 'b'", "'a/b'"),
    ("collections.Counter, 'aab'", "Counter({'a': 2, 'b': 1})"),
]


@pytest.mark.parametrize(("call", "answer"), CASES)
def test_arrives(project: Any, call: str, answer: str) -> None:
    project.write("library.py", LIBRARY)
    caller = f"""
        import collections, functools, math, os, library
        from harness import send
        reference, encoded = send({call})
        print(reference.by_value_because, b"must not travel" in encoded.payload)
    """
    assert project.call(caller) == "False", "travelled by value, or with the module's globals"
    assert project.serve() == answer


def test_private_method_is_found_under_its_mangled_name(project: Any) -> None:
    project.write("library.py", LIBRARY)
    called = project.call("import library; print(library.Tool(3).send_private()[0].location.qualname)")
    assert called == "Tool.__private"
    assert project.serve() == "(3, 1)"


def test_module_state_is_the_modules(project: Any) -> None:
    project.write("library.py", LIBRARY)
    answers = project.both(
        "import library; from harness import send; send(library.decorated, 1); send(library.decorated, 2)"
    )
    assert answers.splitlines() == ["('a token', 1, 1)", "('a token', 2, 2)"]


def test_known_function_is_sent_once(project: Any) -> None:
    project.write("library.py", LIBRARY)
    sizes = project.call("""
        import library
        from harness import send
        print(*(len(send(library.plain, 1)[1].payload) for _ in range(3)))
    """)
    first, second, third = map(int, sizes.split())
    assert second == third < first
    assert project.serve().split() == ["3", "3", "3"]


REPLACED = [  # what stands under the function's name, is it found behind it
    ("functools.partial(work)", True),
    ("staticmethod(work)", True),
    ("property(work)", True),
    ("functools.lru_cache(work)", True),
    ("Isolated(Isolated(work))", True),
    ("(lambda: work)", False),
    ("unittest.mock.MagicMock()", False),
    ("None", False),
]


@pytest.mark.parametrize(("replacement", "found"), REPLACED)
def test_replaced_under_its_name(project: Any, replacement: str, found: bool) -> None:
    project.write(
        "library.py",
        f"""
        import functools, unittest.mock
        from harness import Isolated
        def work():
            return "worked"
        original = work
        work = {replacement}
        """,
    )
    called = project.call(
        "import library; from harness import send; print(send(library.original)[0].location is not None)"
    )
    assert called == str(found)
    assert project.serve() == "'worked'"
