"""Celery: isolated functions inside tasks, in every pool that comes with it; no help of ours is needed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import alive_in_session, environment, nothing_left, run_program

pytestmark = [pytest.mark.needs("namespaces", "module:celery"), pytest.mark.timeout(240)]

# Apart from the tasks, so that an isolate does not import Celery.
PARSING = """
import os, time
from isolate_fn import isolated

MARK = os.path.join(os.path.dirname(__file__), "mark")

@isolated
def here(value):
    return [os.path.exists(MARK), value]

@isolated
def crash_before(attempt):
    if attempt < 2:
        os.abort()
    return attempt

@isolated
def sleep(seconds):
    time.sleep(seconds)
    return "slept"
"""

# kombu's and Celery's file transports write where readers already look; a reader then finds half a message and gives up.
WHOLE = """
import os, time, uuid
from celery.backends.filesystem import FilesystemBackend
from kombu.transport import filesystem
from kombu.utils.json import dumps

def write(path, text):
    hidden = os.path.join(os.path.dirname(path), f"../{uuid.uuid4()}")
    with open(hidden, "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode())
    os.replace(hidden, path)

def put(channel, queue, payload, **options):
    name = f"{time.monotonic_ns():020d}_{uuid.uuid4()}.{queue}.msg"
    write(os.path.join(channel.data_folder_out, name), dumps(payload))

filesystem.Channel._put = put
FilesystemBackend.set = lambda backend, key, value: write(os.fsdecode(backend._filename(key)), value)
"""

TASKS = """
import whole
import os, pathlib, time
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
from isolate_fn import isolated
from isolate_fn.errors import Crashed

base = pathlib.Path(__file__).parent
queue = {"data_folder_in": f"{base}/queue", "data_folder_out": f"{base}/queue", "control_folder": f"{base}/control"}
app = Celery("tasks", broker="filesystem://", backend=f"file://{base}/results",
             broker_transport_options={**queue, "polling_interval": 0.02})
app.conf.update(worker_enable_remote_control=False, broker_connection_retry_on_startup=False)

MARK = f"{base}/mark"

@app.task
def inside(value):
    from parsing import here
    return [os.getpid(), *here(value)]

@app.task
@isolated
def decorated(value):
    return [os.path.exists(MARK), value]

@app.task
def crashes():
    from parsing import crash_before
    return crash_before(0)

@app.task(bind=True, autoretry_for=(Crashed,), default_retry_delay=0.01, max_retries=3)
def retried(self):
    from parsing import crash_before
    return crash_before(self.request.retries)

@app.task(soft_time_limit=1)
def soft():
    from parsing import sleep
    try:
        return sleep(1000)
    except SoftTimeLimitExceeded:
        return "interrupted"

@app.task(time_limit=1)
def hard():
    from parsing import sleep
    return sleep(1000)

@app.task
def long(name, seconds):
    from parsing import sleep
    (base / name).touch()
    return sleep(seconds)
"""

CLIENT = """
import json, sys, time
import tasks

def outcome(task, *args):
    try:
        return [task.delay(*args).get(timeout=60, interval=0.02)]
    except Exception as error:
        return [type(error).__name__, getattr(error, "signal", None)]

found = {
    "inside": outcome(tasks.inside, 1),
    "decorated": outcome(tasks.decorated, 2),
    "crashes": outcome(tasks.crashes),
    "retried": outcome(tasks.retried),
}
many = [tasks.inside.delay(n) for n in range(12)]
found["many"] = [one.get(timeout=60, interval=0.02) for one in many]
if sys.argv[1:] == ["prefork"]:
    found["soft"] = outcome(tasks.soft)
    found["hard"] = outcome(tasks.hard)
found["afterwards"] = outcome(tasks.inside, 3)
print(json.dumps(found))
"""

START = ("-c", "import parsing, celery.__main__; parsing.here(0); celery.__main__.main()")
POOLS = ("prefork", "threads", "solo")


class Worker:
    """A worker of the command line, and the directory that it shares with its clients.

    Args:
        directory: an empty one.
        pool: of Celery's.
        start: what the interpreter runs; by default something that has a spawner before prefork forks it.
    """

    def __init__(self, directory: Path, pool: str, *start: str) -> None:
        self.directory, self.pool = directory, pool
        for name in ("queue", "results", "control"):
            (directory / name).mkdir()
        for name, text in (("parsing.py", PARSING), ("whole.py", WHOLE), ("tasks.py", TASKS), ("mark", "")):
            (directory / name).write_text(textwrap.dedent(text))
        self.log = directory / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, *(start or START), "-A", "tasks", "worker", "--pool", pool, "--concurrency", "2",
                 "--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "WARNING"],
                cwd=directory, env=environment(C_FORCE_ROOT="1"), start_new_session=True, stdout=log, stderr=log,
            )  # fmt: skip

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *failure: object) -> None:
        """End what a failed test leaves running."""
        for pid in alive_in_session(self.process.pid):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def ask(self, script: str) -> Any:
        """Run a client to its end."""
        script = script.replace("sys.argv[1:]", repr([self.pool]))
        return run_program(self.directory, script, name="client.py", C_FORCE_ROOT="1")

    def wait_for(self, name: str) -> None:
        """Wait for a file that a task makes."""
        deadline = time.monotonic() + 60
        while not (self.directory / name).exists():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def results(self) -> list[Any]:
        """Return what is in the result backend."""
        return [json.loads(file.read_text()) for file in (self.directory / "results").iterdir()]

    def end(self, number: int) -> int:
        """Send a signal, wait until nothing of it is left, and return its exit status."""
        self.process.send_signal(number)
        status = self.process.wait(timeout=60)
        nothing_left(self.process.pid)
        return status


@pytest.fixture(scope="module", params=POOLS)
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Run one worker of each pool and give what its tasks said."""
    with Worker(tmp_path_factory.mktemp("celery"), request.param) as worker:
        yield {"pool": request.param, **worker.ask(CLIENT)}
        status, log = worker.end(signal.SIGTERM), worker.log.read_text()
        # After a hard time limit billiard may look at the sentinel of a child that it has just closed.
        assert status == 0 or ("TimeoutHandler" in log and "invalid file descriptor" in log), log


def test_an_isolated_function_inside_a_task(found: Any) -> None:
    assert found["inside"][0][1:] == [False, 1]


def test_a_decorated_task(found: Any) -> None:
    assert found["decorated"] == [[False, 2]]


def test_a_crash_is_an_ordinary_failure(found: Any) -> None:
    """The client gets the very error, its fields included, and the worker's process is still there."""
    assert found["crashes"] == ["Crashed", signal.SIGABRT]
    assert found["afterwards"][0][1:] == [False, 3]
    if found["pool"] != "prefork":
        assert found["afterwards"][0][0] == found["inside"][0][0]


def test_retries(found: Any) -> None:
    assert found["retried"] == [2]


def test_many_tasks_at_a_time(found: Any) -> None:
    """In prefork from children that were forked with a spawner of their parent's in hand."""
    assert [result[1:] for result in found["many"]] == [[False, n] for n in range(12)]
    assert len({result[0] for result in found["many"]}) <= (2 if found["pool"] == "prefork" else 1)


def test_time_limits(found: Any) -> None:
    """Only prefork enforces them: the soft one interrupts the call, the hard one kills the process around it."""
    if found["pool"] == "prefork":
        assert found["soft"] == ["interrupted"]
        assert found["hard"][0] == "TimeLimitExceeded"
    else:
        assert "soft" not in found


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_the_command_itself(pool: str, tmp_path: Path) -> None:
    """Celery takes the working directory from sys.path again when the tasks are loaded, and its script lies elsewhere."""
    script = Path(sysconfig.get_path("scripts"), "celery")
    with Worker(tmp_path, pool, str(script)) as worker:
        result = "tasks.decorated.delay(2).get(timeout=60, interval=0.02)"
        assert worker.ask(f"import json, tasks; print(json.dumps({result}))") == [False, 2]


@pytest.mark.parametrize("pool", POOLS)
def test_warm_shutdown_waits_for_an_isolated_call(pool: str, tmp_path: Path) -> None:
    with Worker(tmp_path, pool) as worker:
        worker.ask("import tasks; tasks.long.delay('begun', 2); print(1)")
        worker.wait_for("begun")
        assert worker.end(signal.SIGTERM) == 0, worker.log.read_text()
        assert [(one["status"], one["result"]) for one in worker.results()] == [("SUCCESS", "slept")]


def test_a_killed_child_takes_its_isolates_along(tmp_path: Path) -> None:
    """Prefork's children are daemonic processes; whoever kills one leaves an isolate without its caller."""
    with Worker(tmp_path, "prefork") as worker:
        worker.ask("import tasks; tasks.long.delay('begun', 1000); print(1)")
        worker.wait_for("begun")
        for pid in alive_in_session(worker.process.pid):
            os.kill(pid, signal.SIGKILL)
        assert worker.end(signal.SIGKILL) == -signal.SIGKILL
