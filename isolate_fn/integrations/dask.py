"""Dask: workers with an executor whose tasks run in isolates, for tasks that ask for it by annotation.

From the client, for all workers that are there and all that come::

    client.register_plugin(IsolatedPlugin(timeout=60))
    with dask.annotate(executor="isolated", resources={"isolated": 1}):
        future = client.submit(parse, blob)

or at a worker's start: ``dask worker tcp://... --preload isolate_fn.integrations.dask --isolated-workers 4``.

A task goes in by pickle, as with any executor. What comes back is a value of the closed decoder or an exception, and
the worker's own message about it is made outside: nothing that the task returns is unpickled anywhere.

An annotation is a request, and Dask loses it where it optimises a collection's graph: compute those with
``optimize_graph=False``, or decorate the function. Where the annotation arrives at a worker without this executor, Dask
fails the task.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from typing import Any

import click
from dask._task_spec import GraphNode
from distributed import Worker, WorkerPlugin
from distributed.worker import _run_task_simple

from isolate_fn import IsolatedExecutor, Policy
from isolate_fn.errors import PolicyError
from isolate_fn.integrations._answers import Task
from isolate_fn.integrations._inside import run_task

NAME = "isolated"
"""The name of the executor and of the resource, unless another is asked for."""


class IsolatedPlugin(WorkerPlugin):  # type: ignore[misc]
    """Gives each worker an executor of isolates and as many units of a resource of the same name.

    Args:
        max_workers: isolates at a time of each worker; None for as many as the worker has threads.
        executor: the name for ``dask.annotate(executor=...)``; plugins of several names can be registered.
        policy: options to start from; the others override it.
        **options: options of `isolated`.

    Raises:
        PolicyError: an option does not exist or has a wrong value. No worker has heard of it.
    """

    def __init__(
        self, max_workers: int | None = None, *, executor: str = NAME, policy: Policy | None = None, **options: Any
    ) -> None:
        self.policy = Policy.from_options(policy, **options)
        self.max_workers, self.executor = max_workers, executor
        self.name = f"isolate_fn-{executor}"

    async def setup(self, worker: Worker) -> None:
        """Called by the worker."""
        await install(worker, self.max_workers, executor=self.executor, policy=self.policy)

    async def teardown(self, worker: Worker) -> None:
        """Called by the worker when it closes or the plugin is unregistered."""
        await remove(worker, executor=self.executor)


class TaskExecutor(Executor):
    """What a worker submits its tasks to.

    Dask has its executors make a message about the task, with the value's type or the pickled exception in it. Here
    only the value or the exception comes out of the isolate, and the message is made of it outside.

    Args:
        max_workers: isolates at a time.
        policy: what tasks may do.
    """

    def __init__(self, max_workers: int, policy: Policy) -> None:
        if "dask" not in policy.preload:
            policy = Policy.from_options(policy, preload=("dask", *policy.preload))
        self._isolates = IsolatedExecutor(max_workers, policy=policy)
        self._running: set[Future[Any]] = set()

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Start a task; called by the worker.

        Raises:
            TypeError: this is no task. Nothing but Dask's tasks may come here, see the class.
            RuntimeError: after shutdown.
        """
        if fn is not _run_task_simple:
            raise TypeError(f"{fn!r:.100} is no task of Dask's; submit to an IsolatedExecutor instead")
        task, dependencies, delay = args
        began = time.time()
        message: Future[Any] = Future()
        message.set_running_or_notify_cancel()
        answer = self._isolates.submit(Task(run_task, _functions(task)), task, dependencies)
        self._running.add(answer)
        answer.add_done_callback(self._running.discard)
        answer.add_done_callback(lambda answer: _tell(answer, message, delay, began))
        return message

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks; see `concurrent.futures.Executor.shutdown`."""
        self._isolates.shutdown(wait=wait, cancel_futures=cancel_futures)

    def kill(self) -> None:
        """End the tasks that run, and wait until nothing of them is left."""
        for answer in list(self._running):
            answer.cancel()
        self.shutdown(wait=True, cancel_futures=True)


def _functions(node: Any) -> Iterator[Any]:
    """Yield what a node of Dask's graph calls, and the nodes in it."""
    if isinstance(node, GraphNode) and hasattr(node, "func"):
        yield node.func
        for part in (*node.args, *node.kwargs.values()):
            yield from _functions(part)


def _tell(answer: Future[Any], message: Future[Any], delay: float, began: float) -> None:
    """Have Dask describe the answer, as if the task had run here and now, and correct the time."""
    try:
        described = _run_task_simple(lambda _: answer.result(), {}, delay)
        described["start"] = began + delay
    except BaseException as error:
        message.set_exception(error)
    else:
        message.set_result(described)


async def install(worker: Worker, max_workers: int | None = None, *, executor: str = NAME, policy: Policy) -> None:
    """Give one worker the executor, and the resource that leads tasks to it.

    Args:
        worker: the worker.
        max_workers: isolates at a time; None for as many as it has threads.
        executor: name of both.
        policy: what tasks may do.

    Raises:
        PolicyError: the worker has an executor of that name.
    """
    if executor in worker.executors:
        problem = f"{worker.address} has an executor {executor!r}"
        raise PolicyError("executor", problem, "choose another name, or unregister the plugin first")
    count = max_workers or worker.state.nthreads
    worker.executors[executor] = TaskExecutor(count, policy)
    await worker.set_resources(**{executor: count})


async def remove(worker: Worker, *, executor: str = NAME) -> None:
    """Take the executor from a worker. Its tasks that run are killed: nothing of them stays behind."""
    ours = worker.executors.pop(executor, None)
    if ours is not None:
        await asyncio.to_thread(ours.kill)


@click.command()  # type: ignore[untyped-decorator]
@click.option(  # type: ignore[untyped-decorator]
    "--isolated-workers", type=int, help="isolates at a time; by default as many as threads"
)
@click.option(  # type: ignore[untyped-decorator]
    "--isolated-policy", metavar="MODULE:NAME", help="a Policy, such as isolate_fn.presets:COMPUTE"
)
async def dask_setup(worker: Worker, isolated_workers: int | None, isolated_policy: str | None) -> None:
    """Called by ``dask worker --preload isolate_fn.integrations.dask``."""
    policy = Policy()
    if isolated_policy is not None:
        module, _, name = isolated_policy.partition(":")
        policy = getattr(importlib.import_module(module), name)
    await install(worker, isolated_workers, policy=policy)


async def dask_teardown(worker: Worker) -> None:
    """Called when that worker closes."""
    await remove(worker)
