"""The exception tree: shape, fields, text, pickling."""

from __future__ import annotations

import copy
import errno
import pickle

import pytest

from isolate_fn import errors
from isolate_fn.errors import (
    CallRejected,
    ConflictingRules,
    Crashed,
    InternalError,
    IsolationError,
    LimitExceeded,
    PolicyError,
    RemoteError,
    ResultRejected,
    SetupError,
    SyscallDenied,
    Terminated,
    TimedOut,
    TransportError,
    Unsupported,
)

EXAMPLES: list[tuple[IsolationError, type[IsolationError], bool, str]] = [
    # error, parent, ran, a piece of its text
    (
        PolicyError("timeout", "-1 is not positive", "use a positive number"),
        IsolationError,
        False,
        "timeout: -1",
    ),
    (ConflictingRules("mounts", "x", "y", ("ro('/a')", "rw('/a')"), "open"), PolicyError, False, "mounts: x"),
    (Unsupported("id maps", "Linux 5.12", "Linux 5.4", "upgrade"), IsolationError, False, "found: Linux 5.4"),
    (SetupError("mount /proc", "mount('proc')", errno.EPERM, "z"), IsolationError, False, "EPERM"),
    (SetupError("start", "exec", 0, "z"), IsolationError, False, "exec failed"),
    (SyscallDenied("openat", (1, 2), "/etc/shadow", "f.py:3"), Terminated, True, "openat(0x1, 0x2)"),
    (SyscallDenied("ptrace"), Terminated, True, "ptrace()"),
    (LimitExceeded("memory", 1024, 2048), Terminated, True, "allowed 1024, reached 2048"),
    (LimitExceeded("processes", 64), Terminated, True, "processes exceeded"),
    (TimedOut(1.5), Terminated, True, "1.5 seconds"),
    (Crashed(11, None, "in libpng"), Terminated, True, "SIGSEGV: in libpng"),
    (Crashed(None, 3), Terminated, True, "status 3"),
    (Crashed(None, None), Terminated, True, "without an answer"),
    (Crashed(200, None), Terminated, True, "signal 200"),
    (TransportError("short frame"), IsolationError, True, "short frame"),
    (CallRejected("argument 1", "a socket", "pass the bytes"), TransportError, False, "argument 1 cannot"),
    (ResultRejected("m.T", "returns=(m.T,)", "result[0]"), TransportError, True, "m.T at result[0]"),
    (RemoteError("m.E", "boom", "Traceback...", ("note",)), IsolationError, True, "m.E: boom"),
    (InternalError("impossible"), IsolationError, True, "impossible"),
    (IsolationError("plain"), Exception, True, "plain"),  # type: ignore[list-item]
]
IDS = [f"{type(case[0]).__name__}-{number}" for number, case in enumerate(EXAMPLES)]


@pytest.mark.parametrize(
    ("allowed", "used", "more"),
    [(8, None, 16), (8, 4, 16), (8, 9, 16), (8, 16, 32), (1024, 5_861_376, 11_722_752), (None, 3, "...")],
)
def test_the_remedy_is_above_what_was_used(allowed: int | None, used: int | None, more: object) -> None:
    assert f"Limits(memory={more})" in LimitExceeded("memory", allowed, used).remedy


@pytest.mark.parametrize(("error", "parent", "ran", "text"), EXAMPLES, ids=IDS)
def test_text_and_place_in_the_tree(
    error: IsolationError, parent: type[IsolationError], ran: bool, text: str
) -> None:
    """The text says what, whether the function ran, and ends with the remedy."""
    lines = str(error).splitlines()

    assert isinstance(error, parent)
    assert error.ran is ran
    assert text in lines[0]
    assert lines[1] == ("  Your function had started." if ran else "  Your function did not run.")
    if type(error) is not IsolationError:
        assert error.remedy
        assert lines[-1] == f"  try: {error.remedy}"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("error", [case[0] for case in EXAMPLES], ids=IDS)
def test_pickling_keeps_everything(error: IsolationError, protocol: int) -> None:
    """Fields, text, notes and attributes survive the trip."""
    error = copy.copy(error)
    error.add_note("added later")
    error.ran = not error.ran
    again = pickle.loads(pickle.dumps(error, protocol))

    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.args == error.args
    assert again.__dict__ == error.__dict__


def test_builtin_bases() -> None:
    """Code that knows nothing of isolate_fn can catch by the builtin class."""
    assert issubclass(PolicyError, ValueError)
    assert issubclass(TimedOut, TimeoutError)
    assert TimedOut(2).errno == errno.ETIMEDOUT
    assert SyscallDenied("open", (1, "x")).args == (1, "x")
    assert RemoteError("T", "m", notes=("a", "b")).__notes__ == ["a", "b"]


@pytest.mark.parametrize(
    "name",
    ["SystemExit", "KeyboardInterrupt", "StopIteration", "asyncio.exceptions.CancelledError", "isolate_fn.errors.TimedOut"],
)
def test_what_never_arrives_as_itself_is_not_to_be_named_in_raises(name: str) -> None:
    error = RemoteError(name, "")
    assert "raises=" not in error.remedy
    assert "catch it inside" in str(error)
    assert pickle.loads(pickle.dumps(error)).remedy == error.remedy


def test_what_may_arrive_as_itself_is_to_be_named_in_raises() -> None:
    assert "raises=(...)" in RemoteError("m.E", "").remedy
    assert "module level" not in RemoteError("m.E", "").remedy
    assert "module level" in RemoteError("m.f.<locals>.E", "").remedy


def test_every_class_is_exported_and_drawn() -> None:
    """`__all__` and the tree in the module's docstring are complete."""
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, IsolationError)
    }

    assert set(errors.__all__) == defined
    assert all(name in (errors.__doc__ or "") for name in defined)
