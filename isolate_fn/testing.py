"""Helpers for tests of isolated code, with pytest or unittest: what is missing, what is denied, what dies in a child.

`requires` skips and says what this machine lacks, `assert_denied` asserts that a wall is what stops an action,
`in_child` runs a check that cannot be undone in a process that is thrown away. Importing this imports no test framework.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Collection, Mapping
from types import TracebackType
from typing import Any, TypeVar, overload

from isolate_fn.errors import SyscallDenied
from isolate_fn.integrations.machine import missing as missing

T = TypeVar("T")

# --- what this machine has -------------------------------------------------------------------------------------------


def requires(*features: str) -> Callable[[T], T]:
    """Skip a test unless this machine has every named feature; the skip says which is missing, and why.

    A decorator for test functions and test classes, under pytest and under unittest.

    Args:
        *features: see `missing`. They are looked for when the test is defined.

    Raises:
        ValueError: there is no such feature.
    """
    reasons = [f"{feature}: {reason}" for feature in features if (reason := missing(feature))]

    def decorate(test: T) -> T:
        if not reasons:
            return test
        why = "; ".join(reasons)
        # What unittest looks at, on functions and classes alike; unittest.skip() would hide a function's arguments.
        test.__unittest_skip__ = True  # type: ignore[attr-defined]
        test.__unittest_skip_why__ = why  # type: ignore[attr-defined]
        pytest = sys.modules.get("pytest")
        return test if pytest is None else pytest.mark.skip(reason=why)(test)

    return decorate


# --- what is denied --------------------------------------------------------------------------------------------------

DENIALS: frozenset[int] = frozenset(
    {
        errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOSYS,  # refused
        errno.ENOENT, errno.ESRCH, errno.ENXIO, errno.ENODEV,  # not there
        errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ECONNREFUSED, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL,
    }
)  # fmt: skip
"""Codes by which walls say no. A missing file denies as well as a refused one does, hence ``allowed_with``."""


class Denied:
    """A block that must be denied; made by `assert_denied`.

    Attributes:
        error: what denied it, once the block has ended.
    """

    def __init__(self, codes: Collection[int], what: str) -> None:
        self.error: BaseException | None = None
        self._codes, self._what = codes, what

    def __enter__(self) -> Denied:
        """Begin the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Swallow a denial.

        Raises:
            AssertionError: there was none. Another error than a denial goes on as itself, with a note.
        """
        __tracebackhide__ = True
        if error is None:
            raise AssertionError(f"{self._what} was not denied")
        if not _is_denial(error, self._codes):
            error.add_note(f"isolate_fn.testing: {self._what} failed, but this is no denial")
            return False
        self.error = error
        return True


@overload
def assert_denied(*, codes: Collection[int] = DENIALS) -> Denied: ...


@overload
def assert_denied(
    action: Callable[..., Any],
    /,
    *args: Any,
    codes: Collection[int] = DENIALS,
    allowed_with: Mapping[str, Any] | None = None,
    allowed_outside: bool = False,
    **options: Any,
) -> BaseException: ...


def assert_denied(
    action: Callable[..., Any] | None = None,
    /,
    *args: Any,
    codes: Collection[int] = DENIALS,
    allowed_with: Mapping[str, Any] | None = None,
    allowed_outside: bool = False,
    **options: Any,
) -> Any:
    """Assert that an action is denied inside an isolate.

    With an action it is called there, in an isolate of its own: ``assert_denied(open, "/etc/shadow")``. Without one it
    is a context whose block must be denied, for code that runs inside already, or calls a decorated function.

    That an action fails shows little; that it succeeds once the wall is gone shows that the wall did it. Hence the two
    ``allowed_`` arguments.

    Args:
        action: what to try: a function that `isolated` could decorate.
        *args: its arguments.
        codes: errno values that count as a denial.
        allowed_with: options of `isolated`, in place of or beside those below, under which it must succeed.
        allowed_outside: it must succeed in this process as well, unprotected.
        **options: of `isolated`, for the isolate in which it must be denied.

    Returns:
        What denied it; without an action, the context, which has it as ``error``.

    Raises:
        AssertionError: it was not denied, or failed for another reason, or did not succeed where it should.
    """
    __tracebackhide__ = True
    if action is None:
        return Denied(codes, "the block")
    name = getattr(action, "__qualname__", repr(action))
    what = f"{name}({', '.join(f'{value!r:.60}' for value in args)})"
    from isolate_fn import isolated

    denied = _denial(isolated(**{"prewarm": 0, **options})(action), args, codes, what)
    if allowed_with is not None:
        given = ", ".join(f"{key}={value!r:.80}" for key, value in allowed_with.items())
        decorated = isolated(**{"prewarm": 0, **options, **allowed_with})(action)
        _must_succeed(decorated, args, f"{what} was denied as it should, but also in an isolate with {given}")
    if allowed_outside:
        _must_succeed(action, args, f"{what} was denied inside, but it fails outside as well: no wall was tested")
    return denied


def _denial(call: Callable[..., Any], args: tuple[Any, ...], codes: Collection[int], what: str) -> BaseException:
    __tracebackhide__ = True
    try:
        value = call(*args)
    except Exception as error:
        if _is_denial(error, codes):
            return error
        raise AssertionError(f"{what} failed, but was not denied: {type(error).__name__}: {error}") from error
    raise AssertionError(f"{what} was not denied inside an isolate; it returned {value!r:.200}")


def _must_succeed(call: Callable[..., Any], args: tuple[Any, ...], otherwise: str) -> None:
    __tracebackhide__ = True
    try:
        call(*args)
    except Exception as error:
        raise AssertionError(f"{otherwise}: {type(error).__name__}: {error}") from error


def _is_denial(error: BaseException, codes: Collection[int]) -> bool:
    if isinstance(error, SyscallDenied):
        return True
    # A name that cannot be looked up has no errno but a code of getaddrinfo(3).
    unnamed = type(error).__name__ == "gaierror"
    return isinstance(error, OSError) and (error.errno in codes or unnamed)


# --- what cannot be undone -------------------------------------------------------------------------------------------


def in_child(check: Callable[..., Any], *args: Any, killed_by: int | None = None) -> None:
    """Run a check in a forked child that is thrown away: what confines itself cannot be undone.

    Args:
        check: it passes if it returns anything but False.
        *args: its arguments.
        killed_by: number of the signal that must end the child instead, such as ``signal.SIGSYS``.

    Raises:
        AssertionError: the check raised (its traceback is in the message), returned False, or ended in another way.
    """
    __tracebackhide__ = True
    sys.stdout.flush()
    sys.stderr.flush()
    here, there = os.pipe()
    pid = os.fork()
    if pid == 0:
        _be_child(there, check, args)
    os.close(there)
    with os.fdopen(here, "r", encoding="utf-8", errors="replace") as said:
        text = said.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code != (0 if killed_by is None else -killed_by):
        wanted = "" if killed_by is None else f", not by signal {killed_by}"
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        raise AssertionError(f"the child {how}{wanted}\n{text}".rstrip())


def _be_child(there: int, check: Callable[..., Any], args: tuple[Any, ...]) -> None:
    code = 1
    try:
        if check(*args) is False:
            os.write(there, b"the check returned False")
        else:
            code = 0
    except BaseException:
        import traceback

        os.write(there, traceback.format_exc().encode("utf-8", "replace"))
    finally:
        os._exit(code)  # nothing of the test's frames may unwind here


__all__ = ["DENIALS", "Denied", "assert_denied", "in_child", "missing", "requires"]
