"""The future of a call in an isolate: cancelling it while it runs kills what it runs."""

from __future__ import annotations

import threading
from concurrent.futures import BrokenExecutor, Future
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from typing import TypeVar

from isolate_fn._runtime.cancel import Cancel

T = TypeVar("T")


class IsolatedFuture(Future[T]):
    """A `concurrent.futures.Future` whose `cancel` also ends a call that runs.

    Made by `submit` of executors, isolated functions and sandboxes.
    """

    _switch: Cancel | None = None  # what ends the call while it runs; under the condition's lock

    def cancel(self) -> bool:
        """Cancel the call, and kill its whole process tree if it runs.

        The future is cancelled when this returns True: `result` raises CancelledError, callbacks have been called. The
        kill is under way then; `concurrent.futures.wait` and `as_completed` have the future only once the tree is gone.

        Returns:
            False if the call had ended already, True otherwise.
        """
        if super().cancel():  # it waited for its turn, or was cancelled before
            return True
        with self._condition:
            if self._state in (CANCELLED, CANCELLED_AND_NOTIFIED):  # by another thread
                return True
            if self._switch is None:
                return False
            self._state = CANCELLED
            self._switch.throw()
            self._condition.notify_all()
        self._invoke_callbacks()  # type: ignore[attr-defined]
        return True

    def begin(self, switch: Cancel) -> bool:
        """Say that the call runs from now on.

        Args:
            switch: ends it.

        Returns:
            False where it must not run: it was cancelled.
        """
        with self._condition:
            if not self.set_running_or_notify_cancel():
                return False
            self._switch = switch
            return True

    def end(self, value: T | None, error: BaseException | None) -> None:
        """Say how the call has ended; nothing that it started is left."""
        with self._condition:
            self._switch = None
            cancelled = self._state == CANCELLED
        if cancelled:
            self.set_running_or_notify_cancel()
        elif error is not None:
            self.set_exception(error)
        else:
            self.set_result(value)  # type: ignore[arg-type]

    def lose(self) -> None:
        """In a forked child: nobody here works at it. Who waits is told, callbacks are the parent's to call."""
        self._condition = threading.Condition()  # the lock may have been held by a thread that only the parent has
        self._switch = None
        if self._state not in (CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED):
            waited = self._state == PENDING
            what = "had not begun" if waited else "was running"
            self._exception = BrokenExecutor(
                f"this process was forked while the task {what}: only the parent gets its result; submit it again here"
            )
            self._state = FINISHED
