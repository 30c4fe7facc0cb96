"""Promise 3 where nobody waits: an isolate that can change nothing outside is killed and let go; any other is waited for."""

from __future__ import annotations

import os
import secrets
import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile
import pytest
from caller import Health, descriptors, wait_for
from support import IDLE_TIMEOUT, run_without

from isolate_fn import Policy, dev, file, isolated, ro, rw, sandbox, symlink, tmpfs
from isolate_fn._api.prepare import prepare
from isolate_fn._runtime import call, pool
from isolate_fn._runtime.ends import Ends
from isolate_fn._runtime.talk import to_the_end
from isolate_fn.errors import Crashed, LimitExceeded, ResultRejected, TimedOut, TransportError
from isolate_fn.policy import Limits

pytestmark = pytest.mark.needs("namespaces")

# --- which ones ------------------------------------------------------------------------------------------------------

NOTHING: dict[str, dict[str, Any]] = {
    "the default": {},
    "ro": {"mounts": [ro("/usr/share", "/data")]},
    "ro of a file": {"mounts": [ro("/etc/passwd", "/data/passwd")]},
    "what is made for it": {"mounts": [file("/conf/x", "text"), tmpfs("/scratch"), symlink("/link", "/conf")]},
    "tmpfs in ro": {"mounts": [ro("/usr/share", "/data"), tmpfs("/data/doc")]},
    "an optional one that is missing": {"mounts": [rw("/not/there", "/data", optional=True)]},
    "executed anew": {"fresh_exec": True},
    "limits": {"limits": Limits(memory="1G", processes=10)},
    "reused": {"reuse": 5},
}
SOMETHING: dict[str, Callable[[Path], dict[str, Any]]] = {
    "rw": lambda host: {"mounts": [rw(host, "/data")]},
    "rw of a file": lambda host: {"mounts": [rw(host / "file", "/data")]},
    "rw among others": lambda host: {"mounts": [ro("/usr/share", "/a"), rw(host, "/b"), tmpfs("/c")]},
    "rw in ro": lambda host: {"mounts": [ro("/usr/share", "/a"), rw(host, "/a/doc")]},
    "rw below what is made for it": lambda host: {"mounts": [tmpfs("/c"), rw(host, "/c/d")]},
    "dev": lambda host: {"mounts": [dev("/dev/null", "/dev/other")]},
    "dev, an optional one missing": lambda host: {
        "mounts": [dev("/dev/no", optional=True), dev("/dev/null", "/dev/other")]
    },
    "network": lambda host: {"network": True},
    "network, ro": lambda host: {"network": True, "mounts": [ro("/usr/share", "/data")]},
}
POLICIES = [*((name, True) for name in NOTHING), *((name, False) for name in SOMETHING)]


@pytest.mark.parametrize(("name", "nothing"), POLICIES, ids=lambda value: value if isinstance(value, str) else "")
def test_which_isolates_can_change_nothing(name: str, nothing: bool, host: Any) -> None:
    (host / "file").touch()
    policy = Policy(**(NOTHING[name] if nothing else SOMETHING[name](host)))
    assert prepare(policy).touches_nothing is nothing
    assert prepare(policy, tools=True).touches_nothing is nothing


# --- what becomes of them --------------------------------------------------------------------------------------------


@pytest.fixture
def name() -> Any:
    """Give a name for processes that the isolate leaves behind."""
    made = f"dsm{secrets.token_hex(5)}"
    yield made
    wait_for(lambda: not named(made), "the end of what was left behind")


def named(name: str) -> list[int]:
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                state = file.read()
        except OSError:
            continue
        if f"({name})" in state and ") Z " not in state:
            found.append(int(entry))
    return found


class Seen:
    """What happened to isolates: how many were waited for, and whether each was gone when its descriptors were closed."""

    def __init__(self) -> None:
        self.waited = 0
        self.gone: list[bool] = []


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    run_without((), hostile.nothing)
    found = Seen()
    kill, abandon = Ends.kill, Ends.abandon

    def waits(self: Any) -> None:
        found.waited += 1
        kill(self)

    def lets_go(self: Any) -> None:
        if self.pidfd >= 0:
            # A pidfd is readable once its process has ended: here PID 1, whose end waits for all others.
            found.gone.append(bool(select.select([self.pidfd], [], [], 0)[0]))
        abandon(self)

    monkeypatch.setattr(Ends, "kill", waits)
    monkeypatch.setattr(Ends, "abandon", lets_go)
    return found


@pytest.fixture
def at_work(name: str) -> Any:
    """Return a function that leaves two children behind, and then ends in one of many ways."""

    def work(how: str, size: int = 0) -> Any:
        import hostile
        import native

        made = native.children(name)
        if how == "raise":
            raise ValueError("failed")
        if how == "stay":
            native.stay_deaf(name, False)
        if how == "exit":
            native.call("exit_group", 3)
        if how == "forge":
            hostile.say(b"x")
        if how == "reject":
            return object()
        return b"x" * size if size else made

    return work


def test_nobody_waits_for_one_that_can_change_nothing(seen: Seen, at_work: Any, name: str) -> None:
    health = Health()
    assert min(run_without(("seccomp",), at_work, "return")) > 1
    # What it held of the caller's is closed, whether it is gone yet or not.
    assert descriptors() == health.descriptors
    assert seen.waited == 0
    assert len(seen.gone) == 1
    wait_for(lambda: not named(name), "the children to end")
    health.check()


def test_it_is_killed_and_not_only_left(seen: Seen, at_work: Any, name: str, weaken: Any) -> None:
    """PID 1 would end by itself when its caller has closed the sockets; here it is deaf, and dies all the same."""
    weak = weaken("import time; init._wait = lambda *given: time.sleep(1000)")
    assert min(run_without(("seccomp",), at_work, "return", **weak)) > 1
    wait_for(lambda: not named(name), "the children to end")
    prepared = prepare(Policy(idle_timeout=IDLE_TIMEOUT, **weak))
    isolate = pool.start(prepared)
    to_the_end(isolate, call.make_ready(isolate, prepared))
    handle = os.dup(isolate.pidfd)
    isolate.dismiss()
    assert select.select([handle], [], [], 20)[0]
    os.close(handle)
    assert seen.waited == 0


@pytest.mark.parametrize("granted", ["rw", "device", "network"])
def test_one_that_can_change_something_is_waited_for(
    seen: Seen, at_work: Any, name: str, granted: str, host: Any
) -> None:
    options: dict[str, Any] = {
        "rw": {"mounts": [rw(host, "/data")]},
        "device": {"mounts": [dev("/dev/null", "/dev/other")]},
        "network": {"network": True},
    }[granted]
    for _ in range(5):
        assert min(run_without(("seccomp",), at_work, "return", **options)) > 1
        assert named(name) == []
    assert seen.gone == [True] * 5


@pytest.mark.parametrize(
    ("how", "error", "options"),
    [
        ("raise", ValueError, {}),
        ("exit", Crashed, {}),
        ("stay", TimedOut, {"timeout": 0.5}),
        ("forge", TransportError, {}),
        ("reject", ResultRejected, {}),
        ("big", LimitExceeded, {"limits": Limits(result=1000)}),
    ],
)
def test_after_a_failure_any_is_waited_for(
    seen: Seen, at_work: Any, name: str, how: str, error: type[Exception], options: dict[str, Any]
) -> None:
    for _ in range(3):
        with pytest.raises(error):
            run_without(("seccomp",), at_work, how, 5000 if how == "big" else 0, **options)
        assert named(name) == []
    assert seen.waited == 3
    assert seen.gone == [True] * 3


def test_a_file_is_not_written_to_any_more_when_the_call_has_returned(host: Any, at_work: Any) -> None:
    """What the waiting is for: the caller looks at the file, and what it saw stays."""
    (host / "file").write_bytes(b"")
    (host / "file").chmod(0o666)

    def write_on() -> str:
        import hostile
        import native

        if native.call("clone", native.SIGCHLD, 0, 0, 0, 0) == 0:
            descriptor = os.open("/data/file", os.O_WRONLY | os.O_APPEND)
            hostile.pour(b"", descriptor)
        while os.path.getsize("/data/file") < 1:
            pass
        return "wrote"

    for _ in range(5):
        assert run_without(("seccomp",), write_on, mounts=[rw(host / "file", "/data/file")]) == "wrote"
        size = os.path.getsize(host / "file")
        seen_at = time.monotonic()
        while time.monotonic() - seen_at < 0.02:
            assert os.path.getsize(host / "file") == size
        os.truncate(host / "file", 0)


def test_the_last_call_of_a_reused_worker(seen: Seen, host: Any) -> None:
    pool.close_all()
    for options, waited in (({}, 0), ({"mounts": [rw(host, "/data")]}, 1)):
        seen.waited, seen.gone[:] = 0, []
        function = isolated(reuse=3, idle_timeout=IDLE_TIMEOUT, **options)(hostile.return_bytes)
        assert [function(size) for size in range(3)] == [b"", b"x", b"xx"]
        assert seen.waited == waited
        assert len(seen.gone) == 1
        assert all(seen.gone) or not waited


def test_a_block_and_close_wait(seen: Seen, name: str) -> None:
    with sandbox(idle_timeout=IDLE_TIMEOUT) as box:
        box.call(hostile.return_bytes, 1)
    function = isolated(reuse=True, idle_timeout=IDLE_TIMEOUT)(hostile.return_bytes)
    function(1)
    function.close()
    assert seen.waited == 2
    assert seen.gone == [True, True]


class Group:
    """Stands for a cgroup, which can be removed only when nothing is in it."""

    removed: bool | None = None

    def __init__(self, gone: list[bool]) -> None:
        self.gone = gone

    def remove(self) -> None:
        self.removed = self.gone == [True]


def test_one_whose_cgroup_is_to_be_removed_is_waited_for(seen: Seen) -> None:
    prepared = prepare(Policy(idle_timeout=IDLE_TIMEOUT))
    isolate = pool.start(prepared)
    to_the_end(isolate, call.make_ready(isolate, prepared))
    isolate.group = Group(seen.gone)  # type: ignore[assignment]
    isolate.dismiss()
    assert isolate.group.removed is True
    # And one that has not introduced itself yet cannot be killed by handle.
    unborn = pool.start(prepared)
    while unborn.pidfd < 0:
        to_the_end(unborn, unborn.step(time.monotonic() + 60))
    handle, unborn.pidfd = unborn.pidfd, -1
    unborn._here.remove(handle)
    unborn.dismiss()
    assert seen.waited == 2
    assert select.select([handle], [], [], 20)[0]
    os.close(handle)
