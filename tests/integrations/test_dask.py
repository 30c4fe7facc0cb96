"""Dask distributed: tasks that ask for isolates by annotation, and isolated functions inside ordinary tasks."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from clusters import Program, environment, nothing_left, run_program

pytestmark = [pytest.mark.needs("namespaces", "module:distributed"), pytest.mark.timeout(240)]

# What all programs begin with. `mark` is a file that an isolate does not see.
PRELUDE = """
import dataclasses, json, os, pathlib, sys, threading, time
import dask, dask.bag, numpy
from distributed import Client, LocalCluster
from isolate_fn import Policy, isolated
from isolate_fn.errors import Crashed, ResultRejected, TimedOut
from isolate_fn.integrations.dask import IsolatedPlugin

MARK = os.path.abspath("mark")
open(MARK, "w").close()
ASK = {"executor": "isolated", "resources": {"isolated": 1}}

def here(value=None):
    "Say whether this runs unprotected, and what it was given."
    return [os.path.exists(MARK), value]

def failure(future):
    try:
        return ["no failure", repr(future.result())]
    except Exception as error:
        return [type(error).__name__, str(error)]
"""

TASKS = """
class Evil:
    def __reduce__(self):
        return os.mkdir, (os.path.join(os.path.dirname(MARK), "unpickled"),)

@isolated
def decorated(value):
    return here(value)

@dataclasses.dataclass
class P:
    value: int

class Own(Exception):
    pass

def make(value) -> P:
    return P(value)

def fail(value):
    raise Own(value)

def own_failure(future):
    try:
        return repr(future.result())
    except Own as error:
        return ["Own", *error.args]
    except Exception as error:
        return [type(error).__name__, str(error)]

def main():
    found = {}
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster, \\
            Client(cluster) as client:
        with dask.annotate(executor="isolated"):
            found["before"] = failure(client.submit(here, pure=False))
        client.register_plugin(IsolatedPlugin(timeout=20))
        with dask.annotate(**ASK):
            inner = client.submit(here, 1, pure=False)
            found["submit"] = inner.result()
            found["chain"] = client.submit(here, inner).result()
            found["map"] = client.gather(client.map(here, range(6), pure=False))
            delayed = dask.delayed(here)(2)
            made = client.submit(make, 1, pure=False).result()
            found["own class"] = [isinstance(made, P), made.value]
            found["own exception"] = own_failure(client.submit(fail, 7, pure=False))
            found["unsaid class"] = own_failure(client.submit(lambda: P(1), pure=False))[0]
            array = client.submit(lambda a: [os.path.exists(MARK), float((a * 2).sum())], numpy.ones(1 << 20))
            bag = dask.bag.from_sequence(range(4), npartitions=2).map(here)
            found["ZeroDivisionError"] = failure(client.submit(lambda: 1 / 0, pure=False))
            found["Crashed"] = failure(client.submit(lambda: os._exit(3), pure=False))
            found["ResultRejected"] = failure(client.submit(lambda: Evil(), pure=False))
        found["outside"] = client.submit(here, inner, pure=False).result()
        found["delayed"] = client.compute(delayed).result()
        found["array"] = array.result()
        found["bag"] = client.compute(bag, optimize_graph=False).result()
        # The same collection with its graph optimised: where the annotation may be lost, the decorator is not.
        with dask.annotate(**ASK):
            undecorated = dask.bag.from_sequence(range(4), npartitions=2).map(lambda n: here(n + 1))
        found["optimised"] = client.compute(undecorated).result()
        found["decorated bag"] = client.compute(dask.bag.from_sequence([5]).map(decorated)).result()
        found["decorated"] = client.submit(decorated, 6).result()
        found["unpickled"] = os.path.exists("unpickled")
        found["durations"] = durations(client)
        client.unregister_worker_plugin("isolate_fn-isolated")
        found["gone"] = client.run(lambda dask_worker: sorted(dask_worker.executors)).popitem()[1]
    print(json.dumps(found))

def durations(client):
    "The time that Dask thinks an isolated task took; it plans by that."
    with dask.annotate(**ASK):
        future = client.submit(time.sleep, 0.3, pure=False)
    future.result()
    story = client.run(lambda dask_worker: list(dask_worker.state.tasks[future.key].startstops)).popitem()[1]
    return [one["stop"] - one["start"] >= 0.3 for one in story if one["action"] == "compute"]

if __name__ == "__main__":
    main()
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run one cluster and give everything that its tasks said."""
    return run_program(tmp_path_factory.mktemp("dask"), PRELUDE + TASKS)


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("submit", [False, 1]),
        ("chain", [False, [False, 1]]),
        ("map", [[False, n] for n in range(6)]),
        ("delayed", [False, 2]),
        ("array", [False, float(2 << 20)]),
        ("bag", [[False, n] for n in range(4)]),
        ("decorated", [False, 6]),
        ("own class", [True, 1]),
        ("own exception", ["Own", 7]),
        ("unsaid class", "ResultRejected"),
        ("decorated bag", [[False, 5]]),
    ],
)
def test_runs_in_an_isolate(found: Any, way: str, expected: Any) -> None:
    assert found[way] == expected


def test_without_annotation_tasks_run_in_the_worker(found: Any) -> None:
    assert found["outside"] == [True, [False, 1]]


def test_an_optimised_graph_loses_the_annotation(found: Any) -> None:
    """Not ours to mend; the page says so. If Dask mends it, the page can be shorter."""
    assert found["optimised"] == [[True, n + 1] for n in range(4)]


def test_a_worker_without_the_plugin_fails_the_task(found: Any) -> None:
    kind, text = found["before"]
    assert kind == "ValueError"
    assert "Invalid executor 'isolated'" in text


@pytest.mark.parametrize("kind", ["ZeroDivisionError", "Crashed", "ResultRejected"])
def test_how_a_task_fails(found: Any, kind: str) -> None:
    assert found[kind][0] == kind


def test_what_a_task_returns_is_unpickled_nowhere(found: Any) -> None:
    assert found["ResultRejected"][0] == "ResultRejected"
    assert found["unpickled"] is False


def test_dask_learns_how_long_a_task_took(found: Any) -> None:
    assert found["durations"] == [True]


def test_the_plugin_can_be_unregistered(found: Any) -> None:
    assert found["gone"] == ["actor", "default", "offload"]


def test_daemonic_workers_and_their_end(program: Program) -> None:
    """A nanny's worker is a daemonic process of multiprocessing. The cluster closes while an isolated task runs."""
    said = program(
        PRELUDE
        + """
def main():
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None,
                      local_directory="scratch") as cluster, Client(cluster) as client:
        client.register_plugin(IsolatedPlugin(prewarm=0))
        with dask.annotate(**ASK):
            first = client.submit(here, 1, pure=False).result()
            endless = client.submit(time.sleep, 1000, pure=False)
        def runs(dask_worker):
            return len(dask_worker.executors["isolated"]._running)
        while client.run(runs).popitem()[1] == 0:
            pass
        daemonic = client.run(lambda: __import__("multiprocessing").current_process().daemon).popitem()[1]
        began = time.monotonic()
    print(json.dumps({"first": first, "daemonic": daemonic, "status": endless.status, "closed": time.monotonic() - began}))

if __name__ == "__main__":
    main()
"""
    )
    assert said["first"] == [False, 1]
    assert said["daemonic"] is True
    assert said["status"] != "finished"


def test_a_worker_of_the_command_line(tmp_path: Path) -> None:
    """With the preload instead of the plugin; its ``__main__`` is not the client's."""
    addresses = tmp_path / "scheduler.json"
    common = {"cwd": tmp_path, "env": environment(), "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "dask", "scheduler", "--port", "0", "--no-dashboard", "--no-show",
         "--scheduler-file", str(addresses)],
        start_new_session=True, **common,
    )  # fmt: skip
    (tmp_path / "policies.py").write_text("from isolate_fn import Policy\nSHORT = Policy(timeout=0.5)\n")
    while not addresses.exists() or not addresses.read_text().endswith("}"):
        assert scheduler.poll() is None, scheduler.communicate()[1]
        time.sleep(0.02)
    worker = subprocess.Popen(
        [sys.executable, "-m", "dask", "worker", json.loads(addresses.read_text())["address"], "--nthreads", "2",
         "--no-dashboard", "--death-timeout", "60", "--local-directory", str(tmp_path / "scratch"),
         "--preload", "isolate_fn.integrations.dask", "--isolated-workers", "1", "--isolated-policy", "policies:SHORT"],
        start_new_session=True, **common,
    )  # fmt: skip
    try:
        said = run_program(
            tmp_path,
            PRELUDE
            + """
@isolated
def decorated(value):
    return here(value)

def main():
    with Client(scheduler_file="scheduler.json", timeout=60) as client:
        client.wait_for_workers(1, timeout=60)
        with dask.annotate(**ASK):
            first = client.submit(here, 1, pure=False).result()
            late = failure(client.submit(time.sleep, 1000, pure=False))
        print(json.dumps({"first": first, "late": late, "decorated": client.submit(decorated, 2).result(),
            "resources": client.run(lambda dask_worker: dask_worker.state.total_resources).popitem()[1]}))

if __name__ == "__main__":
    main()
""",
        )
    finally:
        for process in (worker, scheduler):
            process.send_signal(signal.SIGTERM)
        words = [process.communicate(timeout=60)[1] for process in (worker, scheduler)]
        nothing_left(worker.pid)
        nothing_left(scheduler.pid)
    assert said["first"] == [False, 1], words
    assert said["late"][0] == "TimedOut"
    assert said["decorated"] == [False, 2]
    assert said["resources"] == {"isolated": 1}
