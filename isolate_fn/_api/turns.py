"""A lock for threads and for tasks of event loops alike, which get it in the order in which they asked.

A thread that waits sleeps; a task that waits is a future of its loop, and needs no thread.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator

from isolate_fn._runtime import lifetime
from isolate_fn.errors import PolicyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from types import TracebackType


class _Thread:
    """A thread that waits."""

    loop = None

    def __init__(self) -> None:
        self.ident = threading.get_ident()
        self._sleeping = threading.Lock()
        self._sleeping.acquire()

    def sleep(self) -> None:
        """Wait until `wake` is called."""
        self._sleeping.acquire()

    def wake(self) -> bool:
        """Say that it is its turn; return whether it will take it."""
        self._sleeping.release()
        return True


class _Task:
    """A task that waits."""

    def __init__(self) -> None:
        self.loop = _running_loop()
        assert self.loop is not None, "a task runs in a loop"
        self.task: object = sys.modules["asyncio"].current_task()
        self.future: asyncio.Future[None] = self.loop.create_future()

    def wake(self) -> bool:
        """Say that it is its turn; return whether it will take it."""
        assert self.loop is not None
        try:
            self.loop.call_soon_threadsafe(self._go_on)
        except RuntimeError:  # the loop is closed
            return False
        return True

    def _go_on(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that runs in this thread; without asyncio, which takes long to load, there is none."""
    return asyncio.events._get_running_loop() if (asyncio := sys.modules.get("asyncio")) else None


class Turns:
    """The lock. Threads take it by ``with``, tasks by ``async with turns.of_task():``."""

    def __init__(self) -> None:
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._generation = lifetime.generation
        self._lock = threading.RLock()  # a signal handler may come while this thread has it
        self._holder: _Thread | _Task | None = None
        self._waiting: deque[_Thread | _Task] = deque()

    def _line_up(self, me: _Thread | _Task) -> bool:
        """Take the lock, or a place in the line; return whether it is ours already."""
        if self._generation != lifetime.generation:  # whoever had it is not in this process
            self._start_afresh()
        with self._lock:
            if self._holder is None:
                self._holder = me
                return True
            if isinstance(me, _Thread):
                self._refuse_to_wait_for_ourselves()
            elif isinstance(self._holder, _Task) and self._holder.task is me.task:
                raise PolicyError(
                    "sandbox",
                    "this task is in a call of the block already, and would wait for itself",
                    "do not use the block in a host function or an iterator of its own call",
                )
            self._waiting.append(me)
            return False

    def _refuse_to_wait_for_ourselves(self) -> None:
        """A thread that waits for itself, or for a task of the loop that it runs, would wait for ever."""
        if isinstance(self._holder, _Thread) and self._holder.ident == threading.get_ident():
            raise PolicyError(
                "sandbox",
                "this thread is in a call of the block already, and would wait for itself",
                "open another sandbox in a signal handler or an output callback",
            )
        loop = _running_loop()
        if loop is not None and any(each is not None and each.loop is loop for each in (self._holder, *self._waiting)):
            raise PolicyError(
                "sandbox",
                "it is busy with a call that a task of this event loop awaits, and waiting here would hold up the loop",
                "use `await box.call_async(...)`, or a thread: `await asyncio.to_thread(box.run, ...)`",
            )

    def _hand_over(self) -> None:
        with self._lock:
            self._holder = None
            while self._waiting and self._holder is None:
                following = self._waiting.popleft()
                if following.wake():
                    self._holder = following

    def __enter__(self) -> None:
        me = _Thread()
        if self._line_up(me):
            return
        try:
            me.sleep()
        except BaseException:  # a signal handler's exception
            self._give_up(me)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._hand_over()

    @contextlib.contextmanager
    def if_free(self) -> Iterator[bool]:
        """Take the lock for the length of the block where nobody has it, without waiting; yield whether it is ours."""
        with self._lock:
            ours = self._holder is None and self._line_up(_Thread())
        try:
            yield ours
        finally:
            if ours:
                self._hand_over()

    def _give_up(self, me: _Thread | _Task) -> None:
        """Leave the line, or hand over what came to us at this moment."""
        with self._lock:
            with contextlib.suppress(ValueError):
                self._waiting.remove(me)
            ours = self._holder is me
        if ours:
            self._hand_over()

    @contextlib.asynccontextmanager
    async def of_task(self) -> AsyncIterator[None]:
        """Wait for the turn of this task, and let the next one have it at the end of the block."""
        me = _Task()
        if not self._line_up(me):
            try:
                await me.future
            except BaseException:  # cancelled, or the loop is closed
                self._give_up(me)
                raise
        try:
            yield
        finally:
            self._hand_over()
