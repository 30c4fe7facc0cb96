"""The workers behind the short way: when one is replaced, what makes a call look again, who may use it, and its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., str]


def test_a_worker_serves_as_many_calls_as_were_agreed(run_warm: Run) -> None:
    printed = run_warm("""
count = isolated(reuse=3)(tools.count)
print([(count(), way()) for _ in range(7)], len(waiting()))
once = isolated(reuse=1)(tools.count)
print([(once(), way()) for _ in range(2)], once._warm)
""")
    served = [(1, "long"), (2, "short"), (3, "long")]
    assert printed == f"{[*served, *served, (1, 'long')]} 1\n{[(1, 'long'), (1, 'long')]} None\n"


@pytest.mark.parametrize(
    ("function", "arguments", "options", "told"),
    [
        ("sleep", "60", "timeout=0.3", "error.timeout == 0.3 and isinstance(error, TimedOut)"),
        ("end", "'abort'", "", "error.signal == 6 and isinstance(error, Crashed)"),
        ("end", "'exit'", "", "error.exit_code == 7 and isinstance(error, Crashed)"),
        ("end", "'kill'", "", "error.signal == 9 and isinstance(error, Crashed)"),
        ("text", "5", "limits=Limits(result=6)", "isinstance(error, LimitExceeded) and error.used == 7"),
        ("text", "5000", "limits=Limits(result=4000)", "isinstance(error, LimitExceeded) and error.allowed == 4000"),
        ("text", "90_000", "limits=Limits(result=80_000)", "error.limit == 'result' and error.used == 90_002"),
        ("write", "5000", "limits=Limits(output=4000), output='discard'", "error.limit == 'output'"),
    ],
    ids=["timeout", "abort", "exit", "kill", "tiny result", "small result", "result", "output"],
)
def test_an_end_is_told_and_the_next_call_has_a_new_worker(
    function: str, arguments: str, options: str, told: str, run_warm: Run
) -> None:
    printed = run_warm(
        f"""
        both = reused(tools.both, "count", {options})
        (old,) = waiting()
        error = caught(both, {function!r}, {arguments})
        assert way() == "handed over" and error.ran and error.remedy, error
        assert old.channel.fileno() == -1 and not waiting()
        report = getattr(error, "report", None)
        assert {told} and report.enforcement.layers, error
        print(both("count"), way(), both("count"), way())
        """,
        tools="""
        def write(length):
            return os.write(1, b"x" * length)
        def both(name, *given):
            return globals()[name](*given)
        """,
    )
    assert printed == "1 long 2 short\n"


def test_a_change_of_circumstances_is_seen_by_the_next_call(run_warm: Run, tmp_path: Path) -> None:
    (tmp_path / "late").mkdir()
    (tmp_path / "late" / "latecomer.py").write_text("answer = 42\n")
    printed = run_warm(
        """
        import time
        zone = reused(tools.zone, None)
        for value, name in (("Asia/Tokyo", "+0900"), ("America/Bogota", "-0500")):
            os.environ["TZ"] = value
            assert zone(None) == (value, name) and way() == "long", value
            assert zone(None) == (value, name) and way() == "short", value
        del os.environ["TZ"]
        assert zone(None)[0] is None
        os.environ["NOBODYS"] = "business"
        before = waiting()
        assert zone(None)[0] is None and way() == "long" and waiting() == before  # looked, and found all as it was
        assert zone(None)[0] is None and way() == "short"

        assert type(caught(zone, "latecomer")) is ModuleNotFoundError
        sys.path.append(sys.argv[1])
        print(zone("latecomer"))
        plain, os.environ = os.environ, dict(os.environ)  # as tests of other people's do
        print(zone("latecomer"), zone("latecomer"))
        os.environ = plain
        """.replace("sys.argv[1]", repr(str(tmp_path / "late"))),
        tools="""
        def zone(module):
            return __import__(module).answer if module else (os.environ.get("TZ"), time.strftime("%z"))
        """,
    )
    assert printed == "42\n42 42\n"


def test_a_forked_child_does_not_use_its_parents_worker(run_warm: Run) -> None:
    printed = run_warm("""
count, other = reused(tools.count), reused(tools.echo)
assert count() == 2 and way() == "short"
for generation in range(2):
    pid = os.fork()
    if pid == 0:
        assert not waiting()
        silent = [os.pipe() for _ in range(50)]  # take the numbers of the descriptors that were closed
        print("child", count(), way(), count(), way(), other("x"), flush=True)
        if generation == 0:
            if os.fork() == 0:
                print("grandchild", count(), count(), flush=True)
                sys.exit()
            os.wait()
        sys.exit()
    assert os.waitpid(pid, 0)[1] == 0
    print("parent", count(), way(), other("y"), way(), flush=True)
""")
    child = "child 1 long 2 short x\n"
    assert printed == f"{child}grandchild 1 2\nparent 3 short y short\n{child}parent 4 short y short\n"


def test_threads_get_their_own_answers(run_warm: Run) -> None:
    printed = run_warm("""
import threading
from concurrent.futures import ThreadPoolExecutor
echo = reused(tools.echo, output=lambda stream, data: None)
begin = threading.Barrier(8)
def work(number):
    begin.wait()
    words = [f"{number} {call}" * (1 + call % 3 * 2000) for call in range(100)]
    return [echo(word) for word in words] == words
with ThreadPoolExecutor(8) as threads:
    print(list(threads.map(work, range(8))) == [True] * 8, 1 <= len(waiting()) <= 8)
class Racing:
    MISSED = object()
    def call(self, args):
        echo._warm = None  # as another thread may, between the question and its answer
        return self.MISSED
    def outdated(self):
        return True
echo._warm = Racing()
print(echo(5))
""")
    assert printed == "True True\n5\n"


def test_methods(run_warm: Run) -> None:
    printed = run_warm("""
tool = tools.Tool(10)
for kind, call, taken in [("method", lambda n: tool.method(n), "long"), ("static", lambda n: tools.Tool.static(n), "short"),
                          ("static of one", lambda n: tool.static(n), "short"), ("class", lambda n: tool.maker(n), "long")]:
    call(0), call(0), way()
    print(kind, call(5), way() == taken)
""", tools="""
    from isolate_fn import isolated
    class Tool:
        def __init__(self, base):
            self.base = base
        @isolated(reuse=True)
        def method(self, number):
            return self.base + number
        @isolated(reuse=True)
        @staticmethod
        def static(number):
            return number + 1
        @isolated(reuse=True)
        @classmethod
        def maker(cls, number):
            return cls.__name__ + str(number)
    """)  # fmt: skip
    assert printed == "method 15 True\nstatic 6 True\nstatic of one 6 True\nclass Tool5 True\n"


def test_close_ends_the_worker(run_warm: Run) -> None:
    printed = run_warm("""
import select, threading, time
count, slow = reused(tools.count), reused(tools.sleep, 0)
first = waiting()
gone = [os.dup(isolate.pidfd) for isolate in first]
count.close()
slow.close()
assert not waiting() and all(isolate.channel.fileno() == -1 for isolate in first)
assert all(select.select([handle], [], [], 0)[0] for handle in gone)  # a pidfd is readable when its process has ended
print(count(), way(), count(), way())
# Closed while a call is under way, which is answered; its worker is ended then.
slow(0)
(busy,) = [isolate for isolate in waiting() if isolate.plan is slow._last[1].plan]
way()
answers = []
thread = threading.Thread(target=lambda: answers.append(slow(0.5)))
thread.start()
while busy in waiting():
    time.sleep(0.001)
slow.close()
thread.join()
print(answers, way(), busy.channel.fileno(), busy in waiting(), slow(0), way())
""")
    assert printed == "1 long 2 short\n['slept'] short -1 False slept long\n"


def test_a_worker_that_waited_too_long_is_not_used(run_warm: Run) -> None:
    printed = run_warm("""
import time
count = reused(tools.count, idle_timeout=3000)
(old,) = waiting()
old.idle_since -= 2000
print(count(), way(), time.monotonic() - old.idle_since < 1000)
old.idle_since -= 3001
print(count(), way(), old.channel.fileno(), waiting() != [old], count(), way())
""")
    assert printed == "2 short True\n1 long -1 True 2 short\n"


def test_the_sweep_ends_what_waited_too_long_and_forgets_its_policy(run_warm: Run) -> None:
    printed = run_warm("""
import collections, time
def open_now():
    return len(os.listdir("/proc/self/fd"))
plain = isolated(tools.echo)
plain(1)  # starts the spawner that all share
before, state = open_now(), pool._pool()
held = set(state.waiting)
kept, other, busy = reused(tools.count), reused(tools.echo, timeout=500), reused(tools.echo, timeout=501)
known = {function: next(key for key in state.waiting if key[0] == id(function._last[1].plan)) for function in (kept, other, busy)}
old = list(state.waiting[known[other]].isolates)
for isolate in old:
    isolate.idle_since -= 1000
state.waiting[known[other]].used -= 1000
state.waiting[known[busy]].used -= 1000
assert busy(1) == 1 and way() == "short"  # counts as use
(late,) = state.waiting[known[busy]].isolates
late.idle_since -= 1000
state.swept = time.monotonic()
pool._sweep(state)  # it has done so a moment ago
assert old[0].channel.fileno() >= 0
state.swept -= 2
pool._sweep(state)
assert [isolate.channel.fileno() for isolate in (*old, late)] == [-1, -1]
assert known[other] not in state.waiting and known[busy] in state.waiting  # used since then
assert kept() == 2 and way() == "short"
assert (other(5), way()) == (5, "long") and (other(6), way()) == (6, "short")  # what was forgotten is made anew
for function in (kept, other, busy):
    function.close()
print(open_now() - before, set(state.waiting) - held)

class Faster(collections.deque):
    def __getitem__(self, index):  # another thread took the last one since it was seen
        raise IndexError
waiting_there = pool.waiting_for(plain._last[1], b"")
waiting_there.isolates = Faster([object()])
state.swept -= 2
pool._sweep(state)
waiting_there.isolates = collections.deque()
""")
    assert printed == "0 set()\n"


def test_an_error_of_the_callers_signal_handler_ends_the_call(run_warm: Run) -> None:
    """A TimeoutError is an OSError, and so is a broken channel; the one is the caller's, the other is ours to tell."""
    printed = run_warm("""
import signal, time
def alarm(*parts):
    raise TimeoutError("alarm")
signal.signal(signal.SIGALRM, alarm)
sleep = reused(tools.sleep, 0)
(old,) = waiting()
signal.setitimer(signal.ITIMER_REAL, 0.1)
error = caught(sleep, 60)
print(error, way(), old.channel.fileno(), sleep(0))

class Interrupted:
    "Sends, and is interrupted before the caller knows of it."
    def __init__(self, channel):
        self.channel = channel
    def send(self, data, flags):
        self.channel.send(data, flags)
        raise TimeoutError("alarm")
    def __getattr__(self, name):
        return getattr(self.channel, name)

for given, named in (((0,), {}), ((), {"seconds": 0})):  # short and long
    sleep(0), sleep(0), way()
    (old,) = waiting()
    old.channel = Interrupted(old.channel)
    print(caught(sleep, *given, **named), old.channel.fileno(), sleep(0))
""")
    assert printed == "alarm short -1 slept\nalarm -1 slept\nalarm -1 slept\n"
