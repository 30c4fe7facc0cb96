"""`Sandbox.submit`: calls of one sandbox that nobody waits for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

    from isolate_fn._api.crew import Crew
    from isolate_fn._runtime.cancel import Cancel
    from isolate_fn.policy.policy import Policy

T = TypeVar("T")


class InOrder:
    """The part of a sandbox that has calls done by a thread of its own, one after the other."""

    policy: Policy
    _crew: Crew | None = None

    def _open(self) -> Any:
        raise NotImplementedError

    def _call(self, function: Callable[..., Any], args: Any, kwargs: Any, cancel: Cancel | None = None) -> Any:
        raise NotImplementedError

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Schedule a call in the sandbox's worker, after those that were submitted before, and return its future.

        Cancelling a call that has not begun leaves the sandbox as it is. **Cancelling one that runs kills the sandbox**:
        its worker is one process, and later calls raise `Crashed`. When the block is left, calls that were submitted are
        waited for; when it is left by an exception, they are cancelled.

        Args:
            function: as for `call`.
            *args: its arguments, written down when the call's turn comes.
            **kwargs: its keyword arguments.

        Raises:
            PolicyError: the block is not open.
            RuntimeError: the interpreter is shutting down.
        """
        import functools

        self._open()
        crew = self._crew
        if crew is None:
            import weakref

            from isolate_fn._api.crew import Crew

            crew = self._crew = Crew(1, "sandbox", self.policy.idle_timeout)
            weakref.finalize(self, crew.close).atexit = False
        return crew.submit(functools.partial(self._call, function, args, kwargs))

    def _finish_submitted(self, *, kill: bool) -> None:
        """Wait until all calls have ended, where ``kill`` by cancelling them."""
        crew = self._crew
        if crew is not None:
            crew.close()
            if kill:
                crew.kill()
            crew.join()
