"""Promise 3: no process outside is visible, signalled, traced or written to, and nothing survives the call.

Each attack succeeds without the walls that stand in its way. Survivors are looked for from outside, by a name that
they give themselves, which no signal handler, session or double fork takes from them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import secrets
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import native
import pytest
from support import IDLE_TIMEOUT, open_without, run_without

from isolate_fn import rw, sandbox
from isolate_fn.errors import Crashed, SyscallDenied, TimedOut

pytestmark = pytest.mark.needs("namespaces")

EPERM, EACCES, ENOSYS, ESRCH, ENOENT = -errno.EPERM, -errno.EACCES, -errno.ENOSYS, -errno.ESRCH, -errno.ENOENT
FILES = ("mounts", "landlock")
# As who the attacker runs; behind the filter and Landlock.
AUTHORITY = ("seccomp", "landlock", "capabilities", "user namespace")
DEADLINE = 20.0
# Without this spawner and isolates are in the host's pid namespace, and nothing of what they start ends with them.
NO_PID_NAMESPACE = """
    unshare = calls.unshare
    first_calls.unshare = calls.unshare = lambda flags: unshare(flags & ~k.CLONE_NEWPID) if flags & ~k.CLONE_NEWPID else None
    go_back = spawner.Spawner._go_back
    spawner.Spawner._go_back = lambda self, *kinds: go_back(self, *(kind for kind in kinds if kind != k.CLONE_NEWPID))
"""


@pytest.fixture
def name():
    """Give a name for processes, and end what still has it."""
    made = f"atk{secrets.token_hex(5)}"
    yield made
    for pid in named(made):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert wait_for(made, 0) == []


def named(name):
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                # A zombie has ended; only its parent has not asked yet.
                state = Path(f"/proc/{entry}/stat").read_text()
                if f"({name})" in state and ") Z " not in state:
                    found.append(int(entry))
    return found


def wait_for(name, count, deadline=DEADLINE):
    """Wait until exactly so many processes have a name, and return them."""
    end = time.monotonic() + deadline
    while len(found := named(name)) != count and time.monotonic() < end:
        time.sleep(0.01)
    return found


@pytest.fixture
def victim():
    """Give a process of this user's, outside."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


# --- who is there ----------------------------------------------------------------------------------------------------


def test_only_the_isolates_own_processes_are_visible():
    assert run_without((), native.processes) == [1, 2]
    assert run_without(("landlock",), native.processes) == [1, 2]
    assert os.getpid() in run_without(FILES, native.processes)


def test_a_process_outside_cannot_be_signalled(victim, weaken):
    attack = ("kill", victim.pid, native.SIGKILL)
    assert run_without((), native.call, *attack) == ESRCH
    assert run_without(AUTHORITY, native.call, *attack) == ESRCH
    assert victim.poll() is None
    weak = weaken(NO_PID_NAMESPACE)
    assert run_without(("self-check",), native.call, *attack, **weak) == EPERM  # Landlock's scope
    assert run_without(AUTHORITY, native.call, *attack, **weak) == 0
    assert victim.wait(DEADLINE) == -signal.SIGKILL


def test_no_other_call_reaches_a_process_outside(victim):
    def reach(pid):
        import native

        return native.calls(
            ("tgkill", pid, pid, 9), ("tkill", pid, 9), ("rt_sigqueueinfo", pid, 9, b"\0" * 128), ("pidfd_open", pid, 0),
            ("ptrace", 0x4206, pid, 0, 0), ("kcmp", pid, pid, 0, 0, 0),
            ("setpriority", 0, pid, 19), ("sched_setaffinity", pid, 8, b"\1" + b"\0" * 7), ("prlimit64", pid, 7, 0, 0),
            ("move_pages", pid, 0, 0, 0, 0, 0), ("migrate_pages", pid, 0, 0, 0), ("ioprio_set", 1, pid, 0),
            ("getpgid", pid), ("getsid", pid), ("sched_getaffinity", pid, 8, b"\0" * 8), ("setpgid", pid, pid),
        )  # fmt: skip

    denied = run_without((), reach, victim.pid)
    assert set(denied) <= {EPERM, ENOSYS, ESRCH}, denied
    unfiltered = run_without(("seccomp", "landlock", "capabilities"), reach, victim.pid)
    assert set(unfiltered) <= {ESRCH, -errno.EINVAL, EPERM}, unfiltered
    assert victim.poll() is None


def test_init_does_not_die_by_the_hand_of_the_worker(name, weaken):
    def shoot():
        import native

        return [native.call("kill", 1, number) for number in (9, 15, 19, 11, 6, 34, 64, 17, 2)]

    assert set(run_without((), shoot)) == {EPERM}
    # PID 1 takes no signal from inside that it has no handler for.
    assert set(run_without(("landlock", "seccomp"), shoot)) == {0}

    def shoot_parent(name):
        import native

        native.mark(name)  # with nobody left to end it, the fixture does
        native.call("kill", os.getppid(), 9)
        native.call("ppoll", 0, 0, 0, 0, 0)

    with pytest.raises(Crashed):
        run_without(AUTHORITY, shoot_parent, name, **weaken(NO_PID_NAMESPACE))


def test_killing_everybody_kills_nobody_outside(victim):
    def shoot():
        import native

        return native.call("kill", -1, 9)

    assert run_without((), shoot) in (EPERM, ESRCH)
    assert run_without(("seccomp", "landlock"), shoot) in (0, EPERM, ESRCH)
    assert victim.poll() is None


def test_init_cannot_be_traced_or_read():
    """Filter, Landlock's domain, not dumpable, and a user namespace above the worker's."""
    denied = run_without((), native.process_memory, 1)
    assert {denied.pop(name) for name in ("mem", "environ", "fd")} == {EACCES}
    assert set(denied.values()) == {EPERM}, denied
    behind = run_without(("seccomp", "landlock", "not dumpable"), native.process_memory, 1)
    assert set(behind.values()) <= {EPERM, EACCES}, behind
    bare = run_without((*AUTHORITY, "not dumpable"), native.process_memory, 1)
    assert min(bare["ptrace seize"], bare["process_vm_readv"], bare["mem"], bare["environ"], bare["fd"]) >= 0, bare


def test_no_other_namespace_can_be_entered():
    denied = run_without((), native.other_namespaces, 1)
    assert set(denied.values()) <= {EPERM, EACCES, ENOSYS}, denied
    behind = run_without(("seccomp", "landlock", "not dumpable"), native.other_namespaces, 1)
    assert max(value for key, value in behind.items() if key != "pidfd") < 0, behind
    bare = run_without((*AUTHORITY, "not dumpable"), native.other_namespaces, 1)
    assert bare["net"] == bare["uts"] == bare["ipc"] == 0, bare


NESTED = (
    ("unshare", native.CLONE_NEWUSER), ("clone", native.CLONE_NEWUSER | 17, 0, 0, 0, 0),
    ("clone", native.CLONE_NEWUSER | 17 | 1 << 32, 0, 0, 0, 0), ("clone3", 0, 0), ("unshare", native.CLONE_NEWNET),
)  # fmt: skip


def test_no_nested_user_namespace():
    """New namespaces give new powers, and with them the parts of the kernel where its errors are."""
    assert run_without((), native.calls, *NESTED) == [EPERM, EPERM, EPERM, ENOSYS, EPERM]
    assert run_without(("seccomp",), native.call, *NESTED[0]) == -errno.ENOSPC  # user.max_user_namespaces
    open_to = ("seccomp", "no nested user namespaces")
    assert run_without(open_to, native.call, *NESTED[0]) == 0


def test_clone3_cannot_hide_its_flags():
    """What lies behind a pointer is not the filter's to read: ENOSYS, upon which libc takes the other call."""
    import struct

    arguments = struct.pack("11Q", 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0)

    def fork():
        import native

        pid = native.call("clone3", arguments, len(arguments))
        if pid == 0:
            os._exit(0)
        return pid

    assert run_without((), fork) == ENOSYS
    assert run_without(("seccomp",), fork) > 1


# --- what stays ------------------------------------------------------------------------------------------------------


def test_a_worker_has_no_children(name):
    assert run_without((), native.children, name) == [EPERM, EPERM]
    assert min(run_without(("seccomp",), native.children, name)) > 1


def test_nothing_survives_the_calls_end(name, weaken):
    """PR-09: forked twice, a session of its own, every signal blocked."""
    run_without(("seccomp",), native.children, name)
    assert wait_for(name, 0) == []  # killed, but not waited for: nothing of the host's can be changed from there
    run_without((*AUTHORITY, "death signal", "death signal again"), native.children, name, **weaken(NO_PID_NAMESPACE))
    assert len(wait_for(name, 2)) == 2


def test_nothing_survives_the_timeout(name, weaken):
    with pytest.raises(TimedOut):
        run_without(("seccomp",), native.stay_deaf, name, timeout=1)
    assert named(name) == []
    with pytest.raises(TimedOut):
        run_without((), native.stay_deaf, name, False, timeout=1)
    assert named(name) == []
    with pytest.raises(TimedOut):
        run_without(AUTHORITY, native.stay_deaf, name, timeout=1, **weaken(NO_PID_NAMESPACE))
    assert len(named(name)) >= 1


def _daemon(name):
    """A daemon in the manner of daemons, by tools that every system has."""
    return ["sh", "-c", f"ln -s $(command -v sleep) /tmp/{name}; (setsid /tmp/{name} 600 >/dev/null 2>&1 &) ; echo started"]


def test_nothing_survives_a_program(name, weaken):
    """What `run` leaves behind ends with the program; and everything with the block."""
    with sandbox(idle_timeout=IDLE_TIMEOUT) as box:
        assert box.run(_daemon(name), capture_output=True, text=True).stdout == "started\n"
        assert named(name) == []
    # Without the search for orphans they live until the block's end, and without a pid namespace for ever.
    with open_without(("self-check",), **weaken("tools.kill_children = lambda but=(): None")) as box:
        box.run(_daemon(name), capture_output=True)
        assert len(wait_for(name, 1)) == 1
    assert named(name) == []
    walls = (*AUTHORITY, "death signal", "death signal again")
    source = NO_PID_NAMESPACE + "    tools.kill_children = lambda but=(): None\n"
    with open_without(walls, **weaken(source)) as box:
        box.run(_daemon(name), capture_output=True)
    assert len(wait_for(name, 1)) == 1


CALLER = """
    import sys
    sys.path[:0] = {path!r}
    import conftest, native
    from support import run_without
    run_without({walls!r}, native.stay_deaf, {name!r}, {fork!r})
"""


def start_caller(name, walls=(), fork=False):
    path = [str(Path(native.__file__).parents[2]), str(Path(native.__file__).parent)]
    script = textwrap.dedent(CALLER).format(path=path, walls=walls, name=name, fork=fork)
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.mark.parametrize("walls", [(), ("seccomp",)], ids=["alone", "with children"])
def test_nothing_survives_the_caller(name, walls):
    count = 2 if walls else 1
    with start_caller(name, walls, bool(walls)) as caller:
        assert len(wait_for(name, count)) == count, caller.communicate(timeout=1)
        caller.kill()
    assert wait_for(name, 0) == []


def test_what_ends_an_isolate_when_its_caller_is_gone(name, weaken):
    """The sockets' end, for spawner and init: both deaf, the isolate stays, until the spawner is killed."""
    source = """
        def deaf(self):
            while True:
                try:
                    self._handle(*self._receive())
                except spawner.CallerGone:
                    time.sleep(1000)
        import time
        spawner.Spawner.serve = deaf
        init._wait = lambda *arguments: time.sleep(1000)
    """
    weak = weaken(source)
    done = threading.Event()

    def go():
        with contextlib.suppress(BaseException):
            run_without(("self-check",), native.stay_deaf, name, False, **weak)
        done.set()

    here, there = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(here)
        go()
        os._exit(0)
    os.close(there)
    [worker] = wait_for(name, 1)
    spawner = int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])
    spawner = int(Path(f"/proc/{spawner}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(here)
    assert named(name) == [worker]
    os.kill(spawner, signal.SIGKILL)  # PID 1 of a namespace around all of its isolates
    assert wait_for(name, 0) == []


@pytest.mark.parametrize("moment", range(8))
def test_a_caller_that_dies_early_leaves_nothing(name, moment):
    """PR-25: killed at moments all over the start; nothing waits for a particular one."""
    with start_caller(name) as caller:
        time.sleep(0.05 + moment * 0.03)
        caller.kill()
        caller.wait()
        children = _launchers_of(caller.pid)
    end = time.monotonic() + DEADLINE
    while (left := named(name) or _launchers_of(caller.pid)) and time.monotonic() < end:
        time.sleep(0.01)
    assert not left, children


def _launchers_of(session):
    """Return spawners that this caller started: they have sessions of their own, but it is their only ancestor."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == session and fields[0] != "Z":
                found.append(int(entry))
    return found


def test_an_isolate_outlives_the_thread_that_started_it():
    """PR-24: a parent-death signal is tied to the thread that forked."""
    opened = []

    def open_it():
        box = sandbox(idle_timeout=IDLE_TIMEOUT)
        opened.append(box.__enter__())

    thread = threading.Thread(target=open_it)
    thread.start()
    thread.join()
    [box] = opened
    try:
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            assert box.call(native.processes)[:2] == [1, 2]
    finally:
        box.__exit__(None, None, None)


# --- privilege -------------------------------------------------------------------------------------------------------


def test_no_other_id_can_be_taken():
    tried = [(call, 0, 0, 0) for call in ("setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid")]
    tried += [("setgroups", 1, b"\0\0\0\0"), ("setfsuid", 0), ("setfsgid", 0)]
    assert run_without((), native.calls, *tried) == [EPERM] * 9
    unfiltered = run_without(("seccomp", "capabilities"), native.calls, *tried[:7])
    assert set(unfiltered) <= {EPERM, -errno.EINVAL}, unfiltered
    assert run_without(AUTHORITY, native.call, "setresuid", 0, 0, 0) == 0


def test_no_capability_and_no_way_to_one():
    [found], tried = run_without((), native.capabilities)
    assert {int(value, 16) for value in found.values()} == {0}
    assert tried == [EPERM] * 3
    [found], tried = run_without(("seccomp",), native.capabilities)
    assert {int(value, 16) for value in found.values()} == {0}
    assert tried == [EPERM] * 3
    [found], _ = run_without(("seccomp", "capabilities"), native.capabilities)
    assert int(found["CapEff"], 16)
    assert int(found["CapBnd"], 16)


def test_no_program_is_executed():
    path = os.path.realpath("/lib64/ld-linux-x86-64.so.2" if os.path.exists("/lib64/ld-linux-x86-64.so.2") else sys.executable)
    argv = (path, "--version")
    assert run_without((), native.run_program, *argv) == EPERM
    assert run_without((), native.calls, ("execve", path, 0, 0), ("execveat", -100, path, 0, 0, 0)) == [EPERM] * 2
    assert run_without(("seccomp",), native.run_program, *argv) == EACCES  # Landlock
    assert run_without(("seccomp", "landlock"), native.run_program, *argv) == 0


def test_no_program_is_executed_from_memory():
    def run():
        import native

        with open("/proc/self/exe", "rb") as file:
            return native.run_from_memory(file.read())

    assert run_without((), run) == EPERM
    assert run_without(("seccomp",), run) == EACCES  # Landlock
    # It ran, and ended with whatever code a Python has that finds neither its library nor input.
    assert run_without(("seccomp", "landlock"), run, output="discard") >= 0


@pytest.mark.skipif(
    Path("/proc/sys/kernel/core_pattern").read_text().strip() != "core", reason="core dumps here do not go to the directory"
)
def test_a_crash_leaves_no_core_file(host):
    """PR-18: two walls. A core handler in a pipe runs at RLIMIT_CORE 0; at 1, and for who is not dumpable, none does."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    if before[1] != resource.RLIM_INFINITY:
        pytest.skip("core dumps are limited here")
    directory = host / "here"
    directory.mkdir()
    directory.chmod(0o777)
    options = {"mounts": [rw(directory, "/data")], "cwd": "/data", "env": {"FRESH": host.name}}

    def crash():
        import native

        native.call("prctl", 4, 1, 0, 0, 0)
        os.abort()

    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        for walls in ((), ("limits",), ("seccomp",)):
            with pytest.raises(Crashed) as crashed:
                run_without(walls, crash, **options)
            assert crashed.value.signal == signal.SIGABRT
            assert os.listdir(directory) == [], walls
        with pytest.raises(Crashed):
            run_without(("limits", "seccomp"), crash, **options)
        assert os.listdir(directory) != []
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


def test_limits_cannot_be_changed():
    import struct

    core = struct.pack("2Q", 0, 0)
    tried = [("prlimit64", 0, 4, core, 0), ("prlimit64", 1, 4, core, 0)]
    tried += [("prlimit64", 1, 4, 0, bytes(16)), ("setrlimit", 4, core)]
    assert run_without((), native.calls, *tried) == [EPERM] * 4
    assert run_without(("seccomp",), native.call, *tried[0]) == 0


def test_shared_memory_and_queues_of_the_host():
    key = secrets.randbits(30) | 1
    made = native.call("shmget", key, 4096, 0o1666)
    if made < 0:
        pytest.skip("this kernel has no System V shared memory")
    try:
        tried = [("shmget", key, 0, 0), ("shmat", made, 0, 0o10000), ("semget", key, 0, 0), ("msgget", key, 0)]
        assert run_without((), native.calls, *tried) == [EPERM] * 4
        hidden = run_without(("seccomp",), native.calls, *tried)
        assert set(hidden) <= {ENOENT, -errno.EINVAL, ENOSYS}, hidden
        assert run_without(("seccomp", "namespaces"), native.call, *tried[0]) == made
    finally:
        native.call("shmctl", made, 0, 0)


# --- the filter itself -----------------------------------------------------------------------------------------------


@pytest.mark.needs("x86_64")
def test_the_x32_calls_are_fatal():
    x32 = 0x40000000 | 39
    with pytest.raises(SyscallDenied):
        run_without((), native.call, x32)
    assert run_without(("seccomp",), native.call, x32) in (ENOSYS, 2)


@pytest.mark.needs("x86_64")
def test_the_32_bit_calls_are_fatal():
    try:
        reached = run_without(("seccomp",), native.foreign_call)
    except Crashed:
        pytest.skip("this kernel has no 32-bit calls")
    assert reached == 2
    with pytest.raises(SyscallDenied):
        run_without((), native.foreign_call)


def test_the_filter_cannot_be_loosened():
    import struct

    def loosen():
        import ctypes

        import native

        allow = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0x7FFF0000))
        program = struct.pack("HxxxxxxQ", 1, ctypes.addressof(allow))
        tried = [
            native.call("seccomp", 1, flags, program) for flags in (0, 1, 8)
        ]
        tried += native.calls(("prctl", 22, 2, program), ("prctl", 22, 1, 0), ("seccomp", 0, 0, 0)) if tried[0] < 0 else []
        return tried, native.call("unshare", 0x10000000)

    tried, again = run_without((), loosen)
    assert tried == [EPERM] * 6
    assert again == EPERM
    tried, _ = run_without(("seccomp",), loosen)
    assert tried[0] == 0


def test_bits_above_the_32nd_do_not_hide_arguments():
    high = 1 << 32
    not_dumpable = ("prctl", 4 | high, 1, 0, 0, 0)
    tried = [
        not_dumpable, ("clone", 17 | native.CLONE_NEWUSER | high, 0, 0, 0, 0), ("personality", 0x0040000 | high),
        ("prctl", 22 | high, 1, 0), ("fcntl", 0, 1024 | high, 0), ("fcntl", 0, 8 | high, 1),
        ("socketpair", 1 | high, 2 | high, 0, 0),
    ]  # fmt: skip
    assert run_without((), native.calls, *tried) == [EPERM] * len(tried)
    assert run_without((), native.call, "ioctl", 0, 0x5412 | high, b"x") == -errno.ENOTTY
    assert run_without(("seccomp",), native.call, *not_dumpable) == 0


def test_the_filter_is_on_every_thread_and_process():
    def look():
        import threading

        import native

        done, seen = threading.Event(), []
        threads = [threading.Thread(target=lambda: (seen.append(native.status("Seccomp")), done.wait(20))) for _ in range(3)]
        for thread in threads:
            thread.start()
        tasks = native.status("Seccomp", "NoNewPrivs")
        done.set()
        for thread in threads:
            thread.join()
        return tasks

    tasks = run_without((), look)
    assert len(tasks) == 4
    assert all(task == {"Seccomp": "2", "NoNewPrivs": "1"} for task in tasks)
    assert {task["Seccomp"] for task in run_without(("seccomp",), look)} == {"0"}
    shown = "grep -e Seccomp: -e NoNewPrivs: -e CapEff: /proc/self/status; (grep Seccomp: /proc/self/status)"
    command = ["sh", "-c", shown]
    for walls, mode in (((), "2"), (("seccomp",), "0")):
        with open_without(walls) as box:
            lines = box.run(command, capture_output=True, text=True).stdout.split()
            assert lines[lines.index("Seccomp:") + 1] == lines[-1] == mode
            assert lines[lines.index("CapEff:") + 1] == "0" * 16


# Entered by the kernel's own trampolines; from anywhere else they end in a signal.
TRAMPOLINES = {"uretprobe", "uprobe"}


def _never():
    from isolate_fn._plan.seccomp_grants import NEVER
    from isolate_fn._sys.numbers import table

    known = table(os.uname().machine)
    return sorted(name for name in NEVER.split() if name in known and name not in TRAMPOLINES)


def test_calls_that_must_not_reach_the_kernel():
    """KS-01: anything but a refusal means that the code behind the call was reached."""
    tried = [(name, *[-1] * 6) for name in _never()]
    assert len(tried) > 100
    denied = dict(zip(_never(), run_without((), native.calls, *tried), strict=True))
    assert {name: result for name, result in denied.items() if result not in (EPERM, ENOSYS)} == {}
    # Without the filter, the few that no privilege and no resource hang on.
    harmless = ("shmget", "io_setup", "userfaultfd", "pidfd_open", "keyctl", "mq_open", "inotify_init1", "kcmp")
    reached = run_without(("seccomp",), native.calls, *((name, *[-1] * 6) for name in harmless))
    assert sum(result not in (EPERM, ENOSYS) for result in reached) >= 6, reached


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("userfaultfd", (0o2000001,)),
        ("inotify_init1", (0,)),
        ("memfd_create", ("x", 0)),
        ("personality", (0x40000,)),
        ("io_setup", (1, bytes(8))),
    ],
)
def test_primitives_of_exploits_are_not_there(name, arguments):
    assert run_without((), native.call, name, *arguments) == EPERM
    assert run_without(("seccomp",), native.call, name, *arguments) >= 0
