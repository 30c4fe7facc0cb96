"""Programs of a sandbox block that want more than to run: to hang the caller, to outlive their end, to break the keepers."""

import contextlib
import errno
import os
import signal
import subprocess
import threading

import pytest
from caller import wait_for
from support import IDLE_TIMEOUT, open_without

from isolate_fn import Limits, sandbox
from isolate_fn.errors import Crashed, LimitExceeded

pytestmark = pytest.mark.needs("namespaces")

PIPE = subprocess.PIPE
KILLED = -signal.SIGKILL

# Both run as the isolate's user, as every program does: nothing forbids them to signal these processes. A keeper is the
# parent of whom it keeps, and the tool process is the parent of the keeper.
KEEPER = "$PPID"
TOOLS = "$(cut -d ' ' -f 4 /proc/$PPID/stat)"


@pytest.fixture
def box():
    with sandbox(idle_timeout=IDLE_TIMEOUT, output="discard", limits=Limits(output="64M", processes=128)) as opened:
        yield opened
        assert opened.run(["true"]).returncode == 0


def sh(box, script, **options):
    return box.popen(["sh", "-c", script], **options)


def inside(box):
    """Names of all processes inside but those of the box itself and of the question."""
    script = "for p in /proc/[0-9]*; do read -r name < $p/comm && echo $name; done"
    names = box.run(["bash", "-c", script], capture_output=True, text=True).stdout.split()
    return sorted(name for name in names if not name.startswith("python") and name != "bash")


# --- its pipes --------------------------------------------------------------------------------------------------------


def test_one_that_ignores_its_pipes(box):
    with pytest.raises(subprocess.TimeoutExpired):
        box.run(["sleep", "1000"], input=bytes(10 << 20), capture_output=True, timeout=0.2)
    with box.popen(["sleep", "1000"], stdin=PIPE, stdout=PIPE, stderr=PIPE) as program:
        with pytest.raises(subprocess.TimeoutExpired):
            program.communicate(bytes(10 << 20), timeout=0.2)
        program.kill()
    assert program.returncode == KILLED
    assert inside(box) == []


def test_one_that_closes_its_pipes(box):
    script = "exec <&- >&- 2>&-; sleep 0.1; exit 7"
    assert box.run(["sh", "-c", script], input=bytes(10 << 20), capture_output=True).returncode == 7
    with sh(box, script, stdin=PIPE, stdout=PIPE, stderr=PIPE) as program:
        assert program.communicate(bytes(10 << 20)) == (b"", b"")
        assert program.returncode == 7


def test_daemons_that_hold_the_pipes_open(box):
    """A reader waits for the end of a pipe, and so for everybody who holds it."""
    script = "for n in 1 2 3; do (setsid sh -c 'setsid sleep 1000 & sleep 1000' & ) ; done; echo up; echo up >&2"
    assert box.run(["sh", "-c", script], capture_output=True).stdout == b"up\n"
    with sh(box, script, stdin=PIPE, stdout=PIPE, stderr=PIPE) as program:
        assert (program.stdout.read(), program.stderr.read()) == (b"up\n", b"up\n")
    assert inside(box) == []


def test_another_program_that_holds_the_pipes_open_and_writes(box):
    """Whoever has ended is heard to the end, and not for as long as somebody else goes on in its name."""
    with sh(box, "read pid; exec >/proc/$pid/fd/1 2>&1; echo; while :; do echo x; done", stdin=PIPE) as thief:
        with sh(box, "(echo $$ >&2); read line; read go", stdin=PIPE, stdout=PIPE, stderr=PIPE) as victim:  # its 1 stays
            pid = victim.stderr.readline()
            thief.stdin.write(pid)
            thief.stdin.close()
            assert victim.stdout.read(1) == b"\n"
            victim.communicate(b"go\ngo\n", timeout=60)
            assert victim.returncode == 0
        thief.kill()


@pytest.mark.parametrize("how", ["run", "communicate", "nobody"])
def test_endless_output_on_both_pipes(how):
    with sandbox(idle_timeout=IDLE_TIMEOUT, output="discard", limits=Limits(output="1M")) as box:
        argv = ["sh", "-c", "while :; do echo 0123456789; echo 0123456789 >&2; done & exec cat /dev/zero"]
        ways = {
            "run": lambda: box.run(argv, capture_output=True),
            "communicate": lambda: box.popen(argv, stdout=PIPE, stderr=PIPE).communicate(),
            "nobody": lambda: box.popen(argv).wait(),
        }
        with pytest.raises(LimitExceeded) as caught:
            ways[how]()
        assert caught.value.limit == "output"
        assert box.call(os.getpid) > 1


# --- its keepers ------------------------------------------------------------------------------------------------------


def test_one_that_kills_its_keeper(box):
    """It is killed for it, with all that it started."""
    with box.popen(["cat"], stdin=PIPE, stdout=PIPE) as other:
        done = box.run(["sh", "-c", f"(setsid sleep 1000 &); kill -9 {KEEPER}; sleep 1000"], timeout=60)
        assert done.returncode == KILLED
        while inside(box) != ["cat"]:  # that was told before it was done
            pass
        assert other.communicate(b"unharmed") == (b"unharmed", None)


def test_one_that_stops_its_keeper():
    """Then nobody tells of its end any more: the caller's deadline holds, and the block ends."""
    with sandbox(idle_timeout=IDLE_TIMEOUT, output="discard") as box:
        with pytest.raises(Crashed, match="stopped"):
            box.run(["sh", "-c", f"kill -STOP {KEEPER}; sleep 1000"], timeout=0.2)
        with pytest.raises(Crashed):
            box.run(["true"])


@pytest.mark.parametrize("number", ["KILL", "STOP"])
def test_one_that_ends_or_stops_the_tool_process(number, monkeypatch):
    from isolate_fn._runtime import toolbox

    monkeypatch.setattr(toolbox, "SETUP_SECONDS", 1.0)  # how long an answer may take
    with sandbox(idle_timeout=IDLE_TIMEOUT, output="discard") as box:
        program = sh(box, f"kill -{number} {TOOLS}; echo done; exec sleep 1000", stdout=PIPE)
        assert program.stdout.readline() == b"done\n"
        with pytest.raises(Crashed):
            box.run(["true"])
        for use in (lambda: box.call(len, ""), lambda: box.get("x"), lambda: program.wait(60)):
            with pytest.raises(Crashed):
                use()
        program.stdout.close()


def test_one_that_stops_itself(box):
    with sh(box, "kill -STOP $$", stdout=PIPE, stderr=PIPE) as program:
        with pytest.raises(subprocess.TimeoutExpired):
            program.communicate(timeout=0.2)
        program.kill()
        assert program.wait(60) == KILLED
    with pytest.raises(subprocess.TimeoutExpired):
        box.run(["sh", "-c", "(setsid sh -c 'kill -STOP $$' &); kill -STOP $$"], timeout=0.2)
    assert inside(box) == []


def test_keepers_are_closed_to_programs(box):
    """Of the same user as everybody here: but not dumpable, as all processes that this package makes."""
    script = f"readlink /proc/{KEEPER}/fd/*; cat /proc/{KEEPER}/environ /proc/{KEEPER}/mem; echo x > /proc/{KEEPER}/fd/3"
    done = box.run(["sh", "-c", script], capture_output=True, text=True)
    assert done.stdout == ""
    assert done.stderr.count("Permission denied") == 3


def test_descriptors_of_one_are_not_those_of_another(box):
    count = "import os; print(sorted(os.listdir('/proc/self/fd'), key=int))"
    with box.popen(["cat"], stdin=PIPE, stdout=PIPE) as first, box.popen(["cat"], stdin=PIPE, stdout=PIPE) as second:
        alone = box.run(["python3", "-c", count], capture_output=True, text=True).stdout
        assert alone == "['0', '1', '2', '3']\n"
        first.stdin.close()  # its end is seen, because nobody else holds the pipe
        assert first.stdout.read() == b""
        assert second.poll() is None


def test_what_one_leaves_behind_without_the_search(weaken):
    """The keeper's search is what ends daemons while the block goes on."""
    daemon = "(setsid sleep 1000 >/dev/null 2>&1 &); echo up"
    weak = open_without(("self-check",), **weaken("tools.kill_children = lambda but=(): None"))
    with weak as box, box.popen(["cat"], stdin=PIPE):
        box.run(["sh", "-c", daemon], capture_output=True)
        wait_for(lambda: inside(box) == ["cat", "sleep"], "the daemon to execute its program")


def test_a_bomb_beside_another_program(box):
    """Forks without end, in sessions of their own; its keeper finds them all, and the neighbour lives."""
    bomb = "while :; do (setsid sh -c 'sleep 1000' &) ; done"
    with box.popen(["cat"], stdin=PIPE, stdout=PIPE) as other:
        with contextlib.suppress(subprocess.TimeoutExpired):  # or the shell gives up when it can fork no more
            box.run(["sh", "-c", bomb], timeout=1, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert inside(box) == ["cat"]
        assert other.communicate(b"unharmed") == (b"unharmed", None)


# --- the end of the block ----------------------------------------------------------------------------------------------


def test_the_block_ends_while_thirty_run():
    with sandbox(idle_timeout=IDLE_TIMEOUT, output="discard", limits=Limits(processes=256)) as box:
        quiet, loud = (f"trap '' TERM INT HUP; (setsid sleep 1000 &) ; {end}" for end in ("read x", "exec yes"))
        programs = [sh(box, quiet, stdin=PIPE) for _ in range(26)] + [sh(box, loud), sh(box, loud)]
        programs += [sh(box, loud, stdout=PIPE), sh(box, loud, stdout=PIPE)]
    assert [program.poll() for program in programs] == [KILLED] * 30
    for program in programs:
        for file in (program.stdin, program.stdout):
            if file is not None:
                file.close()


def test_the_block_ends_while_others_wait():
    found = []
    with sandbox(idle_timeout=IDLE_TIMEOUT, output="discard") as box:
        reader = box.popen(["cat"], stdin=PIPE, stdout=PIPE)
        running = box.popen(["sleep", "1000"])
        jobs = (lambda: reader.stdout.read(), lambda: running.wait(), lambda: running.wait(1000))
        threads = [threading.Thread(target=lambda job=job: found.append(job())) for job in jobs]
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(map(str, found)) == ["-9", "-9", "b''"]
    for file in (reader.stdin, reader.stdout):
        file.close()


def test_orders_of_many_threads(box):
    failures = []

    def work(number):
        try:
            for _ in range(5):
                assert box.run(["sh", "-c", f"cat; exit {number}"], input=b"x", capture_output=True).returncode == number
                box.put(f"file{number}", b"%d" % number)
                assert box.get(f"file{number}") == b"%d" % number
                assert box.call(lambda n: n, number) == number
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_an_interrupt_kills_the_program(box):
    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        main = threading.get_ident()
        threading.Timer(0.3, lambda: signal.pthread_kill(main, signal.SIGUSR1)).start()
        with pytest.raises(KeyboardInterrupt):
            box.run(["sleep", "1000"])
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert inside(box) == []


def test_a_memory_limit_ends_programs_and_says_so():
    eater = "import time; block = bytearray(500 << 20); block[::4096] = b'x' * len(block[::4096]); time.sleep(1000)"
    with sandbox(idle_timeout=IDLE_TIMEOUT, output="discard", limits=Limits(memory="200M")) as box:
        program = box.popen(["python3", "-c", eater])
        with pytest.raises(LimitExceeded) as caught:
            program.wait(60)
        assert caught.value.limit == "memory"
        with pytest.raises(LimitExceeded):
            box.run(["true"])


def test_a_forked_caller_leaves_the_parents_programs_alone(box):
    with box.popen(["cat"], stdin=PIPE, stdout=PIPE) as program:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                program.kill()
                code = 0 if program.wait(1) == KILLED else 2
                box.run(["true"])
            except OSError as failure:
                code = 3 if failure.errno == errno.EPERM else 0
            except Exception:
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert program.communicate(b"unharmed") == (b"unharmed", None)
