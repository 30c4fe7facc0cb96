"""The same API without namespaces: calls, blocks, grants, limits, and what is refused because it would mean something else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from in_a_process import HERE, script
from simulation import NEED_ROOT

from isolate_fn import IsolatedExecutor, Limits, file, isolated, ro, rw, sandbox, symlink, tmpfs
from isolate_fn.dangerous import NoLandlock, NoSeccomp
from isolate_fn.errors import Crashed, LimitExceeded, PolicyError, SetupError, TimedOut, Unsupported

pytestmark = [pytest.mark.needs("landlock>=6", "interpreter"), pytest.mark.usefixtures("without_namespaces")]


@pytest.fixture
def shared() -> Iterator[Path]:
    """Give a directory that every user may read and write."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        path = Path(name)
        path.chmod(0o777)
        (path / "data").write_text("granted")
        (path / "data").chmod(0o666)
        yield path


def where() -> tuple[str, str, str, int]:
    return os.getcwd(), os.environ["HOME"], tempfile.gettempdir(), os.getuid()


def content(path: object) -> str:
    return Path(str(path)).read_text()


def overwrite(path: object) -> str:
    Path(str(path)).write_text("written")
    return "done"


def count(most: int) -> Iterator[int]:
    yield from range(most)


# --- calls -----------------------------------------------------------------------------------------------------------


def test_what_env_says_is_in_force() -> None:
    given = {"HOME": "/x", "TMPDIR": "/y", "PWD": "/z"}
    seen = isolated(lambda: dict(os.environ), prewarm=0, env=given)()
    assert {**seen, **given} == seen
    with sandbox(env=given) as box:
        lines = box.run(["/usr/bin/env"], capture_output=True, text=True).stdout.splitlines()
    assert {f"{name}={value}" for name, value in given.items()} <= set(lines)


def test_a_call_runs_in_a_private_directory_that_is_gone_afterwards():
    cwd, home, temporary, uid = isolated(where, prewarm=0)()

    assert cwd == home
    assert cwd.endswith("/work")
    assert temporary == cwd.removesuffix("/work") + "/tmp"
    assert not os.path.lexists(cwd.removesuffix("/work"))
    assert uid == os.geteuid() if os.geteuid() else uid >= 0x70000000


def test_two_isolates_of_root_have_two_ids():
    if os.geteuid():
        pytest.skip("an ordinary user has one id")
    assert isolated(where, prewarm=0)()[3] != isolated(where, prewarm=0)()[3]


def test_enforcement_names_engine_properties_and_differences():
    found = isolated(where).enforcement()

    assert found.engine == "landlock"
    assert found.properties == ("filesystem", "network", "processes", "syscalls")
    assert any(line.startswith("network:") for line in found.differences)
    assert ("own user id" in found.layers) is (os.geteuid() == 0)


def test_reused_workers_generators_submitting_and_executors_work():
    reused = isolated(where, reuse=True)
    assert reused() == reused()
    reused.close()
    assert list(isolated(count)(5)) == list(range(5))
    assert list(isolated(abs).map([-1, -2])) == [1, 2]
    with IsolatedExecutor(max_workers=2) as executor:
        assert sorted(executor.map(abs, [-3, -4])) == [3, 4]


def test_an_interpreter_that_is_executed_anew_works():
    assert isolated(where, prewarm=0, fresh_exec=True)()[0].endswith("/work")


def test_functions_by_value_work():
    word = "closure"
    assert isolated(lambda: word.upper())() == "CLOSURE"


def test_exceptions_come_back_and_ends_have_their_cause():
    with pytest.raises(ZeroDivisionError):
        isolated(divmod)(1, 0)
    with pytest.raises(Crashed) as crashed:
        isolated(os.abort)()
    assert crashed.value.signal == 6
    with pytest.raises(TimedOut):
        isolated(time.sleep, timeout=0.3)(60)


# --- files -----------------------------------------------------------------------------------------------------------


def test_mounts_are_where_they_are_outside(shared):
    data = shared / "data"

    assert isolated(content, mounts=[ro(shared)])(str(data)) == "granted"
    with pytest.raises(PermissionError):
        isolated(content)(str(data))
    with pytest.raises(PermissionError):
        isolated(overwrite, mounts=[ro(shared)])(str(data))
    assert isolated(overwrite, mounts=[rw(shared)])(str(data)) == "done"
    assert data.read_text() == "written"


def test_a_grant_of_one_call_reaches_that_file_alone(shared):
    (shared / "other").write_text("not granted")

    assert isolated(content)(ro(shared / "data")) == "granted"
    with pytest.raises(PermissionError):
        isolated(lambda path: content(str(path).replace("data", "other")))(ro(shared / "data"))
    with (shared / "data").open() as opened:
        assert isolated(lambda lent: lent.read())(opened) == "granted"


@pytest.mark.parametrize(
    ("mount", "remedy"),
    [
        (lambda path: ro(path, "/elsewhere"), "leave dst out"),
        (lambda path: tmpfs("/scratch"), "working directory"),
        (lambda path: file("/etc/motd", b"text"), "box.put"),
        (lambda path: symlink("/link", "/usr"), "pass the path"),
        (lambda path: ro(path, noexec=True), "leave noexec out"),
    ],
)
def test_mounts_that_cannot_mean_the_same_are_refused(shared, mount, remedy):
    with pytest.raises(Unsupported) as refused:
        isolated(content, mounts=[mount(shared)])("x")

    assert remedy in refused.value.remedy
    assert "ISOLATE_FN_PRETEND" in refused.value.found
    assert not refused.value.ran


def test_read_only_within_writable_is_refused(shared):
    (shared / "inner").mkdir()
    with pytest.raises(Unsupported, match="within"):
        isolated(content, mounts=[rw(shared), ro(shared / "inner")])("x")


@pytest.mark.parametrize("options", [{"cwd": "/data"}, {"accept": (NoLandlock,)}, {"accept": (NoSeccomp,)}])
def test_what_this_engine_needs_cannot_be_given_up(options):
    with pytest.raises(Unsupported):
        isolated(where, **options)()


def test_a_root_caller_is_told_what_its_isolates_may_not_read(shared):
    if os.geteuid():
        pytest.skip("an ordinary caller's isolates read what the caller reads")
    (shared / "data").chmod(0o600)
    with pytest.raises(Unsupported, match="0600") as refused:
        isolated(content, mounts=[ro(shared / "data")])(str(shared / "data"))
    assert "chmod" in refused.value.remedy
    with pytest.raises(Unsupported, match="0600"):
        isolated(content)(ro(shared / "data"))


# --- blocks ----------------------------------------------------------------------------------------------------------


def test_a_block_keeps_state_runs_programs_and_hands_files_in_and_out():
    with sandbox() as box:
        box.put("in", b"bytes")
        ran = box.run(["sh", "-c", "cat in; cat /etc/passwd; kill -0 $PPID"], capture_output=True, text=True)
        assert ran.stdout == "bytes"
        assert ran.stderr.count("denied") + ran.stderr.count("not permitted") == 2
        assert box.get("in") == b"bytes"
        assert box.call(os.listdir, ".") == ["in"]


BOMB = """
import os, time
for _ in range(10):  # a thousand, should nobody stop them
    try:
        os.fork()
    except OSError:
        pass
time.sleep(60)
"""


def test_a_fork_bomb_is_stopped():
    with pytest.raises((LimitExceeded, subprocess.TimeoutExpired)) as stopped, sandbox(limits=Limits(processes=32)) as box:
        box.run([sys.executable, "-I", "-S", "-c", BOMB], timeout=30 if os.geteuid() else 2)
    if os.geteuid():  # an id of its own has a limit of its own: forks fail, and the program goes on until its timeout
        assert isinstance(stopped.value, LimitExceeded)
        assert stopped.value.limit == "processes"


# --- limits ----------------------------------------------------------------------------------------------------------


def take_memory() -> None:
    kept = bytearray(1 << 30)
    time.sleep(60)
    del kept


def fill(deleted: bool) -> None:
    kept = []
    for number in range(200):
        kept.append(open(f"{number}", "wb", buffering=0))
        if deleted:
            os.unlink(f"{number}")
        kept[-1].write(bytes(1 << 20))
    time.sleep(60)


def many_files() -> None:
    for number in range(5000):
        os.mkdir(f"{number}", 0o300)  # which its owner cannot list
    time.sleep(60)


def one_big_file() -> None:
    with open("big", "wb") as target:
        target.truncate(1 << 40)


def many_threads() -> None:
    for _ in range(300):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    time.sleep(60)


def chatter() -> None:
    while True:
        os.write(1, b"x" * 65536)


@pytest.mark.parametrize(
    ("attack", "args", "limit"),
    [
        (take_memory, (), "memory"),
        (fill, (False,), "rootfs_size"),
        (fill, (True,), "rootfs_size"),
        (one_big_file, (), "rootfs_size"),
        (many_files, (), "rootfs_inodes"),
        (many_threads, (), "processes"),
        (chatter, (), "output"),
    ],
)
def test_limits_are_watched_and_named(attack, args, limit):
    limits = Limits(memory="256M", rootfs_size="32M", rootfs_inodes=1000, processes=40, output="1M")

    with pytest.raises(LimitExceeded) as exceeded:
        isolated(attack, limits=limits, timeout=50, prewarm=0, output="discard")(*args)

    assert exceeded.value.limit == limit


# --- what a machine gives --------------------------------------------------------------------------------------------


def test_programs_need_the_signal_scope_unless_processes_are_not_required(monkeypatch):
    monkeypatch.setenv("ISOLATE_FN_PRETEND", "userns=0,privileged=0,landlock=5")
    with pytest.raises(Unsupported, match="signal scope") as refused:
        sandbox()
    assert "Linux 6.12" in refused.value.remedy
    with sandbox(require={"filesystem", "network", "syscalls"}) as box:
        assert box.run(["true"]).returncode == 0
        assert box.report().enforcement.properties == ("filesystem", "network", "syscalls")
        assert any(line.startswith("processes:") for line in box.report().enforcement.dropped)


def test_without_landlock_there_is_no_engine(monkeypatch):
    monkeypatch.setenv("ISOLATE_FN_PRETEND", "userns=0,privileged=0,landlock=0")
    with pytest.raises(Unsupported, match="Landlock"):
        isolated(where)()


@pytest.mark.needs("root")
def test_a_libpython_that_the_isolates_id_may_not_read_is_named(monkeypatch, tmp_path):
    """A fork has it already; an interpreter that is executed anew under that id would end in the loader, without a word."""
    from isolate_fn._runtime import host_paths

    library = tmp_path / "home" / "libpython.so"
    library.parent.mkdir(mode=0o700)
    library.touch()
    monkeypatch.setattr(host_paths, "mapped_libpython", lambda: str(library))
    assert isolated(where, name="fork, libpython", prewarm=0)()
    with pytest.raises(Unsupported, match=r"an interpreter that every user may run; found: '.*' has mode 07"):
        isolated(where, name="exec, libpython", prewarm=0, fresh_exec=True)()


def test_a_wall_that_is_not_there_is_noticed_before_the_call():
    from dataclasses import replace

    from support import run_without

    from isolate_fn._api import prepare as preparing
    from isolate_fn._runtime import call
    from isolate_fn._runtime.signature import sign
    from isolate_fn._transport.calls import encode_call, function_part, function_reference
    from isolate_fn.policy.policy import Policy

    assert run_without((), where)[0].endswith("/work")
    reference = function_reference(where)
    for step in ("landlock", "seccomp", "limits"):
        prepared = preparing.prepare(Policy(prewarm=0), removed=(step,), by_value=True)
        with pytest.raises(SetupError, match="self-check"):
            call.run(replace(prepared), sign(reference, prepared), encode_call(reference, (), {}), function_part(reference))


@pytest.mark.needs("root")
def test_dockers_root_changes_to_an_unused_id():
    told = script(HERE / "once.py", "docker, root")
    engine, uid, cause = json.loads(told)
    assert engine == "landlock"
    assert uid >= 0x70000000
    assert "answers unshare(2)" in cause


@pytest.mark.needs("root")
def test_nothing_writable_is_refused_with_what_to_mount():
    assert "nothing writable" not in NEED_ROOT
    told = json.loads(script(HERE / "once.py", "nothing writable"))
    assert told[0] == "Unsupported"
    assert "emptyDir" in told[1]


def test_the_policys_own_errors_come_first():
    with pytest.raises(PolicyError):
        isolated(content, mounts=[ro("/nowhere/at/all")])("x")
