"""Promise 6: the limits hold. Each one ends in the error that names it, soon, with the caller as it was and nothing left alive.

Every action is made twice: with the limit, and without it, where the very same action succeeds.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import time

import hostile
import pytest
from caller import isolates, wait_for
from support import open_without, run_without

from isolate_fn.errors import Crashed, LimitExceeded, TimedOut
from isolate_fn.policy import Limits

pytestmark = [pytest.mark.needs("namespaces"), pytest.mark.usefixtures("unharmed")]

MIB = 1 << 20
SOON = 10.0


@pytest.fixture(scope="module", autouse=True)
def spawner():
    """Start what all calls share before anything is counted; after all that, a call still works."""
    run_without((), hostile.nothing)
    yield
    assert run_without((), hostile.return_bytes, 3) == b"xxx"


def exceeded(function, *args, walls=(), **options):
    """Make a call that must reach a limit; return the error."""
    began = time.monotonic()
    with pytest.raises(LimitExceeded) as caught:
        run_without(walls, function, *args, **options)
    assert time.monotonic() - began < SOON
    assert caught.value.report is not None
    return caught.value


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("directory", ["/tmp", "/dev/shm", "/work"])
def test_rootfs_size(directory):
    error = exceeded(hostile.fill_file, f"{directory}/big", 4 * MIB, limits=Limits(rootfs_size="2M"))
    assert (error.limit, error.allowed) == ("rootfs_size", 2 * MIB)
    assert 0 < error.used <= 2 * MIB
    assert run_without((), hostile.fill_file, f"{directory}/big", 4 * MIB) == 4 * MIB


def test_rootfs_size_is_one_for_all_places():
    error = exceeded(hostile.one_of_two, "fill_everywhere", ["/tmp", "/dev/shm", "/work"], MIB, limits=Limits(rootfs_size="2M"))
    assert error.limit == "rootfs_size"
    assert run_without((), hostile.fill_everywhere, ["/tmp", "/dev/shm", "/work"], MIB) == 3 * MIB


def test_rootfs_inodes():
    error = exceeded(hostile.fill_inodes, "/tmp", 400, limits=Limits(rootfs_inodes=256))
    assert (error.limit, error.allowed) == ("rootfs_inodes", 256)
    assert run_without((), hostile.fill_inodes, "/tmp", 400) == 400


def test_file_size():
    error = exceeded(hostile.fill_file, "/tmp/big", 4 * MIB, limits=Limits(file_size="1M"))
    assert (error.limit, error.allowed) == ("file_size", MIB)
    assert run_without((), hostile.fill_file, "/tmp/big", 4 * MIB) == 4 * MIB


def test_open_files():
    error = exceeded(hostile.open_many, 100, limits=Limits(open_files=64))
    assert (error.limit, error.allowed) == ("open_files", 64)
    assert run_without((), hostile.open_many, 100) == 100


# --- processes -------------------------------------------------------------------------------------------------------


def test_processes_counts_threads():
    error = exceeded(hostile.start_threads, 40, limits=Limits(processes=16))
    assert (error.limit, error.allowed) == ("processes", 16)
    assert run_without((), hostile.start_threads, 40) == 40


def test_processes_counts_forks():
    """The filter allows a function no fork; without it the limit holds."""
    error = exceeded(hostile.fork_many, 40, walls=("seccomp",), limits=Limits(processes=16))
    assert (error.limit, error.allowed) == ("processes", 16)
    assert run_without(("seccomp",), hostile.fork_many, 40) == 40
    with pytest.raises(PermissionError):
        run_without((), hostile.fork_many, 1)


def test_a_fork_bomb_goes_out():
    assert run_without(("seccomp",), hostile.fork_bomb, limits=Limits(processes=20)) == -errno.EAGAIN


_MANY = "i=0; while [ $i -lt 40 ]; do sleep 60 & i=$((i+1)); done; echo done"
_BOMB = "bomb() { bomb | bomb & }; bomb; sleep 60"


@pytest.mark.needs("tool:sh")
def test_a_tool_s_forks_are_counted():
    """The tool is told by fork(2), as anywhere."""
    with open_without((), limits=Limits(processes=20)) as box:
        ended = box.run(["sh", "-c", _MANY], timeout=30, capture_output=True, text=True)
    assert ended.returncode != 0
    assert "fork" in ended.stderr.lower()
    with open_without((), limits=Limits(processes=100)) as box:
        assert box.run(["sh", "-c", _MANY], timeout=30, stdout=subprocess.PIPE).stdout == b"done\n"


@pytest.mark.needs("tool:sh")
def test_a_tool_s_fork_bomb_goes_out():
    """The first shell gives up or waits on; either way the block's end is the end of all."""
    with open_without((), limits=Limits(processes=20)) as box, contextlib.suppress(subprocess.TimeoutExpired):
        assert box.run(["sh", "-c", _BOMB], timeout=2, capture_output=True).returncode != 0
    wait_for(lambda: not isolates(), "the bomb to end")


# --- processor time --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deaf", [False, True])
@pytest.mark.parametrize("threads", [1, 4])
def test_cpu_time(threads, deaf):
    error = exceeded(hostile.one_of_two, "burn", 20.0, threads, deaf, limits=Limits(cpu_time=0.5))
    assert (error.limit, error.allowed) == ("cpu_time", 0.5)
    assert 0.4 < error.used < 3


def test_cpu_time_is_not_wall_time():
    assert run_without((), hostile.touch_and_wait, "/tmp/x", 1.2, limits=Limits(cpu_time=1)) == "honest"
    assert run_without((), hostile.burn, 0.7) >= 0.7


@pytest.mark.parametrize("ignore", [False, True])
def test_cpu_time_of_children_counts(ignore):
    """Children that come and go are over no limit by themselves, waited for or not."""
    error = exceeded(hostile.burn_in_children, 20.0, 0.2, ignore, walls=("seccomp",), limits=Limits(cpu_time=1))
    assert error.limit == "cpu_time"
    assert error.used < 4


# --- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["anonymous", "shared", "objects", "threads", "tables", "shm", "pieces"])
def test_memory(how):
    """However it is taken, it counts; the isolate ends long before it has what it wants."""
    limits = Limits(memory="96M", rootfs_size="512M")
    error = exceeded(hostile.take_memory, how, 400 * MIB, limits=limits)
    assert (error.limit, error.allowed) == ("memory", 96 * MIB)
    assert run_without((), hostile.take_memory, how, 130 * MIB, limits=Limits(rootfs_size="512M")) == 130 * MIB


def test_memory_of_a_process_whose_first_thread_has_ended():
    error = exceeded(hostile.take_memory_without_first_thread, 400 * MIB, 10.0, limits=Limits(memory="96M"))
    assert (error.limit, error.allowed) == ("memory", 96 * MIB)
    with pytest.raises(Crashed) as ended:
        run_without((), hostile.take_memory_without_first_thread, 130 * MIB, 0.0)
    assert ended.value.exit_code == 3


def test_memory_limit_leaves_the_rest_alone():
    assert run_without((), hostile.take_memory, "anonymous", 30 * MIB, limits=Limits(memory="96M")) == 30 * MIB


def test_memory_in_files_without_a_name_is_not_to_be_had():
    """The pages of a memory file nobody maps are in no count but a cgroup's, so there are no such files."""
    assert run_without((), hostile.memory_file, MIB) == -errno.EPERM
    assert run_without(("seccomp",), hostile.memory_file, MIB) == 0


def test_address_space():
    error = exceeded(hostile.take_memory, "objects", 2 << 30, limits=Limits(address_space="1G"))
    assert (error.limit, error.allowed) == ("address_space", 1 << 30)
    error = exceeded(hostile.take_memory, "anonymous", 2 << 30, limits=Limits(address_space="1G"))
    assert error.limit == "address_space"
    assert run_without((), hostile.reserve, 2 << 30) == 0


# --- what comes back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("descriptor", [1, 2])
@pytest.mark.parametrize("output", ["relay", "capture", "discard", "call"])
def test_output(descriptor, output, capsys):
    taken = []
    target = (lambda stream, data: taken.append(data)) if output == "call" else output
    error = exceeded(hostile.pour, b"", descriptor, output=target, limits=Limits(output="64K"))
    assert (error.limit, error.allowed) == ("output", 65536)
    assert len("".join(capsys.readouterr())) <= 65536
    assert sum(map(len, taken)) <= 65536
    assert len(error.report.stdout + error.report.stderr) <= 65536
    assert run_without((), hostile.print_bytes, 65536, descriptor, output=target, limits=Limits(output="64K")) == 0


@pytest.mark.parametrize("size", [200_000, 3 * MIB])
def test_result(size):
    error = exceeded(hostile.return_bytes, size, limits=Limits(result="128K"))
    assert (error.limit, error.allowed) == ("result", 128 << 10)
    assert error.used >= size
    assert run_without((), hostile.return_bytes, size) == b"x" * size


# --- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("walls", [(), ("seccomp",)], ids=["threads only", "with forks"])
def test_timeout_of_what_hears_no_signal(walls):
    began = time.monotonic()
    with pytest.raises(TimedOut) as caught:
        run_without(walls, hostile.deaf, bool(walls), timeout=0.5)
    assert 0.5 <= time.monotonic() - began < 5
    assert caught.value.timeout == 0.5
    assert caught.value.report is not None


def test_timeout_of_one_that_spins():
    with pytest.raises(TimedOut):
        run_without((), hostile.burn, 60.0, 2, timeout=0.5)
    assert run_without((), hostile.burn, 0.1, timeout=30) >= 0.1


@pytest.mark.parametrize(("number", "error"), [(signal.SIGSTOP, TimedOut), (signal.SIGKILL, Crashed)])
def test_the_clock_is_not_stopped_by_signals(number, error):
    worker = run_without((), os.getpid)
    with pytest.raises(error):
        run_without((), hostile.kill, worker, number, timeout=1)
