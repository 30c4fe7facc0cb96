"""What cannot be meant is refused with the field and the remedy, before an isolate exists."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from isolate_fn import Limits, Network, Policy, dev, file, isolated, overlay, ro, rw, sandbox, symlink, tmpfs
from isolate_fn._runtime import launch, pool
from isolate_fn._runtime.spawner_client import SpawnerClient
from isolate_fn.errors import CallRejected, ConflictingRules, IsolationError, PolicyError, Unsupported


def nothing() -> None:
    """Is never to run."""
    raise AssertionError("it ran")


def test_what_cannot_be_prepared_can_be_closed(tmp_path: Path) -> None:
    function = isolated(mounts=[ro(tmp_path / "missing")])(nothing)
    function.close()
    with pytest.raises(PolicyError, match="missing"):
        function()


@pytest.fixture
def no_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail if a spawner, an isolate or any other child is started.

    What a first call launches ahead is told nothing, and ended; see tests/runtime/test_launch.py.
    """

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a process was started")

    with monkeypatch.context() as patch:
        patch.setattr(launch, "ahead", lambda key: False)
        patch.setattr(pool, "start", refuse)
        patch.setattr(SpawnerClient, "__init__", refuse)
        patch.setattr(os, "posix_spawn", refuse)
        patch.setattr(os, "fork", refuse)
        yield


pytestmark = pytest.mark.usefixtures("no_process")


def refused(kind: type[IsolationError], action: Callable[[], Any]) -> Any:
    """Check that an action is refused, with words on what to do, and return the error."""
    with pytest.raises(kind) as caught:
        action()
    error = caught.value
    assert error.ran is False
    assert error.remedy
    assert str(error).rstrip().endswith(error.remedy)
    assert "did not run" in str(error)
    if isinstance(error, PolicyError):
        assert isinstance(error, ValueError)
        assert error.field
        assert error.problem
    return error


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("mount", "mounts"), ("time_out", "timeout"), ("networks", "network"), ("limit", "limits"), ("envs", "env"),
     ("pre_warm", "prewarm"), ("return_", "returns"), ("on_deny", "on_denied")],
)  # fmt: skip
@pytest.mark.parametrize("shape", ["isolated", "sandbox", "options", "Policy"])
def test_unknown_options_name_the_nearest(name: str, nearest: str, shape: str) -> None:
    action: Callable[..., Any] = {
        "isolated": lambda **o: isolated(**o)(nothing),
        "sandbox": sandbox,
        "options": lambda **o: isolated(nothing).options(**o),
        "Policy": lambda **o: Policy(**o),
    }[shape]
    if shape == "Policy":
        with pytest.raises((PolicyError, TypeError)):
            action(**{name: 1})
        return
    error = refused(PolicyError, lambda: action(**{name: 1}))
    assert error.field == name
    assert repr(nearest) in str(error) or f"{nearest}=" in str(error)


def test_a_limit_given_as_an_option_is_explained() -> None:
    error = refused(PolicyError, lambda: isolated(memory="1G")(nothing))
    assert "Limits(memory=" in str(error)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("mounts", "/etc"), ("mounts", 5), ("mounts", [5]), ("mounts", [None]), ("mounts", {"/a": "/b"}),
        ("network", "yes"), ("network", 1), ("network", None),
        ("limits", {"memory": 1}), ("limits", None),
        ("timeout", "5"), ("timeout", True), ("timeout", -1), ("timeout", 0), ("timeout", float("nan")),
        ("timeout", float("inf")),
        ("env", ["A=1"]), ("env", {"A": 1}), ("env", {1: "a"}), ("env", {"A=B": "c"}), ("env", {"A": "\0"}),
        ("env", {"": "x"}),
        ("cwd", "work"), ("cwd", ""), ("cwd", "/a/../b"), ("cwd", 5), ("cwd", "/"), ("cwd", "/proc/x"), ("cwd", "~"),
        ("returns", int), ("returns", ["int"]), ("raises", ValueError), ("raises", [int]), ("raises", [KeyboardInterrupt]),
        ("preload", "numpy"), ("preload", [5]), ("preload", ["a-b"]),
        ("reuse", -1), ("reuse", 0), ("reuse", "yes"), ("reuse", 1.5),
        ("prewarm", -1), ("prewarm", True), ("prewarm", 1e3), ("idle_timeout", 0), ("idle_timeout", "x"),
        ("fresh_exec", 1), ("output", "print"), ("output", None), ("on_denied", "ignore"),
        ("require", "filesystem"), ("require", {"everything"}), ("accept", ["TrustResult"]), ("accept", [object]),
        ("expose", [print]), ("expose", {"a-b": print}), ("expose", {"a": 1}), ("name", ""), ("name", "a\nb"), ("name", 5),
        ("policy", "COMPUT"), ("policy", {}),
    ],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_wrong_types_and_ranges(option: str, value: Any) -> None:
    for action in (lambda: isolated(**{option: value})(nothing), lambda: sandbox(**{option: value})):
        error = refused(PolicyError, action)
        assert error.field.startswith(option)


@pytest.mark.parametrize(
    ("name", "value"),
    [("memory", -1), ("memory", 0), ("memory", "1X"), ("memory", "big"), ("memory", 1.5), ("cpu_time", -1), ("cpu_time", 0),
     ("processes", 0), ("processes", -5), ("open_files", 3), ("file_size", -1), ("output", -1), ("result", "-1M"),
     ("rootfs_size", 0), ("rootfs_size", "1K"), ("rootfs_inodes", 1), ("address_space", -1), ("cpus", 0), ("cpus", "1"),
     ("memory", True), ("processes", None), ("processes", 2**40)],
)  # fmt: skip
def test_limits_out_of_range(name: str, value: Any) -> None:
    error = refused(PolicyError, lambda: Limits(**{name: value}))
    assert error.field == f"limits.{name}"


def test_unknown_limits_name_the_nearest() -> None:
    with pytest.raises((PolicyError, TypeError)) as caught:
        Limits(memroy="1G")  # type: ignore[call-arg]
    assert "memory" in str(caught.value)


# --- mounts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", [ro, rw], ids=["ro", "rw"])
def test_missing_sources_are_named(word: Any, tmp_path: Path) -> None:
    missing = tmp_path / "not" / "there"
    error = refused(PolicyError, lambda: isolated(mounts=[word(missing)])(nothing)())
    assert error.field == "mounts[0]"
    assert str(missing) in str(error)
    assert "optional=True" in error.remedy
    refused(PolicyError, lambda: sandbox(mounts=[tmpfs("/x"), word(missing)]))


def test_a_missing_device() -> None:
    refused(PolicyError, lambda: isolated(mounts=[dev("/dev/no-such-device")])(nothing)())
    refused(PolicyError, lambda: isolated(mounts=[dev("/etc/passwd", "/dev/x")])(nothing)())


@pytest.mark.parametrize("path", ["relative", "./here", "../up", "", "~/file", "~", "a\0b", "/a\0b", 5, None, b"/bytes"])
def test_relative_and_impossible_paths(path: Any) -> None:
    for word in (ro, rw, overlay, dev, tmpfs):
        refused(PolicyError, lambda word=word: word(path))
    for word in (ro, rw):
        if path is not None:
            refused(PolicyError, lambda word=word: word("/etc/passwd", path))
    refused(PolicyError, lambda: file(path, b""))
    refused(PolicyError, lambda: symlink(path, "target"))


@pytest.mark.parametrize("path", ["/", "//", "/..", "/a/../../b", "/a/..", "/proc", "/proc/1", "/dev", "/dev/sda", "/x" * 3000])
def test_destinations_outside_the_root(path: str) -> None:
    for action in (
        lambda: ro("/etc/passwd", path), lambda: rw("/etc/passwd", path), lambda: tmpfs(path),
        lambda: file(path, b""), lambda: symlink(path, "x"),
    ):  # fmt: skip
        refused(PolicyError, action)


@pytest.mark.parametrize(
    "mounts",
    [
        [ro("/etc/passwd", "/a"), ro("/etc/group", "/a")],
        [ro("/etc/passwd", "/a"), rw("/etc/passwd", "/a")],
        [tmpfs("/a"), file("/a", b"")],
        [ro("/usr/share", "/a/b"), tmpfs("/a")],
        [file("/a", b""), file("/a/b", b"")],
        [ro("/usr/share", "/a"), file("/a/b", b"")],
        [symlink("/a", "b"), tmpfs("/a/c")],
    ],
    ids=lambda mounts: f"{mounts[0].word}-{mounts[1].word}",
)
def test_conflicting_mounts_name_both(mounts: Any) -> None:
    error = refused(ConflictingRules, lambda: isolated(mounts=mounts)(nothing))
    assert error.field == "mounts[1]"
    assert len(error.sets) == 2


def test_what_the_caller_runs_later_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    for source in (tmp_path, os.path.dirname(os.__file__), os.path.expanduser("~"), "/etc", "/"):
        refused(PolicyError, lambda source=source: isolated(mounts=[rw(source, "/x")])(nothing)())


def test_mounts_that_would_hide_python() -> None:
    refused(PolicyError, lambda: isolated(mounts=[tmpfs("/usr")])(nothing)())


def test_sources_of_wrong_kinds(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused(PolicyError, lambda: isolated(mounts=[ro(tmp_path / "pipe")])(nothing)())
    for source in ("/proc", "/proc/self", "/dev", "/dev/null"):
        refused(PolicyError, lambda source=source: isolated(mounts=[ro(source, "/x")])(nothing)())


# --- functions and arguments --------------------------------------------------------------------------


def test_classes_and_things_that_are_no_functions() -> None:
    class Some:
        pass

    error = refused(PolicyError, lambda: isolated(Some))
    assert "class" in error.problem
    for thing in (5, "text", None if False else [], object()):
        refused(PolicyError, lambda thing=thing: isolated(thing))


def test_isolated_twice() -> None:
    error = refused(PolicyError, lambda: isolated(isolated(nothing)))
    assert ".options(" in error.remedy
    refused(PolicyError, lambda: isolated(timeout=3)(isolated(nothing)))
    refused(PolicyError, lambda: isolated(staticmethod(isolated(nothing))))


@pytest.mark.parametrize(
    "options",
    [
        {"mounts": [overlay("/usr/share", "/x")]},
        {"network": Network(connect=["db.internal:5432"])}, {"network": Network(loopback=[80])},
        {"limits": Limits(cpus=1)},
    ],
    ids=repr,
)  # fmt: skip
def test_options_this_version_refuses(options: dict[str, Any]) -> None:
    for action in (lambda: isolated(**options)(nothing), lambda: sandbox(**options)):
        error = refused(Unsupported, action)
        assert error.needs
        assert error.found


@pytest.mark.parametrize(
    ("value", "word"),
    [(threading.Lock(), "lock"), ([open(os.devnull, "ab")], "an open file"), ([(n for n in ())], "list"),
     ((socket.socket(),), "a connected socket"), ({"a": [1, threading.Lock()]}, "['a'][1]")],
    ids=["lock", "file in a list", "generator in a list", "socket in a tuple", "lock in a dict"],
)  # fmt: skip
def test_arguments_that_cannot_travel_are_named(value: Any, word: str) -> None:
    def work(first: int, *, second: Any = None) -> None: ...

    for call in (lambda: isolated(work)(1, second=value), lambda: isolated(work)(value)):
        error = refused(CallRejected, call)
        assert error.what in ("argument 'second'", "argument 'first'")
        assert word in f"{error.problem} {error.remedy}"


def test_variadic_arguments_are_named_by_position() -> None:
    def work(*many: Any, **named: Any) -> None: ...

    assert "many[1]" in refused(CallRejected, lambda: isolated(work)(1, threading.Lock())).what
    assert "odd" in refused(CallRejected, lambda: isolated(work)(odd=threading.Lock())).what


def test_enclosed_variables_that_cannot_travel_are_named() -> None:
    lock = threading.Lock()

    def work() -> None:
        with lock:
            pass

    error = refused(CallRejected, lambda: isolated(work)())
    assert "'lock'" in error.problem
    assert "inside the function" in error.remedy


def test_arguments_that_do_not_fit_are_told_as_python_tells_them() -> None:
    def work(one: int) -> None: ...

    with pytest.raises((TypeError, AssertionError)) as caught:
        isolated(work)(1, 2, 3)
    assert isinstance(caught.value, TypeError) or "process was started" in str(caught.value)


def test_warm_up_counts() -> None:
    for wrong in (0, -1, True, "2", 1.5):
        refused(PolicyError, lambda wrong=wrong: isolated(nothing).warm_up(wrong))


def test_decorating_starts_nothing() -> None:
    assert isolated(nothing).__name__ == "nothing"
    assert isolated(nothing).__wrapped__ is nothing
    sandbox()


# --- inside -------------------------------------------------------------------------------------------


def test_sandboxes_and_executors_do_not_nest(no_process: None, request: pytest.FixtureRequest, run_python: Any) -> None:
    request.getfixturevalue("monkeypatch").undo()
    printed = run_python("""
        import asyncio
        from isolate_fn import IsolatedExecutor, isolated, sandbox
        from isolate_fn.errors import PolicyError
        def block():
            with sandbox():
                pass
        def awaited():
            async def main():
                async with sandbox():
                    pass
            asyncio.run(main())
        def executor():
            IsolatedExecutor(1).submit(len, "abc")
        def mapped():
            list(IsolatedExecutor(1).map(len, ["abc"]))
        @isolated
        def outer():
            found = []
            for use in (block, awaited, executor, mapped):
                try:
                    use()
                except PolicyError as error:
                    found.append(f"{use.__name__}: {error.field}: {error.problem}")
            return found
        print(*outer(), sep="\\n")
        @isolated
        def plain():
            block()
        try:
            plain()
        except PolicyError as error:
            print(error.field, error.ran)
    """)
    told = "nested isolation: {} was used inside an isolate, which cannot start another"
    box, pool = told.format("a sandbox block"), told.format("an IsolatedExecutor")
    expected = [f"block: {box}", f"awaited: {box}", f"executor: {pool}", f"mapped: {pool}", "nested isolation True"]
    assert printed.splitlines() == expected


def test_isolates_do_not_nest(no_process: None, request: pytest.FixtureRequest, run_python: Any) -> None:
    request.getfixturevalue("monkeypatch").undo()
    printed = run_python("""
        from isolate_fn import isolated, sandbox
        from isolate_fn.errors import PolicyError
        @isolated
        def inner():
            return 1
        @isolated
        def outer():
            try:
                return inner()
            except PolicyError as error:
                return error.field, "__wrapped__" in error.remedy, inner.__wrapped__()
        @isolated
        def plain():
            return inner()
        print(outer())
        try:
            plain()
        except PolicyError as error:
            print(error.field, error.ran, "inner.__wrapped__" in error.remedy)
        with sandbox() as box:
            print(box.call(inner))  # the sandbox takes the isolate's place here
    """)
    lines = printed.splitlines()
    assert lines[0] == "('nested isolation', True, 1)"
    assert lines[1] == "nested isolation True True"
    assert lines[2] == "1"
