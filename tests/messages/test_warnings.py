"""A warning in an isolate is a warning of the caller's, whose filters decide what becomes of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[..., str]
pytestmark = pytest.mark.needs("namespaces")

WARNS = """
import warnings

class Odd(UserWarning):
    pass

def f():
    warnings.warn("older than it looks", DeprecationWarning, stacklevel=1)
    warnings.warn("odd \\x1b[2J", Odd)
    return 1
"""


def test_warnings_arrive_with_class_and_place(run: Run) -> None:
    printed = run(
        """
        f = isolated(prewarm=0)(work.f)
        for _ in range(2):  # in an isolate of their own each, the first of the spawner among them
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                assert f() == 1
            old, odd = seen
            assert old.category is DeprecationWarning and str(old.message) == "older than it looks"
            assert old.filename.endswith("work.py") and old.lineno == 8, (old.filename, old.lineno)
            assert odd.category is UserWarning
            print(odd.message)
        """,
        WARNS,
    )
    assert printed == "Odd: odd \\x1b[2J\n" * 2


def test_the_callers_filters_decide(run: Run) -> None:
    printed = run(
        """
        f = isolated(work.f)
        warnings.simplefilter("ignore")
        assert f() == 1
        warnings.filterwarnings("error", category=DeprecationWarning)
        error = caught(f)
        print(type(error).__name__, error)
        warnings.simplefilter("ignore")
        print(f())
        """,
        WARNS,
    )
    assert printed == "DeprecationWarning older than it looks\n1\n"


def test_shown_where_the_callers_are(run: Run) -> None:
    run_with_stderr = run(
        """
        import sys
        sys.stderr = io.StringIO()
        isolated(work.f)()
        print("work.py:9: UserWarning: Odd" in sys.stderr.getvalue(), "Deprecation" in sys.stderr.getvalue())
        """,
        WARNS,
    )
    assert run_with_stderr == "True False\n"  # as in any program: those of Python's own for developers are not shown


def test_different_texts_do_not_pile_up(run: Run) -> None:
    printed = run(
        """
        from isolate_fn._runtime import notices
        warnings.simplefilter("default")
        sys.stderr = io.StringIO()
        isolated(limits=Limits(output="10M"))(work.many)()
        print(sys.stderr.getvalue().count("UserWarning: number"), len(notices._shown) <= notices._MOST_SHOWN + 1)
        """,
        """
        import warnings
        def many():
            for each in range(2500):
                warnings.warn(f"number {each}")
        """,
    )
    assert printed == "2500 True\n"


def test_files_left_open_are_not_spoken_of(run: Run) -> None:
    printed = run(
        """
        warnings.simplefilter("error")
        print(isolated(work.f)(), isolated(reuse=True)(work.f)())
        """,
        """
        def f():
            open("/dev/null")
            return "done"
        """,
    )
    assert printed == "done done\n"
