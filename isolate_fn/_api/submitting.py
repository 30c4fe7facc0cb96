"""Calls of an isolated function that nobody waits for yet: `Isolated.submit` and `Isolated.map`."""

from __future__ import annotations

import functools
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from isolate_fn._api.chunks import Chunk, check_size
from isolate_fn._api.crew import Crew
from isolate_fn._api.executor import processors
from isolate_fn._api.function import Isolated
from isolate_fn._api.future import IsolatedFuture

if TYPE_CHECKING:
    from isolate_fn._runtime.cancel import Cancel

T = TypeVar("T")

_MOST_THREADS = 32
_crews: weakref.WeakKeyDictionary[Isolated[..., Any], Crew] = weakref.WeakKeyDictionary()


def at_once() -> int:
    """Return how many calls of one function run at the same time: as many as ThreadPoolExecutor has threads."""
    return min(_MOST_THREADS, processors() + 4)


def submit(function: Isolated[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> IsolatedFuture[T]:
    """Call an isolated function in the background.

    Args:
        function: it.
        args: positional arguments, bound ones included.
        kwargs: keyword arguments.

    Raises:
        RuntimeError: the interpreter is shutting down.
    """
    return _crew_of(function).submit(functools.partial(_run, function, args, kwargs))


def _run(function: Isolated[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], cancel: Cancel) -> T:
    from isolate_fn._runtime.call import run

    prepared, signature, encoded, part = function.made_ready(args, kwargs)
    result: T = run(prepared, signature, encoded, part, cancel)
    return result


def _crew_of(function: Isolated[..., Any]) -> Crew:
    crew = _crews.get(function)
    if crew is None:
        name = f"isolated-{getattr(function, '__name__', 'function')}"
        made = Crew(at_once(), name, function.policy.idle_timeout)
        crew = _crews.setdefault(function, made)
        if crew is made:  # no other thread was faster
            weakref.finalize(function, crew.close).atexit = False
    return crew


class _Chunks(Isolated[..., list[Any]]):
    """A function whose calls are sent many at a time; the same isolates serve it."""

    def __init__(self, function: Isolated[..., Any]) -> None:
        self.chunk = Chunk(function.__wrapped__)
        super().__init__(self.chunk, function.policy)
        self.of = function

    def _prepared(self) -> Any:
        return self.of._prepared()


def each(
    function: Isolated[..., T], iterables: tuple[Iterable[Any], ...], timeout: float | None, chunksize: int
) -> Iterator[T]:
    """Do what `Isolated.map` does."""
    check_size(chunksize)
    until = None if timeout is None else time.monotonic() + timeout
    crew = _crew_of(function)
    if chunksize == 1:
        tasks = (functools.partial(_run, function, args, {}) for args in zip(*iterables, strict=False))
        return _Results(crew, tasks, until)
    chunks = _Chunks(function)
    many = (functools.partial(_run, chunks, args, {}) for args in chunks.chunk.arguments(iterables, chunksize))
    return _flat(_Results(crew, many, until))


def _flat(lists: _Results[list[T]]) -> Iterator[T]:
    try:
        for values in lists:
            values.reverse()
            while values:
                yield values.pop()
    finally:
        lists.close()


class _Results(Iterator[T]):
    """The values of tasks in their order, of which twice as many are under way as can run at the same time.

    Args:
        crew: does them.
        tasks: read as far as is needed.
        until: when to give up, by time.monotonic(); None for never.
    """

    def __init__(self, crew: Crew, tasks: Iterator[Callable[[Cancel], T]], until: float | None) -> None:
        self.crew, self.tasks, self.until = crew, tasks, until
        self.waiting: deque[IsolatedFuture[T]] = deque()
        self.over: BaseException = StopIteration()
        self._fill()

    def _fill(self) -> None:
        """Submit what comes next; what the caller's iterable raises is told after the values before it."""
        while type(self.over) is StopIteration and len(self.waiting) < 2 * self.crew.most:
            try:
                task = next(self.tasks)
            except StopIteration:
                return
            except Exception as error:
                self.over = error
                return
            self.waiting.append(self.crew.submit(task))

    def __next__(self) -> T:
        self._fill()
        if not self.waiting:
            over, self.over = self.over, StopIteration()
            raise over
        try:
            value = self.waiting[0].result(None if self.until is None else self.until - time.monotonic())
        except BaseException:
            self.close()
            raise
        del self.waiting[0]
        return value

    def close(self) -> None:
        """Cancel what has not ended, and kill what runs."""
        self.tasks = iter(())
        while self.waiting:
            self.waiting.pop().cancel()

    def __del__(self) -> None:
        if hasattr(self, "waiting"):
            self.close()
