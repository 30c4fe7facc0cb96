"""Each engine with one task, told to run it many times: what `benchmarks.scaling` measures, one process per engine."""

from __future__ import annotations

import functools
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from benchmarks import scaling_tasks
from isolate_fn import IsolatedExecutor

ROUNDS = 3
TASKS = {"plain": 200, "reused": 200, "fresh": 40}  # of one round: it shall last a second, not more

Runs = dict[str, Callable[[int], Any]]
"""For each way of `TASKS`, a function that runs so many tasks to their end."""


@contextmanager
def futures(workers: int) -> Iterator[Runs]:
    """`concurrent.futures`: ProcessPoolExecutor against IsolatedExecutor."""
    with (
        ProcessPoolExecutor(workers) as plain,
        IsolatedExecutor(workers, reuse=True) as reused,
        IsolatedExecutor(workers) as fresh,
    ):
        pools = {"plain": plain, "reused": reused, "fresh": fresh}
        yield {
            way: lambda count, pool=pool: [*pool.map(scaling_tasks.plain, range(count))]  # type: ignore[misc]
            for way, pool in pools.items()
        }


@contextmanager
def joblib(workers: int) -> Iterator[Runs]:
    """A loop of `Parallel`, one task per batch; with one worker the plain one is a loop in this process."""
    from joblib import Parallel, delayed, parallel_config

    from isolate_fn.integrations.joblib import register

    register()

    def loop(options: dict[str, Any], count: int) -> None:
        with parallel_config(n_jobs=workers, **options):
            Parallel(batch_size=1)(delayed(scaling_tasks.plain)(n) for n in range(count))

    yield {
        "plain": functools.partial(loop, {"backend": "loky"}),
        "reused": functools.partial(loop, {"backend": "isolated", "reuse": True}),
        "fresh": functools.partial(loop, {"backend": "isolated"}),
    }


@contextmanager
def dask(workers: int) -> Iterator[Runs]:
    """LocalCluster of processes with one thread each; isolated functions inside tasks."""
    from distributed import Client, LocalCluster

    with (
        tempfile.TemporaryDirectory() as directory,
        LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=None, local_directory=directory
        ) as cluster,
        Client(cluster) as client,
    ):

        def ask(function: Any, count: int) -> None:
            client.gather(client.map(function, range(count), pure=False))

        yield {way: functools.partial(ask, getattr(scaling_tasks, way)) for way in TASKS}


@contextmanager
def celery(workers: int) -> Iterator[Runs]:
    """A worker with the pool of threads and the broker in memory, both in this process."""
    from celery import Celery
    from celery.contrib.testing.worker import start_worker

    app = Celery("scaling", broker="memory://", backend="cache+memory://")
    app.conf.broker_transport_options = {"polling_interval": 0.001}
    left, done = [0], threading.Event()

    def run(way: str, n: int) -> None:
        getattr(scaling_tasks, way)(n)
        left[0] -= 1
        if left[0] == 0:
            done.set()

    task = app.task(run, name="run", ignore_result=True)

    def ask(way: str, count: int) -> None:
        left[0] = count
        done.clear()
        for n in range(count):
            task.delay(way, n)
        if not done.wait(60):
            raise TimeoutError(f"{left[0]} of {count} tasks are left after a minute")

    with start_worker(app, pool="threads", concurrency=workers, perform_ping_check=False, loglevel="ERROR"):
        yield {way: functools.partial(ask, way) for way in TASKS}


@contextmanager
def ray(workers: int) -> Iterator[Runs]:
    """A local Ray with so many processors; isolated functions inside tasks."""
    import ray

    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    ray.init(num_cpus=workers, include_dashboard=False, configure_logging=False, log_to_driver=False)

    @ray.remote  # type: ignore[untyped-decorator]
    def run(way: str, n: int) -> Any:
        return getattr(scaling_tasks, way)(n)

    try:
        yield {
            way: lambda count, way=way: ray.get([run.remote(way, n) for n in range(count)])  # type: ignore[misc]
            for way in TASKS
        }
    finally:
        ray.shutdown()


ENGINES = {"concurrent.futures": futures, "joblib": joblib, "dask": dask, "celery": celery, "ray": ray}
DISTRIBUTION = {"dask": "distributed"}


def measure(name: str, workers: int) -> dict[str, Any]:
    """Return tasks per second for each way, the median of a few rounds in which the ways take turns."""
    rates: dict[str, list[float]] = {way: [] for way in TASKS}
    with ENGINES[name](workers) as runs:
        for run in runs.values():
            run(4 * workers)  # processes, imports, spawners
        for _ in range(ROUNDS):
            for way, run in runs.items():
                began = time.perf_counter()
                run(TASKS[way])
                rates[way].append(TASKS[way] / (time.perf_counter() - began))
    release = "" if name == "concurrent.futures" else version(DISTRIBUTION.get(name, name))
    median = {way: round(statistics.median(values), 1) for way, values in rates.items()}
    return {"engine": name, "version": release, "workers": workers, "rates": median}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
