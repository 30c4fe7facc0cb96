"""`IsolatedExecutor`: the executor of `concurrent.futures` whose workers are isolates."""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import os
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

from isolate_fn._api.chunks import Chunk, check_size
from isolate_fn._api.crew import Crew
from isolate_fn._api.nested import refuse_nested
from isolate_fn._api.workers import Initializer, Repeated, Workers
from isolate_fn.policy.limits import Limits
from isolate_fn.policy.policy import Policy
from isolate_fn.policy.unsupported import refuse_unbuilt
from isolate_fn.policy.values import unknown_option

P = ParamSpec("P")
T = TypeVar("T")

_OWN = ("max_workers", "initializer", "initargs", "policy")


class IsolatedExecutor(Executor):
    """A `concurrent.futures.Executor` whose tasks run in isolates, each task in a new one unless ``reuse=`` says else.

    Whatever accepts an executor accepts this one. It differs from ProcessPoolExecutor in three ways: a worker that dies
    fails only its own task, by the error that names the cause, and the next task finds a new one; ``future.cancel()`` of
    a task that runs kills its process tree; and results come back as those of `isolated` do, never by pickle.

    Args:
        max_workers: tasks that run at the same time; the number of processors that this process may use if left out.
        initializer: runs in each isolate before its first task. With ``reuse=False`` that is before every task. If it
            fails, the executor is broken.
        initargs: its arguments.
        policy: options to start from, which the others override: a `Policy`, or the name of a preset or of a policy in
            the project's pyproject.toml.
        **isolated_options: as for `isolated`. ``timeout`` counts for each task, from its begin.

    Raises:
        ValueError: ``max_workers`` is not positive.
        TypeError: ``initializer`` cannot be called.
        PolicyError: an option does not exist, has the wrong type or is out of range.
        Unsupported: an option that this version cannot enforce.
    """

    _counter = itertools.count().__next__

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        policy: Policy | str | None = None,
        **isolated_options: Any,
    ) -> None:
        if max_workers is None:
            max_workers = processors()
        if max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        for name in isolated_options:
            if name not in Policy.__annotations__ and name not in Limits.__annotations__:
                raise unknown_option(name, name, (*_OWN, *Policy.__annotations__))
        self.policy = Policy.from_options(policy, **isolated_options)
        refuse_unbuilt(self.policy)
        self._max_workers = max_workers
        opening = None if initializer is None else Initializer(initializer, initargs)
        # As log records of its tasks are told.
        named = self.policy if self.policy.name else Policy.from_options(self.policy, name="IsolatedExecutor")
        self._workers = Workers(named, opening)
        name = f"IsolatedExecutor-{self._counter()}"
        workers = self._workers
        self._crew = Crew(max_workers, name, self.policy.idle_timeout, workers.close, workers.at_fork)
        weakref.finalize(self, self._crew.close).atexit = False  # the crew has its own hook for that

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Schedule a call and return its future.

        Args:
            fn: any function that `isolated` could decorate. One that is decorated runs under this executor's policy.
            *args: its arguments, written down when the task's turn comes.
            **kwargs: its keyword arguments.

        Returns:
            An `IsolatedFuture`: what cannot be sent, and every way in which a call can end, is its exception.

        Raises:
            RuntimeError: after `shutdown`, or at the interpreter's exit.
            BrokenExecutor: the initializer failed in an earlier task.
        """
        self._workers.check()
        refuse_nested("an IsolatedExecutor", "call the function itself; what runs here is isolated already")
        return self._crew.submit(functools.partial(self._workers.run, fn, args, kwargs))

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        progress: str = "",
    ) -> Iterator[T]:
        """Call a function for each tuple of arguments, several at a time, and return an iterator of the values in order.

        Args:
            fn: as for `submit`.
            *iterables: read at once, whole.
            timeout: seconds from now after which the iterator raises TimeoutError.
            chunksize: calls that are sent together and share one isolate; if one raises, its chunk has no other value.
            progress: a word for the work: how far it has come is shown on stderr while the values are taken, where that is a
                terminal.

        Raises:
            ValueError: ``chunksize`` is below 1.

        When the iterator raises or is closed, calls that have not ended are cancelled, and what they run is killed.
        """
        check_size(chunksize)
        if progress:
            calls = list(zip(*iterables, strict=False))
            found = self.map(fn, *zip(*calls, strict=True), timeout=timeout, chunksize=chunksize)
            return _shown(found, progress, len(calls))
        if chunksize == 1:
            once: Any = Repeated(fn)
            return super().map(once, *iterables, timeout=timeout)
        chunk = Chunk(fn)
        many: Any = Repeated(chunk)
        lists = (calls for (calls,) in chunk.arguments(iterables, chunksize))
        return _one_by_one(super().map(many, lists, timeout=timeout))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks.

        Args:
            wait: return when all tasks have ended, and with them the isolates that were kept ready.
            cancel_futures: cancel the tasks that have not begun.
        """
        self._crew.close()
        if cancel_futures:
            self._crew.drop()
        if wait:
            self._crew.join()
            self._workers.close()


def processors() -> int:
    """Return how many processors this process may use, 1 where nobody knows."""
    count = getattr(os, "process_cpu_count", os.cpu_count)  # the first since Python 3.13
    return count() or 1


def _one_by_one(lists: Iterator[list[T]]) -> Iterator[T]:
    # Nothing here holds on to a value that was handed out.
    for values in lists:
        values.reverse()
        while values:
            yield values.pop()


def _shown(values: Iterator[T], what: str, total: int) -> Iterator[T]:
    """Show how many values were taken."""
    # By name, because it belongs to a layer above; it is loaded where somebody asks for it.
    bar = importlib.import_module("isolate_fn.cli.progress")
    with contextlib.closing(values) as taken, bar.progress(what, total) as step:  # type: ignore[type-var]
        for number in range(1, total + 1):
            step(f"{number} of {total}")
            yield next(taken)


__all__ = ["IsolatedExecutor"]
