"""Threads that wait for isolates: started when there is work, no more than asked for, gone when there is none.

The rules of `concurrent.futures.thread` hold. At the interpreter's exit, what was submitted is done first; nothing more is
taken. A crew whose owner is collected does what it was given and ends. A forked child has none of its parent's threads:
there every crew is empty, and futures that nobody works at any more say so instead of being waited for.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import weakref
from collections.abc import Callable
from concurrent.futures._base import LOGGER
from typing import Any

from isolate_fn._api.future import IsolatedFuture
from isolate_fn._runtime.cancel import Cancel

Run = Callable[[Cancel], Any]


class _Work:
    """One task.

    Args:
        run: does it, and is given the switch that ends it.
    """

    __slots__ = ("future", "run")

    def __init__(self, run: Run) -> None:
        self.future: IsolatedFuture[Any] = IsolatedFuture()
        self.run = run

    def do(self, switch: Cancel) -> None:
        """Run it and tell its future."""
        future = self.future
        try:
            if not future.begin(switch):
                return
            value = None
            try:
                value = self.run(switch)
            except BaseException as error:  # whatever it is, it belongs to who asks for the result
                future.end(None, error)
            else:
                future.end(value, None)
        except BaseException:  # a callback's SystemExit; or somebody else has set the future's result
            LOGGER.critical("Exception in a thread of %s", future, exc_info=True)
        finally:
            del self, future  # an exception refers to this frame, and the future to the exception


class Crew:
    """Threads that take tasks from one queue, in order.

    Args:
        most: how many threads there may be.
        name: of the threads, without their number.
        idle_seconds: a thread that had no work for so long ends.
        at_rest: called by the last thread that ends.
        at_fork: called in a forked child.
    """

    def __init__(
        self,
        most: int,
        name: str,
        idle_seconds: float,
        at_rest: Callable[[], object] = bool,
        at_fork: Callable[[], object] = bool,
    ) -> None:
        self.most, self.name, self.idle_seconds, self.at_rest, self.at_fork = most, name, idle_seconds, at_rest, at_fork
        self.closed = False
        self._started = 0
        self._empty()
        _crews.add(self)

    def _empty(self) -> None:
        # Reentrant: a signal handler or a finalizer that submits may come while its thread submits.
        self._lock = threading.RLock()
        # A queue whose put() may come while its thread is inside get() or put(): `close` is called by the collector.
        self._tasks: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._queued = self._idle = 0
        self.threads: set[threading.Thread] = set()  # that take tasks
        self._alive: list[threading.Thread] = []  # and those that are just ending
        self._under_way: set[_Work] = set()
        self._switches: set[Cancel] = set()

    def submit(self, run: Run) -> IsolatedFuture[Any]:
        """Have a task done by a thread.

        Args:
            run: the task; it is given the switch that ends it.

        Raises:
            RuntimeError: the crew was closed, or the interpreter is shutting down.
        """
        work = _Work(run)
        with self._lock:
            if self.closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if _exiting:
                raise RuntimeError("cannot schedule new futures after interpreter shutdown")
            self._under_way.add(work)
            self._tasks.put(work)
            self._queued += 1
            if self._queued > self._idle and len(self.threads) < self.most:
                self._start()
        return work.future

    def _start(self) -> None:
        thread = threading.Thread(target=self._serve, name=f"{self.name}_{self._started}")
        self._started += 1
        self.threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # no more threads; where there is another one, it will do the work
            self.threads.discard(thread)
            if not self.threads:
                self._take_back()
                raise
        else:
            for each in [each for each in self._alive if not each.is_alive()]:
                self._alive.remove(each)
            self._alive.append(thread)  # in place: a signal handler that submits may have come in between

    def _serve(self) -> None:
        switch: Cancel | None = None
        try:
            while (work := self._next()) is not None:
                if switch is None or switch.thrown:
                    self._close(switch)
                    switch = self._open(work)
                if switch is not None:
                    work.do(switch)
                self._under_way.discard(work)
                del work
        finally:
            self._close(switch)
            with self._lock:
                self.threads.discard(threading.current_thread())
                last = not self.threads
            if last:
                self.at_rest()

    def _next(self) -> _Work | None:
        """Wait for work; None where there will be none."""
        with self._lock:
            self._idle += 1
        while True:
            try:
                work = self._tasks.get(timeout=self.idle_seconds)
            except queue.Empty:
                work = None
            with self._lock:
                if work is not None:
                    self._idle -= 1
                    self._queued -= 1
                    return work
                if self.closed or _exiting:
                    self._tasks.put(None)  # for the next thread
                elif self._queued:  # it came in this moment
                    continue
                else:  # from here on it counts as gone, or a task might wait for it
                    self.threads.discard(threading.current_thread())
                self._idle -= 1
                return None

    def _open(self, work: _Work) -> Cancel | None:
        """Return a new switch; where there is none to be had, the task's future says so."""
        try:
            switch = Cancel()
        except OSError as error:  # too many open files
            if work.future.set_running_or_notify_cancel():
                work.future.set_exception(error)
            return None
        self._switches.add(switch)
        return switch

    def _close(self, switch: Cancel | None) -> None:
        if switch is not None:
            self._switches.discard(switch)
            switch.close()

    def _take_back(self) -> list[_Work]:
        """Return the tasks that no thread has taken."""
        found = []
        with self._lock:
            while True:
                try:
                    work = self._tasks.get_nowait()
                except queue.Empty:
                    break
                if work is not None:
                    found.append(work)
                    self._under_way.discard(work)
            self._queued -= len(found)
            if self.closed or _exiting:
                self._tasks.put(None)
        return found

    def close(self) -> None:
        """Take no more tasks; threads end when those there are are done. Takes no lock."""
        self.closed = True
        self._tasks.put(None)

    def drop(self) -> None:
        """Cancel the tasks that no thread has taken."""
        for work in self._take_back():
            if work.future.cancel():
                work.future.set_running_or_notify_cancel()

    def kill(self) -> None:
        """Cancel every task, also those that run."""
        self.drop()
        for work in list(self._under_way):
            work.future.cancel()

    def join(self) -> None:
        """Wait until all threads have ended."""
        with self._lock:
            threads = list(self._alive)
        for thread in threads:
            if thread is not threading.current_thread():  # a callback of a future may end what it runs in
                thread.join()

    def lose(self) -> None:
        """In a forked child: start afresh; what was under way is under way in the parent alone."""
        lost = list(self._under_way)
        for switch in self._switches:
            with contextlib.suppress(OSError):  # its lock may be held by a thread that only the parent has
                os.close(switch.fileno())
        self._empty()
        self.at_fork()
        for work in lost:
            work.future.lose()


_crews: weakref.WeakSet[Crew] = weakref.WeakSet()
_exiting = False


def _at_exit() -> None:
    global _exiting
    _exiting = True
    crews = list(_crews)
    for crew in crews:
        crew._tasks.put(None)
    try:
        for crew in crews:
            crew.join()
    except BaseException:  # Ctrl-C: nobody wants to wait for the rest
        for crew in crews:
            crew.kill()
        raise


def _in_child() -> None:
    for crew in list(_crews):
        crew.lose()


# As concurrent.futures.thread does: before the interpreter waits for its threads, and long before what they need is gone.
threading._register_atexit(_at_exit)  # type: ignore[attr-defined]
os.register_at_fork(after_in_child=_in_child)
